//! `swarm-switch` with the real Nix: a machine with its own store in a mount namespace, and a cache in a
//! directory. The systems are fake; their `switch-to-configuration` records how it was called.

use super::files::repository;
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use swarm_common::secret::Secret;
use swarm_formats::nix::keys::SecretKey;

/// Nix settings that replace the machine's own. There is no sandbox, because it would have no shell.
const CONF: &str =
    "build-users-group =\nsubstituters =\nsandbox = false\nexperimental-features = nix-command\n";

struct Lab {
    dir: tempfile::TempDir,
    key: String,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for part in ["conf", "builder/nix", "builder/run", "machine/nix", "machine/run", "cache/ready"] {
            fs::create_dir_all(dir.path().join(part)).unwrap();
        }
        fs::write(dir.path().join("conf/nix.conf"), CONF).unwrap();
        let (secret, public) = (dir.path().join("secret"), dir.path().join("public"));
        let generate = ["--generate-binary-cache-key", "swarm-1"];
        let made = Command::new("nix-store").args(generate).arg(secret).arg(&public).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        Self { key: fs::read_to_string(public).unwrap(), dir }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// Runs a program in a mount namespace in which `/nix` and `/run` are those of a machine.
    fn within(&self, machine: &str, program: &Path, args: &[&str]) -> Output {
        let script = r#"mount --bind "$1/nix" /nix && mount --bind "$1/run" /run && shift && exec "$@""#;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--map-root-user", "sh", "-c", script, "sh"]);
        command.arg(self.at(machine)).arg(program).args(args);
        command.env("NIX_CONF_DIR", self.at("conf")).env("NIX_REMOTE", "").env("NIX_PATH", "");
        command.env("HOME", self.at(machine)).env("XDG_CACHE_HOME", self.at(machine).join("cache"));
        command.output().unwrap()
    }

    /// Builds a system with this kernel and copies it to the cache. Returns its store path.
    fn system(&self, version: u32, kernel: u32) -> String {
        self.system_with(version, kernel, "")
    }

    /// Like [`Self::system`], with additional build commands.
    fn system_with(&self, version: u32, kernel: u32, more: &str) -> String {
        let expression = format!(
            r#"let make = name: script: derivation {{ inherit name; system = "x86_64-linux"; builder = "/bin/sh";
                 PATH = "/usr/bin:/bin"; args = [ "-ec" script ]; }};
               kernel = make "linux-{kernel}" "echo {kernel} > $out";
               second = make "dbus-2" "echo 2 > $out";
             in make "nixos-system-desk-{version}" ''
               mkdir -p $out/bin
               ln -s ${{kernel}} $out/kernel
               {more}
               printf '#!/bin/sh\necho $1 {version} >> /run/calls\n' > $out/bin/switch-to-configuration
               chmod +x $out/bin/switch-to-configuration
             ''"#
        );
        let build = ["--no-out-link", "--expr", &expression];
        let path = said(&self.within("builder", Path::new("nix-build"), &build)).trim().to_owned();
        let to = format!("file://{}?secret-key={}", self.at("cache").display(), self.at("secret").display());
        said(&self.within("builder", Path::new("nix"), &["copy", "--to", &to, &path]));
        path
    }

    fn ready(&self, generation: u64, path: &str) {
        let ready = json!({
            "profile": "home", "host": "desk", "path": path, "generation": generation, "run": "r1",
            "built_at": 0, "closure_paths": 2, "closure_size": 1, "missing": [], "boot": {},
        });
        self.pointer(&ready);
    }

    /// Publishes a pointer with valid signatures, whatever its content.
    fn pointer(&self, ready: &Value) {
        let mut ready = ready.clone();
        if let Some(fields) = ready.as_object_mut() {
            let part = |key: &str| match &fields[key] {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let [profile, host, generation, path] = ["profile", "host", "generation", "path"].map(part);
            let beside = if fields.contains_key("channel") { "/staging" } else { "" };
            let text = format!("swarm-ready-1;{profile}{beside};{host};{generation};{path}");
            fields.insert("signatures".to_owned(), json!([self.secret().sign(&text).to_string()]));
        }
        self.unsigned(&ready);
    }

    /// Publishes a pointer unchanged.
    fn unsigned(&self, ready: &Value) {
        fs::write(self.at("cache/ready/desk"), ready.to_string()).unwrap();
    }

    fn secret(&self) -> SecretKey {
        SecretKey::parse(&Secret::new(&fs::read_to_string(self.at("secret")).unwrap())).unwrap()
    }

    /// Runs `swarm-switch` on the machine. Returns its exit code and output.
    fn switch(&self, more: &[&str]) -> (i32, String) {
        let url = format!("file://{}", self.at("cache").display());
        let (state, profile) = (self.at("machine/state"), "/nix/var/nix/profiles/system");
        let mut args = vec!["--url", &url, "--host", "desk", "--profile", profile];
        args.extend(["--state-dir", state.to_str().unwrap()]);
        if !more.contains(&"--key") {
            args.extend(["--key", &self.key]);
        }
        args.extend(more);
        let output = self.within("machine", &repository().join("scripts/swarm-switch"), &args);
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(text).unwrap())
    }

    /// The recorded calls of `switch-to-configuration`.
    fn calls(&self) -> String {
        fs::read_to_string(self.at("machine/run/calls")).unwrap_or_default()
    }

    /// The system in the machine's profile.
    fn installed(&self) -> Option<String> {
        let profiles = self.at("machine/nix/var/nix/profiles");
        let generation = fs::read_link(profiles.join("system")).ok()?;
        Some(fs::read_link(profiles.join(generation)).unwrap().display().to_string())
    }
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn expect((code, text): (i32, String), want: i32, part: &str) {
    assert!(code == want && text.contains(part), "{code} instead of {want}, `{part}` in: {text}");
}

#[test]
fn a_machine_goes_forward_and_never_back_unless_told() {
    let lab = Lab::new();
    let (one, two) = (lab.system(1, 1), lab.system(2, 1));
    lab.ready(4, &one);
    expect(lab.switch(&["--dry-run"]), 0, &format!("would fetch generation 4: {one}"));
    assert_eq!((lab.calls().as_str(), lab.installed()), ("", None));
    expect(lab.switch(&[]), 0, "desk switched to generation 4");
    assert_eq!((lab.calls().as_str(), lab.installed()), ("switch 1\n", Some(one.clone())));
    expect(lab.switch(&[]), 0, "desk has generation 4 already");
    lab.ready(5, &two);
    expect(lab.switch(&[]), 0, "desk switched to generation 5");
    assert_eq!(lab.calls(), "switch 1\nswitch 2\n");

    lab.ready(4, &one);
    expect(lab.switch(&[]), 3, "generation 4 is older than 5");
    lab.ready(5, &one);
    expect(lab.switch(&[]), 3, "was another system before");
    assert_eq!((lab.calls().as_str(), lab.installed()), ("switch 1\nswitch 2\n", Some(two)));
    lab.ready(4, &one);
    expect(lab.switch(&["--allow-older"]), 0, "desk switched to generation 4");
    assert_eq!(lab.installed(), Some(one));
}

#[test]
fn another_kernel_waits_for_the_next_boot() {
    let lab = Lab::new();
    let (one, two) = (lab.system(1, 1), lab.system(2, 2));
    lab.ready(1, &one);
    expect(lab.switch(&[]), 0, "switched to generation 1");
    symlink(&one, lab.at("machine/run/booted-system")).unwrap();
    symlink(&one, lab.at("machine/run/current-system")).unwrap();
    lab.ready(2, &two);
    expect(lab.switch(&[]), 0, "starts generation 2 with the next boot (kernel changed)");
    assert_eq!((lab.calls().as_str(), lab.installed()), ("switch 1\nboot 2\n", Some(two)));
    expect(lab.switch(&[]), 0, "the next boot starts it");
    lab.ready(3, &lab.system(3, 2));
    expect(lab.switch(&["--action", "switch"]), 0, "a reboot is needed for kernel");
    assert_eq!(lab.calls(), "switch 1\nboot 2\nswitch 3\n");
}

#[test]
fn another_bus_or_what_nixos_does_not_switch_waits_for_the_next_boot() {
    for (file, one, other) in [
        ("sw/bin/dbus-daemon", "ln -s ${kernel}", "ln -s ${second}"),
        ("etc/systemd/system/dbus.service", "ln -s ${kernel}", "ln -s ${second}"),
        ("switch-inhibitors", "printf classic >", "printf broker >"),
    ] {
        let lab = Lab::new();
        let with = |how: &str| format!("mkdir -p $(dirname $out/{file}); {how} $out/{file}");
        let one = lab.system_with(1, 1, &with(one));
        lab.ready(1, &one);
        expect(lab.switch(&[]), 0, "switched to generation 1");
        symlink(&one, lab.at("machine/run/booted-system")).unwrap();
        symlink(&one, lab.at("machine/run/current-system")).unwrap();
        lab.ready(2, &lab.system_with(2, 1, &with(other)));
        let (_, name) = file.rsplit_once('/').unwrap_or(("", file));
        let words = format!("starts generation 2 with the next boot ({name} changed)");
        expect(lab.switch(&[]), 0, &words);
        assert_eq!(lab.calls(), "switch 1\nboot 2\n");
    }
}

#[test]
fn a_missing_path_a_wrong_key_or_a_failed_switch_leaves_the_rest_as_it_is() {
    let lab = Lab::new();
    let (one, two) = (lab.system(1, 1), lab.system(2, 2));
    lab.ready(1, &one);
    expect(lab.switch(&[]), 0, "switched to generation 1");
    lab.ready(2, &two);
    let kernel = fs::read_link(lab.at("builder").join(two.trim_start_matches('/')).join("kernel")).unwrap();
    let hash = kernel.file_name().unwrap().to_str().unwrap().split('-').next().unwrap().to_owned();
    let (narinfo, aside) = (lab.at("cache").join(format!("{hash}.narinfo")), lab.at("aside"));
    fs::rename(&narinfo, &aside).unwrap();
    expect(lab.switch(&[]), 75, "the machine stays as it is");
    fs::rename(&aside, &narinfo).unwrap();
    let other = "swarm-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    expect(lab.switch(&["--key", other]), 3, "is not signed by a key");
    assert_eq!((lab.calls().as_str(), lab.installed()), ("switch 1\n", Some(one)));

    fs::create_dir(lab.at("machine/run/calls.d")).unwrap();
    fs::rename(lab.at("machine/run/calls"), lab.at("machine/run/calls.d/old")).unwrap();
    fs::create_dir(lab.at("machine/run/calls")).unwrap();
    expect(lab.switch(&[]), 1, "switch-to-configuration switch failed");
    fs::remove_dir(lab.at("machine/run/calls")).unwrap();
    expect(lab.switch(&[]), 0, "switched to generation 2");
    assert_eq!(lab.calls(), "switch 2\n");
}

#[test]
fn a_pointer_made_to_do_harm_is_refused() {
    let lab = Lab::new();
    expect(lab.switch(&[]), 69, "nothing ready for desk");
    let path = format!("/nix/store/{}-x", "0".repeat(32));
    let with = |key: &str, value: Value| {
        let mut ready =
            json!({ "profile": "home", "host": "desk", "path": path, "generation": 1, "missing": [] });
        ready[key] = value;
        ready
    };
    for (pointer, code, want) in [
        (with("host", json!("nas")), 3, "another machine"),
        (with("path", json!("/etc/passwd")), 1, "not a store path"),
        (with("path", json!("/nix/store/../../etc")), 1, "not a store path"),
        (with("path", json!("/nix/store/x --option sandbox false")), 1, "other values"),
        (with("path", json!("/nix/store/$(id)")), 1, "not a store path"),
        (with("path", json!("/nix/store/x\n")), 1, "not a store path"),
        (with("path", json!(["/nix/store/x"])), 1, ""),
        (with("generation", json!(-1)), 1, "not a generation"),
        (with("generation", json!("1; id")), 1, "other values"),
        (with("missing", json!(["x"])), 75, "1 paths"),
        (with("missing", json!(null)), 1, "cannot be read"),
        (with("path", json!(path)), 75, "the machine stays as it is"),
        (json!([]), 1, "cannot be read"),
    ] {
        lab.pointer(&pointer);
        expect(lab.switch(&[]), code, want);
    }
    fs::write(lab.at("cache/ready/desk"), "x".repeat(2 << 20)).unwrap();
    assert_ne!(lab.switch(&[]).0, 0);
    for bad in
        [&["--url", "http://x/a b"][..], &["--host", "../x"], &["--action", "now"], &["--url"], &["-x"]]
    {
        expect(lab.switch(bad), 2, "swarm-switch: ");
    }
    assert_eq!((lab.calls().as_str(), lab.installed()), ("", None));
}

#[test]
fn a_pointer_that_no_trusted_key_has_signed_is_refused() {
    let lab = Lab::new();
    let (one, two) = (lab.system(1, 1), lab.system(2, 1));
    lab.ready(1, &one);
    let signed: Value = serde_json::from_slice(&fs::read(lab.at("cache/ready/desk")).unwrap()).unwrap();
    let with = |key: &str, value: Value| {
        let mut ready = signed.clone();
        ready[key] = value;
        ready
    };
    let (other, _) = SecretKey::generate("swarm-1").unwrap();
    let text = format!("swarm-ready-1;home;desk;1;{one}");
    for pointer in [
        with("path", json!(two)),
        with("generation", json!(2)),
        with("profile", json!("other")),
        with("signatures", json!([])),
        with("signatures", json!([other.sign(&text).to_string()])),
        with("signatures", json!([lab.secret().sign(&format!("{text} ")).to_string()])),
        with("signatures", json!(["swarm-1:", "*", ":", "swarm-1:AAAA"])),
    ] {
        lab.unsigned(&pointer);
        expect(lab.switch(&[]), 3, "is not signed by a key that this machine trusts");
    }
    assert_eq!((lab.calls().as_str(), lab.installed()), ("", None));

    let both = json!([other.sign(&text).to_string(), lab.secret().sign(&text).to_string()]);
    lab.unsigned(&with("signatures", both));
    let (upstream, _) = SecretKey::generate("cache-1").unwrap();
    let conf = format!("{CONF}trusted-public-keys = {} {}", upstream.public(), lab.key);
    fs::write(lab.at("conf/nix.conf"), conf).unwrap();
    expect(lab.switch(&["--key", ""]), 0, "switched to generation 1");
}

#[test]
fn a_machine_takes_the_systems_of_its_own_channel_only() {
    let lab = Lab::new();
    let (one, two) = (lab.system(1, 1), lab.system(2, 1));
    lab.ready(1, &one);
    expect(lab.switch(&[]), 0, "switched to generation 1");
    let staged = json!({
        "profile": "home", "channel": "staging", "host": "desk", "path": two, "generation": 2, "missing": [],
    });
    lab.pointer(&staged);
    expect(lab.switch(&[]), 3, "is in the channel staging and not in stable");
    // Whoever controls the cache may remove the channel, but cannot sign the result.
    let mut stripped: Value = serde_json::from_slice(&fs::read(lab.at("cache/ready/desk")).unwrap()).unwrap();
    stripped.as_object_mut().unwrap().remove("channel");
    lab.unsigned(&stripped);
    expect(lab.switch(&[]), 3, "is not signed by a key");
    stripped["profile"] = json!("home/staging");
    lab.unsigned(&stripped);
    expect(lab.switch(&[]), 1, "not the name of a profile");
    assert_eq!(lab.installed(), Some(one.clone()));

    symlink(".", lab.at("cache/staging")).unwrap();
    lab.pointer(&staged);
    expect(lab.switch(&["--channel", "staging"]), 0, "switched to generation 2");
    assert_eq!(lab.installed(), Some(two));
    lab.ready(1, &one);
    expect(lab.switch(&["--channel", "staging"]), 3, "is in the channel stable and not in staging");
    expect(lab.switch(&["--channel", "testing"]), 2, "--channel is stable or staging");
    expect(lab.switch(&[]), 0, "switched to generation 1");
}

#[test]
fn only_one_runs_at_a_time() {
    let lab = Lab::new();
    lab.ready(1, &lab.system(1, 1));
    fs::create_dir(lab.at("machine/state")).unwrap();
    let lock = fs::File::create(lab.at("machine/state/lock")).unwrap();
    lock.lock().unwrap();
    expect(lab.switch(&[]), 75, "another swarm-switch is running");
    drop(lock);
    expect(lab.switch(&[]), 0, "switched to generation 1");
}

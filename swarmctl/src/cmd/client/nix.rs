//! The configuration of a machine with Nix: lines for nix.conf, and the same as a NixOS module.

use crate::{
    failure::Failure,
    output::{Paint, Tone},
};
use serde::Serialize;
use std::{
    fs,
    path::{Path, PathBuf},
};
use swarm_common::wire::{channel::ChannelName, nix::NixCache, view::KeyView};
use swarm_formats::nix::keys::PublicKey;

/// Settings that a machine needs besides the cache and its keys: name and value.
///
/// The timeout is short, so that a missing cache delays little; what it lacks is built or taken from another
/// one. A path that was missing is requested again after a minute rather than an hour.
const SETTINGS: [(&str, &str); 3] =
    [("connect-timeout", "5"), ("fallback", "true"), ("narinfo-cache-negative-ttl", "60")];

#[derive(Debug, Serialize)]
pub(super) struct NixSetup {
    /// Name of the written files, without extension.
    name: String,
    url: String,
    /// The keys of this cache and of the upstream caches.
    public_keys: Vec<String>,
    /// Addresses of the upstream caches, which have the rest of what is installed.
    upstreams: Vec<String>,
    /// Lines for nix.conf.
    nix_conf: String,
    /// The same as a NixOS module, which also switches to new systems if the profile has hosts.
    nixos_module: String,
}

/// The setup for a channel of the cache at `stable`, in files with this name. The cache does not have what
/// the profile takes from `upstreams`. `hosts` are the machines whose systems the profile builds.
pub(super) fn setup(
    name: &str,
    stable: &str,
    channel: ChannelName,
    key: &KeyView,
    upstreams: &[NixCache],
    hosts: &[&str],
) -> Result<NixSetup, Failure> {
    let url = channel.within(stable);
    if key.nix.is_empty() {
        return Err(Failure::Failed(
            "the orchestrator has no Nix signing key, so clients would reject its packages; see [signing] \
             in its configuration"
                .to_owned(),
        ));
    }
    let keys: Result<Vec<PublicKey>, _> = key.nix.iter().map(|text| text.parse()).collect();
    let keys = keys.map_err(|e| Failure::Failed(format!("the orchestrator's key for Nix is {e}")))?;
    let theirs: Result<Vec<PublicKey>, _> =
        upstreams.iter().flat_map(|upstream| &upstream.keys).map(|text| text.parse()).collect();
    let theirs = theirs.map_err(|e| Failure::Failed(format!("the key of an upstream cache is {e}")))?;
    let mut keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
    for key in theirs.iter().map(ToString::to_string) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let upstreams: Vec<String> = upstreams.iter().map(|upstream| upstream.url.clone()).collect();
    let urls: Vec<&str> = [&url].into_iter().chain(&upstreams).map(String::as_str).collect();
    // The addresses are written into files that root reads.
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~/:[]%+,=@".contains(c);
    if let Some(url) = urls.iter().find(|url| !url.chars().all(plain)) {
        return Err(Failure::Failed(format!(
            "the cache address contains a character that nix.conf does not allow: {}",
            url.escape_debug()
        )));
    }
    Ok(NixSetup {
        name: name.to_owned(),
        nix_conf: nix_conf(&urls, &keys),
        nixos_module: nixos_module(&urls, &keys) + &switch(stable, channel, hosts) + "}\n",
        public_keys: keys,
        url,
        upstreams,
    })
}

fn nix_conf(urls: &[&str], keys: &[String]) -> String {
    let (urls, keys) = (urls.join(" "), keys.join(" "));
    let mut text = format!("extra-substituters = {urls}\nextra-trusted-public-keys = {keys}\n");
    text.extend(SETTINGS.map(|(name, value)| format!("{name} = {value}\n")));
    text
}

fn nixos_module(urls: &[&str], keys: &[String]) -> String {
    let keys = keys.iter().map(|key| format!("\"{key}\"")).collect::<Vec<_>>().join(" ");
    let urls = urls.iter().map(|url| format!("\"{url}\"")).collect::<Vec<_>>().join(" ");
    let mut text = format!(
        "{{\n  nix.settings = {{\n    substituters = [ {urls} ];\n    trusted-public-keys = [ {keys} ];\n"
    );
    text.extend(SETTINGS.map(|(name, value)| format!("    {name} = {value};\n")));
    text + "  };\n"
}

/// The part of the module that uses the module `switch` of this project's flake. Empty if the profile has no
/// hosts.
fn switch(stable: &str, channel: ChannelName, hosts: &[&str]) -> String {
    if hosts.is_empty() {
        return String::new();
    }
    let follow = if channel.is_stable() { String::new() } else { format!(" channel = \"{channel}\";") };
    format!(
        "  # On {}, with nixosModules.switch of Build Swarm, to switch to new systems:\n  # \
         services.build-swarm.switch = {{ enable = true; url = \"{stable}\";{follow} }};\n",
        hosts.join(", ")
    )
}

pub(super) fn render(setup: &NixSetup, paint: Paint) -> String {
    let step = |text: &str| paint.tone(Tone::Bold, text);
    format!(
        "{}\n\n{}\n{}\n\n{}\n{}\n\n{}\n",
        step("# With NixOS: a module for `imports` of the machine's configuration"),
        setup.nixos_module,
        step("# Without NixOS: lines for /etc/nix/nix.conf, then restart the Nix daemon"),
        setup.nix_conf,
        step("# From now on, this installs packages of the profile from the swarm without compiling:"),
        "nix-build --max-jobs 0 …, or nix build --max-jobs 0 …"
    )
}

/// Writes both files below `root`, and a nix.conf with the lines if there is none. Returns their paths.
pub(super) fn write(setup: &NixSetup, root: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut files = vec![
        (root.join(format!("etc/nix/{}.conf", setup.name)), setup.nix_conf.clone()),
        (root.join(format!("etc/nixos/{}.nix", setup.name)), setup.nixos_module.clone()),
    ];
    let main = root.join("etc/nix/nix.conf");
    if !main.exists() {
        files.push((main, include(setup)));
    }
    for (path, text) in &files {
        let dir = path.parent().unwrap_or(root);
        fs::create_dir_all(dir)
            .and_then(|()| fs::write(path, text))
            .map_err(|e| Failure::Failed(format!("{}: {e}", path.display())))?;
    }
    Ok(files.into_iter().map(|(path, _)| path).collect())
}

/// The line of nix.conf that includes the written lines.
fn include(setup: &NixSetup) -> String {
    format!("!include {}.conf\n", setup.name)
}

/// Tells the user what to do with the written files.
pub(super) fn next(setup: &NixSetup, written: &[PathBuf]) -> String {
    let module = format!("Next, with NixOS: add ./{}.nix to `imports` of configuration.nix\n", setup.name);
    match written.iter().any(|path| path.ends_with("nix.conf")) {
        true => format!("{module}Next, without NixOS: restart the Nix daemon, if there is one\n"),
        false => {
            format!("{module}Next, without NixOS: add this line to /etc/nix/nix.conf: {}", include(setup))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const KEY: &str = "swarm-nas-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=";

    const UPSTREAM: &str = "https://cache.example.org/x";

    fn key(nix: &[&str]) -> KeyView {
        let nix = nix.iter().map(|key| (*key).to_owned()).collect();
        KeyView { fingerprint: String::new(), public_key: String::new(), nix }
    }

    fn of(url: &str, keys: &[&str], hosts: &[&str]) -> Result<NixSetup, Failure> {
        let upstream = NixCache { url: UPSTREAM.to_owned(), keys: vec![KEY.replace("nas-1", "other-1")] };
        setup("swarm-home", url, ChannelName::Stable, &key(keys), &[upstream], hosts)
    }

    #[test]
    fn a_machine_on_staging_has_the_cache_of_staging_and_switches_to_its_systems() {
        let url = "http://nas:8100/binhost/home";
        let setup = setup("swarm-home", url, ChannelName::Staging, &key(&[KEY]), &[], &["desk"]).unwrap();
        assert!(setup.nix_conf.starts_with("extra-substituters = http://nas:8100/binhost/home/staging\n"));
        let module = &setup.nixos_module;
        assert!(module.contains("substituters = [ \"http://nas:8100/binhost/home/staging\" ];"), "{module}");
        let follow =
            r#"switch = { enable = true; url = "http://nas:8100/binhost/home"; channel = "staging"; };"#;
        assert!(module.contains(follow), "{module}");
    }

    /// Runs a program of the real Nix, without the machine's configuration.
    fn nix(program: &str, dir: &Path, args: &[&str]) -> String {
        let (is_sound, output, stderr) = run(program, dir, args);
        assert!(is_sound && !stderr.contains("warning"), "{stderr}");
        output
    }

    fn run(program: &str, dir: &Path, args: &[&str]) -> (bool, String, String) {
        let output = Command::new(program)
            .args(args)
            .env("NIX_CONF_DIR", dir.join("etc/nix"))
            .env("NIX_REMOTE", dir.join("store"))
            .env("HOME", dir)
            .env_remove("NIX_CONFIG")
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    }

    #[test]
    fn nix_reads_the_lines_and_the_module_as_they_are_meant() {
        let dir = tempfile::tempdir().unwrap();
        let setup = of("http://nas:8100/binhost/home", &[KEY, &KEY.replace("-1", "-2")], &["desk"]).unwrap();
        let written = write(&setup, dir.path()).unwrap();
        assert!(next(&setup, &written).contains("restart"));
        let main = dir.path().join("etc/nix/nix.conf");
        let text = fs::read_to_string(&main).unwrap();
        fs::write(&main, format!("build-users-group =\n{text}")).unwrap();
        let again = write(&setup, dir.path()).unwrap();
        assert!(next(&setup, &again).ends_with(&text), "what is there is a person's");
        let module = &written[1];
        // Nix 2.8 has only the second name.
        let named = |name: &[&'static str]| {
            let arguments =
                [&["--extra-experimental-features", "nix-command"][..], name, &["--json"]].concat();
            run("nix", dir.path(), &arguments)
        };
        let (is_sound, shown, stderr) = Some(named(&["config", "show"]))
            .filter(|(is_sound, ..)| *is_sound)
            .unwrap_or_else(|| named(&["show-config"]));
        assert!(is_sound && !stderr.contains("warning"), "{stderr}");
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        let list = |name: &str| shown[name]["value"].as_array().unwrap().clone();
        for cache in ["http://nas:8100/binhost/home", UPSTREAM] {
            assert!(list("substituters").iter().any(|url| url == cache), "{cache}");
        }
        assert_eq!(
            list("trusted-public-keys").iter().filter(|k| k.as_str().unwrap().starts_with("swarm")).count(),
            3
        );
        assert_eq!(shown["connect-timeout"]["value"], 5);
        assert_eq!(shown["fallback"]["value"], true);

        let module = module.display().to_string();
        let read = nix("nix-instantiate", dir.path(), &["--eval", "--strict", "--json", &module]);
        let read: serde_json::Value = serde_json::from_str(&read).unwrap();
        let settings = &read["nix"]["settings"];
        assert_eq!(settings["substituters"], serde_json::json!(["http://nas:8100/binhost/home", UPSTREAM]));
        assert_eq!(settings["trusted-public-keys"][0], KEY);
        assert_eq!((&settings["fallback"], &settings["connect-timeout"]), (&true.into(), &5.into()));
    }

    #[test]
    fn keys_and_addresses_that_would_mean_something_else_are_refused() {
        let url = "http://nas:8100/binhost/home";
        assert!(of(url, &[], &[]).unwrap_err().to_string().contains("no Nix signing key"));
        for bad in ["x", &KEY[..40], "a b:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=", &format!("{KEY} x")]
        {
            assert!(of(url, &[bad], &[]).is_err(), "{bad}");
        }
        for bad in ["http://nas/a b", "http://nas/\"; x = \"", "http://nas/${x}", "http://nas/\n"] {
            assert!(of(bad, &[KEY], &[]).is_err(), "{bad}");
        }
    }
}

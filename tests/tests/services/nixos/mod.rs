//! The NixOS modules, evaluated by the real Nix with a small stub of the module system and of nixpkgs, which
//! may not be available here. Their units must be those in `systemd/`, and their configuration files those
//! that the programs read.

use super::files::repository;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::{Command, Output},
};
use swarm_orchestrator::config::Config;

fn nix(args: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    Command::new("nix-instantiate")
        .args(["--eval", "--strict", "--json"])
        .args(args)
        .env("HOME", home.path())
        .env("NIX_REMOTE", "dummy://")
        .env("NIX_PATH", "")
        .output()
        .unwrap()
}

fn evaluate(settings: &Value) -> Result<Value, String> {
    let stub = repository().join("tests/tests/services/nixos/stub.nix");
    let settings = json!({ "services": { "build-swarm": settings } }).to_string();
    let output = nix(&[stub.to_str().unwrap(), "--argstr", "settings", &settings]);
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout).unwrap()),
        false => Err(String::from_utf8(output.stderr).unwrap()),
    }
}

fn all() -> Value {
    evaluate(&json!({
        "orchestrator": { "enable": true, "openFirewall": true, "settings": { "policy": { "quarantine_retry": "3d" } } },
        "drone": {
            "enable": true,
            "orchestrators": ["https://nas:8143"],
            "fingerprint": format!("sha256:{}", "0".repeat(64)),
            "settings": { "profiles": ["home"] },
        },
        "switch": { "enable": true, "url": "http://nas:8100/binhost/home", "publicKeys": ["k:x="] },
        "update": {
            "home": {
                "source": "git+ssh://git@host/config",
                "hosts": ["desk", "nas"],
                "updateInputs": ["nixpkgs"],
                "extraArgs": ["--upstream", "https://c=k:x="],
                "sshKeyFile": "/root/key",
                "pushLockTo": "git+ssh://git@host/config?ref=locks",
            },
            "tools": { "source": "git+https://host/tools", "attributes": ["hello"], "dates": "Sat 03:00", "every": "7d" },
        },
    }))
    .unwrap()
}

/// The lines of each setting, by its name.
type Unit = BTreeMap<String, Vec<String>>;

/// The settings of a unit file, with the paths of programs that the modules use.
fn of_file(name: &str) -> Unit {
    let text = fs::read_to_string(repository().join("systemd").join(name)).unwrap();
    let text = text.replace("=/usr/bin/", "=/package/bin/").replace("=/bin/kill", "=/coreutils/bin/kill");
    let mut unit = Unit::new();
    for line in text.lines() {
        if let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            unit.entry(key.to_owned()).or_default().push(value.to_owned());
        }
    }
    unit
}

/// The lines that NixOS writes for a value.
fn lines(value: &Value) -> Vec<String> {
    match value {
        Value::Null => vec![],
        Value::Bool(yes) => vec![if *yes { "yes" } else { "no" }.to_owned()],
        Value::Array(all) => all.iter().flat_map(lines).collect(),
        Value::String(text) => vec![text.clone()],
        other => vec![other.to_string()],
    }
}

/// The settings of a service in the modules.
fn of_module(service: &Value) -> Unit {
    let mut unit = Unit::new();
    for (key, value) in service["serviceConfig"].as_object().unwrap() {
        unit.insert(key.clone(), lines(value));
    }
    for (name, key) in [
        ("description", "Description"),
        ("documentation", "Documentation"),
        ("startLimitIntervalSec", "StartLimitIntervalSec"),
    ] {
        unit.insert(key.to_owned(), lines(&service[name]));
    }
    for (name, key) in [("wants", "Wants"), ("after", "After"), ("wantedBy", "WantedBy")] {
        if !service[name].is_null() {
            unit.insert(key.to_owned(), vec![lines(&service[name]).join(" ")]);
        }
    }
    unit.retain(|_, lines| !lines.is_empty());
    unit
}

#[test]
fn the_units_of_the_modules_are_those_of_the_files() {
    let services = &all()["systemd"]["services"];
    for name in ["swarm-orchestrator", "swarm-drone"] {
        assert_eq!(of_module(&services[name]), of_file(&format!("{name}.service")), "{name}");
    }
    let switch = lines(&services["swarm-switch"]["serviceConfig"]["ExecStart"]).join("");
    let want = r#""/package/bin/swarm-switch" "--url" "http://nas:8100/binhost/home" "--channel" "stable" "--host" "desk" "--action" "auto" "--key" "k:x=""#;
    assert_eq!(switch, want);
    assert_eq!(all()["networking"]["firewall"]["allowedTCPPorts"], json!([8100, 8143]));
}

#[test]
fn a_timer_updates_each_profile_as_the_template_does() {
    let systemd = &all()["systemd"];
    let service = |profile: &str| systemd["services"][format!("swarm-update-{profile}")].clone();
    let starts = |profile: &str| lines(&service(profile)["serviceConfig"]["ExecStart"]).join("");
    let begin =
        |profile| format!(r#""/package/bin/swarmctl" "profile" "update" "{profile}" "--nix" "--candidate" "#);
    let home = r#""--every" "1d" "--from" "git+ssh://git@host/config" "--host" "desk" "--host" "nas" "--update-input" "nixpkgs" "--upstream" "https://c=k:x=""#;
    assert_eq!(starts("home"), begin("home") + home);
    let tools = r#""--every" "7d" "--from" "git+https://host/tools" "--attr" "hello""#;
    assert_eq!(starts("tools"), begin("tools") + tools);
    assert_eq!(service("tools")["startAt"], "Sat 03:00");
    assert_eq!(service("home")["environment"]["GIT_SSH_COMMAND"], "ssh -i %d/git.key");
    let credentials = json!(["swarmctl.toml:/root/.config/swarmctl/config.toml", "git.key:/root/key"]);
    assert_eq!(service("home")["serviceConfig"]["LoadCredential"], credentials);
    let push = r#""/package/bin/swarmctl" "ready" "home" "desk" "--push-lock" "git+ssh://git@host/config?ref=locks""#;
    assert_eq!(service("home")["serviceConfig"]["ExecStartPost"], json!([push]));

    let (mut module, mut file) = (of_module(&service("tools")), of_file("swarm-update@.service"));
    let set = service("tools")["environment"].as_object().unwrap().clone();
    let set = set.iter().map(|(name, value)| format!("{name}={}", value.as_str().unwrap())).rev();
    module.insert("Environment".to_owned(), set.collect());
    file.values_mut().flatten().for_each(|line| *line = line.replace("%i", "tools"));
    file.get_mut("Environment").unwrap().retain(|line| !line.starts_with("EVERY="));
    file.remove("EnvironmentFile");
    for unit in [&mut module, &mut file] {
        unit.remove("ExecStart").unwrap();
    }
    assert_eq!(module, file);
    let timer = of_file("swarm-update@.timer");
    let of_module = &systemd["timers"]["swarm-update-tools"]["timerConfig"];
    for key in ["Persistent", "RandomizedDelaySec"] {
        assert_eq!(lines(&of_module[key]), timer[key]);
    }
    assert_eq!(service("home")["startAt"], timer["OnCalendar"][0]);
}

#[test]
fn the_programs_read_the_configuration_of_the_modules() {
    let dir = tempfile::tempdir().unwrap();
    let all = all();
    let write = |name: &str| {
        let value = &all["environment"]["etc"][format!("build-swarm/{name}")]["source"]["value"];
        let file = dir.path().join(name);
        fs::write(&file, toml::to_string(value).unwrap()).unwrap();
        file
    };
    let orchestrator = Config::load(&write("orchestrator.toml")).unwrap();
    assert_eq!(orchestrator.listen.to_string(), "0.0.0.0:8100");
    assert_eq!(orchestrator.tls.listen.unwrap().to_string(), "0.0.0.0:8143");
    let drone: swarm_drone::config::Config = swarm_daemon::config::load(&write("drone.toml")).unwrap();
    assert_eq!(drone.profiles, ["home".parse().unwrap()]);
}

#[test]
fn options_have_types_and_descriptions_and_others_do_not_exist() {
    let all = all();
    let options = all["options"].as_array().unwrap();
    assert!(options.len() > 15, "{options:?}");
    for option in options {
        assert!(option["text"].as_str().unwrap().len() > 20, "{option}");
    }
    for (settings, want) in [
        (json!({ "orchestrator": { "enable": "yes" } }), "is not a bool"),
        (json!({ "orchestrator": { "enable": true, "listens": "x" } }), "no such option"),
        (json!({ "drone": { "enable": true } }), "orchestrators is used but not defined"),
        (json!({ "switch": { "enable": true, "url": "u", "action": "now" } }), "is not a enum"),
        (json!({ "update": { "home": {} } }), "source is used but not defined"),
        (json!({ "update": { "home": { "source": "s", "host": ["x"] } } }), "is not a attrsOf submodule"),
        (json!({ "update": { "home": { "source": "s", "pushLockTo": "s" } } }), "pushLockTo needs a host"),
    ] {
        let error = evaluate(&settings).unwrap_err();
        assert!(error.contains(want), "{want}: {error}");
    }
    assert_eq!(evaluate(&json!({})).unwrap()["users"], json!({}), "nothing is on by itself");
}

#[test]
fn the_flake_offers_modules_and_a_package_that_are_there() {
    let expression = r#"
      let
        outputs = (import ./flake.nix).outputs { self = null; };
        lib = {
          importTOML = file: builtins.fromTOML (builtins.readFile file);
          cleanSourceWith = { src, filter }: src;
          cleanSourceFilter = _: _: true;
          makeBinPath = builtins.concatStringsSep ":";
          licenses = { mit = "MIT"; asl20 = "Apache-2.0"; };
          platforms.linux = [ ];
        };
        package = import ./nix/package.nix {
          inherit lib; rustPlatform.buildRustPackage = all: all;
          installShellFiles = ""; makeWrapper = ""; curl = "/curl"; openssl = "/openssl"; util-linux = "/util-linux";
        };
      in {
        modules = builtins.attrNames outputs.nixosModules;
        there = builtins.all builtins.pathExists outputs.nixosModules.default.imports;
        overlay = (outputs.overlays.default { callPackage = file: _: builtins.pathExists file; } null).build-swarm;
        version = package.version;
        packages = package.cargoBuildFlags;
        lock = builtins.pathExists package.cargoLock.lockFile;
      }"#;
    let home = tempfile::tempdir().unwrap();
    let output = Command::new("nix-instantiate")
        .args(["--eval", "--strict", "--json", "--expr", expression])
        .current_dir(repository())
        .env("HOME", home.path())
        .env("NIX_REMOTE", "dummy://")
        .output()
        .unwrap();
    let read: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(read["modules"], json!(["default", "drone", "orchestrator", "switch", "update"]));
    assert_eq!((&read["there"], &read["overlay"], &read["lock"]), (&json!(true), &json!(true), &json!(true)));
    assert_eq!(read["version"], env!("CARGO_PKG_VERSION"));
    let members = ["orchestrator", "drone", "swarmctl"].map(|member| {
        let manifest = fs::read_to_string(repository().join(member).join("Cargo.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        format!("--package={}", manifest["package"]["name"].as_str().unwrap())
    });
    let packages: BTreeSet<String> = serde_json::from_value(read["packages"].clone()).unwrap();
    assert_eq!(packages, BTreeSet::from(members));
}

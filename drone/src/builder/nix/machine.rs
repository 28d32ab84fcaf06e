//! What this machine can build with Nix: its systems and features, according to the configuration of the
//! drone's stores.

use super::{
    programs::{Programs, find},
    store,
};
use crate::config::NixConfig;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
};
use swarm_common::wire::nix::NixMachine;

/// Timeout of the program in seconds.
const LIMIT: &str = "30";

/// The version that renamed `nix show-config` to `nix config show`.
const RENAMED: (u32, u32) = (2, 20);

/// A setting in the form that `--json` prints.
#[derive(Debug, Deserialize)]
struct Setting {
    value: serde_json::Value,
}

/// The Nix installed on this machine.
#[derive(Debug, Default)]
pub(crate) struct Equipment {
    /// Why there is no usable Nix, if it is required.
    pub lacks: Option<String>,
    pub version: Option<String>,
    pub machine: Option<Box<NixMachine>>,
}

pub(crate) fn equipment(config: &NixConfig) -> Equipment {
    let programs = match find(config) {
        Ok(Some(programs)) => programs,
        Ok(None) => return Equipment::default(),
        Err(why) => {
            let lacks = Some(format!("Nix ({why}; see builder.nix)"));
            return Equipment { lacks, ..Equipment::default() };
        }
    };
    let machine = programs.machine(config);
    let machine = machine.inspect_err(|why| {
        tracing::warn!("it is not known what this machine can build with Nix: {why}");
    });
    Equipment { lacks: None, version: Some(programs.version), machine: machine.ok().map(Box::new) }
}

impl Programs {
    /// The systems that this Nix builds for, and its features.
    ///
    /// # Errors
    /// The program cannot be run, or its output cannot be parsed.
    pub fn machine(&self, config: &NixConfig) -> Result<NixMachine, String> {
        let words: &[&str] = if self.is_at_least(RENAMED) { &["config", "show"] } else { &["show-config"] };
        let output = Command::new("timeout")
            .arg(LIMIT)
            .arg(self.path("nix"))
            .args(words)
            .arg("--json")
            .env_clear()
            .env("PATH", self.search_path())
            .env("HOME", "/nonexistent")
            // Do not read the machine's own settings.
            .env("NIX_CONF_DIR", "/nonexistent")
            .env("NIX_CONFIG", store::settings(config))
            .stdin(Stdio::null())
            .output();
        let output = output.map_err(|error| format!("nix {}: {error}", words.join(" ")))?;
        let parsed = parse(&output.stdout);
        parsed.ok_or_else(|| {
            let errors = String::from_utf8_lossy(&output.stderr);
            let error = errors.lines().last().unwrap_or("it does not report its system and features");
            format!("nix {}: {error}", words.join(" "))
        })
    }
}

fn parse(text: &[u8]) -> Option<NixMachine> {
    let settings: BTreeMap<String, Setting> = serde_json::from_slice(text).ok()?;
    let system = settings.get("system")?.value.as_str()?.to_owned();
    let list = |name: &str| {
        let values = settings.get(name)?.value.as_array()?.iter();
        let names: Vec<String> = values.filter_map(|value| value.as_str().map(str::to_owned)).collect();
        Some(names)
    };
    let mut machine = NixMachine { systems: list("extra-platforms")?, features: list("system-features")? };
    machine.systems.retain(|other| *other != system);
    machine.systems.insert(0, system);
    for names in [&mut machine.systems, &mut machine.features] {
        names.retain(|name| (1..=NixMachine::LONGEST).contains(&name.len()));
        names.truncate(NixMachine::MOST);
    }
    Some(machine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_system_comes_first_and_what_is_missing_is_no_answer() {
        let text = r#"{"system": {"value": "x86_64-linux", "description": "x"}, "cores": {"value": 0},
            "extra-platforms": {"value": ["aarch64-linux", "x86_64-linux"]}, "system-features": {"value": []}}"#;
        let machine = parse(text.as_bytes()).unwrap();
        assert_eq!(machine.systems, ["x86_64-linux", "aarch64-linux"]);
        assert!(machine.features.is_empty());
        assert_eq!(parse(text.replace("system-features", "features").as_bytes()), None);
        assert_eq!(parse(b"error: unrecognised"), None);
    }
}

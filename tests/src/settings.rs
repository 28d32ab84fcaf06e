//! Settings with a unit: their old names are still read and reported, and no shipped file uses one.

use crate::{e2e::programs::program, tidy::top};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use swarm_daemon::config::{self, OldForm, Renamed, Unit};
use swarm_drone::config as drone;
use swarm_orchestrator::config as orchestrator;

const DRONE: &str = "orchestrators = [\"http://nas:8100\"]\n";

fn renamed() -> impl Iterator<Item = (&'static str, Renamed)> {
    let of = |program, all: &'static [&'static [Renamed]]| {
        all.iter().copied().flatten().map(move |renamed| (program, *renamed))
    };
    of("swarm-orchestrator", orchestrator::RENAMED).chain(of("swarm-drone", drone::RENAMED))
}

/// Reads the configuration with one more line in a section. Returns the debug output, which shows every
/// value.
fn read(program: &str, section: &str, line: &str) -> Result<(String, Vec<OldForm>), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.toml");
    let head = match section {
        "" => String::new(),
        "journal" => "[journal]\nkind = \"redis\"\nurl = \"redis://nas\"\n".to_owned(),
        section => format!("[{section}]\n"),
    };
    if program == "swarm-drone" {
        fs::write(&path, format!("{DRONE}{head}{line}\n")).unwrap();
        let read = config::read::<drone::Config>(&path, drone::PROGRAM);
        return read.map(|(config, old)| (format!("{config:?}"), old)).map_err(|e| e.to_string());
    }
    fs::write(&path, format!("{head}{line}\n")).unwrap();
    let read = config::read::<orchestrator::Config>(&path, orchestrator::PROGRAM);
    read.map(|(config, old)| (format!("{config:?}"), old)).map_err(|e| e.to_string())
}

#[test]
fn each_old_name_is_read_as_the_new_one_and_both_at_once_are_refused() {
    for (program, Renamed { section, old, unit, new }) in renamed() {
        let value = match unit {
            Unit::Milliseconds => "7s",
            Unit::Seconds => "7000s",
            Unit::Days => "7000d",
            Unit::Bytes => "7000B",
            Unit::Mebibytes => "7000MiB",
            Unit::Gibibytes => "7000GiB",
        };
        let today = read(program, section, &format!("{new} = \"{value}\"")).unwrap();
        let (was, found) = read(program, section, &format!("{old} = 7000")).unwrap();
        assert_eq!(today, (was.clone(), Vec::new()), "{old}");
        assert_ne!(was, read(program, section, "").unwrap().0, "{old} changes nothing");
        assert_eq!(found.len(), 1, "{old}");
        assert_eq!(found[0].old, format!("{old} = 7000"));
        assert_eq!(read(program, section, &found[0].new).unwrap(), today, "{}", found[0].new);
        let error = read(program, section, &format!("{old} = 7000\n{new} = \"{value}\"")).unwrap_err();
        assert!(error.contains(&format!("`{old}` and `{new}`")), "{error}");
        let error = read(program, section, &format!("{new} = 7000")).unwrap_err();
        assert!(error.contains(&format!("`{new}`")) && error.contains("`7000` has no unit"), "{error}");
    }
}

fn check(program_name: &str, text: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.toml");
    fs::write(&path, text).unwrap();
    let mut command = Command::new(program(program_name).unwrap());
    command.arg("--config").arg(path).arg("--check-config").output().unwrap()
}

#[test]
fn check_config_says_the_new_form_of_each_old_one() {
    for (program, text, want) in [
        (
            "swarm-orchestrator",
            "[limits]\nheader_ms = 15000\nplan_bytes = 16777216\n[policy]\npause_max_ms = 604800000\n"
                .to_owned(),
            [
                ":2: `header_ms = 15000` is the old form; write `header_timeout = \"15s\"`",
                ":3: `plan_bytes = 16777216` is the old form; write `plan_size = \"16MiB\"`",
                ":5: `pause_max_ms = 604800000` is the old form; write `pause_max = \"7d\"`",
            ],
        ),
        (
            "swarm-drone",
            format!(
                "{DRONE}blocked_timeout_s = 600\n[builder]\nmemory_max_mib = 4096\n[log]\ndays_kept = 30\n"
            ),
            [
                ":2: `blocked_timeout_s = 600` is the old form; write `blocked_timeout = \"10m\"`",
                ":4: `memory_max_mib = 4096` is the old form; write `memory_max = \"4GiB\"`",
                ":6: `days_kept = 30` is the old form; write `max_age = \"30d\"`",
            ],
        ),
    ] {
        let output = check(program, &text);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        let lines: Vec<&str> = stderr.lines().collect();
        assert_eq!(lines.len(), want.len(), "{stderr}");
        for (line, want) in lines.iter().zip(want) {
            assert!(line.starts_with(&format!("{program}: warning: ")) && line.ends_with(want), "{line}");
        }
    }
    let output = check("swarm-drone", &format!("{DRONE}heartbeat_s = 5\nheartbeat = \"5s\"\n"));
    assert_eq!(output.status.code(), Some(78));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("x.toml:2:1: `heartbeat_s` and `heartbeat` are the same setting"), "{stderr}");
}

fn walk(path: &Path, found: &mut Vec<PathBuf>) {
    match path.is_dir() {
        true => fs::read_dir(path).unwrap().for_each(|entry| walk(&entry.unwrap().path(), found)),
        false => found.push(path.to_owned()),
    }
}

#[test]
fn nothing_that_is_shipped_has_an_old_name() {
    let mut files = Vec::new();
    for name in [
        "README.md",
        "docs/ARCHITECTURE.md",
        "docs/benchmarks.md",
        "docs/faults.md",
        "docs/handbook.md",
        "drone/drone.example.toml",
        "examples",
        "flake.nix",
        "nix",
        "openrc",
        "orchestrator/orchestrator.example.toml",
        "scripts",
        "systemd",
    ] {
        walk(&top().join(name), &mut files);
    }
    let old: Vec<&str> = renamed().map(|(_, renamed)| renamed.old).collect();
    for file in files {
        let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let found: Vec<&str> = words.filter(|word| old.contains(word)).collect();
        assert!(found.is_empty(), "{} has {found:?}", file.display());
    }
}

/// The names of all settings in the example files.
fn shown() -> Vec<String> {
    let examples = ["drone/drone.example.toml", "orchestrator/orchestrator.example.toml"];
    let text = examples.map(|example| fs::read_to_string(top().join(example)).unwrap()).join("\n");
    let names = text.lines().filter_map(|line| line.trim_start_matches(['#', ' ']).split_once(" = "));
    names.map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn the_settings_of_the_handbook_exist() {
    let page = fs::read_to_string(top().join("docs/handbook.md")).unwrap();
    let (shown, mut rows) = (shown(), 0);
    let mut of_settings = false;
    for line in page.lines() {
        of_settings = line.starts_with('|') && (of_settings || line.starts_with("| setting |"));
        let name = line.strip_prefix("| `").and_then(|rest| rest.split_once('`')).map(|(name, _)| name);
        if let Some(name) = name.filter(|_| of_settings) {
            assert!(shown.iter().any(|known| known == name), "{line}");
            rows += 1;
        }
    }
    assert!(rows >= 5, "{rows} rows");

    let blocks = page.split("\n\n").filter(|block| {
        block.lines().next().is_some_and(|line| line.starts_with("    [") && line.contains(']'))
    });
    let mut read = 0;
    for block in blocks {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("o.toml");
        fs::write(&path, block).unwrap();
        let (_, old) = orchestrator::Config::read(&path).unwrap_or_else(|e| panic!("{e}\n{block}"));
        assert!(old.is_empty(), "{old:?}");
        read += 1;
    }
    assert!(read >= 3, "{read} blocks");
}

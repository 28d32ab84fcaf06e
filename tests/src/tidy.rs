//! The house rules that the compiler does not know: who may import whom, which crate is
//! known where, how files begin and how long they may be.
//!
//! Each rule is a function over the tree; [`tests`] runs them.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A file past this holds two nouns.
const LONGEST_FILE: usize = 400;

/// Crates that only one module may know, and where that module is; two rows are two places.
const KNOWN_IN_ONE_PLACE: &[(&str, &str)] = &[
    ("rusqlite", "orchestrator/src/journal/sqlite"),
    ("redis", "orchestrator/src/journal/"),
    ("pgp", "orchestrator/src/sign/"),
    ("croner", "orchestrator/src/calendar/due.rs"),
    ("tokio_cron_scheduler", "orchestrator/src/calendar/ticker.rs"),
    ("russh", "orchestrator/src/healer/ssh.rs"),
    ("sysinfo", "drone/src/vitals.rs"),
    ("reqwest", "common/src/client/"),
    ("rcgen", "orchestrator/src/tls/self_signed.rs"),
    ("tokio_rustls", "orchestrator/src/http/connection.rs"),
    ("httparse", "orchestrator/src/http/binhost/lane/"),
    ("reqwest", "orchestrator/src/notify/"),
    ("lettre", "orchestrator/src/notify/mail.rs"),
];

/// What the core must not say: clock, chance, I/O and threads come from outside.
const NOT_IN_THE_CORE: &[&str] = &[
    "Instant::now",
    "SystemTime",
    "std::fs",
    "std::net",
    "std::io",
    "std::thread",
    "std::env",
    "tokio",
    "tracing",
    "rand::",
    "getrandom",
    "println!",
];

/// What stands for work that is not done.
const LEFT_FOR_LATER: &[&str] = &["TO\u{44}O", "FIX\u{4d}E", "unimplemente\u{64}!", "#[ignor\u{65}"];

/// The top of the checkout.
#[must_use]
pub fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// Every Rust file of the project with its path from the top.
#[must_use]
pub fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for member in ["common", "orchestrator", "drone", "swarmctl", "tests"] {
        collect(&top().join(member), &mut found);
    }
    found.sort();
    found
}

fn collect(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && entry.file_name() != "target" {
            collect(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let name = path.strip_prefix(top()).unwrap_or(&path).to_string_lossy().into_owned();
            found.push((name, fs::read_to_string(&path).unwrap_or_default()));
        }
    }
}

/// The workspace crates that a member's manifest names outside its dev-dependencies.
#[must_use]
pub fn depends_on(member: &str) -> Vec<String> {
    let text = fs::read_to_string(top().join(member).join("Cargo.toml")).unwrap_or_default();
    let own = text.split("[dev-dependencies]").next().unwrap_or_default();
    let dependencies = own.split("[dependencies]").nth(1).unwrap_or_default();
    let names = dependencies.lines().filter_map(|line| line.split(['.', ' ', '=']).next());
    names.filter(|name| name.starts_with("swarm-")).map(str::to_owned).collect()
}

/// Breaches of the rules about the text of files, one line each.
#[must_use]
pub fn breaches() -> Vec<String> {
    let mut breaches = Vec::new();
    for (name, text) in sources() {
        let lines = text.lines().count();
        if !text.starts_with("//!") {
            breaches.push(format!("{name}: does not open with a //! that says what it is for"));
        }
        if lines > LONGEST_FILE {
            breaches.push(format!("{name}: has {lines} lines; a file past {LONGEST_FILE} is two nouns"));
        }
        for (word, place) in KNOWN_IN_ONE_PLACE {
            let uses = text.contains(&format!("{word}::")) || text.contains(&format!("use {word}"));
            let mut places = KNOWN_IN_ONE_PLACE.iter().filter(|(w, _)| w == word).map(|(_, place)| place);
            if uses && !places.any(|place| name.starts_with(place)) && !name.starts_with("tests/") {
                breaches.push(format!("{name}: knows {word}, which only {place} may"));
            }
        }
        let words = if name.starts_with("orchestrator/core/src") { NOT_IN_THE_CORE } else { &[] };
        let left = LEFT_FOR_LATER.iter().chain(words);
        for word in left.filter(|word| text.contains(*word)) {
            breaches.push(format!("{name}: says `{word}`"));
        }
        if name.starts_with("orchestrator/src/http/") && text.contains("crate::journal") {
            breaches.push(format!("{name}: reaches past the engine to the journal"));
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn files_keep_the_house_rules() {
        let breaches = breaches();
        assert!(breaches.is_empty(), "{}", breaches.join("\n"));
    }

    #[test]
    fn crates_depend_only_in_the_direction_of_the_design() {
        for (member, allowed) in [
            ("common", &[][..]),
            ("orchestrator/core", &["swarm-common"][..]),
            ("orchestrator", &["swarm-common", "swarm-core"][..]),
            ("drone", &["swarm-common"][..]),
            ("swarmctl", &["swarm-common"][..]),
        ] {
            let found = depends_on(member);
            assert!(found.iter().all(|d| allowed.contains(&d.as_str())), "{member} depends on {found:?}");
        }
    }

    #[test]
    fn the_core_pulls_in_nothing_with_a_clock_or_io() {
        let output = Command::new(env!("CARGO"))
            .args(["tree", "-p", "swarm-core", "-e", "normal", "--prefix", "none", "--offline"])
            .current_dir(top())
            .output()
            .unwrap();
        let tree = String::from_utf8_lossy(&output.stdout);
        assert!(tree.contains("swarm-common"), "{}", String::from_utf8_lossy(&output.stderr));
        for name in ["tokio", "reqwest", "rusqlite", "mio", "rand", "getrandom", "time", "chrono", "jiff"] {
            let found = tree.lines().any(|line| line.split(' ').next() == Some(name));
            assert!(!found, "swarm-core pulls in {name}");
        }
    }

    #[test]
    fn every_fault_of_the_table_names_a_test_that_exists() {
        let table = std::fs::read_to_string(top().join("docs/faults.md")).unwrap();
        let all: String = sources().into_iter().map(|(_, text)| text).collect();
        let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
        assert!(rows.len() >= 59, "a row is gone");
        for row in rows {
            let tried = row.rsplit(" | ").next().unwrap();
            let names = tried.split('`').skip(1).step_by(2).filter(|name| !name.contains('/'));
            for name in names.filter(|name| *name != "swarmctl") {
                assert!(all.contains(&format!("fn {name}(")), "no test is called {name}");
            }
            assert!(tried.contains('`') || tried.contains("not "), "no test and no reason: {row}");
        }
    }

    #[test]
    fn the_architecture_is_told_in_150_lines() {
        let text = std::fs::read_to_string(top().join("docs/ARCHITECTURE.md")).unwrap();
        assert!(text.lines().count() <= 150);
    }
}

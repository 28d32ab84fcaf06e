//! Rules for the repository that the compiler does not enforce: which crates may import which, where external
//! crates may be used, and how files begin and how long they may be.
//!
//! Each rule is a function over all files; the tests below run them.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Maximum number of lines. A longer file covers two subjects.
const LONGEST_FILE: usize = 400;

/// Crates that only one module may use, and that module. A crate with two rows may be used in two places.
const KNOWN_IN_ONE_PLACE: &[(&str, &str)] = &[
    ("rusqlite", "orchestrator/src/journal/sqlite"),
    ("redis", "orchestrator/src/journal/"),
    ("pgp", "orchestrator/src/sign/"),
    ("croner", "orchestrator/src/passes/calendar/due.rs"),
    ("tokio_cron_scheduler", "orchestrator/src/passes/calendar/ticker.rs"),
    ("russh", "orchestrator/src/passes/healer/ssh.rs"),
    ("sysinfo", "drone/src/vitals.rs"),
    ("reqwest", "client/src/"),
    ("rcgen", "orchestrator/src/tls/self_signed.rs"),
    ("tokio_rustls", "orchestrator/src/http/connection.rs"),
    ("httparse", "orchestrator/src/serve/lane/"),
    ("reqwest", "orchestrator/src/sink/"),
    ("reqwest", "orchestrator/src/nix/upstream.rs"),
    ("lettre", "orchestrator/src/sink/mail.rs"),
    ("base64", "formats/src/nix/keys.rs"),
    ("base64", "formats/src/nix/hash.rs"),
    ("base64", "orchestrator/src/engine/checkpoint.rs"),
];

/// Text that the core must not contain: clock, randomness, I/O and threads belong outside.
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

/// Marks of unfinished work.
const LEFT_FOR_LATER: &[&str] = &["TO\u{44}O", "FIX\u{4d}E", "unimplemente\u{64}!", "#[ignor\u{65}"];

/// The root of the repository.
#[must_use]
pub fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// All Rust files of the project, with their paths relative to the root.
#[must_use]
pub fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for member in
        ["common", "client", "daemon", "formats", "orchestrator", "drone", "swarmctl", "tests", "fuzz"]
    {
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

/// The workspace crates in a member's manifest, except dev-dependencies.
#[must_use]
pub fn depends_on(member: &str) -> Vec<String> {
    let text = fs::read_to_string(top().join(member).join("Cargo.toml")).unwrap_or_default();
    let own = text.split("[dev-dependencies]").next().unwrap_or_default();
    let dependencies = own.split("[dependencies]").nth(1).unwrap_or_default();
    let names = dependencies.lines().filter_map(|line| line.split(['.', ' ', '=']).next());
    names.filter(|name| name.starts_with("swarm-")).map(str::to_owned).collect()
}

/// Whether the manifest of a file's package disables the tests of a program.
fn says_test_false(name: &str) -> bool {
    let package = name.split("/src/").next().unwrap_or_default();
    let text = fs::read_to_string(top().join(package).join("Cargo.toml")).unwrap_or_default();
    text.contains("test = false")
}

/// Violations of the rules about the text of files, one line each.
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
        let is_program = name.ends_with("/src/main.rs") || name.contains("/src/bin/");
        if is_program && text.contains("#[cfg(test)]") && says_test_false(&name) {
            breaches
                .push(format!("{name}: has tests, which its package's manifest switches off (test = false)"));
        }
        // The core provides facts and actions; its module `text` turns them into what a user types.
        let advises = |line: &str| line.contains("swarmctl ") && !line.trim_start().starts_with("//");
        if name.starts_with("orchestrator/core/src") && !name.contains("/text/") && text.lines().any(advises)
        {
            breaches.push(format!("{name}: has a command line, which is `Action`'s or core/src/text's"));
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
    use std::{collections::BTreeSet, process::Command};

    #[test]
    fn files_keep_the_house_rules() {
        let breaches = breaches();
        assert!(breaches.is_empty(), "{}", breaches.join("\n"));
    }

    #[test]
    fn crates_depend_only_in_the_direction_of_the_design() {
        for (member, allowed) in [
            ("common", &[][..]),
            ("client", &["swarm-common"][..]),
            ("daemon", &["swarm-common"][..]),
            ("formats", &["swarm-common"][..]),
            ("orchestrator/core", &["swarm-common"][..]),
            ("orchestrator", &["swarm-common", "swarm-core", "swarm-daemon", "swarm-formats"][..]),
            ("drone", &["swarm-client", "swarm-common", "swarm-daemon", "swarm-formats"][..]),
            ("swarmctl", &["swarm-client", "swarm-common", "swarm-daemon", "swarm-formats"][..]),
            ("fuzz", &["swarm-common", "swarm-formats"][..]),
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

    /// Pairs of a row in the table of faults and the name of a test.
    type Tried = BTreeSet<(u32, String)>;

    /// The faults that tests inject according to `// fault: 3, 4` above them.
    fn declared() -> Tried {
        let mut tried = Tried::new();
        for (file, text) in sources() {
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            for (at, line) in lines.iter().enumerate() {
                let Some(rows) = line.strip_prefix("// fault: ") else { continue };
                let item = || lines[at + 1..].iter();
                assert!(
                    item().next().is_some_and(|next| next.contains("test")),
                    "{file}: {line} is above no test"
                );
                let function = item().find_map(|line| line.split_once("fn ")?.1.split_once('('));
                let (name, _) = function.unwrap();
                tried.extend(rows.split(", ").map(|row| (row.parse().unwrap(), name.to_owned())));
            }
        }
        tried
    }

    #[test]
    fn the_table_of_faults_has_what_its_tests_declare_and_no_more() {
        let table = std::fs::read_to_string(top().join("docs/faults.md")).unwrap();
        let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
        assert!(rows.len() >= 59, "a row is gone");
        let mut documented = Tried::new();
        for row in rows {
            let number = row[2..].split(' ').next().unwrap().parse().unwrap();
            let tried = row.rsplit(" | ").next().unwrap();
            let names: Vec<&str> =
                tried.split('`').skip(1).step_by(2).filter(|name| name.contains('_')).collect();
            assert!(!names.is_empty() || ["not ", "soak"].iter().any(|why| tried.starts_with(why)), "{row}");
            if !tried.starts_with("not ") {
                documented.extend(names.into_iter().map(|name| (number, name.to_owned())));
            }
        }
        let declared = declared();
        let missing: Vec<_> = documented.difference(&declared).collect();
        assert!(missing.is_empty(), "no such test declares the fault: {missing:?}");
        let undocumented: Vec<_> = declared.difference(&documented).collect();
        assert!(undocumented.is_empty(), "not in docs/faults.md: {undocumented:?}");
    }

    #[test]
    fn the_architecture_is_told_in_150_lines() {
        let text = std::fs::read_to_string(top().join("docs/ARCHITECTURE.md")).unwrap();
        assert!(text.lines().count() <= 150);
    }
}

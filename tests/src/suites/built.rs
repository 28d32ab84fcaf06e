//! Lists the test executables, from the messages of `cargo test --no-run
//! --message-format=json-render-diagnostics`.

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use std::{io::BufRead, path::PathBuf};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suite {
    /// `PACKAGE/lib`, `PACKAGE/bin/NAME` or, for the file or folder NAME in `tests`, `PACKAGE/NAME`.
    pub name: String,
    pub program: PathBuf,
    /// The package's folder, which is the working directory.
    pub folder: PathBuf,
}

/// The used part of a message.
#[derive(Debug, Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    package_id: String,
    manifest_path: Option<PathBuf>,
    executable: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
    success: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Profile {
    test: bool,
}

/// The suites in Cargo's messages.
///
/// # Errors
/// The messages cannot be read, name no suite, or do not end with a successful build.
pub fn suites(messages: impl BufRead) -> Result<Vec<Suite>> {
    let mut suites = Vec::new();
    let mut succeeded = false;
    for line in messages.lines() {
        let line = line.context("Cargo's messages cannot be read")?;
        // Output of procedural macros may be mixed with the messages.
        if !line.starts_with('{') {
            continue;
        }
        let message: Message =
            serde_json::from_str(&line).with_context(|| format!("not a message of Cargo: {line}"))?;
        succeeded |= message.reason == "build-finished" && message.success == Some(true);
        suites.extend(suite(message));
    }
    ensure!(succeeded, "Cargo does not say that the build succeeded");
    ensure!(!suites.is_empty(), "Cargo has built no test");
    Ok(suites)
}

fn suite(message: Message) -> Option<Suite> {
    if !message.profile?.test {
        return None;
    }
    let (program, target) = (message.executable?, message.target?);
    let package = package(&message.package_id);
    let name = match target.kind.first()?.as_str() {
        "lib" => format!("{package}/lib"),
        "bin" => format!("{package}/bin/{}", target.name),
        _ => format!("{package}/{}", target.name),
    };
    Some(Suite { name, program, folder: message.manifest_path?.parent()?.to_owned() })
}

/// The name in a package ID: `path+file:///a/core#swarm-core@0.1.0`, or `path+file:///a/swarmctl#0.1.0` if
/// the folder has the package's name.
fn package(id: &str) -> &str {
    let (place, name) = id.rsplit_once('#').unwrap_or(("", id));
    match name.split_once('@') {
        Some((name, _)) => name,
        None => place.rsplit('/').next().unwrap_or(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILT: &str = r#"
{"reason":"compiler-artifact","package_id":"registry+https://x#serde@1.0.0","manifest_path":"/r/serde/Cargo.toml","target":{"kind":["lib"],"name":"serde"},"profile":{"test":false},"executable":null}
{"reason":"build-script-executed","package_id":"registry+https://x#serde@1.0.0","linked_libs":[]}
a line that a macro printed
{"reason":"compiler-artifact","package_id":"path+file:///w/core#swarm-core@0.1.0","manifest_path":"/w/core/Cargo.toml","target":{"kind":["lib"],"name":"swarm_core"},"profile":{"test":true},"executable":"/w/target/debug/deps/swarm_core-1"}
{"reason":"compiler-artifact","package_id":"path+file:///w/swarmctl#0.1.0","manifest_path":"/w/swarmctl/Cargo.toml","target":{"kind":["bin"],"name":"swarmctl"},"profile":{"test":true},"executable":"/w/target/debug/deps/swarmctl-2"}
{"reason":"compiler-artifact","package_id":"path+file:///w/swarmctl#0.1.0","manifest_path":"/w/swarmctl/Cargo.toml","target":{"kind":["bin"],"name":"swarmctl"},"profile":{"test":false},"executable":"/w/target/debug/swarmctl"}
{"reason":"compiler-artifact","package_id":"path+file:///w/tests#swarm-tests@0.1.0","manifest_path":"/w/tests/Cargo.toml","target":{"kind":["test"],"name":"api"},"profile":{"test":true},"executable":"/w/target/debug/deps/api-3"}
"#;
    const END: &str = r#"{"reason":"build-finished","success":true}"#;

    #[test]
    fn every_test_executable_is_a_suite_and_nothing_else_is() {
        let suites = suites(format!("{BUILT}{END}\n").as_bytes()).unwrap();
        let found: Vec<_> = suites
            .iter()
            .map(|suite| {
                (suite.name.as_str(), suite.program.to_str().unwrap(), suite.folder.to_str().unwrap())
            })
            .collect();
        assert_eq!(
            found,
            [
                ("swarm-core/lib", "/w/target/debug/deps/swarm_core-1", "/w/core"),
                ("swarmctl/bin/swarmctl", "/w/target/debug/deps/swarmctl-2", "/w/swarmctl"),
                ("swarm-tests/api", "/w/target/debug/deps/api-3", "/w/tests"),
            ]
        );
    }

    #[test]
    fn a_build_that_did_not_succeed_gives_no_suites() {
        assert!(suites(BUILT.as_bytes()).is_err());
        let failed = END.replace("true", "false");
        assert!(suites(format!("{BUILT}{failed}\n").as_bytes()).is_err());
        assert!(suites(END.as_bytes()).is_err(), "no suite at all");
    }
}

//! Detects the toolchain of the drone's own system or its `base_root`, so that the orchestrator does
//! not assign packages of a run that was planned with a different one.

use crate::config::BuilderConfig;
use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use swarm_common::wire::plan::Toolchain;

/// Prints the properties that `builder/portage/plan/digests.py` records in a plan, one per line. The base may
/// lack `/dev` and `/proc`, and nothing may be written to it.
const SCRIPT: &str = r#"
export LC_ALL=C
echo "chost=$(cc -dumpmachine)"
version=$(cc -dumpfullversion || cc -dumpversion)
case $(cc --version) in *clang*) name=clang ;; *) name=gcc ;; esac
echo "compiler=${version:+$name $version}"
libc=$(getconf GNU_LIBC_VERSION)
for loader in /lib/ld-musl-*; do
	[ -n "$libc" ] || [ ! -e "$loader" ] || libc=$("$loader" 2>&1 | sed -n 's/^Version /musl /p')
done
echo "libc=$libc"
linker=$(ld --version | head -n 1)
echo "binutils=${linker##* }"
echo "bash=${BASH_VERSION%%(*}"
"#;

/// Timeout of the script in seconds.
const LIMIT: &str = "30";

/// Programs that are watched for changes.
const WATCHED: [&str; 5] = ["usr/bin/cc", "usr/bin/ld", "bin/bash", "usr/bin/getconf", "usr/bin/emerge"];

/// Examines the toolchain at the start, and again after a program has changed. Clones share the result.
#[derive(Debug, Clone)]
pub struct Probe {
    base: PathBuf,
    prefix: PathBuf,
    found: Arc<Mutex<Found>>,
}

/// The last result, and the identity of the programs at that time.
#[derive(Debug, Default)]
struct Found {
    stamp: Vec<Option<(u64, i64, u64)>>,
    toolchain: Option<Box<Toolchain>>,
}

impl Probe {
    /// Examines the toolchain; blocks while the script runs.
    #[must_use]
    pub fn new(builder: &BuilderConfig) -> Self {
        let probe = Self {
            base: builder.base().to_owned(),
            prefix: builder.portage_prefix.clone().unwrap_or_else(|| builder.base().join("usr")),
            found: Arc::default(),
        };
        probe.examine(probe.stamp());
        probe
    }

    /// The last result. If a program has changed since, a new examination starts in the background.
    #[must_use]
    pub fn toolchain(&self) -> Option<Box<Toolchain>> {
        let stamp = self.stamp();
        let mut found = self.lock();
        if found.stamp != stamp {
            // Stored at once, so that only one examination runs.
            found.stamp.clone_from(&stamp);
            let probe = self.clone();
            tokio::task::spawn_blocking(move || probe.examine(stamp));
        }
        found.toolchain.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stamp(&self) -> Vec<Option<(u64, i64, u64)>> {
        let look = |path| fs::metadata(self.base.join(path)).ok();
        WATCHED.iter().map(|path| look(path).map(|m| (m.ino(), m.mtime(), m.size()))).collect()
    }

    fn examine(&self, stamp: Vec<Option<(u64, i64, u64)>>) {
        let mut command = Command::new("timeout");
        command.arg(LIMIT);
        if self.base != Path::new("/") {
            command.arg("chroot").arg(&self.base);
        }
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        command.args(["bash", "-c", SCRIPT]).env_clear().env("PATH", path);
        let result = command.current_dir("/").stdin(Stdio::null()).stderr(Stdio::null()).output();
        let toolchain = result.ok().and_then(|output| parse(&String::from_utf8_lossy(&output.stdout)));
        let toolchain = toolchain.map(|t| Box::new(Toolchain { portage: self.portage(), ..t }));
        if toolchain.is_none() {
            tracing::warn!(base = %self.base.display(), "no working compiler found; the toolchain is not \
                compared with other drones");
        }
        *self.lock() = Found { stamp, toolchain };
    }

    /// Portage's version, from the name of its Python metadata directory. Starting Portage would take much
    /// longer.
    fn portage(&self) -> String {
        let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
        let libraries = entries(&self.prefix.join("lib")).map(|entry| entry.path().join("site-packages"));
        let names = libraries.flat_map(|path| entries(&path).collect::<Vec<_>>()).map(|e| e.file_name());
        let version =
            |name: String| Some(name.strip_prefix("portage-")?.strip_suffix(".dist-info")?.to_owned());
        names.filter_map(|name| version(name.into_string().ok()?)).max().unwrap_or_default()
    }
}

/// Parses the output of the script; `None` if there is no compiler.
fn parse(text: &str) -> Option<Toolchain> {
    let value = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        lines.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).unwrap_or_default()
    };
    let found = Toolchain {
        chost: value("chost"),
        compiler: value("compiler"),
        libc: value("libc"),
        binutils: value("binutils"),
        bash: value("bash"),
        ..Toolchain::default()
    };
    (!found.compiler.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn this_machine_says_what_it_builds_with() {
        let probe = Probe::new(&BuilderConfig::default());
        let found = probe.toolchain().expect("this machine has a compiler");
        let cc = Command::new("cc").arg("-dumpfullversion").output().unwrap();
        let version = String::from_utf8(cc.stdout).unwrap();
        assert!(found.compiler.ends_with(version.trim()), "{found:?}");
        for value in [&found.chost, &found.libc, &found.binutils, &found.bash] {
            assert!(!value.is_empty(), "{found:?}");
        }
    }

    #[tokio::test]
    async fn a_base_without_a_compiler_says_nothing() {
        let base = tempfile::tempdir().unwrap();
        let builder = BuilderConfig { base_root: Some(base.path().into()), ..BuilderConfig::default() };
        assert_eq!(Probe::new(&builder).toolchain(), None);
    }
}

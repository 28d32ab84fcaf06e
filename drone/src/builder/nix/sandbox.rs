//! The environment in which a snapshot is evaluated: a mount namespace without network, in which source,
//! inputs and store have the same paths on every drone.
//!
//! An expression can see its own path (`toString ./.`), so other paths would give other derivations. `/tmp`
//! exists everywhere, so it is covered by the sandbox. Nothing else of the machine is hidden, because Nix's
//! restricted mode already denies access to it.

use super::{
    session::{Ended, Session, drone},
    store::CONFIGURATION,
};
use crate::{
    builder::Stop,
    process::{End, Invocation},
};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// Path of the source inside.
pub(super) const SOURCE: &str = "/tmp/source";
/// Path of the inputs inside.
pub(super) const INPUTS: &str = "/tmp/inputs";
/// Path of the store for evaluation inside.
const STORE: &str = "/tmp/store";

/// Exit code that reports a failure of this script.
const BROKEN: i32 = 125;

/// Covers `/tmp` and runs a program there with limited memory.
const ENTER: &str = r#"
dir=$1 store=$2 memory=$3; shift 3
mount --bind "$store" "$dir/store" && mount --rbind "$dir" /tmp && cd /tmp || exit 125
ulimit -v "$memory" || exit 125
exec "$@" >/tmp/output"#;

pub(super) struct Sandbox {
    /// The directory that is `/tmp` inside.
    pub dir: PathBuf,
    /// Whether evaluation may build derivations and download from caches.
    pub may_build: bool,
}

impl Sandbox {
    /// Creates the directories. The caller puts source and inputs into them.
    pub fn make(dir: &Path, may_build: bool) -> std::io::Result<Self> {
        for name in ["store", "home"] {
            std::fs::create_dir_all(dir.join(name))?;
        }
        Ok(Self { dir: dir.to_owned(), may_build })
    }

    /// Runs a program inside and captures its standard output. The program is one of Nix's, or an absolute
    /// path.
    pub async fn run(
        &self,
        session: &mut Session<'_>,
        program: &str,
        args: impl IntoIterator<Item = OsString>,
    ) -> Result<Ended, Stop> {
        let settings = &session.context.config.nix;
        let (memory, limit) = (settings.evaluation_memory(), settings.evaluation_timeout());
        let mut all: Vec<OsString> = ["--mount", "--propagation", "private"].map(OsString::from).to_vec();
        if !self.may_build {
            all.push("--net".into());
        }
        all.extend(["--", "/bin/sh", "-c", ENTER, "sh"].map(OsString::from));
        all.extend([self.dir.clone().into(), session.evaluation.dir().into()]);
        all.extend([(memory >> 10).to_string().into(), session.programs.path(program).into()]);
        all.extend(args);
        let mut env = session.environment(&Path::new(STORE).join(CONFIGURATION), Path::new("/tmp/home"));
        env.push(("TMPDIR".into(), "/tmp".into()));
        env.push(("NIX_REMOTE".into(), STORE.into()));
        let job = session.job("unshare".into(), all, env);
        let memory_max = Some(job.memory_max.map_or(memory, |most| most.min(memory)));
        let job = Invocation { timeout: limit.min(job.timeout), memory_max, ..job };
        let ended = session.attend(job, Some(&self.dir.join("output"))).await?;
        let is_broken = ended.code() == Some(BROKEN) || ended.log_tail.starts_with("unshare:");
        if is_broken && matches!(ended.end, End::Exited(_)) {
            return Err(drone(format!(
                "evaluation needs a mount namespace of its own: {}",
                ended.log_tail.trim()
            )));
        }
        Ok(ended)
    }

    /// Path of the store inside.
    pub fn store(&self) -> &'static str {
        STORE
    }
}

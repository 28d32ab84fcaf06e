//! Runs the Nix programs of an attempt within its limits.

use super::{
    graph,
    machine_log::{MachineLog, NixReport},
    programs::Programs,
    store::Store,
};
use crate::{
    builder::{BuildContext, Stop, log::Log, steps::Steps},
    process::{self, Attended, Completed, End, Running, Sink},
};
use std::{
    ffi::OsString,
    fs, io,
    ops::ControlFlow,
    path::{Path, PathBuf},
};
use swarm_common::state::{FailureClass, Phase};

/// Bytes of output kept in memory; the last ones are kept.
const KEPT: usize = 64 << 10;
/// Maximum size of a file to read a program's output from.
const MOST_OUTPUT: u64 = 64 << 20;

/// Runs a program with its output in a file. With `both`, the file also gets the errors.
const TO_FILE: &str = r#"out=$1 both=$2; shift 2
if [ "$both" = both ]; then exec "$@" >"$out" 2>&1; fi
exec "$@" >"$out""#;

/// Environment variables of the drone that affect Nix's downloads.
const PASSED_ON: [&str; 8] = [
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "NIX_SSL_CERT_FILE",
];

/// Where the standard output of a program goes. Its errors go to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    /// To the log.
    Log,
    /// To [`Ended::output`].
    Taken,
    /// To [`Ended::output`], together with the errors.
    AllTaken,
}

pub(super) struct Call<'s> {
    pub program: &'static str,
    /// Its arguments, without those for the store.
    pub args: Vec<OsString>,
    pub store: &'s Store,
    pub output: Output,
}

#[derive(Debug)]
pub(super) struct Ended {
    pub end: End,
    pub out_of_memory: bool,
    /// The end of its output in the log.
    pub log_tail: String,
    /// Its standard output, if that was requested.
    pub output: String,
}

impl Ended {
    /// Its exit code; `None` if it was stopped or killed.
    pub fn code(&self) -> Option<i32> {
        match self.end {
            End::Exited(status) => status.code(),
            _ => None,
        }
    }

    /// Its last error, without escape sequences.
    pub fn error(&self) -> String {
        super::failure::error(if self.log_tail.trim().is_empty() { &self.output } else { &self.log_tail })
    }
}

/// An attempt that uses Nix.
pub(super) struct Session<'a> {
    pub programs: Programs,
    pub context: &'a BuildContext,
    /// Its limits, log and usage.
    pub steps: &'a mut Steps,
    /// The evaluation store.
    pub evaluation: Store,
    /// The build store.
    pub building: Store,
}

impl<'a> Session<'a> {
    pub async fn open(context: &'a BuildContext, steps: &'a mut Steps) -> Result<Self, Stop> {
        let (settings, cache_dir) = (context.config.nix.clone(), context.config.cache_dir.clone());
        let nix = context.caches.nix.clone();
        let open = move || {
            let programs = nix.programs(&settings)?;
            let dir = settings.store_dir(&cache_dir);
            let store = |name: &str| {
                let dir = dir.join(name);
                Store::open(&dir, &settings).map_err(|error| format!("{}: {error}", dir.display()))
            };
            Ok::<_, String>((programs, store(super::EVALUATION)?, store(super::BUILD)?))
        };
        let opened = tokio::task::spawn_blocking(open).await.map_err(|error| error.to_string());
        let (programs, evaluation, building) = opened.and_then(|opened| opened).map_err(drone)?;
        Ok(Self { programs, context, steps, evaluation, building })
    }

    pub fn environment(&self, configuration: &Path, home: &Path) -> Vec<(OsString, OsString)> {
        let passed = PASSED_ON.iter().filter_map(|name| Some((name.into(), std::env::var_os(name)?)));
        let own: [(&str, OsString); 6] = [
            ("PATH", self.programs.search_path()),
            ("NIX_CONF_DIR", configuration.into()),
            ("HOME", home.into()),
            ("XDG_CACHE_HOME", home.join(".cache").into()),
            ("NIX_PATH", OsString::new()),
            ("LC_ALL", "C.UTF-8".into()),
        ];
        own.into_iter().map(|(name, value)| (name.into(), value)).chain(passed).collect()
    }

    /// A job with the limits of this attempt. It ends when the attempt must end, and may be silent.
    pub fn job(
        &self,
        program: PathBuf,
        args: Vec<OsString>,
        env: Vec<(OsString, OsString)>,
    ) -> process::Invocation {
        let left = self.steps.left();
        process::Invocation {
            silence: left,
            ..self.steps.job(&self.context.config, &self.context.attempt_dir, program, args, env)
        }
    }

    /// Runs a program and waits for its end. Ends the attempt if it was cancelled, is out of time or has
    /// filled the disk.
    pub async fn run(&mut self, call: Call<'_>) -> Result<Ended, Stop> {
        let mut env = self.environment(&call.store.configuration(), &call.store.home());
        env.push(("TMPDIR".into(), self.context.attempt_dir.clone().into()));
        let mut args: Vec<OsString> = vec!["--store".into(), call.store.dir().into()];
        // The new command line expects options after the subcommand.
        let sub = usize::from(call.program == "nix") * leading_words(&call.args);
        args.splice(0..0, call.args[..sub].iter().cloned());
        args.extend_from_slice(&call.args[sub..]);
        let program = self.programs.path(call.program);
        let file = self.context.attempt_dir.join("output");
        let (program, args) = match call.output {
            Output::Log => (program, args),
            taken => {
                let both = if taken == Output::AllTaken { "both" } else { "" };
                let mut all: Vec<OsString> = vec!["-c".into(), TO_FILE.into(), "sh".into()];
                all.extend([file.clone().into(), both.into(), program.into()]);
                all.extend(args);
                ("/bin/sh".into(), all)
            }
        };
        let job = self.job(program, args, env);
        self.attend(job, (call.output != Output::Log).then_some(file.as_path())).await
    }

    /// Runs a job. Its standard output goes to `file`, if given.
    pub async fn attend(&mut self, job: process::Invocation, file: Option<&Path>) -> Result<Ended, Stop> {
        let cancel = self.steps.cancel().clone();
        let mut log_tail = LogTail { log: &mut self.steps.log, text: Vec::new() };
        let ran = process::run(&job, &mut log_tail, &cancel).await;
        let log_tail = String::from_utf8_lossy(&log_tail.text).into_owned();
        let ran = ran.map_err(|error| drone(error.to_string()))?;
        self.steps.count(ran.used);
        self.ended(&ran, &job)?;
        let output = match file {
            Some(file) => read(file).map_err(|error| disk("Nix's output", &error))?,
            None => String::new(),
        };
        Ok(Ended { end: ran.end, out_of_memory: ran.used.out_of_memory, log_tail, output })
    }

    /// A directory beside the stores.
    pub fn directory(&self, name: &str) -> PathBuf {
        self.context.config.nix.store_dir(&self.context.config.cache_dir).join(name)
    }

    /// Waits for the `answer` of a program that writes Nix's machine log. A build may be silent for as long as the
    /// attempt allows.
    pub async fn attend_build<T>(
        &mut self,
        running: Running,
        limits: &process::Invocation,
        phase: Phase,
        answer: impl Future<Output = T>,
    ) -> Result<(Attended<T>, NixReport), Stop> {
        let cancel = self.steps.cancel().clone();
        self.steps.log.begin();
        let mut sink = MachineLog::new(&mut self.steps.log, phase);
        let attended = Box::pin(running.attend(limits, &mut sink, &cancel, answer)).await;
        let heard = sink.finish();
        let attended = attended.map_err(|error| drone(error.to_string()))?;
        match &attended {
            Attended::Answered(_, _, used) => self.steps.count(*used),
            Attended::Ended(completed) => {
                self.steps.count(completed.used);
                self.ended(completed, limits)?;
            }
        }
        Ok((attended, heard))
    }

    /// Ends the attempt if the attempt is the reason why the program was stopped.
    fn ended(&self, ran: &Completed, job: &process::Invocation) -> Result<(), Stop> {
        match ran.end {
            End::Exited(_) => Ok(()),
            // The program's own limit was exceeded, not the attempt's.
            End::TimedOut | End::Silent if !self.steps.left().is_zero() => Ok(()),
            End::DiskFull(_) => {
                self.context.caches.nix.measure_soon();
                self.steps.judge(ran, &job.program).map(drop)
            }
            _ => self.steps.judge(ran, &job.program).map(drop),
        }
    }

    /// Those of `paths` that a store does not contain.
    pub async fn lacking(&mut self, store: &Store, paths: &[&str]) -> Result<Vec<String>, Stop> {
        if paths.is_empty() {
            return Ok(Vec::new());
        }
        let mut args: Vec<OsString> = vec!["--check-validity".into(), "--print-invalid".into()];
        args.extend(paths.iter().map(OsString::from));
        let call = Call { program: "nix-store", args, store, output: Output::Taken };
        let ended = self.run(call).await?;
        if ended.code() != Some(0) {
            return Err(drone(format!("the store in {}: {}", store.dir().display(), ended.error())));
        }
        Ok(ended.output.lines().map(str::to_owned).collect())
    }

    /// Paths in a store, each with its references except itself.
    pub async fn registered(
        &mut self,
        store: &Store,
        paths: impl Iterator<Item = &str>,
    ) -> Result<Vec<(String, Vec<String>)>, Stop> {
        let mut args: Vec<OsString> = vec!["--dump-db".into()];
        args.extend(paths.map(OsString::from));
        let call = Call { program: "nix-store", args, store, output: Output::Taken };
        let ended = self.run(call).await?;
        let read = (ended.code() == Some(0)).then(|| graph::registrations(&ended.output)).flatten();
        read.ok_or_else(|| drone(format!("the store in {}: {}", store.dir().display(), ended.error())))
    }

    /// Those of `paths` that the build store does not contain. Asks Nix only about files that this drone has
    /// not seen there before.
    pub async fn unbuilt(&mut self, paths: &[&str]) -> Result<Vec<String>, Stop> {
        let (store, nix) = (self.building.clone(), self.context.caches.nix.clone());
        let (there, gone): (Vec<&str>, Vec<&str>) = paths.iter().partition(|path| store.has(path));
        let unknown: Vec<&str> = there.into_iter().filter(|path| !nix.is_present(&store, path)).collect();
        let mut lacking = self.lacking(&store, &unknown).await?;
        nix.remember(unknown.into_iter().filter(|path| !lacking.iter().any(|other| other == path)));
        lacking.extend(gone.into_iter().map(str::to_owned));
        Ok(lacking)
    }

    /// Copies derivations from the evaluation store, with their sources and everything they need.
    pub async fn copy_derivations(&mut self, derivations: &[&str], to: &Store) -> Result<(), Stop> {
        // One at a time: if a path becomes valid meanwhile, Nix does not read its archive and then takes it
        // for the next path.
        let shared = self.context.caches.nix.clone();
        let _turn = shared.0.copying.lock().await;
        let from = self.evaluation.clone();
        let mut args: Vec<OsString> =
            ["copy", "--derivation", "--no-check-sigs"].map(OsString::from).to_vec();
        args.extend(["--from".into(), from.dir().into(), "--to".into(), to.dir().into()]);
        args.extend(derivations.iter().map(OsString::from));
        let call = Call { program: "nix", args, store: to, output: Output::AllTaken };
        let ended = self.run(call).await?;
        match ended.code() {
            Some(0) => Ok(()),
            _ => Err(drone(format!("the derivation cannot be copied to the store: {}", ended.error()))),
        }
    }

    /// Records everything that these derivations in the build store refer to.
    pub async fn remember_requisites(&mut self, derivations: &[&str]) -> Result<(), Stop> {
        let store = self.building.clone();
        let mut args = ["--query", "--requisites"].map(OsString::from).to_vec();
        args.extend(derivations.iter().map(OsString::from));
        let call = Call { program: "nix-store", args, store: &store, output: Output::Taken };
        let ended = self.run(call).await?;
        if ended.code() != Some(0) {
            return Err(drone(format!("the store in {}: {}", store.dir().display(), ended.error())));
        }
        self.context.caches.nix.remember(ended.output.lines());
        Ok(())
    }

    /// Measures the stores from time to time. Removes unrooted paths that exceed the budgets.
    pub async fn clean(&mut self) -> Result<(), Stop> {
        if !self.context.caches.nix.is_measuring_due() {
            return Ok(());
        }
        let budget = self.context.config.nix.max_bytes();
        let shared = self.context.caches.nix.clone();
        for (store, budget) in [(self.building.clone(), budget), (self.evaluation.clone(), budget / 4)] {
            let measured = store.clone();
            let size = tokio::task::spawn_blocking(move || measured.size()).await.map_err(io::Error::other);
            let size = size.and_then(|size| size).map_err(|error| disk("the store", &error))?;
            if size <= budget {
                continue;
            }
            // Derivations have no roots until their evaluation has ended.
            let _turn = shared.evaluating(self.steps.cancel()).await?;
            let text = format!("the store has {} MiB, more than {}", size >> 20, budget >> 20);
            self.steps.log.say(&text).await;
            // Free some more, so that the next build does not have to do it again.
            let freed = (size - budget + budget / 10).to_string();
            shared.forget();
            // They protect what they have built, and would remember what is removed now.
            shared.0.servers.end_idle().await;
            let args = ["--gc", "--max-freed", &freed].map(OsString::from).to_vec();
            let call = Call { program: "nix-store", args, store: &store, output: Output::AllTaken };
            let ended = self.run(call).await;
            // Another attempt may have recorded paths meanwhile.
            shared.forget();
            let ended = ended?;
            if ended.code() != Some(0) {
                tracing::warn!(error = ended.error(), "the store cannot be cleaned");
            }
        }
        Ok(())
    }
}

/// Number of leading arguments that are not options, as in `store add-path`.
fn leading_words(args: &[OsString]) -> usize {
    let words = args
        .iter()
        .take_while(|arg| arg.to_string_lossy().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'));
    words.take_while(|arg| !arg.to_string_lossy().starts_with('-')).count()
}

fn read(file: &Path) -> io::Result<String> {
    let size = match fs::metadata(file) {
        // The program was stopped before it started.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        found => found?.len(),
    };
    if size > MOST_OUTPUT {
        return Err(io::Error::other(format!("it has {size} bytes, more than {MOST_OUTPUT}")));
    }
    let text = String::from_utf8_lossy(&fs::read(file)?).into_owned();
    fs::remove_file(file)?;
    Ok(text)
}

/// Ends the attempt with a failure of this drone.
pub(super) fn drone(message: impl Into<String>) -> Stop {
    Stop::failed(FailureClass::Drone, Phase::Preparing, message)
}

/// Ends the attempt with a failure of this drone's disk.
pub(super) fn disk(what: &str, error: &io::Error) -> Stop {
    drone(format!("{what}: {error}"))
}

/// Forwards output to the log and keeps the end of it.
struct LogTail<'l> {
    log: &'l mut Log,
    text: Vec<u8>,
}

impl Sink for LogTail<'_> {
    async fn take(&mut self, piece: &[u8]) -> ControlFlow<()> {
        self.text.extend_from_slice(piece);
        if self.text.len() > 2 * KEPT {
            self.text.drain(..self.text.len() - KEPT);
        }
        self.log.show(piece).await;
        ControlFlow::Continue(())
    }
}

//! The executable: arguments, configuration, signals, exit codes.

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser};
use rustix::process::{Signal, getppid, kill_process};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};
use swarm_common::{
    causes::with_causes,
    exit::{EXIT_CONFIG, EXIT_REFUSED},
};
use swarm_daemon::{
    config::{self, changes::RawConfig},
    telemetry::{self, Telemetry},
    version::VERSION,
};
use swarm_drone::{
    config::{Config, PROGRAM},
    lock::{Lock, LockError},
    run::{ControlRequest, RunError, run},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

/// A plan or a base needs tens of megabytes for a few seconds. jemalloc returns them to the system; the
/// system allocator keeps them until the drone ends.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Exit codes as in sysexits.h.
const TRY_AGAIN: u8 = 75;

/// How long a drone that ends permanently waits until supervise-daemon knows that it must end as well.
const PASSED_ON_WITHIN: Duration = Duration::from_secs(30);

/// Build packages for an orchestrator
#[derive(Parser)]
#[command(
    version = VERSION,
    after_help = "Examples:
  swarm-drone --config /etc/build-swarm/drone.toml
  swarm-drone --config drone.toml --check-config
  SWARM_DRONE__BUILDER__SLOTS=2 swarm-drone --show-config

Configuration, where later settings override earlier ones:
  drone.toml, then drone.conf.d/*.toml beside it by name, then the environment:
  SWARM_DRONE__SETTING, or SWARM_DRONE__SECTION__SETTING

Signals:
  SIGTERM  finish running builds within drain_timeout and stop; a second SIGTERM stops at once
  SIGUSR1  take no new work, even after a restart
  SIGUSR2  take new work again
  SIGHUP   reload log.level and reopen the log file

Exit codes:
  0   stopped on request
  1   failed; restart
  2   invalid command line
  74  a file with a secret cannot be read or written; restart
  75  another drone uses the state directory
  77  the drone was removed, its token was rejected for 5 minutes, or its credential belongs to another machine
  78  invalid configuration",
    max_term_width = 100
)]
struct Arguments {
    /// Configuration file
    #[arg(long, value_name = "FILE", default_value = "/etc/build-swarm/drone.toml")]
    config: PathBuf,
    /// Write log files to this directory, overriding the configuration
    #[arg(long, value_name = "DIR")]
    log_dir: Option<PathBuf>,
    /// Check the configuration and exit
    #[arg(long)]
    check_config: bool,
    /// Print each setting that is set, with the file or variable that sets it, and exit
    #[arg(long, conflicts_with = "check_config")]
    show_config: bool,
    /// Print a manual page: section 5 (configuration) or 8 (program)
    #[arg(long, hide = true, value_name = "SECTION", value_parser = ["5", "8"])]
    print_man: Option<String>,
}

/// Prints a manual page of this program.
fn manual(section: &str) -> std::io::Result<()> {
    if section == "5" {
        let example = include_str!("../drone.example.toml");
        let (name, path) = ("drone.toml", "/etc/build-swarm/drone.toml");
        print!("{}", swarm_daemon::man::config_page(name, "configuration of swarm-drone(8)", path, example));
        return Ok(());
    }
    clap_mangen::Man::new(Arguments::command()).section("8").render(&mut std::io::stdout())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(section) = &arguments.print_man {
        return manual(section).map_or_else(|error| complain(1, &error), |()| ExitCode::SUCCESS);
    }
    let (mut config, old) = match Config::read(&arguments.config) {
        Ok(read) => read,
        Err(error) => return complain(EXIT_CONFIG, &error),
    };
    if arguments.check_config {
        for form in &old {
            eprintln!("swarm-drone: warning: {form}");
        }
        println!("{}: the configuration is valid", arguments.config.display());
        return ExitCode::SUCCESS;
    }
    if arguments.show_config {
        return config::show(&arguments.config, PROGRAM).map_or_else(
            |error| complain(EXIT_CONFIG, &error),
            |text| {
                print!("{text}");
                ExitCode::SUCCESS
            },
        );
    }
    if let Err(error) = config.builder.take_rights() {
        return complain(EXIT_CONFIG, &format!("{}: {error}", arguments.config.display()));
    }
    config.log.dir = arguments.log_dir.or(config.log.dir);
    let telemetry = match telemetry::start("swarm-drone", &config.log) {
        Ok(telemetry) => telemetry,
        Err(error) => return complain(EXIT_CONFIG, &error),
    };
    if !old.is_empty() {
        let settings: Vec<_> = old.into_iter().map(|form| form.name).collect();
        tracing::warn!(
            settings = settings.join(", "),
            "these settings have new names, which --check-config shows"
        );
    }
    let _lock = match Lock::take(&config.state_dir) {
        Ok(lock) => lock,
        Err(error @ LockError::Held { .. }) => return complain(TRY_AGAIN, &error),
        Err(error @ LockError::Io { .. }) => return complain(1, &error),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return complain(1, &error),
    };
    match runtime.block_on(serve(config, &arguments.config, &telemetry)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = error.downcast_ref().map_or(1, RunError::exit_code);
            let text = with_causes(error.as_ref());
            tracing::error!("{text}");
            complain(code, &text)
        }
    }
}

async fn serve(config: Config, path: &Path, telemetry: &Telemetry) -> anyhow::Result<()> {
    // Install the handlers before anything starts.
    let on = |kind, name| signal(kind).with_context(|| format!("cannot handle {name}"));
    let mut terminate = on(SignalKind::terminate(), "SIGTERM")?;
    let mut interrupt = on(SignalKind::interrupt(), "SIGINT")?;
    let mut pause = on(SignalKind::user_defined1(), "SIGUSR1")?;
    let mut resume = on(SignalKind::user_defined2(), "SIGUSR2")?;
    let mut hangup = on(SignalKind::hangup(), "SIGHUP")?;
    let started = RawConfig::load(path, PROGRAM)?;
    let (sender, requests) = mpsc::channel(4);
    let signals = async {
        loop {
            let request = tokio::select! {
                Some(()) = terminate.recv() => ControlRequest::Stop,
                Some(()) = interrupt.recv() => ControlRequest::Stop,
                Some(()) = pause.recv() => ControlRequest::Pause,
                Some(()) = resume.recv() => ControlRequest::Resume,
                Some(()) = hangup.recv() => {
                    telemetry.reopen();
                    reload(path, &started, telemetry);
                    continue;
                }
            };
            if sender.send(request).await.is_err() {
                return std::future::pending::<()>().await;
            }
        }
    };
    // Boxed, because the future is large.
    tokio::select! {
        ended = Box::pin(run(config, requests)) => Ok(ended?),
        () = signals => Ok(()),
    }
}

/// Applies the log level, the only setting that can change at runtime, and logs other changed settings.
fn reload(path: &Path, started: &RawConfig, telemetry: &Telemetry) {
    let read = || {
        let (config, _) = Config::read(path)?;
        let written = RawConfig::load(path, PROGRAM).map_err(|error| error.to_string())?;
        telemetry.set_level(&config.log.level).map_err(|error| error.to_string())?;
        Ok::<_, String>(written)
    };
    match read() {
        Ok(written) => {
            tracing::info!("configuration reloaded");
            let waiting: Vec<_> =
                started.changes(&written).into_iter().filter(|name| name != "log.level").collect();
            if !waiting.is_empty() {
                let settings = waiting.join(", ");
                tracing::warn!(
                    settings,
                    "some changed settings require a restart; keeping the old ones \
                     until then"
                );
            }
        }
        Err(error) => tracing::error!(error, "the new configuration is invalid, keeping the old one"),
    }
}

fn complain(code: u8, error: &impl std::fmt::Display) -> ExitCode {
    eprintln!("{}swarm-drone: {error}", telemetry::error_prefix());
    if matches!(code, TRY_AGAIN | EXIT_REFUSED | EXIT_CONFIG) {
        end_supervise_daemon();
    }
    ExitCode::from(code)
}

/// Ends OpenRC's supervise-daemon if it started this process, because it restarts its child whatever the exit
/// code. For systemd, `RestartPreventExitStatus` lists the final exit codes.
fn end_supervise_daemon() {
    let Some(parent) = getppid() else { return };
    let name = std::fs::read_to_string(format!("/proc/{parent}/comm")).unwrap_or_default();
    // The kernel keeps only 15 bytes of a process name.
    if name.trim_end() != "supervise-daemo" {
        return;
    }
    let ends = || -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut passed_on = signal(SignalKind::terminate())?;
            kill_process(parent, Signal::TERM)?;
            // supervise-daemon passes SIGTERM on once it knows that it must end. A child that exits earlier
            // becomes a zombie, for which supervise-daemon then waits as long as `stop_seconds` says: 40
            // minutes.
            _ = tokio::time::timeout(PASSED_ON_WITHIN, passed_on.recv()).await;
            Ok(())
        })
    };
    if let Err(error) = ends() {
        tracing::warn!(%error, "cannot end supervise-daemon, which will start this drone again");
    }
}

//! The drone as a program: arguments, configuration, signals, exit codes.

use anyhow::Context as _;
use clap::Parser;
use std::{path::PathBuf, process::ExitCode};
use swarm_common::config;
use swarm_drone::{
    config::{Config, LogConfig},
    lock::{Lock, LockError},
    run::{RunError, run},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

/// Exit codes after sysexits.h.
const TRY_AGAIN: u8 = 75;
const DENIED: u8 = 77;
const CONFIG: u8 = 78;

/// Builds packages for an orchestrator.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  swarm-drone --config /etc/build-swarm/drone.toml
  swarm-drone --config drone.toml --check-config

The first SIGTERM lets a build finish (drain_timeout_s), the second does not.
Exit codes: 0 stopped on request, 1 failed, 75 another drone uses the state directory,
77 the orchestrator refuses this drone, 78 the configuration is wrong."
)]
struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = "/etc/build-swarm/drone.toml")]
    config: PathBuf,
    /// Check the configuration and end.
    #[arg(long)]
    check_config: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config: Config = match config::load(&arguments.config) {
        Ok(config) => config,
        Err(error) => return complain(CONFIG, &error),
    };
    if let Err(error) = config.check() {
        return complain(CONFIG, &format!("{}: {error}", arguments.config.display()));
    }
    if let Err(error) = filter(&config.log) {
        return complain(CONFIG, &format!("{}: {error:#}", arguments.config.display()));
    }
    if arguments.check_config {
        println!("{}: fine", arguments.config.display());
        return ExitCode::SUCCESS;
    }
    let _guard = match log_to(&config.log) {
        Ok(guard) => guard,
        Err(error) => return complain(CONFIG, &format!("{error:#}")),
    };
    let _lock = match Lock::take(&config.state_dir) {
        Ok(lock) => lock,
        Err(error @ LockError::Held { .. }) => return complain(TRY_AGAIN, &error),
        Err(error @ LockError::Io { .. }) => return complain(1, &error),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return complain(1, &error),
    };
    match runtime.block_on(serve(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = match error.downcast_ref::<RunError>() {
                Some(RunError::Enrol(swarm_drone::enrol::EnrolError::Refused(_)) | RunError::Unknown(..)) => {
                    DENIED
                }
                Some(RunError::Enrol(_)) => CONFIG,
                _ => 1,
            };
            complain(code, &format!("{error:#}"))
        }
    }
}

async fn serve(config: Config) -> anyhow::Result<()> {
    // The handlers are in place before anything is begun.
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be handled")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be handled")?;
    let (ask, stop) = mpsc::channel(4);
    let signals = tokio::spawn(async move {
        loop {
            tokio::select! {
                Some(()) = terminate.recv() => {}
                Some(()) = interrupt.recv() => {}
            }
            if ask.send(()).await.is_err() {
                return;
            }
        }
    });
    let ended = run(config, stop).await;
    signals.abort();
    Ok(ended?)
}

fn filter(log: &LogConfig) -> anyhow::Result<tracing_subscriber::EnvFilter> {
    tracing_subscriber::EnvFilter::try_new(&log.level).with_context(|| {
        format!("log.level `{}` is not a filter such as \"info\" or \"swarm_drone=debug\"", log.level)
    })
}

fn log_to(log: &LogConfig) -> anyhow::Result<Option<tracing_appender::non_blocking::WorkerGuard>> {
    let builder = tracing_subscriber::fmt().with_env_filter(filter(log)?);
    let Some(dir) = &log.dir else {
        let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
        builder.with_writer(std::io::stderr).with_ansi(colour).init();
        return Ok(None);
    };
    let files = tracing_appender::rolling::Builder::new()
        .rotation(tracing_appender::rolling::Rotation::DAILY)
        .filename_prefix("swarm-drone")
        .filename_suffix("log")
        .max_log_files(log.keep_files.max(1))
        .build(dir)
        .with_context(|| format!("log.dir {} cannot be used", dir.display()))?;
    let (writer, guard) = tracing_appender::non_blocking(files);
    builder.with_writer(writer).with_ansi(false).init();
    Ok(Some(guard))
}

fn complain(code: u8, error: &impl std::fmt::Display) -> ExitCode {
    eprintln!("swarm-drone: {error}");
    ExitCode::from(code)
}

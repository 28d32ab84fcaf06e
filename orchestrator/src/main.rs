//! `swarm-orchestrator`: reads its configuration, starts the server, and turns signals and
//! errors into what a supervisor understands. Everything else is in the library.

use anyhow::Context as _;
use clap::Parser;
use std::{path::PathBuf, process::ExitCode};
use swarm_common::config::EXIT_CONFIG;
use swarm_orchestrator::{
    config::Config,
    http::openapi,
    server::{self, ServeError, StartError},
    supervisor, telemetry,
};
use tokio::signal::unix::{SignalKind, signal};

/// A defect of our own (`EX_SOFTWARE`); a restart goes on from the journal.
const EXIT_DEFECT: u8 = 70;
/// Something of the system failed (`EX_IOERR` of sysexits.h).
const EXIT_IO: u8 = 74;

/// The orchestrator of a Build Swarm.
///
/// Exit codes: 0 stopped as told, 70 a defect broke it off (restart it), 74 the journal or a disk fails, 75 another orchestrator
/// has the state directory, 78 the configuration is wrong.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = "/etc/build-swarm/orchestrator.toml")]
    config: PathBuf,
    /// Check the configuration and change nothing.
    #[arg(long)]
    check_config: bool,
    /// Print the OpenAPI document, as `docs/openapi.json` has it.
    #[arg(long, conflicts_with = "check_config")]
    print_openapi: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.print_openapi {
        print!("{}", openapi::text());
        return ExitCode::SUCCESS;
    }
    let config = match Config::load(&arguments.config) {
        Ok(config) => config,
        Err(error) => return fail(EXIT_CONFIG, &error),
    };
    let telemetry = match telemetry::start(&config.log, !arguments.check_config) {
        Ok(telemetry) => telemetry,
        Err(error) => return fail(EXIT_CONFIG, &error),
    };
    if arguments.check_config {
        println!("{}: the configuration is in order", arguments.config.display());
        return ExitCode::SUCCESS;
    }
    let code = match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(exit_code(&error), &format!("{error:#}")),
    };
    drop(telemetry);
    code
}

fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("swarm-orchestrator: {error}");
    ExitCode::from(code)
}

fn exit_code(error: &anyhow::Error) -> u8 {
    match (error.downcast_ref::<StartError>(), error.downcast_ref::<ServeError>()) {
        (Some(error), _) => error.exit_code(),
        (None, Some(ServeError::EngineBroke)) => EXIT_DEFECT,
        (None, None) => EXIT_IO,
    }
}

#[tokio::main]
async fn run(config: Config) -> anyhow::Result<()> {
    // Before anything is told to be ready, so that no stop is missed.
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    let token_file = config.admin_token_file();
    let server = server::build(config).await?;
    let address = server.address();
    if server.is_first_start() {
        let (scheme, at, more) = match &server.app().tls {
            Some(tls) => {
                let at = format!("{}:{}", tls.name, tls.address.port());
                ("https", at, format!(" --fingerprint {}", tls.fingerprint))
            }
            None => ("http", address.to_string(), String::new()),
        };
        println!("log in with: swarmctl login {scheme}://{at}{more} --token-file {}", token_file.display());
    }
    if let Some(tls) = &server.app().tls {
        tracing::info!(address = %tls.address, fingerprint = %tls.fingerprint, "serves HTTPS");
    }
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "ready");
    if let Err(error) = supervisor::ready() {
        tracing::warn!(%error, "the supervisor cannot be told that we are ready");
    }
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    Ok(server.serve(stop).await?)
}

//! `swarm-orchestrator`: reads the configuration, starts the server, and maps signals and errors to exit
//! codes for a supervisor. Everything else is in the library.

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};
use swarm_common::{
    causes::with_causes,
    exit::{EXIT_CONFIG, EXIT_IO},
};
use swarm_daemon::{
    config,
    supervisor::Supervisor,
    telemetry::{self, Telemetry},
    version::VERSION,
};
use swarm_orchestrator::{
    app::App,
    config::{Config, PROGRAM},
    http::openapi,
    journal::{
        self, SqliteJournal,
        migrate::{JournalLocation, migrate},
    },
    server::{
        self, ServeError, StartError,
        reload::Reloader,
        watchdog::{self, Stuck},
    },
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

/// A request's strings are allocated in one thread and freed in another, which jemalloc does
/// faster: with the system allocator, a claim takes 20% more CPU time (`scripts/bench queue`).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Another orchestrator leads now (`EX_UNAVAILABLE`); after a restart this one is a standby.
const EXIT_DEPOSED: u8 = 69;
/// A bug (`EX_SOFTWARE`); a restart continues from the journal.
const EXIT_DEFECT: u8 = 70;

/// Another orchestrator uses the state directory or the journal (`EX_TEMPFAIL`).
const EXIT_HELD: u8 = 75;

const HELP: &str = "\
Examples:
  swarm-orchestrator --config /etc/build-swarm/orchestrator.toml
  swarm-orchestrator --config orchestrator.toml --check-config
  SWARM_ORCHESTRATOR__POLICY__LEASE=90s swarm-orchestrator --show-config
  swarm-orchestrator journal backup /backup/journal.sqlite

Configuration, where later settings override earlier ones:
  orchestrator.toml, then orchestrator.conf.d/*.toml beside it by name, then the environment:
  SWARM_ORCHESTRATOR__SETTING, or SWARM_ORCHESTRATOR__SECTION__SETTING

Signals:
  SIGTERM  stop
  SIGHUP   reload the configuration, where an invalid one is ignored, and reopen the log file

Exit codes:
  0   stopped on request
  2   invalid command line
  69  another orchestrator took over; a restart makes this one a standby
  70  internal error; restart
  74  a disk or the journal failed; restart
  75  another orchestrator uses the state directory
  78  invalid configuration";

/// Plan runs, hand packages to drones and publish what they build
#[derive(Debug, Parser)]
#[command(version = VERSION, about, after_help = HELP, max_term_width = 100)]
struct Arguments {
    /// Configuration file
    #[arg(long, value_name = "FILE", default_value = "/etc/build-swarm/orchestrator.toml")]
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
    /// Start even if a key, a certificate or journal events are missing: create a new key or certificate and
    /// accept the journal as it is. Use it for a single start, if there is no backup
    #[arg(long)]
    accept_new: bool,
    /// Print a manual page: section 5 (configuration) or 8 (program)
    #[arg(long, hide = true, value_name = "SECTION", value_parser = ["5", "8"])]
    print_man: Option<String>,
    /// Print the OpenAPI document
    #[arg(long, conflicts_with = "check_config")]
    print_openapi: bool,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Back up or migrate the journal
    #[command(subcommand)]
    Journal(JournalVerb),
}

#[derive(Debug, Subcommand)]
enum JournalVerb {
    /// Copy the SQLite journal to a file, replacing an earlier copy; the orchestrator may be running
    Backup {
        /// The file to write
        #[arg(value_name = "FILE")]
        to: PathBuf,
    },
    /// Copy all events to an empty journal and compare the hash chains; no orchestrator may be running
    Migrate {
        /// Current journal: sqlite:/var/lib/build-swarm/journal.sqlite or redis://HOST:PORT
        #[arg(long, value_name = "JOURNAL")]
        from: String,
        /// New journal, in the same form
        #[arg(long, value_name = "JOURNAL")]
        to: String,
        /// The swarm's name in Redis
        #[arg(long, default_value = "swarm")]
        swarm: String,
        /// A file with the password of Redis
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
}

/// Copies or migrates a journal. An error includes its exit code.
fn with_journal(verb: &JournalVerb, config: &Path) -> Result<(), (u8, String)> {
    let (from, to, swarm, password_file) = match verb {
        JournalVerb::Migrate { from, to, swarm, password_file } => (from, to, swarm, password_file),
        JournalVerb::Backup { to } => return back_up(config, to),
    };
    let location = |text: &str| {
        JournalLocation::parse(text, swarm, password_file.as_deref()).map_err(|e| (EXIT_CONFIG, e))
    };
    let (from, to) = (location(from)?, location(to)?);
    let moved =
        migrate(&from, &to).map_err(|e| (if e.is_held() { EXIT_HELD } else { EXIT_IO }, e.to_string()))?;
    println!("Copied {} events to {to}, verified last hash {}", moved.events, moved.head);
    println!("Next: set `[journal]` in the configuration to the new journal; {from} is unchanged");
    Ok(())
}

fn back_up(config: &Path, to: &Path) -> Result<(), (u8, String)> {
    let config = Config::load(config).map_err(|e| (EXIT_CONFIG, e.to_string()))?;
    if config.journal.redis.is_some() {
        return Err((EXIT_CONFIG, "the journal is in Redis: back it up with Redis' own tools".into()));
    }
    let copied = SqliteJournal::back_up(&journal::file(&config.state_dir), to);
    let copied = copied.map_err(|e| (EXIT_IO, e.to_string()))?;
    println!("Backed up {} events to {}, last hash {}", copied.events, to.display(), copied.head);
    Ok(())
}

fn manual(section: &str) -> std::io::Result<()> {
    if section == "5" {
        let example = include_str!("../orchestrator.example.toml");
        let (name, path) = ("orchestrator.toml", "/etc/build-swarm/orchestrator.toml");
        print!(
            "{}",
            swarm_daemon::man::config_page(name, "configuration of swarm-orchestrator(8)", path, example)
        );
        return Ok(());
    }
    clap_mangen::Man::new(Arguments::command()).section("8").render(&mut std::io::stdout())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(section) = &arguments.print_man {
        return manual(section).map_or_else(|error| fail(EXIT_IO, &error), |()| ExitCode::SUCCESS);
    }
    if arguments.print_openapi {
        print!("{}", openapi::text());
        return ExitCode::SUCCESS;
    }
    if let Some(Verb::Journal(verb)) = &arguments.verb {
        return match with_journal(verb, &arguments.config) {
            Ok(()) => ExitCode::SUCCESS,
            Err((code, error)) => fail(code, &error),
        };
    }
    let (mut config, old) = match Config::read(&arguments.config) {
        Ok(read) => read,
        Err(error) => return fail(EXIT_CONFIG, &error),
    };
    if arguments.check_config {
        for form in &old {
            eprintln!("swarm-orchestrator: warning: {form}");
        }
        println!("{}: the configuration is valid", arguments.config.display());
        return ExitCode::SUCCESS;
    }
    if arguments.show_config {
        return config::show(&arguments.config, PROGRAM).map_or_else(
            |error| fail(EXIT_CONFIG, &error),
            |text| {
                print!("{text}");
                ExitCode::SUCCESS
            },
        );
    }
    config.log.dir = arguments.log_dir.or(config.log.dir);
    config.accept_new = arguments.accept_new;
    let telemetry = match telemetry::start("swarm-orchestrator", &config.log) {
        Ok(telemetry) => telemetry,
        Err(error) => return fail(EXIT_CONFIG, &error),
    };
    if !old.is_empty() {
        let settings: Vec<_> = old.into_iter().map(|form| form.name).collect();
        tracing::warn!(
            settings = settings.join(", "),
            "these settings have new names, which --check-config shows"
        );
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(EXIT_IO, &error),
    };
    let code = match runtime.block_on(run(config, &arguments.config, &telemetry)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = with_causes(error.as_ref());
            tracing::error!("{text}");
            fail(exit_code(&error), &text)
        }
    };
    // Do not wait for blocked threads.
    runtime.shutdown_background();
    drop(telemetry);
    code
}

fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("{}swarm-orchestrator: {error}", telemetry::error_prefix());
    ExitCode::from(code)
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if let Some(ServeError::Deposed(_)) = error.downcast_ref() {
        return EXIT_DEPOSED;
    }
    if error.is::<ServeError>() || error.is::<Stuck>() {
        return EXIT_DEFECT;
    }
    error.downcast_ref::<StartError>().map_or(EXIT_IO, StartError::exit_code)
}

async fn run(config: Config, path: &Path, telemetry: &Telemetry) -> anyhow::Result<()> {
    // Install the handlers before reporting readiness, so that no signal is missed.
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot handle SIGHUP")?;
    let mut reloader = Reloader::new(path)?;
    let supervisor = Arc::new(Supervisor::from_environment());
    let token_file = config.admin_token_file();
    let server = tokio::select! {
        server = server::build(config) => server?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    let (address, app) = (server.address(), server.app());
    if server.is_first_start() {
        let (scheme, at, more) = match &server.app().tls {
            Some(tls) => {
                let at = format!("{}:{}", tls.name, tls.address.port());
                ("https", at, format!(" --fingerprint {}", tls.shown.fingerprint()))
            }
            None => ("http", address.to_string(), String::new()),
        };
        println!("log in with: swarmctl login {scheme}://{at}{more} --token-file {}", token_file.display());
    }
    if let Some(tls) = &server.app().tls {
        tracing::info!(address = %tls.address, fingerprint = %tls.shown.fingerprint(), "serves HTTPS");
    }
    tracing::info!(%address, version = VERSION, "ready");
    supervisor.ready(&format!("serving on {address}"));
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        supervisor.stopping("stopping: waiting for open requests, then writing a snapshot");
    };
    let reload = async {
        while hangup.recv().await.is_some() {
            telemetry.reopen();
            reload(&mut reloader, &app, telemetry).await;
        }
        std::future::pending::<()>().await;
    };
    let (sender, receiver) = oneshot::channel();
    let watched = Arc::clone(&app);
    // The receiver may already be gone.
    let _watchdog = watchdog::watch(
        app.engine.clone(),
        Arc::clone(&supervisor),
        watchdog::LONGEST_SILENCE,
        move || watchdog::status(&watched),
        |stuck| drop(sender.send(stuck)),
    )
    .context("cannot watch the engine")?;
    let stuck = async {
        match receiver.await {
            Ok(stuck) => stuck,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        served = server.serve(stop) => Ok(served?),
        stuck = stuck => Err(stuck.into()),
        () = reload => Ok(()),
    }
}

async fn reload(reloader: &mut Reloader, app: &App, telemetry: &Telemetry) {
    match reloader.reload(app, telemetry).await {
        Ok(done) => {
            if let Err(error) = app.checks.look().await {
                tracing::error!(%error, "cannot check this machine");
            }
            tracing::info!(applied = done.applied.join(", "), "configuration reloaded");
            if !done.waiting.is_empty() {
                tracing::warn!(
                    settings = done.waiting.join(", "),
                    "some changed settings require a restart; keeping the old ones until then"
                );
            }
        }
        Err(error) => tracing::error!(%error, "the new configuration is invalid, keeping the old one"),
    }
}

//! The admin command line of Build Swarm. It uses only the HTTP API.

mod cache;
mod cli;
mod cmd;
mod config;
mod failure;
mod image;
mod output;
mod patience;
mod session;
mod snapshot;

use failure::Failure;
use output::{Output, Paint, Tone};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::Cli::read();
    let output = Output::new(cli.form(), cli.color);
    match run(cli, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tell(&failure, output);
            ExitCode::from(failure.code())
        }
    }
}

fn run(cli: cli::Cli, output: Output) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::Failed(format!("cannot start the runtime: {e}")))?;
    runtime.block_on(async {
        tokio::select! {
            done = Box::pin(cli.run(output)) => done,
            _ = tokio::signal::ctrl_c() => {
                output.say("\ndetached; the swarm continues");
                Err(Failure::Silent(failure::INTERRUPTED))
            }
        }
    })
}

fn tell(failure: &Failure, output: Output) {
    if matches!(failure, Failure::Silent(_)) {
        return;
    }
    if output.json {
        output.say(&output::text::clean_json(&failure.to_json().to_string()));
        return;
    }
    let paint = Paint::new(output.live && std::env::var_os("NO_COLOR").is_none());
    output.say(&format!(
        "{} {}",
        paint.tone(Tone::Bad, "error:"),
        output::text::clean_lines(&failure.to_string())
    ));
    if let Some(hint) = failure.hint() {
        output.say(&format!("  {hint}"));
    }
}

//! `pause` and `unpause`: stop assigning work for a while.

use super::drone::parse_span;
use crate::{
    failure::Failure,
    output::text::{clean, moment, span},
    session::Session,
};
use swarm_common::wire::calendar::PauseRequest;

/// Arguments of `pause`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Running builds continue; scheduled runs start and wait. \
A pause always ends automatically; run the command again to change the end.

Examples:
  swarmctl pause --for 2h --reason \"replacing a fuse\"
  swarmctl unpause")]
pub struct Args {
    /// Duration, such as 30min, 2h or 1d; at most 7d
    #[arg(long = "for", value_name = "TIME", value_parser = parse_span)]
    for_ms: u64,
    /// Reason, shown by `swarmctl status`
    #[arg(long, default_value = "")]
    reason: String,
}

/// Starts or changes a pause.
///
/// # Errors
/// The orchestrator refused or did not answer.
pub async fn run(session: &Session, args: Args) -> Result<(), Failure> {
    let client = session.client()?;
    let request = PauseRequest { for_ms: args.for_ms, reason: args.reason };
    let pause = session.change(async |key| client.pause(&request, key).await).await?;
    session.output.show(&pause, |_| {
        let reason =
            if pause.reason.is_empty() { String::new() } else { format!(" ({})", clean(&pause.reason)) };
        format!(
            "Paused until {}, for {}{reason}; `swarmctl unpause` ends the pause earlier\n",
            moment(pause.until),
            span(request.for_ms)
        )
    })
}

/// Ends a pause.
///
/// # Errors
/// The orchestrator did not answer.
pub async fn end(session: &Session) -> Result<(), Failure> {
    let client = session.client()?;
    session.change(async |key| client.unpause(key).await).await?;
    session.output.show(&serde_json::json!({ "paused": false }), |_| "Pause ended\n".to_owned())
}

//! `logs`: what a build printed, as it prints it if wanted.

use crate::{failure::Failure, output::LogCleaner, session::Session};
use serde_json::json;
use swarm_common::id::AttemptId;

/// Arguments of `logs`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  swarmctl logs -f dev-libs/icu\n  swarmctl logs p12 --attempt a31 | less"
)]
pub struct Args {
    /// A package: its id, name, category/name or category/name-version
    package: String,
    /// Go on until the attempt ends
    #[arg(long, short)]
    follow: bool,
    /// Which attempt, such as a31 [default: the newest]
    #[arg(long, value_name = "ATTEMPT")]
    attempt: Option<AttemptId>,
}

/// Prints a log.
///
/// # Errors
/// There is none, or the connection broke.
pub async fn run(session: &Session, args: Args) -> Result<(), Failure> {
    let client = session.client()?;
    let package = session.package(&client, &args.package).await?;
    let mut log = client.package_log(package, args.attempt, args.follow).await?;
    let mut cleaner = LogCleaner::default();
    // Programs get a line of JSON for each piece, so that following works for them too.
    let print = |text: String| match session.output.json {
        _ if text.is_empty() => Ok(()),
        true => session.output.print(&format!("{}\n", json!({ "package": package, "text": text }))),
        false => session.output.print(&text),
    };
    while let Some(piece) = log.next().await? {
        print(cleaner.clean(&piece))?;
    }
    print(cleaner.finish())
}

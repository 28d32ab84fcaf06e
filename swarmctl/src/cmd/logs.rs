//! `logs`: what a build printed, as it prints it if wanted.

use crate::{
    failure::Failure,
    output::{LogCleaner, text::clean},
    session::Session,
};
use serde_json::json;
use std::time::Duration;
use swarm_common::{
    client::{ByteStream, Client},
    id::{AttemptId, PackageId},
};

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
    let mut log = begin(session, &client, package, &args).await?;
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

/// Opens the log. Who follows a package that nobody has begun yet waits for it.
async fn begin(
    session: &Session,
    client: &Client,
    package: PackageId,
    args: &Args,
) -> Result<ByteStream, Failure> {
    let mut told = false;
    loop {
        let absent = match client.package_log(package, args.attempt, args.follow).await {
            Err(e) if e.status() == Some(404) && args.follow && args.attempt.is_none() => e,
            answer => return Ok(answer?),
        };
        let view = client.package(package).await?;
        if view.state.is_final() {
            return Err(absent.into());
        }
        if !std::mem::replace(&mut told, true) {
            session.output.say(&format!(
                "{} is {}: {}; waiting",
                clean(&view.title),
                view.state,
                clean(&view.reason)
            ));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

//! `logs`: what a build printed, as it prints it if wanted. A followed log goes on where
//! it was when the orchestrator restarts, as the build does.

use crate::{
    failure::Failure,
    output::{LogCleaner, text::clean},
    session::Session,
};
use serde_json::json;
use std::time::Duration;
use swarm_common::{
    client::{Client, ClientError},
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

/// Pause before asking again.
const PAUSE: Duration = Duration::from_secs(1);
/// How often an orchestrator that does not answer is asked again.
const PATIENCE: u32 = 120;

/// Prints a log.
///
/// # Errors
/// There is none, or the connection broke.
pub async fn run(session: &Session, args: Args) -> Result<(), Failure> {
    let client = session.client()?;
    let package = session.package(&client, &args.package).await?;
    let attempt = match args.attempt {
        Some(attempt) => attempt,
        None => newest(session, &client, package, args.follow).await?,
    };
    let mut log = Reading { session, package, attempt, printed: 0, cleaner: LogCleaner::default() };
    if !args.follow {
        log.read(&client, false).await?;
        return log.finish();
    }
    let mut failures = 0;
    loop {
        let looked = async {
            log.read(&client, true).await?;
            Ok::<_, Failure>(is_live(&client, package, attempt).await?)
        };
        match looked.await {
            Ok(false) => return log.finish(),
            // The orchestrator stops, and the build goes on without it.
            Ok(true) => failures = 0,
            Err(Failure::Client(ClientError::Unreachable { .. })) if failures < PATIENCE => failures += 1,
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn is_live(client: &Client, package: PackageId, attempt: AttemptId) -> Result<bool, ClientError> {
    let view = client.package(package).await?;
    Ok(view.attempts.iter().any(|a| a.id == attempt && a.ended_at.is_none()))
}

/// The newest attempt. Who follows a package that nobody has begun waits for it.
async fn newest(
    session: &Session,
    client: &Client,
    package: PackageId,
    follow: bool,
) -> Result<AttemptId, Failure> {
    let mut told = false;
    loop {
        let view = client.package(package).await?;
        if let Some(attempt) = view.attempts.last() {
            return Ok(attempt.id);
        }
        let title = clean(&view.title);
        if !follow || view.state.is_final() {
            return Err(Failure::Failed(format!(
                "{title} has no log: nobody has tried to build it; see `swarmctl why {package}`"
            )));
        }
        if !std::mem::replace(&mut told, true) {
            session.output.say(&format!("{title} is {}: {}", view.state, clean(&view.reason)));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A log that is being printed.
struct Reading<'a> {
    session: &'a Session,
    package: PackageId,
    attempt: AttemptId,
    /// Bytes that were printed.
    printed: u64,
    cleaner: LogCleaner,
}

impl Reading<'_> {
    /// Prints what is there beyond what was printed, and what comes if `follow`.
    async fn read(&mut self, client: &Client, follow: bool) -> Result<(), Failure> {
        let mut log = client.package_log(self.package, Some(self.attempt), follow).await?;
        let mut at = 0;
        while let Some(piece) = log.next().await? {
            let known = usize::try_from(self.printed.saturating_sub(at)).unwrap_or(usize::MAX);
            at += piece.len() as u64;
            if let Some(new) = piece.get(known..).filter(|new| !new.is_empty()) {
                let text = self.cleaner.clean(new);
                self.print(&text)?;
                self.printed = at;
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), Failure> {
        let rest = std::mem::take(&mut self.cleaner).finish();
        self.print(&rest)?;
        if self.printed == 0 {
            self.session.output.say(&format!("attempt {} printed nothing", self.attempt));
        }
        Ok(())
    }

    /// Programs get a line of JSON for each piece, so that following works for them too.
    fn print(&self, text: &str) -> Result<(), Failure> {
        let output = self.session.output;
        match output.json {
            _ if text.is_empty() => Ok(()),
            true => {
                let line = json!({ "package": self.package, "attempt": self.attempt, "text": text });
                output.print(&format!("{line}\n"))
            }
            false => output.print(text),
        }
    }
}

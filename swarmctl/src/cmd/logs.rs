//! `logs`: prints the log of a build or a plan, on request as it is written. Following continues
//! across a restart of the orchestrator, as does the build.

use crate::{
    failure::Failure,
    output::{LogCleaner, text::clean},
    patience::Patience,
    session::Session,
};
use serde_json::json;
use std::time::Duration;
use swarm_client::{Client, ClientError};
use swarm_common::{
    id::{AttemptId, PackageId, RunId},
    name::Name,
    state::RunState,
};

/// Arguments of `logs`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  swarmctl logs -f dev-libs/icu\n  swarmctl logs p12 --attempt a31 | less\n  swarmctl logs plan"
)]
pub struct Args {
    /// A package (id, name, category/name or category/name-version), a run such as r7 for the log of its
    /// plan, or `plan` for the plan of the newest run
    #[arg(value_name = "PACKAGE|RUN|plan")]
    of: String,
    /// Search only the runs of this profile for the package
    #[arg(long, value_name = "NAME")]
    profile: Option<Name>,
    /// Print new output until the attempt ends
    #[arg(long, short)]
    follow: bool,
    /// Attempt, such as a31 [default: the newest]
    #[arg(long, value_name = "ATTEMPT")]
    attempt: Option<AttemptId>,
}

/// Delay between requests while following a log.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
enum Of {
    Package(PackageId),
    Plan(RunId),
}

impl Of {
    async fn find(session: &Session, client: &Client, args: &Args) -> Result<Self, Failure> {
        let text = &*args.of;
        if text == "plan" {
            let newest = client.runs().await?.into_iter().next();
            let none = || Failure::Failed("no plan: no run was started yet".to_owned());
            return newest.map(|run| Self::Plan(run.id)).ok_or_else(none);
        }
        match text.parse() {
            Ok(run) => Ok(Self::Plan(run)),
            Err(_) => Ok(Self::Package(session.package(client, text, args.profile.as_ref()).await?)),
        }
    }
}

/// The attempts at an object.
struct Attempts {
    title: String,
    newest: Option<AttemptId>,
    /// Whether the newest attempt may still write to its log.
    live: bool,
    /// Whether there may be further attempts.
    open: bool,
    /// The state of the object as a phrase.
    state: String,
    look: String,
}

impl Attempts {
    async fn at(client: &Client, of: Of) -> Result<Self, ClientError> {
        Ok(match of {
            Of::Package(package) => {
                let view = client.package(package).await?;
                let last = view.attempts.last();
                Self {
                    title: clean(&view.title),
                    newest: last.map(|a| a.id),
                    live: last.is_some_and(|a| a.ended_at.is_none()),
                    open: !view.state.is_final(),
                    state: format!("{}: {}", view.state, clean(&view.reason)),
                    look: format!("swarmctl why {package}"),
                }
            }
            Of::Plan(run) => {
                let view = client.run(run).await?;
                let planning = view.state == RunState::Planning;
                Self {
                    title: format!("the plan of {run}"),
                    newest: view.plan_attempts.last().copied(),
                    live: planning,
                    open: planning,
                    state: clean(&view.reason.unwrap_or_else(|| view.state.word().to_owned())),
                    look: format!("swarmctl run show {run}"),
                }
            }
        })
    }
}

/// Prints a log.
///
/// # Errors
/// There is no log, or the connection failed.
pub async fn run(session: &Session, args: Args) -> Result<(), Failure> {
    let client = session.client()?;
    let of = Of::find(session, &client, &args).await?;
    let attempt = match args.attempt {
        Some(attempt) => attempt,
        None => newest(session, &client, of, args.follow).await?,
    };
    let patience = Patience::default();
    let mut log = Reading { session, of, attempt, printed: 0, cleaner: LogCleaner::default(), patience };
    if !args.follow {
        log.read(&client, false).await?;
        return log.finish();
    }
    loop {
        let looked = async {
            log.read(&client, true).await?;
            let now = Attempts::at(&client, of).await?;
            Ok::<_, Failure>(now.live && now.newest == Some(attempt))
        };
        match looked.await {
            Ok(false) => return log.finish(),
            // The orchestrator is stopping; the build continues without it.
            Ok(true) => tokio::time::sleep(PAUSE).await,
            Err(Failure::Client(error)) => log.patience.wait(error, |text| session.output.say(text)).await?,
            Err(failure) => return Err(failure),
        }
    }
}

/// The newest attempt. With `follow`, waits until there is one.
async fn newest(session: &Session, client: &Client, of: Of, follow: bool) -> Result<AttemptId, Failure> {
    let mut announced = false;
    let mut patience = Patience::default();
    let say = |text: &str| session.output.say(text);
    loop {
        let Attempts { title, newest, open, state, look, .. } = match Attempts::at(client, of).await {
            Ok(attempts) => attempts,
            Err(error) if announced => {
                patience.wait(error, say).await?;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        patience.answered(say);
        if let Some(attempt) = newest {
            return Ok(attempt);
        }
        if !follow || !open {
            return Err(Failure::Failed(format!(
                "{title} has no log: it has not been attempted; see `{look}`"
            )));
        }
        if !std::mem::replace(&mut announced, true) {
            say(&format!("{title} is {state}"));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A log that is being printed.
struct Reading<'a> {
    session: &'a Session,
    of: Of,
    attempt: AttemptId,
    /// Number of bytes printed so far.
    printed: u64,
    cleaner: LogCleaner,
    patience: Patience,
}

impl Reading<'_> {
    /// Prints everything after the bytes already printed. With `follow`, also waits for new output.
    async fn read(&mut self, client: &Client, follow: bool) -> Result<(), Failure> {
        let mut log = match self.of {
            Of::Package(package) => client.package_log(package, Some(self.attempt), follow).await?,
            Of::Plan(run) => client.plan_log(run, Some(self.attempt), follow).await?,
        };
        self.patience.answered(|text| self.session.output.say(text));
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
            self.session.output.say(&format!("the log of attempt {} is empty", self.attempt));
        }
        Ok(())
    }

    /// Prints a piece of the log. With `--json`, each piece is one line of JSON, so that programs can follow
    /// a log too.
    fn print(&self, text: &str) -> Result<(), Failure> {
        let output = self.session.output;
        match output.json {
            _ if text.is_empty() => Ok(()),
            true => {
                let line = match self.of {
                    Of::Package(package) => {
                        json!({ "package": package, "attempt": self.attempt, "text": text })
                    }
                    Of::Plan(run) => json!({ "run": run, "attempt": self.attempt, "text": text }),
                };
                output.json_line(&line)
            }
            false => output.print(text),
        }
    }
}

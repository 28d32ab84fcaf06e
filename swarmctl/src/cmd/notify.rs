//! `notify`: lists notification sinks and tests whether they can be reached.

use crate::{
    failure::{FAILED, Failure},
    output::{
        Cell, Table, Tone,
        text::{ago, clean, now},
    },
    session::Session,
};
use swarm_common::wire::notify::{SinkTestView, SinkView};

const NONE: &str = "no sink configured: add [[notify.sink]] with a url such as \
                    ntfys://ntfy.example.org/topic to orchestrator.toml and restart the orchestrator";

/// Verbs of `notify`.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "Examples:\n  swarmctl notify list\n  swarmctl notify test")]
pub enum Verb {
    /// List all sinks with their pending messages and errors
    List,
    /// Send a test message to every sink; exits with 1 if one fails
    Test,
}

/// Lists or tests sinks.
///
/// # Errors
/// The orchestrator did not answer, or there is no sink. [`Failure::Silent`] if a sink cannot be
/// reached.
pub async fn run(session: &Session, verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::List => list(session).await,
        Verb::Test => test(session).await,
    }
}

async fn list(session: &Session) -> Result<(), Failure> {
    let sinks = session.client()?.notification_sinks().await?;
    session.output.show(&sinks, |paint| {
        if sinks.is_empty() {
            return format!("{NONE}\n");
        }
        let mut table = Table::new(&["SINK", "FROM", "WAITING", "DELIVERED", "STATE"]);
        for sink in &sinks {
            let delivered = sink.delivered_at.map_or(String::new(), |at| ago(now(), at));
            table.row([
                clean(&sink.name).into(),
                sink.minimum.to_string().into(),
                sink.waiting.to_string().into(),
                delivered.into(),
                state(sink),
            ]);
        }
        table.render(paint)
    })
}

fn state(sink: &SinkView) -> Cell {
    match &sink.failing {
        Some(why) => Cell::toned(Tone::Bad, format!("fails: {}", clean(why))),
        None => "ok".into(),
    }
}

async fn test(session: &Session) -> Result<(), Failure> {
    let tests = session.client()?.test_notifications().await?;
    if tests.is_empty() {
        return Err(Failure::Failed(NONE.to_owned()));
    }
    session.output.show(&tests, |paint| {
        tests.iter().map(|test| format!("{}\n", outcome(test, |tone, word| paint.tone(tone, word)))).collect()
    })?;
    let all = tests.iter().all(|test| test.failure.is_none());
    if all { Ok(()) } else { Err(Failure::Silent(FAILED)) }
}

/// Formats a test result: `ntfys://ntfy.sh: delivered in 120 ms`.
fn outcome(test: &SinkTestView, tone: impl Fn(Tone, &str) -> String) -> String {
    let name = clean(&test.name);
    match &test.failure {
        None => format!("{name}: {} in {} ms", tone(Tone::Good, "delivered"), test.took_ms),
        Some(why) => format!("{name}: {}: {}", tone(Tone::Bad, "not delivered"), clean(why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_is_one_line_that_cannot_steer_the_terminal() {
        let plain = |_: Tone, word: &str| word.to_owned();
        let test = |failure: Option<&str>| SinkTestView {
            name: "ntfys://ntfy.sh".into(),
            failure: failure.map(str::to_owned),
            took_ms: 120,
        };
        assert_eq!(outcome(&test(None), plain), "ntfys://ntfy.sh: delivered in 120 ms");
        let text = outcome(&test(Some("HTTP 403\n\x1b[2J")), plain);
        assert_eq!(text, "ntfys://ntfy.sh: not delivered: HTTP 403\\n\\u{1b}[2J");
    }
}

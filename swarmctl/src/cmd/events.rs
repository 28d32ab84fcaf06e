//! `events`: prints the journal's events, one per line. Stored answers to repeated requests do not interest
//! people and are printed only with `--json`.

use crate::{
    failure::Failure,
    output::text::{clean, moment, size, span},
    patience::Patience,
    session::Session,
};
use std::time::Duration;
use swarm_common::wire::event::{AnyEventKind, EventFacts, EventKind, EventView};

/// Arguments of `events`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  swarmctl events\n  swarmctl events -f --json | jq .event")]
pub struct Args {
    /// Print new events as they happen
    #[arg(long, short)]
    follow: bool,
    /// Start after this event
    #[arg(long, value_name = "NUMBER", conflicts_with = "last")]
    after: Option<u64>,
    /// Start with this many of the latest events
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 50)]
    last: u64,
}

/// Delay before a stream that ended is opened again.
const PAUSE: Duration = Duration::from_secs(1);

/// Prints events.
///
/// # Errors
/// The orchestrator did not answer.
pub async fn run(session: &Session, args: Args) -> Result<(), Failure> {
    let client = session.client()?;
    let end = client.status().await?.journal_seq;
    let mut after = args.after.unwrap_or(end.saturating_sub(args.last));
    if !args.follow && after >= end {
        return Ok(());
    }
    let mut patience = Patience::default();
    loop {
        match follow(session, &client, &mut after, (!args.follow).then_some(end), &mut patience).await {
            Ok(true) => return Ok(()),
            // The orchestrator closes streams when it stops; continue after the last event.
            Ok(false) => tokio::time::sleep(PAUSE).await,
            Err(Failure::Client(error)) if args.follow => {
                patience.wait(error, |text| session.output.say(text)).await?;
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// Prints the events of one stream. Returns whether `end` was reached.
async fn follow(
    session: &Session,
    client: &swarm_client::Client,
    after: &mut u64,
    end: Option<u64>,
    patience: &mut Patience,
) -> Result<bool, Failure> {
    let mut events = client.events(Some(*after)).await?;
    patience.answered(|text| session.output.say(text));
    while let Some(event) = events.next().await? {
        *after = event.seq;
        if session.output.json {
            session.output.json_line(&event)?;
        } else if event.event.kind != AnyEventKind::Known(EventKind::CommandAnswered) {
            session.output.print(&render(&event))?;
        }
        if end.is_some_and(|end| event.seq >= end) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn render(event: &EventView) -> String {
    format!("{:>6}  {}  {}\n", event.seq, moment(event.at), clean(&words(&event.event)))
}

/// An event in one line: its kind, its subject, and the rest as `name=value`.
fn words(facts: &EventFacts) -> String {
    let mut line = facts.kind.to_string();
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            line.push_str(&format!(" {name}={value}"));
        }
    };
    add("run", text(&facts.run));
    add("package", text(&facts.package));
    add("attempt", text(&facts.attempt));
    add("duplicate_of", text(&facts.duplicate_of));
    add("drone", text(&facts.drone));
    add("name", text(&facts.name));
    add("profile", text(&facts.profile));
    add("base", text(&facts.base));
    add("channel", text(&facts.channel));
    add("generation", text(&facts.generation));
    add("like", text(&facts.like));
    // The short form is enough to tell digests apart.
    add("snapshot", facts.snapshot.map(|snapshot| snapshot.short()));
    add("class", text(&facts.class));
    add("state", text(&facts.state));
    add("packages", text(&facts.packages));
    add("phase", text(&facts.phase));
    add("step", text(&facts.step));
    add("outcome", text(&facts.outcome));
    add("approved", text(&facts.approved));
    add("protected", text(&facts.protected));
    add("follow", text(&facts.follow));
    add("lasting", text(&facts.lasting));
    add("due", facts.due.map(moment));
    add("until", facts.until.map(moment));
    add("not_before", facts.not_before.map(moment));
    add("by_ms", text(&facts.by_ms));
    let titles: Vec<_> = facts.artifacts.iter().map(|artifact| artifact.target.title()).collect();
    add("artifacts", Some(titles.join(",")));
    if let Some(usage) = &facts.usage {
        add("took", Some(span(usage.wall_ms)));
        add("memory", (usage.peak_memory_bytes > 0).then(|| size(usage.peak_memory_bytes)));
    }
    if let Some(failure) = &facts.failure {
        add("failure", Some(format!("{} while {}: {}", failure.class, failure.phase, failure.headline())));
    }
    add("rejection", facts.rejection.clone());
    add("reason", facts.reason.clone());
    add("note", facts.note.clone());
    line
}

fn text<T: ToString>(value: &Option<T>) -> Option<String> {
    value.as_ref().map(T::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_common::{
        digest::Digest,
        id::*,
        state::*,
        time::TimeMs,
        wire::drone::{Failure, Usage},
    };

    #[test]
    fn an_event_is_one_line_that_steers_no_terminal() {
        let failure = Failure {
            class: FailureClass::Package,
            cause: None,
            phase: Phase::Building,
            signature: String::new(),
            message: "a\x1b[1A\nb".into(),
        };
        let usage = Usage { wall_ms: 61_000, cpu_ms: 1, peak_memory_bytes: 1 << 20 };
        let facts = EventFacts::of(EventKind::AttemptFailed).attempt(AttemptId(3));
        let event = EventView { seq: 7, at: TimeMs(0), event: facts.failure(failure).usage(usage) };
        let line = render(&event);
        let end = "  attempt_failed attempt=a3 took=1 min 1 s memory=1.0 MiB failure=package while building: \
                   a\\u{1b}[1A\n";
        assert!(line.starts_with("     7  ") && line.ends_with(end), "{line:?}");
    }

    #[test]
    fn an_event_that_only_a_newer_version_knows_is_printed_as_far_as_it_is_known() {
        let facts = EventFacts::of(EventKind::DroneLost).drone(DroneId(1)).snapshot(Digest::of(b"s"));
        let facts = EventFacts { kind: AnyEventKind::Newer("drone_dreamt".into()), ..facts };
        let short = Digest::of(b"s").short();
        assert_eq!(
            words(&facts.reason("night".to_owned())),
            format!("drone_dreamt drone=d1 snapshot={short} reason=night")
        );
    }
}

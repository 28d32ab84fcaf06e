//! `events`: prints the journal's events, one per line. Stored answers to repeated requests are of
//! no interest to people and are printed only with `--json`.

use crate::{
    failure::Failure,
    output::text::{clean, moment},
    patience::Patience,
    session::Session,
};
use std::time::Duration;
use swarm_common::{digest::Digest, wire::view::EventView};

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

/// Delay before reopening a stream that ended.
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
    client: &swarm_common::client::Client,
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
        } else if event.event.get("event").is_none_or(|kind| kind != "command_answered") {
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

/// Formats a journal event, `{"PackageReceived":{"package":"p3"}}` or tagged by a field, as
/// `PackageReceived package=p3`.
fn words(event: &serde_json::Value) -> String {
    let plain = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => match text.parse::<Digest>() {
            // Enough to distinguish digests.
            Ok(digest) => digest.short(),
            Err(_) => text.clone(),
        },
        other => other.to_string(),
    };
    let fields = |map: &serde_json::Map<String, serde_json::Value>, tag: &str| -> String {
        map.iter()
            .filter(|(name, _)| *name != tag)
            .map(|(name, value)| format!(" {name}={}", plain(value)))
            .collect()
    };
    let Some(map) = event.as_object() else { return plain(event) };
    let tag = ["event", "kind", "type"].into_iter().find(|tag| map.get(*tag).is_some_and(|v| v.is_string()));
    match (tag, map.iter().next()) {
        (Some(tag), _) => format!("{}{}", plain(&map[tag]), fields(map, tag)),
        (None, Some((name, value))) if map.len() == 1 => match value.as_object() {
            Some(inner) => format!("{name}{}", fields(inner, "")),
            None => format!("{name} {}", plain(value)),
        },
        _ => event.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_read_as_one_line_in_either_form() {
        assert_eq!(
            words(&json!({"PackageReceived": {"package": "p3", "n": 2}})),
            "PackageReceived n=2 package=p3"
        );
        assert_eq!(words(&json!({"kind": "drone_lost", "drone": "d1"})), "drone_lost drone=d1");
        assert_eq!(words(&json!("Tick")), "Tick");
        let event = EventView {
            seq: 7,
            at: swarm_common::time::TimeMs(0),
            event: json!({"kind": "x", "why": "a\nb"}),
        };
        assert!(render(&event).ends_with("x why=a\\nb\n"));
    }
}

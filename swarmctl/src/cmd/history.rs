//! `history`: prints the attempts at a package, including those of forgotten runs.

use crate::{
    failure::Failure,
    output::{
        Cell, Paint, Table, Tone,
        text::{clean, moment, span},
    },
    session::Session,
};
use swarm_common::{state::AttemptOutcome, wire::build::AttemptRow};

/// Arguments of `history`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  swarmctl history dev-libs/icu\n  swarmctl history icu --json | jq '.[].error'"
)]
pub struct Args {
    /// A package: id, name, category/name or category/name-version
    package: String,
}

/// Prints the attempts at a package.
///
/// # Errors
/// No attempt is known, or the orchestrator did not answer.
pub async fn run(session: &Session, args: Args) -> Result<(), Failure> {
    let rows = session.client()?.history(&args.package).await?;
    session.output.show(&rows, |paint| render(&rows, paint))
}

fn render(rows: &[AttemptRow], paint: Paint) -> String {
    let mut table =
        Table::new(&["STARTED", "PACKAGE", "RUN", "PROFILE", "ATTEMPT", "DRONE", "TOOK", "OUTCOME"]);
    for row in rows {
        let title =
            if row.version.is_empty() { row.name.clone() } else { format!("{}-{}", row.name, row.version) };
        let (tone, outcome) = match row.outcome {
            None if row.ended_at.is_none() => (Tone::Busy, "under way"),
            None => (Tone::Plain, "unknown"),
            Some(outcome @ (AttemptOutcome::Failed | AttemptOutcome::Rejected | AttemptOutcome::Lost)) => {
                (Tone::Bad, outcome.word())
            }
            Some(outcome) => (Tone::Plain, outcome.word()),
        };
        let why = match (row.class, &row.error) {
            (Some(class), Some(error)) if class.word() != outcome => format!(" ({class}): {}", clean(error)),
            (_, Some(error)) => format!(": {}", clean(error)),
            (_, None) => String::new(),
        };
        table.row([
            moment(row.started_at).into(),
            clean(&title).into(),
            row.run.to_string().into(),
            row.profile.as_str().into(),
            row.attempt.to_string().into(),
            row.drone_name.as_str().into(),
            row.ended_at.map(|end| span(end.since(row.started_at))).unwrap_or_default().into(),
            Cell::toned(tone, format!("{outcome}{why}")),
        ]);
    }
    table.render(paint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::fixtures::{NOW, name};
    use swarm_common::{id::*, state::FailureClass};

    #[test]
    fn each_attempt_is_a_line_and_steers_no_terminal() {
        let built = AttemptRow {
            name: "dev-libs/icu".into(),
            version: "75.1".into(),
            attempt: AttemptId(9),
            run: RunId(3),
            profile: name("desk"),
            drone: DroneId(1),
            drone_name: name("oak"),
            started_at: NOW - 90_000,
            ended_at: Some(NOW),
            outcome: Some(AttemptOutcome::Built),
            class: None,
            error: None,
        };
        let failed = AttemptRow {
            outcome: Some(AttemptOutcome::Failed),
            class: Some(FailureClass::Package),
            error: Some("error: x\x1b[1A".into()),
            ..built.clone()
        };
        let lost = AttemptRow {
            outcome: Some(AttemptOutcome::Lost),
            class: Some(FailureClass::Lost),
            error: Some("the drone exited".into()),
            ..built.clone()
        };
        let busy = AttemptRow { ended_at: None, outcome: None, ..built.clone() };
        let text = render(&[busy, failed, built, lost], Paint::new(false));
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        assert!(lines[1].ends_with("under way"), "{text}");
        assert!(lines[2].ends_with("failed (package): error: x\\u{1b}[1A"), "{text}");
        assert!(lines[4].ends_with("lost: the drone exited"), "{text}");
        assert!(lines[3].contains("dev-libs/icu-75.1") && lines[3].ends_with("1 min 30 s  built"), "{text}");
    }
}

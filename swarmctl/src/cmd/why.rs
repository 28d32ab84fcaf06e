//! `why`: the whole story of one package.

use crate::{
    failure::Failure,
    output::{
        Cell, Paint, Table, Tone,
        text::{clean, clean_lines, moment, size, span},
    },
    session::Session,
};
use swarm_common::wire::view::{AttemptView, WhyView};

/// Arguments of `why`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  swarmctl why icu\n  swarmctl why dev-libs/icu\n  swarmctl why dev-libs/icu-75.1\n  swarmctl why p12"
)]
pub struct Args {
    /// A package: its id, name, category/name or category/name-version
    package: String,
}

/// Explains a package.
///
/// # Errors
/// There is no such package, or the orchestrator did not answer.
pub async fn run(session: &Session, args: Args) -> Result<(), Failure> {
    let why = session.client()?.why(&args.package).await?;
    session.output.show(&why, |paint| render(&why, paint))
}

fn render(why: &WhyView, paint: Paint) -> String {
    let package = &why.package;
    let mut out = format!(
        "{} is {} ({} of {}, profile {})\n",
        paint.tone(Tone::Bold, &clean(&package.title)),
        paint.tone(package.state.into(), package.state.word()),
        package.id,
        package.run,
        package.profile,
    );
    // The first line often says what the heading has said.
    let said = format!("{} is {}", package.title, package.state);
    for line in why.lines.iter().filter(|line| !line.starts_with(&said)) {
        out.push_str(&format!("  {}\n", clean(line)));
    }
    if why.lines.is_empty() && !package.reason.is_empty() {
        out.push_str(&format!("  {}\n", clean(&package.reason)));
    }
    if !package.attempts.is_empty() {
        out.push('\n');
        out.push_str(&attempts(&package.attempts, paint));
    }
    if let Some(failure) = package.attempts.iter().rev().find_map(|attempt| attempt.failure.as_ref()) {
        out.push_str(&format!("\nThe last failure, while {}:\n", failure.phase));
        for line in clean_lines(&failure.message).lines() {
            out.push_str(&format!("  {line}\n"));
        }
        out.push_str(&format!("The whole log: swarmctl logs {}\n", package.id));
    }
    for artifact in &package.artifacts {
        out.push_str(&format!("\nReceived {} ({})\n", clean(&artifact.target.path()), size(artifact.size)));
    }
    out
}

fn attempts(attempts: &[AttemptView], paint: Paint) -> String {
    let mut table = Table::new(&["ATTEMPT", "DRONE", "STARTED", "TOOK", "MEMORY", "OUTCOME"]);
    for attempt in attempts {
        let took = attempt.ended_at.map(|end| span(end.since(attempt.started_at)));
        let tone = match (&attempt.failure, attempt.ended_at) {
            (Some(_), _) => Tone::Bad,
            (None, None) => Tone::Busy,
            (None, Some(_)) => Tone::Plain,
        };
        let outcome = attempt.outcome.as_deref().map_or_else(|| attempt.phase.to_string(), clean);
        table.row([
            attempt.id.to_string().into(),
            attempt.drone_name.as_str().into(),
            moment(attempt.started_at).into(),
            took.unwrap_or_default().into(),
            attempt.usage.map(|usage| size(usage.peak_memory_bytes)).unwrap_or_default().into(),
            Cell::toned(tone, outcome),
        ]);
    }
    table.render(paint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::fixtures;

    #[test]
    fn a_failed_package_tells_its_story_and_steers_no_terminal() {
        let lines = vec![
            "app-misc/wontbuild-1.0 is quarantined in r7.".into(),
            "It failed alike on 2 drones.".into(),
            "An admin may release it.\x1b[1A".into(),
        ];
        let why = WhyView { package: fixtures::package(), lines };
        let text = render(&why, Paint::new(false));
        assert!(
            text.starts_with("app-misc/wontbuild-1.0 is quarantined (p12 of r7, profile desk)\n"),
            "{text}"
        );
        assert!(!text.contains("in r7.\n"), "the heading is not said twice: {text}");
        assert!(text.contains("  main.c:1: error: \\u{1b}]0;x\\u{7}\n  make: failed\n"), "{text}");
        assert!(text.contains("swarmctl logs p12"), "{text}");
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    }
}

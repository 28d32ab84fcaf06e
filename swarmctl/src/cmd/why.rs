//! `why`: explains the state of one package.

use crate::{
    failure::Failure,
    output::{
        Cell, Paint, Table, Tone,
        text::{clean, clean_lines, moment, size, span},
    },
    session::Session,
};
use swarm_common::{
    name::Name,
    state::WhyTopic,
    wire::{
        drone::Target,
        view::{AttemptView, WhyView},
    },
};

/// Arguments of `why`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  swarmctl why icu\n  swarmctl why dev-libs/icu\n  swarmctl why dev-libs/icu-75.1\n  \
                  swarmctl why icu --profile desktop\n  swarmctl why p12"
)]
pub struct Args {
    /// A package: id, name, category/name or category/name-version
    package: String,
    /// Search only the runs of this profile
    #[arg(long, value_name = "NAME")]
    profile: Option<Name>,
}

/// Explains a package.
///
/// # Errors
/// There is no such package, or the orchestrator did not answer.
pub async fn run(session: &Session, args: Args) -> Result<(), Failure> {
    let why = session.client()?.why(&args.package, args.profile.as_ref()).await?;
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
    for line in below_heading(why) {
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
        out.push_str(&format!("\nLast failure, while {}:\n", failure.phase));
        for line in clean_lines(&failure.message).lines() {
            out.push_str(&format!("  {line}\n"));
        }
        out.push_str(&format!("Full log: swarmctl logs {}\n", package.id));
    }
    for artifact in &package.artifacts {
        let what = match &artifact.target {
            Target::Portage(target) => target.path(),
            Target::Nix(target) => target.path.clone(),
        };
        out.push_str(&format!("\nReceived {} ({})\n", clean(&what), size(artifact.size)));
    }
    out
}

/// The lines that do not repeat the heading. An older orchestrator does not mark them.
fn below_heading(why: &WhyView) -> impl Iterator<Item = &str> {
    let told = why.story.iter().filter(|line| line.about != WhyTopic::State);
    let old = why.lines.iter().filter(|_| why.story.is_empty());
    told.map(|line| line.text.as_str()).chain(old.map(String::as_str))
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
        let memory = attempt.usage.filter(|usage| usage.peak_memory_bytes > 0);
        let outcome = attempt.outcome.as_deref().map_or_else(|| attempt.phase.to_string(), clean);
        table.row([
            attempt.id.to_string().into(),
            attempt.drone_name.as_str().into(),
            moment(attempt.started_at).into(),
            took.unwrap_or_default().into(),
            memory.map(|usage| size(usage.peak_memory_bytes)).unwrap_or_default().into(),
            Cell::toned(tone, outcome),
        ]);
    }
    table.render(paint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::fixtures;
    use swarm_common::wire::view::WhyLine;

    #[test]
    fn a_failed_package_tells_its_story_and_steers_no_terminal() {
        let line = |about, text: &str| WhyLine { about, text: text.into() };
        let story = vec![
            line(WhyTopic::State, "In r7 it is quarantined, however that is worded."),
            line(WhyTopic::Reason, "It same error on 2 drones."),
            line(WhyTopic::Ending, "An admin may release it.\x1b[1A"),
        ];
        let lines = story.iter().map(|line| line.text.clone()).collect();
        let why = WhyView { package: fixtures::package(), lines, story };
        let text = render(&why, Paint::new(false));
        assert!(
            text.starts_with("app-misc/wontbuild-1.0 is quarantined (p12 of r7, profile desk)\n"),
            "{text}"
        );
        assert!(!text.contains("In r7"), "the heading is not said twice: {text}");
        assert!(text.contains("\n  It same error on 2 drones.\n"), "{text}");
        let old = render(&WhyView { story: vec![], ..why }, Paint::new(false));
        assert!(old.contains("\n  It same error on 2 drones.\n"), "of an older orchestrator: {old}");
        assert!(text.contains("  main.c:1: error: \\u{1b}]0;x\\u{7}\n  make: failed\n"), "{text}");
        assert!(text.contains("swarmctl logs p12"), "{text}");
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    }
}

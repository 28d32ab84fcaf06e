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
    state::{PackageState, WhyTopic},
    wire::{
        build::BuildView,
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
    let failure = |attempt: &AttemptView| Some((attempt.id, attempt.failure.clone()?));
    if package.state != PackageState::Received
        && let Some((attempt, failure)) = package.attempts.iter().rev().find_map(failure)
    {
        out.push_str(&format!("\nLast failure, while {}:\n", failure.phase));
        for line in clean_lines(&failure.message).lines() {
            out.push_str(&format!("  {line}\n"));
        }
        out.push_str(&format!("Full log: swarmctl logs {} --attempt {attempt}\n", package.id));
    }
    for artifact in &package.artifacts {
        let what = match &artifact.target {
            Target::Portage(target) => target.path(),
            Target::Nix(target) => target.path.clone(),
        };
        out.push_str(&format!("\nReceived {} ({})\n", clean(&what), size(artifact.size)));
    }
    package.builds.iter().for_each(|build| out.push_str(&built(build)));
    out
}

/// Which drone built a package, when, from what and at what cost.
fn built(build: &BuildView) -> String {
    let BuildView { drone_name, attempt, run, profile, .. } = build;
    let at = moment(build.received_at);
    let mut out = format!("Built by {drone_name} for {run} of {profile}, received {at} ({attempt})\n");
    let mut line = |name: &str, text: String| out.push_str(&format!("  {name:<9} {}\n", clean(&text)));
    let phases = build.durations().filter(|(_, ms)| *ms >= 1000);
    let phases: Vec<_> = phases.map(|(phase, ms)| format!("{phase} {}", span(ms))).collect();
    let took = span(build.received_at.since(build.started_at));
    line("time", if phases.is_empty() { took } else { format!("{took}: {}", phases.join(", ")) });
    if let Some(usage) = &build.usage {
        let (cpu, memory) = (span(usage.cpu_ms), size(usage.peak_memory_bytes));
        line("used", format!("{cpu} of processor time, {memory} of memory"));
    }
    line("snapshot", build.snapshot.short());
    if let Some(image) = &build.image {
        line("base", format!("{}, of image {}", build.base.short(), image.short()));
    }
    if let Some(toolchain) = &build.toolchain {
        let mut parts = vec![toolchain.compiler.clone(), toolchain.libc.clone(), toolchain.cpu.clone()];
        if !toolchain.binutils.is_empty() {
            parts.insert(2, format!("binutils {}", toolchain.binutils));
        }
        parts.retain(|part| !part.is_empty());
        line("toolchain", parts.join(", "));
    }
    line("key", format!("{}, strict {}", build.build_key.short(), build.strict_key.short()));
    out
}

/// The lines that do not repeat the heading. Older orchestrators do not mark such lines.
fn below_heading(why: &WhyView) -> impl Iterator<Item = &str> {
    let story = why.story.iter().filter(|line| line.about != WhyTopic::State);
    let old = why.lines.iter().filter(|_| why.story.is_empty());
    story.map(|line| line.text.as_str()).chain(old.map(String::as_str))
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
    use swarm_common::{
        digest::Digest,
        id::*,
        state::Phase,
        wire::{
            drone::Usage,
            plan::Toolchain,
            view::{PackageView, WhyLine},
        },
    };

    #[test]
    fn what_was_received_says_who_built_it_from_what_and_at_what_cost() {
        let build = BuildView {
            attempt: AttemptId(31),
            run: RunId(3),
            profile: fixtures::name("desk"),
            drone: DroneId(1),
            drone_name: fixtures::name("oak"),
            build_key: Digest::of(b"key"),
            strict_key: Digest::of(b"strict"),
            snapshot: Digest::of(b"snapshot"),
            base: Digest::of(b"host"),
            image: None,
            toolchain: Some(Toolchain {
                compiler: "gcc 15\x1b[1A".into(),
                binutils: "2.44".into(),
                ..Toolchain::default()
            }),
            started_at: fixtures::NOW - 90_000,
            received_at: fixtures::NOW,
            phases: [(Phase::Assigned, fixtures::NOW - 90_000), (Phase::Building, fixtures::NOW - 60_000)]
                .into(),
            usage: Some(Usage { wall_ms: 80_000, cpu_ms: 120_000, peak_memory_bytes: 100 << 20 }),
        };
        let package = PackageView { builds: vec![build], ..fixtures::package() };
        let text = render(&WhyView { package, lines: vec![], story: vec![] }, Paint::new(false));
        assert!(text.contains("\nBuilt by oak for r3 of desk, received "), "{text}");
        for line in [
            "time      1 min 30 s: assigned 30 s, building 1 min",
            "used      2 min of processor time, 100 MiB of memory",
            &format!("snapshot  {}", Digest::of(b"snapshot").short()),
            "toolchain gcc 15\\u{1b}[1A, binutils 2.44",
            &format!("key       {}, strict {}", Digest::of(b"key").short(), Digest::of(b"strict").short()),
        ] {
            assert!(text.contains(&format!("\n  {line}\n")), "{line}: {text}");
        }
        assert!(!text.contains("base  "), "{text}");
    }

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

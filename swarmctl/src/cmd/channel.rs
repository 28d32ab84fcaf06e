//! `channel`: shows what workstations install from, publishes staged generations, returns to an earlier
//! generation, lets a channel follow its runs again, and pins generations.

mod pins;

use super::effects::{self, DryRun};
use crate::{
    failure::Failure,
    output::{
        Paint, Table,
        text::{ago, clean, count, now, size},
    },
    session::Session,
};
use swarm_common::{
    name::Name,
    wire::{
        channel::{
            ChannelName, ChannelView, GenerationContents, GenerationView, PinRequest, PromoteRequest,
            RollbackRequest, StagedStatus, StagedView,
        },
        concern::Action,
    },
};

/// A channel, as an argument.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum Channel {
    /// What workstations install from
    Stable,
    /// What waits to be promoted, for machines that try it first
    Staging,
}

impl From<Channel> for ChannelName {
    fn from(channel: Channel) -> Self {
        match channel {
            Channel::Stable => Self::Stable,
            Channel::Staging => Self::Staging,
        }
    }
}

/// Verbs of `channel`.
#[derive(Debug, clap::Subcommand)]
#[command(
    after_help = "Every run that changes the packages creates a new generation of the profile's stable channel.
A rollback creates one with the packages of an earlier generation and holds the channel there:
runs do not change it until `channel promote`.

If a profile uses `--publish staging` (see `swarmctl profile update --help`), runs create
generations of its staging channel, and each promotion creates one of stable.

Only the last generations are kept (`keep_runs` in `[policy]`), and those that are pinned.

Examples:
  swarmctl channel list
  swarmctl channel show desk
  swarmctl channel show desk --generation 12       the packages of generation 12
  swarmctl channel rollback desk                   to the previous generation that differs
  swarmctl channel rollback desk --dry-run         show which packages that would change
  swarmctl channel rollback desk --generation 12   to generation 12
  swarmctl channel promote desk                    publish what was built and follow later runs
  swarmctl channel promote desk --generation 12    publish generation 12 of staging
  swarmctl channel pin desk 12 --note \"before KDE 6\"   keep generation 12 for good
  swarmctl channel unpin desk 12                   keep it only as long as others"
)]
pub enum Verb {
    /// List the channels of all profiles
    List,
    /// Show the channels of a profile and their generations, or the packages of one generation
    Show {
        /// Name of the profile
        profile: Name,
        /// List the packages of this generation
        #[arg(long, value_name = "NUMBER")]
        generation: Option<u64>,
    },
    /// Publish in the stable channel what the newest run built
    Promote {
        /// Name of the profile
        profile: Name,
        /// Number of a staged generation [default: the newest]
        #[arg(long, value_name = "NUMBER")]
        generation: Option<u64>,
        /// Channel to publish from
        #[arg(long, value_name = "CHANNEL", default_value = "staging", value_parser = ["staging"])]
        from: String,
    },
    /// Publish the content of an earlier generation, and stay there until a promotion
    Rollback {
        /// Name of the profile
        profile: Name,
        /// Number of the generation [default: the previous one that differs]
        #[arg(long, value_name = "NUMBER")]
        generation: Option<u64>,
        /// Whether to only show what would change
        #[command(flatten)]
        dry: DryRun,
    },
    /// Keep a generation of the stable channel until it is unpinned, or change its note
    ///
    /// A rollback can return to a pinned generation however many others follow.
    Pin {
        /// Name of the profile
        profile: Name,
        /// Number of the generation
        generation: u64,
        /// Why, in one line of at most 200 characters; shown in `channel show`
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        note: String,
    },
    /// Keep a generation only as long as others
    ///
    /// If newer generations have taken its place, it is dropped at once, with the packages that no other has.
    Unpin {
        /// Name of the profile
        profile: Name,
        /// Number of the generation
        generation: u64,
    },
}

/// Lists or changes channels.
///
/// # Errors
/// The orchestrator refused or did not answer.
pub async fn run(session: &Session, verb: Verb) -> Result<(), Failure> {
    let client = session.client()?;
    match verb {
        Verb::List => {
            let channels = client.channels().await?;
            session.output.show(&channels, |paint| match channels.is_empty() {
                true => "No profiles. See `swarmctl profile add --help`.\n".to_owned(),
                false => list(&channels, paint),
            })
        }
        Verb::Show { profile, generation: Some(number) } => {
            let contents = client.generation(&profile, number).await?;
            session.output.show(&contents, |paint| packages(&contents, paint))
        }
        Verb::Show { profile, generation: None } => {
            let channel = client.channel(&profile).await?;
            session.output.show(&channel, |paint| show(&channel, paint))
        }
        Verb::Promote { profile, generation, .. } => {
            let request = PromoteRequest { generation };
            let channel = session.change(async |key| client.promote(&profile, request, key).await).await?;
            session.output.show(&channel, |_| outcome(&channel))
        }
        Verb::Rollback { profile, generation, dry } => {
            if dry.dry_run {
                let channel = client.channel(&profile).await?;
                let (current, target) = rolled_back(&channel, generation)?;
                let current = client.generation(&profile, current).await?;
                let target = client.generation(&profile, target).await?;
                return session.would(&effects::published(&current, &target));
            }
            let request = RollbackRequest { generation };
            let change = session.change(async |key| client.roll_back(&profile, request, key).await);
            let channel = change.await?;
            session.output.show(&channel, |_| outcome(&channel))
        }
        Verb::Pin { profile, generation, note } => {
            let request = PinRequest { note };
            let change = session.change(async |key| client.pin(&profile, generation, &request, key).await);
            let channel = change.await?;
            session.output.show(&channel, |_| pins::pinned(&channel, generation))
        }
        Verb::Unpin { profile, generation } => {
            let change = session.change(async |key| client.unpin(&profile, generation, key).await);
            let channel = change.await?;
            session.output.show(&channel, |_| pins::unpinned(&channel, generation))
        }
    }
}

/// The current generation and the one that a rollback takes: by default the newest with other content.
fn rolled_back(channel: &ChannelView, to: Option<u64>) -> Result<(u64, u64), Failure> {
    let content = |generation: &GenerationView| generation.like.unwrap_or(generation.number);
    let none = || Failure::Failed(format!("{} has no generation to return to", channel.profile));
    let [current, earlier @ ..] = &channel.generations[..] else { return Err(none()) };
    let differs = |other: &&GenerationView| content(other) != content(current);
    let target = to.or_else(|| Some(earlier.iter().find(differs)?.number));
    Ok((current.number, target.ok_or_else(none)?))
}

fn list(channels: &[ChannelView], paint: Paint) -> String {
    let mut table =
        Table::new(&["PROFILE", "CHANNEL", "GENERATION", "RUN", "PACKAGES", "MADE", "PINNED", "FOLLOWS"]);
    let mut row = |profile: &Name, name: ChannelName, generations: &[GenerationView], follows: String| {
        let field =
            |of: &dyn Fn(&GenerationView) -> String| generations.first().map_or_else(|| "-".to_owned(), of);
        table.row([
            profile.as_str().into(),
            name.word().into(),
            field(&|g| g.number.to_string()).into(),
            field(&|g| g.run.to_string()).into(),
            field(&|g| g.packages.to_string()).into(),
            field(&|g| ago(now(), g.made_at)).into(),
            pins::number(generations).into(),
            follows.into(),
        ]);
    };
    for channel in channels {
        row(&channel.profile, ChannelName::Stable, &channel.generations, follows(channel));
        if let Some(staging) = &channel.staging {
            row(&channel.profile, ChannelName::Staging, &staging.generations, "the runs".to_owned());
        }
    }
    table.render(paint)
}

fn show(channel: &ChannelView, paint: Paint) -> String {
    let mut text = format!("{}\n  follows    {}\n", channel.profile, follows(channel));
    text.push_str(&format!("  published  {}\n", published(channel.generation)));
    if let Some(StagedView { run, packages, generation }) = channel.staged {
        let of = generation.map_or_else(String::new, |number| format!("generation {number}, "));
        text.push_str(&format!("  staged     {of}{} of {run}\n", count(packages, "package")));
    }
    text.push_str(&table(&channel.generations, paint));
    if let Some(staging) = &channel.staging {
        text.push_str(&format!("\nstaging\n  published  {}\n", published(staging.generation)));
        text.push_str(&table(&staging.generations, paint));
    }
    text
}

fn table(generations: &[GenerationView], paint: Paint) -> String {
    let mut table =
        Table::new(&["GENERATION", "RUN", "PACKAGES", "ADDED", "REMOVED", "MADE", "CONTENT OF", "PINNED"]);
    let known = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    for generation in generations {
        table.row([
            generation.number.to_string().into(),
            generation.run.to_string().into(),
            generation.packages.to_string().into(),
            known(generation.added).into(),
            known(generation.removed).into(),
            ago(now(), generation.made_at).into(),
            known(generation.like).into(),
            pins::cell(generation).into(),
        ]);
    }
    table.render(paint)
}

/// The staged generations that wait for promotion, one line for each profile.
pub(super) fn waiting(staged: &[StagedStatus]) -> String {
    let line = |StagedStatus { profile, generation, run, packages }: &StagedStatus| {
        let promote = Action::Promote { profile: profile.clone() }.command();
        let packages = count(*packages, "package");
        format!(
            "  staging of {profile}: generation {generation}, {packages} of {run}; publish it with `{promote}`\n"
        )
    };
    staged.iter().map(line).collect()
}

/// The packages of a generation, as a table.
fn packages(contents: &GenerationContents, paint: Paint) -> String {
    let GenerationContents { profile, generation, packages } = contents;
    let made = ago(now(), generation.made_at);
    let of = format!("{} of {}{}", count(generation.packages, "package"), generation.run, like(generation));
    let mut table = Table::new(&["PACKAGE", "VERSION", "SIZE", "PUBLISHED AS"]);
    for package in packages {
        let version = if package.version.is_empty() { "-" } else { &package.version };
        table.row([
            clean(&package.name).into(),
            clean(version).into(),
            size(package.size).into(),
            clean(&package.path).into(),
        ]);
    }
    format!("{profile} generation {}: {of}, made {made}\n{}", generation.number, table.render(paint))
}

/// The end of a sentence about a generation that repeats an earlier one.
fn like(generation: &GenerationView) -> String {
    generation.like.map(|like| format!(", with the content of {like}")).unwrap_or_default()
}

/// What the stable channel follows, as a sentence.
fn follows(channel: &ChannelView) -> String {
    match (channel.held, channel.staged, channel.publish) {
        (true, Some(staged), _) => format!("no, held before {}", staged.run),
        (true, None, _) => "no, held".to_owned(),
        (false, _, ChannelName::Stable) => "the runs".to_owned(),
        (false, _, ChannelName::Staging) => "promotions".to_owned(),
    }
}

fn published(generation: u64) -> String {
    match generation {
        0 => "nothing yet".to_owned(),
        number => format!("generation {number}"),
    }
}

/// The result of a promotion or a rollback, as a sentence.
fn outcome(channel: &ChannelView) -> String {
    let profile = &channel.profile;
    let Some(current) = channel.generations.first() else {
        return format!("{profile} has no generation yet: no run has built anything\n");
    };
    let of = format!("{} of {}{}", count(current.packages, "package"), current.run, like(current));
    let then = match (channel.held, channel.publish) {
        (true, _) => format!("It stays there until `swarmctl channel promote {profile}`"),
        (false, ChannelName::Stable) => "It follows the runs".to_owned(),
        (false, ChannelName::Staging) => "Later runs wait in staging until the next promotion".to_owned(),
    };
    format!("{profile} is at generation {}: {of}\n{then}\n", current.number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_common::{id::RunId, time::TimeMs, wire::channel::StagingView};

    fn channel(held: bool) -> ChannelView {
        let generation = |number, run, like| GenerationView {
            number,
            run: RunId(run),
            made_at: TimeMs(0),
            like,
            packages: 2,
            added: (number > 1).then_some(1),
            removed: (number > 1).then_some(1),
            pinned: None,
        };
        ChannelView {
            profile: "desk".parse().unwrap(),
            generation: 3,
            held,
            staged: held.then_some(StagedView { run: RunId(2), packages: 2, generation: None }),
            publish: ChannelName::Stable,
            staging: None,
            generations: vec![generation(3, 1, Some(1)), generation(2, 2, None), generation(1, 1, None)],
        }
    }

    #[test]
    fn a_held_channel_says_what_it_is_at_and_what_waits() {
        let text = show(&channel(true), Paint::new(false));
        for want in ["no, held before r2", "published  generation 3", "staged     2 packages of r2"] {
            assert!(text.contains(want), "{text}");
        }
        assert_eq!(text.lines().count(), 8, "{text}");
        assert_eq!(
            outcome(&channel(true)),
            "desk is at generation 3: 2 packages of r1, with the content of 1\n\
             It stays there until `swarmctl channel promote desk`\n"
        );
        assert!(outcome(&channel(false)).ends_with("It follows the runs\n"));
        assert!(list(&[channel(false)], Paint::new(false)).contains("the runs"));
    }

    #[test]
    fn what_waits_in_staging_is_listed_beside_stable() {
        let plain = channel(false);
        let channel = ChannelView {
            publish: ChannelName::Staging,
            staged: Some(StagedView { run: RunId(4), packages: 2, generation: Some(5) }),
            staging: Some(StagingView { generation: 5, generations: plain.generations.clone() }),
            ..plain
        };
        let listed = list(std::slice::from_ref(&channel), Paint::new(false));
        for want in ["stable", "promotions", "staging", "the runs"] {
            assert!(listed.contains(want), "{listed}");
        }
        let shown = show(&channel, Paint::new(false));
        assert!(shown.contains("staged     generation 5, 2 packages of r4"), "{shown}");
        assert!(shown.contains("\nstaging\n  published  generation 5\n"), "{shown}");
        assert!(outcome(&channel).ends_with("wait in staging until the next promotion\n"));
        let profile = channel.profile;
        let line = waiting(&[StagedStatus { profile, generation: 5, run: RunId(4), packages: 2 }]);
        assert_eq!(
            line,
            "  staging of desk: generation 5, 2 packages of r4; publish it with `swarmctl channel promote desk`\n"
        );
    }

    #[test]
    fn a_rollback_skips_generations_with_the_current_content() {
        let channel = channel(false);
        // The content of the newest, 3, is that of 1.
        assert_eq!(rolled_back(&channel, None).unwrap(), (3, 2));
        assert_eq!(rolled_back(&channel, Some(1)).unwrap(), (3, 1));
        let only = ChannelView { generations: channel.generations[..1].to_vec(), ..channel };
        assert!(rolled_back(&only, None).unwrap_err().to_string().contains("no generation to return to"));
    }

    #[test]
    fn a_channel_without_a_generation_says_so() {
        let empty = ChannelView { generation: 0, generations: Vec::new(), ..channel(false) };
        assert!(show(&empty, Paint::new(false)).contains("published  nothing yet"));
        assert!(outcome(&empty).contains("no generation yet"));
    }
}

//! `channel`: shows what workstations install from, returns to an earlier generation of it, and
//! follows the runs again.

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
    wire::channel::{ChannelView, GenerationContents, GenerationView, RollbackRequest},
};

/// Verbs of `channel`.
#[derive(Debug, clap::Subcommand)]
#[command(
    after_help = "Every run that changes the packages creates a new generation of the profile's channel. A
rollback creates one with the packages of an earlier generation and holds the channel there:
runs do not change it until `channel promote`.

Examples:
  swarmctl channel list
  swarmctl channel show desk
  swarmctl channel show desk --generation 12       the packages of generation 12
  swarmctl channel rollback desk                   to the previous generation that differs
  swarmctl channel rollback desk --generation 12   to generation 12
  swarmctl channel promote desk                    follow the runs again"
)]
pub enum Verb {
    /// List the channels of all profiles
    List,
    /// Show the channel of a profile and its generations, or the packages of one generation
    Show {
        /// Name of the profile
        profile: Name,
        /// List the packages of this generation
        #[arg(long, value_name = "NUMBER")]
        generation: Option<u64>,
    },
    /// Publish what the newest runs built, and follow later runs
    Promote {
        /// Name of the profile
        profile: Name,
    },
    /// Publish the content of an earlier generation, and stay there until a promotion
    Rollback {
        /// Name of the profile
        profile: Name,
        /// Number of the generation [default: the previous one that differs]
        #[arg(long, value_name = "NUMBER")]
        generation: Option<u64>,
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
        Verb::Promote { profile } => {
            let channel = session.change(async |key| client.promote(&profile, key).await).await?;
            session.output.show(&channel, |_| outcome(&channel))
        }
        Verb::Rollback { profile, generation } => {
            let request = RollbackRequest { generation };
            let change = session.change(async |key| client.roll_back(&profile, request, key).await);
            let channel = change.await?;
            session.output.show(&channel, |_| outcome(&channel))
        }
    }
}

fn list(channels: &[ChannelView], paint: Paint) -> String {
    let mut table = Table::new(&["PROFILE", "GENERATION", "RUN", "PACKAGES", "MADE", "FOLLOWS"]);
    for channel in channels {
        let current = channel.generations.first();
        let field = |of: &dyn Fn(&GenerationView) -> String| current.map_or_else(|| "-".to_owned(), of);
        table.row([
            channel.profile.as_str().into(),
            field(&|g| g.number.to_string()).into(),
            field(&|g| g.run.to_string()).into(),
            field(&|g| g.packages.to_string()).into(),
            field(&|g| ago(now(), g.made_at)).into(),
            follows(channel).into(),
        ]);
    }
    table.render(paint)
}

fn show(channel: &ChannelView, paint: Paint) -> String {
    let mut text = format!("{}\n  follows    {}\n", channel.profile, follows(channel));
    text.push_str(&format!("  published  {}\n", published(channel)));
    if let Some(staged) = channel.staged {
        text.push_str(&format!("  staged     {} of {}\n", count(staged.packages, "package"), staged.run));
    }
    let mut table = Table::new(&["GENERATION", "RUN", "PACKAGES", "ADDED", "REMOVED", "MADE", "CONTENT OF"]);
    let known = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    for generation in &channel.generations {
        table.row([
            generation.number.to_string().into(),
            generation.run.to_string().into(),
            generation.packages.to_string().into(),
            known(generation.added).into(),
            known(generation.removed).into(),
            ago(now(), generation.made_at).into(),
            known(generation.like).into(),
        ]);
    }
    text + &table.render(paint)
}

/// The packages of a generation.
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

/// Whether the channel follows its runs.
fn follows(channel: &ChannelView) -> String {
    match (channel.held, channel.staged) {
        (true, Some(staged)) => format!("no, held before {}", staged.run),
        (true, None) => "no, held".to_owned(),
        (false, _) => "the runs".to_owned(),
    }
}

fn published(channel: &ChannelView) -> String {
    match channel.generation {
        0 => "nothing yet".to_owned(),
        number => format!("generation {number}"),
    }
}

/// What a promotion or a rollback has led to.
fn outcome(channel: &ChannelView) -> String {
    let profile = &channel.profile;
    let Some(current) = channel.generations.first() else {
        return format!("{profile} has no generation yet: no run has built anything\n");
    };
    let of = format!("{} of {}{}", count(current.packages, "package"), current.run, like(current));
    let then = match channel.held {
        true => format!("It stays there until `swarmctl channel promote {profile}`"),
        false => "It follows the runs".to_owned(),
    };
    format!("{profile} is at generation {}: {of}\n{then}\n", current.number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_common::{id::RunId, time::TimeMs, wire::channel::StagedView};

    fn channel(held: bool) -> ChannelView {
        let generation = |number, run, like| GenerationView {
            number,
            run: RunId(run),
            made_at: TimeMs(0),
            like,
            packages: 2,
            added: (number > 1).then_some(1),
            removed: (number > 1).then_some(1),
        };
        ChannelView {
            profile: "desk".parse().unwrap(),
            generation: 3,
            held,
            staged: held.then_some(StagedView { run: RunId(2), packages: 2 }),
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
    fn a_channel_without_a_generation_says_so() {
        let empty = ChannelView { generation: 0, generations: Vec::new(), ..channel(false) };
        assert!(show(&empty, Paint::new(false)).contains("published  nothing yet"));
        assert!(outcome(&empty).contains("no generation yet"));
    }
}

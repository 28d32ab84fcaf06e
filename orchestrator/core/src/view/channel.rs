//! The API views of channels.

use crate::state::{Generation, Profile};
use swarm_common::{
    name::Name,
    wire::{
        artifact::Artifact,
        channel::{
            ChannelName, ChannelView, GenerationContents, GenerationView, PublishedPackage, StagedView,
            StagingView,
        },
    },
};

#[must_use]
pub fn channel(name: &Name, profile: &Profile) -> ChannelView {
    let stable = &profile.stable;
    let staged = profile.channel.run.filter(|_| profile.is_behind(ChannelName::Stable));
    let publish = profile.request.publish;
    let has_staging = publish == ChannelName::Staging || profile.staging.current().is_some();
    ChannelView {
        profile: name.clone(),
        generation: profile.generation,
        held: stable.held,
        staged: staged.map(|run| StagedView {
            run,
            packages: profile.channel.held.len() as u64,
            generation: profile.waiting().map(|waiting| waiting.number),
        }),
        generations: generations(profile, ChannelName::Stable),
        publish,
        staging: has_staging.then(|| StagingView {
            generation: profile.staging_generation,
            generations: generations(profile, ChannelName::Staging),
        }),
    }
}

/// The content of the generation with this number. `None` if it is not kept.
#[must_use]
pub fn generation(name: &Name, profile: &Profile, number: u64) -> Option<GenerationContents> {
    let (channel, at) = profile.find(number)?;
    let history = profile.history(channel);
    let (generation, before) =
        (&history.generations[at], at.checked_sub(1).map(|at| &history.generations[at]));
    let artifacts = generation.artifacts.iter().filter_map(|digest| history.artifacts.get(digest));
    let mut packages: Vec<PublishedPackage> = artifacts.map(package).collect();
    packages.sort_unstable();
    Some(GenerationContents { profile: name.clone(), generation: row(profile, generation, before), packages })
}

/// The generations of a channel, newest first.
fn generations(profile: &Profile, channel: ChannelName) -> Vec<GenerationView> {
    let all = &profile.history(channel).generations;
    let befores = std::iter::once(None).chain(all.iter().map(Some));
    let mut rows: Vec<GenerationView> =
        all.iter().zip(befores).map(|(one, before)| row(profile, one, before)).collect();
    rows.reverse();
    rows
}

fn row(profile: &Profile, generation: &Generation, before: Option<&Generation>) -> GenerationView {
    let missing_in = |other: &Generation, one: &Generation| {
        one.artifacts.iter().filter(|digest| !other.artifacts.contains(digest)).count() as u64
    };
    GenerationView {
        number: generation.number,
        run: generation.run,
        made_at: generation.at,
        like: generation.like,
        packages: generation.artifacts.len() as u64,
        added: before.map(|before| missing_in(before, generation)),
        removed: before.map(|before| missing_in(generation, before)),
        pinned: profile.pins.get(&generation.number).cloned(),
    }
}

fn package(artifact: &Artifact) -> PublishedPackage {
    let target = &artifact.target;
    PublishedPackage {
        name: target.family().to_owned(),
        version: target.version().to_owned(),
        path: target.nix().map_or_else(|| artifact.path(), |target| target.path.clone()),
        digest: artifact.digest,
        size: artifact.size,
    }
}

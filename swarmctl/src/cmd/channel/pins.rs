//! How pinned generations are shown.

use crate::output::text::clean;
use swarm_common::wire::channel::{ChannelView, GenerationView};

/// The number of pinned generations, for a table of channels.
pub(super) fn number(generations: &[GenerationView]) -> String {
    match generations.iter().filter(|generation| generation.pinned.is_some()).count() {
        0 => "-".to_owned(),
        several => several.to_string(),
    }
}

/// Whether and why a generation is pinned, for a table of generations.
pub(super) fn cell(generation: &GenerationView) -> String {
    match generation.pinned.as_deref() {
        None => "-".to_owned(),
        Some("") => "yes".to_owned(),
        Some(note) => clean(note),
    }
}

/// The result of `channel pin`, as sentences.
pub(super) fn pinned(channel: &ChannelView, number: u64) -> String {
    let profile = &channel.profile;
    let generation = channel.generations.iter().find(|generation| generation.number == number);
    let note = generation.and_then(|generation| generation.pinned.as_deref()).unwrap_or_default();
    let note = if note.is_empty() { String::new() } else { format!(": {}", clean(note)) };
    format!(
        "Generation {number} of {profile} is pinned{note}\nIt is kept until `swarmctl channel unpin {profile} {number}`\n"
    )
}

/// The result of `channel unpin`, as a sentence.
pub(super) fn unpinned(channel: &ChannelView, number: u64) -> String {
    let profile = &channel.profile;
    match channel.generations.iter().any(|generation| generation.number == number) {
        true => format!("Generation {number} of {profile} is kept only as long as others\n"),
        false => {
            format!("Generation {number} of {profile} is no longer kept: newer ones have taken its place\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_common::{id::RunId, time::TimeMs};

    fn generation(number: u64, pinned: Option<&str>) -> GenerationView {
        GenerationView {
            number,
            run: RunId(1),
            made_at: TimeMs(0),
            like: None,
            packages: 2,
            added: None,
            removed: None,
            pinned: pinned.map(str::to_owned),
        }
    }

    #[test]
    fn a_pin_is_shown_with_its_note_and_without_one() {
        let all =
            [generation(3, None), generation(2, Some("")), generation(1, Some("before KDE 6\u{1b}[2J"))];
        assert_eq!(all.each_ref().map(cell)[..2], ["-", "yes"]);
        let cell = cell(&all[2]);
        assert!(cell.starts_with("before KDE 6") && !cell.contains('\u{1b}'), "{cell:?}");
        assert_eq!((number(&all), number(&all[..1])), ("2".to_owned(), "-".to_owned()));
        let channel = ChannelView {
            profile: "desk".parse().unwrap(),
            generation: 3,
            held: false,
            staged: None,
            publish: Default::default(),
            staging: None,
            generations: all.to_vec(),
        };
        assert!(pinned(&channel, 1).starts_with("Generation 1 of desk is pinned: before KDE 6"));
        assert!(
            pinned(&channel, 2).starts_with("Generation 2 of desk is pinned\nIt is kept until `swarmctl ")
        );
        assert!(unpinned(&channel, 3).ends_with("only as long as others\n"));
        assert!(unpinned(&channel, 4).contains("no longer kept"));
    }
}

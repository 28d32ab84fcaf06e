//! English texts for people, rendered from facts. No rule reads them, so a sentence can be reworded
//! without changing behaviour.

pub mod concern;
mod reason;
mod refusal;
mod remedy;

pub use reason::{ending, optional_reason, reason};
pub use refusal::clone_sign;

use swarm_common::{name::Name, wire::concern::Offline};

#[must_use]
pub fn offline(why: &Offline) -> String {
    match why {
        Offline::SignedOff(reason) => format!("signed off: {reason}"),
        Offline::Silent { ms } => format!("silent for {} s", ms / 1000),
    }
}

/// What the drones of a profile lack for a Nix package: see [`crate::eligibility::MissingCapability`].
#[must_use]
pub fn missing_capability(profile: &Name, system: &str, features: &[String]) -> String {
    let features = match features {
        [] => return format!("no drone of {profile} builds for {system}"),
        [feature] => format!("system feature {feature}"),
        several => format!("system features {}", several.join(", ")),
    };
    let of = if system.is_empty() { String::new() } else { format!(" that builds for {system}") };
    format!("no drone of {profile}{of} has the {features}")
}

/// The sentence saying that no work is assigned, for how long, and why; the reason may be empty.
#[must_use]
pub fn paused(for_ms: u64, why: &str) -> String {
    let why = if why.is_empty() { String::new() } else { format!(": {why}") };
    format!("the swarm is paused for another {}{why}", span(for_ms))
}

/// A duration in its two largest units, rounded up to whole seconds: `2 h 10 min`.
#[must_use]
pub fn span(ms: u64) -> String {
    swarm_common::time::span(ms.div_ceil(1000))
}

/// Increasing numbers as words of a sentence: `1, 3 and 5 to 9`.
pub(crate) fn numbers(numbers: &[u64]) -> String {
    let mut spans: Vec<(u64, u64)> = Vec::new();
    for &number in numbers {
        match spans.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => spans.push((number, number)),
        }
    }
    let words = spans.into_iter().flat_map(|(first, last)| match last - first {
        0 => vec![first.to_string()],
        1 => vec![first.to_string(), last.to_string()],
        _ => vec![format!("{first} to {last}")],
    });
    let words: Vec<String> = words.collect();
    match &words[..] {
        [before @ .., last] if !before.is_empty() => format!("{} and {last}", before.join(", ")),
        words => words.concat(),
    }
}

/// `text` with a capital first letter and a full stop. Ids and package names stay as they are.
pub(crate) fn sentence(text: &str) -> String {
    let text = text.trim_end_matches('.');
    let is_word =
        text.split(' ').next().is_some_and(|word| !word.contains(|c: char| c == '/' || c.is_ascii_digit()));
    let mut chars = text.chars();
    match chars.next().filter(|_| is_word) {
        Some(first) => format!("{}{}.", first.to_uppercase(), chars.as_str()),
        None => format!("{text}."),
    }
}

#[cfg(test)]
mod tests {
    use super::{numbers, sentence};

    #[test]
    fn a_sentence_begins_with_a_capital_but_an_id_does_not() {
        for (text, expected) in [
            ("waits for a drone", "Waits for a drone."),
            ("a194 on one, building for 8 s", "a194 on one, building for 8 s."),
            ("dev-libs/icu needs it.", "dev-libs/icu needs it."),
            ("", "."),
        ] {
            assert_eq!(sentence(text), expected);
        }
    }

    #[test]
    fn three_or_more_numbers_in_a_row_are_a_span() {
        for (all, expected) in [
            (&[][..], ""),
            (&[7], "7"),
            (&[1, 2], "1 and 2"),
            (&[1, 3, 4, 5, 6], "1 and 3 to 6"),
            (&[1, 4, 5, 9], "1, 4, 5 and 9"),
        ] {
            assert_eq!(numbers(all), expected);
        }
    }
}

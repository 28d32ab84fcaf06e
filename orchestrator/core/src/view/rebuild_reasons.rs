//! Explains why a package is rebuilt, or is not.

use crate::{
    changes::{self, Change},
    retention,
    state::{Conflict, Package, Swarm},
    text::{self, sentence},
};
use std::collections::BTreeSet;
use swarm_common::wire::drone::Target;

/// Number of changed values that are shown.
const MAX_CHANGES: usize = 6;
/// The maximum length of a value that is shown, in characters; longer values are only said to differ.
const LONGEST: usize = 60;

/// Sentences about what has changed since the package was last planned, and whether an admin wants it
/// rebuilt.
pub(super) fn describe(swarm: &Swarm, package: &Package) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(changes) = changes::since_last(swarm, package) {
        let mut parts: Vec<String> = changes.version.iter().map(|old| format!("it was {old}")).collect();
        parts.extend(changes.fields.iter().map(change));
        let more = parts.len().saturating_sub(MAX_CHANGES);
        parts.truncate(MAX_CHANGES);
        if more > 0 {
            parts.push(format!("{more} more"));
        }
        let what = parts.join("; ");
        match (package.reused, what.is_empty()) {
            // The reason of a held package says so already.
            (_, true) if package.held => {}
            (_, true) => lines.push(format!("None of its inputs has changed since {}.", changes.since)),
            (false, false) => lines.push(sentence(&format!("Changed since {}: {what}", changes.since))),
            (true, false) => lines.push(sentence(&format!(
                "Changed since {}, without need for a rebuild: {what}",
                changes.since
            ))),
        }
    }
    lines.extend(lost(swarm, package));
    if let Some(rebuild) = swarm.rebuilds.get(&package.build_key) {
        let reason =
            rebuild.reason.as_ref().map_or_else(String::new, |why| format!(": {}", text::reason(why)));
        lines.push(sentence(&format!("An admin has requested a rebuild{reason}")));
    }
    lines
}

/// A library that lost a soname which an earlier build of the package needs, so that the build is not reused.
fn lost(swarm: &Swarm, package: &Package) -> Option<String> {
    let needed = package.runtime_deps.iter().chain(&package.cut_deps).filter_map(|id| swarm.packages.get(id));
    needed.filter(|_| !package.reused).flat_map(|needed| needed.artifacts.iter()).find_map(|library| {
        swarm.collisions.of(library.digest).find_map(|(other, conflict)| {
            let Conflict::Lost { lost } = conflict else { return None };
            let old = retention::artifacts_among(swarm, &|artifact| artifact.digest == other);
            let is_own = |target: &Target| old.iter().any(|old| old.target.title() == target.title());
            let (library, sonames) = (library.target.title(), lost.join(", "));
            package.targets.iter().any(is_own).then(|| {
                sentence(&format!(
                    "An earlier build is not reused: it needs {sonames}, which {library} no longer has"
                ))
            })
        })
    })
}

/// The word that only `of` has, if it is one.
fn only<'w>(of: &'w BTreeSet<String>, other: &'w BTreeSet<String>) -> Option<&'w String> {
    let mut own = of.difference(other);
    own.next().filter(|_| own.next().is_none())
}

/// Describes a changed value: for lists of words, the added and removed words.
fn change(change: &Change) -> String {
    let name = match change.name.strip_prefix("env.").unwrap_or(&change.name) {
        "use" => "USE",
        "bound" => "bound to",
        name => name,
    };
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<BTreeSet<_>>();
    let (from, to) = (words(&change.from), words(&change.to));
    if name == "bound to"
        && let (Some(came), Some(went)) = (only(&to, &from), only(&from, &to))
        && let (Some((package, _)), Some((same, slot))) = (came.split_once(':'), went.split_once(':'))
        && package == same
    {
        return format!("bound to {came} instead of {slot}");
    }
    if matches!(name, "USE" | "bound to" | "features" | "LINGUAS" | "L10N") || name.starts_with("use") {
        let came = to.difference(&from).map(|word| format!("+{word}"));
        let went = from.difference(&to).map(|word| format!("-{word}"));
        return shortened(name, &came.chain(went).collect::<Vec<_>>().join(" "));
    }
    let is_digest = |value: &str| {
        let hex = value.strip_prefix("sha256:").unwrap_or(value);
        hex.len() >= 32 && hex.bytes().all(|b| b.is_ascii_hexdigit())
    };
    let is_long = |value: &str| value.chars().count() > LONGEST;
    match (change.from.as_str(), change.to.as_str()) {
        (from, to) if is_digest(from) && is_digest(to) || is_long(from) || is_long(to) => name.to_owned(),
        ("", to) if is_digest(to) => format!("{name} (new)"),
        (from, "") if is_digest(from) => format!("{name} (removed)"),
        ("", to) => format!("{name} is `{to}` (was unset)"),
        (from, "") => format!("{name} is unset (was `{from}`)"),
        (from, to) => format!("{name} is `{to}` (was `{from}`)"),
    }
}

fn shortened(name: &str, words: &str) -> String {
    match words.chars().count() > 2 * LONGEST {
        true => format!("{name} {}...", words.chars().take(2 * LONGEST).collect::<String>()),
        false => format!("{name} {words}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_words_says_which_came_and_which_went() {
        for (name, from, to, said) in [
            ("bound", "a/b:0/6 c/d:0/1", "a/b:0/7 c/d:0/1", "bound to a/b:0/7 instead of 0/6"),
            ("bound", "a/b:0/6", "c/d:0/1", "bound to +c/d:0/1 -a/b:0/6"),
            ("env.CFLAGS", "-O2", "-O3", "CFLAGS is `-O3` (was `-O2`)"),
        ] {
            let [name, from, to] = [name, from, to].map(str::to_owned);
            assert_eq!(change(&Change { name, from, to }), said);
        }
    }
}

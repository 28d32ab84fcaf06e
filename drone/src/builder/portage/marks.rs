//! What Portage, its helpers and ebuilds print themselves, as opposed to the programs that they run.

use super::fetch::Fetch;
use crate::builder::marks::Marks;
use swarm_common::state::Phase;

const COLLISION: &str = "Detected file collision(s):";

pub(super) static MARKS: Marks = Marks {
    bullet: Some('*'),
    phase_starts: &[
        (">>> Emerging (", Phase::Fetching),
        (">>> Downloading", Phase::Fetching),
        (">>> Fetching", Phase::Fetching),
        (">>> Emerging binary", Phase::Preparing),
        (">>> Unpacking source", Phase::Building),
        (">>> Compiling source", Phase::Building),
        (">>> Completed installing", Phase::Packaging),
        (">>> Building package", Phase::Packaging),
    ],
    builds: &[">>> Unpacking source", ">>> Compiling source"],
    harmless: &[".layout.conf", "layout.conf'"],
    error_starts: &["ACCESS DENIED", COLLISION],
    withdrawn: Some(("merged despite file collisions", COLLISION)),
    end_starts: &["!!! ", "emerge: "],
    is_trouble: is_of_helper,
    is_verdict,
    says_nothing,
    drone: &["emerge: not found"],
    infra: &[
        "Error fetching binhost package info",
        "Fetch failed for",
        "Fetcher exited with a failure",
        "failed Size verification",
    ],
    downloads: Some(|| Box::new(Fetch::default())),
};

/// Whether this line precedes the message of a `die`: `ERROR: app-misc/tool-1::gentoo failed (compile
/// phase):`.
fn is_verdict(line: &str) -> bool {
    let named = line.strip_prefix("ERROR: ").is_some_and(|rest| {
        rest.split(' ').next().is_some_and(|package| package.contains('/') && package.contains("::"))
    });
    named && line.contains(" failed")
}

/// Whether the message of a `die` only reports that something failed. Portage and its eclasses do this after
/// a program has printed its own error.
fn says_nothing(words: &str) -> bool {
    let words = words.trim_end_matches(['.', '!']);
    let fails = words.ends_with("failed") || words.ends_with("failure");
    words == "(no error message)" || (fails && !words.contains('/')) || words.starts_with("died running ")
}

/// Whether the line is an error message of a Portage helper: `!!! doins: tool.conf does not exist`.
fn is_of_helper(line: &str) -> bool {
    let helper = line.strip_prefix("!!! ").and_then(|rest| rest.split_once(": ")).map(|(helper, _)| helper);
    helper.is_some_and(|helper| {
        helper.len() > 2 && helper.bytes().all(|b| b.is_ascii_lowercase() || b == b'.' || b == b'-')
    })
}

#[cfg(test)]
mod tests;

//! When two concerns are the same one, so that a person is told once of each.
//!
//! What a concern says changes all the time: the seconds of a pause count down, more
//! packages wait. Its signature does not.

use super::AlarmKind;
use swarm_common::{name::Name, state::Severity};

/// What `what` says before its first reason, without remarks in parentheses, and with
/// every number that stands alone as `#`.
pub(super) fn signature(what: &str) -> String {
    let head = what.split(": ").next().unwrap_or(what);
    let (mut depth, mut bare) = (0u32, String::new());
    for c in head.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if depth == 0 => bare.push(c),
            _ => {}
        }
    }
    let number = |word: &str| word.starts_with(|c: char| c.is_ascii_digit());
    let words: Vec<&str> =
        bare.split_whitespace().map(|word| if number(word) { "#" } else { word }).collect();
    words.join(" ")
}

/// Something of a profile is quarantined, in whichever run.
pub(super) fn quarantined(profile: &Name) -> String {
    format!("packages of {profile} are quarantined")
}

/// The resolver refuses something of a profile.
pub(super) fn refused(profile: &Name) -> String {
    format!("the resolver refuses packages of {profile}")
}

/// Packages of a profile install the same paths.
pub(super) fn collide(profile: &Name) -> String {
    format!("packages of {profile} install the same files")
}

/// The last run of a profile failed.
pub(super) fn failed(profile: &Name) -> String {
    format!("the last run of {profile} failed")
}

/// How much something matters that ought to happen and does not, and its signature.
pub(super) fn of_alarm(kind: AlarmKind, subject: &str) -> (Severity, String) {
    match kind {
        AlarmKind::Overdue => (Severity::Critical, format!("a run of {subject} is overdue")),
        AlarmKind::Skipped => (Severity::Warning, format!("a due run of {subject} was not started")),
        AlarmKind::Stale => (Severity::Critical, format!("no run of {subject} succeeds")),
        AlarmKind::Idle => (Severity::Critical, format!("drones idle while {subject} waits")),
        AlarmKind::Paused => (Severity::Warning, "nothing is handed out in a pause".to_owned()),
    }
}

/// Signatures of what the end of a profile's run tells anyway.
#[must_use]
pub fn of_outcome(profile: &Name) -> [String; 4] {
    [quarantined(profile), refused(profile), collide(profile), failed(profile)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_times_remarks_and_reasons_do_not_matter_and_names_do() {
        for (what, same) in [
            ("drone oak2 is grounded for 295 s: five strikes", "drone oak2 is grounded for # s"),
            ("12 packages (and 3 more) wait since 2h: x", "# packages wait since #"),
            ("publishing fails: no space", "publishing fails"),
        ] {
            assert_eq!(signature(what), same);
        }
        assert_ne!(signature("drone oak2 is lost"), signature("drone oak3 is lost"));
    }
}

//! Makes a [`Failure`] from an error message.
//!
//! The signature is the headline of the error without the parts that vary between drones and attempts, so
//! that the orchestrator recognises the same failure. The class is the drone's guess; the orchestrator makes
//! the final decision.

use super::{
    first_error::{TEXT_BYTES, clip},
    missing_resource::MissingResource,
};
use swarm_common::{
    state::{FailureCause, FailureClass, Phase},
    wire::drone::Failure,
};

/// Maximum length of a signature in characters, which the wire format defines.
const SIGNATURE_CHARS: usize = 200;

/// Makes a failure from a message of the drone itself. If its class is `Drone`, the message is
/// searched for a missing resource.
pub(crate) fn of(class: FailureClass, phase: Phase, message: String) -> Failure {
    let own = || message.lines().find_map(MissingResource::in_line);
    match (class == FailureClass::Drone).then(own).flatten() {
        Some(missing) => resource_failure(&missing, phase, None, &message),
        None => made(class, None, phase, &message),
    }
}

/// Makes a failure caused by a missing resource. The description of the resource comes first and so becomes
/// the signature.
pub(super) fn resource_failure(
    missing: &MissingResource,
    phase: Phase,
    peak_memory_bytes: Option<u64>,
    details: &str,
) -> Failure {
    let message = format!("{}\n{details}", missing.describe(peak_memory_bytes));
    made(FailureClass::Drone, Some(missing.cause), phase, &message)
}

/// Makes a failure from a message, which is shortened.
pub(super) fn made(class: FailureClass, cause: Option<FailureCause>, phase: Phase, message: &str) -> Failure {
    let message = clip(message.trim_end(), TEXT_BYTES).to_owned();
    let signature = signature(message.lines().next().unwrap_or_default());
    Failure { class, cause, phase, signature, message }
}

/// Normalises a line: paths are reduced to their last component, and runs of digits (hexadecimal
/// after `0x`) to `N`.
fn signature(line: &str) -> String {
    let words: Vec<String> = line
        .split_whitespace()
        .map(|word| {
            let word = match word.trim_end_matches('/').rfind('/') {
                Some(at) => &word[at + 1..],
                None => word,
            };
            let mut out = String::new();
            let mut chars = word.chars().filter(|c| !c.is_control()).peekable();
            while let Some(c) = chars.next() {
                if !c.is_ascii_digit() {
                    out.push(c);
                    continue;
                }
                let hex = c == '0' && chars.next_if_eq(&'x').is_some();
                while chars.next_if(|c| c.is_ascii_digit() || (hex && c.is_ascii_hexdigit())).is_some() {}
                out.push('N');
            }
            out
        })
        .collect();
    words.join(" ").chars().take(SIGNATURE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_error_elsewhere_and_later_has_the_same_signature() {
        let one = signature("12:30:59 /var/tmp/a/7/work/src/x.c:31:4: fatal error: cannot open 0x7ffd12ab");
        let two = signature("01:02:03 /tmp/other/99/src/x.c:310:44: fatal error: cannot open 0x55");
        assert_eq!(one, two);
        assert_eq!(one, "N:N:N x.c:N:N: fatal error: cannot open N");
        assert!(signature(&"ä".repeat(5000)).chars().count() <= 200);
    }

    #[test]
    fn a_message_is_bounded_and_never_cut_within_a_character() {
        let failure = of(FailureClass::Package, Phase::Building, "ü".repeat(10_000));
        assert!(failure.message.len() <= TEXT_BYTES);
    }
}

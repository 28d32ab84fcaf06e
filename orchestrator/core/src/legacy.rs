//! Reads what older versions wrote. This is the only module that parses sentences: those of older versions
//! never change, unlike the current ones.

use crate::record::{self, Recorded};
use serde::{Deserialize, Deserializer};
use swarm_common::wire::{concern::Offline, drone::Rejection};

/// The reason why a drone is away, from a version that stored only text.
pub(crate) fn offline(words: &str) -> Offline {
    if let Some(reason) = words.strip_prefix("signed off") {
        return Offline::SignedOff(reason.trim_start_matches(": ").to_owned());
    }
    let seconds = words.strip_prefix("silent for ").and_then(|rest| rest.split(' ').next());
    let seconds = seconds.and_then(|seconds| seconds.parse::<u64>().ok()).unwrap_or_default();
    Offline::Silent { ms: seconds.saturating_mul(1000) }
}

/// Deserialises an [`Offline`] from a saved state of any version.
pub(crate) fn saved_offline<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Offline>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Saved {
        Words(String),
        Fact(record::Offline),
    }
    Ok(Option::<Saved>::deserialize(from)?.map(|saved| match saved {
        Saved::Words(words) => offline(&words),
        Saved::Fact(why) => Offline::restore(why),
    }))
}

/// The signature of a rejection. Versions that stored only text compared the text.
pub(crate) fn rejection_signature(rejection: &Rejection) -> &str {
    if rejection.kind.is_empty() { &rejection.reason } else { &rejection.kind }
}

pub(crate) fn saved_rejection<'de, D: Deserializer<'de>>(from: D) -> Result<Rejection, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Saved {
        Words(String),
        Fact(record::Rejection),
    }
    Ok(match Saved::deserialize(from)? {
        Saved::Words(reason) => Rejection { kind: String::new(), reason },
        Saved::Fact(rejection) => Rejection::restore(rejection),
    })
}

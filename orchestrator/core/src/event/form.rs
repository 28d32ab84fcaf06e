//! The form in which events are written, and its version.

use super::Event;
use crate::{
    reason::Reason,
    record::{Body, EDGES_AS_LISTS, FACTS, versioned},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

impl Event {
    /// The version of the form in which the event is written, if that is not the first.
    fn version(&self) -> Option<u32> {
        match self {
            Self::PlanReceived { .. } => Some(EDGES_AS_LISTS),
            Self::DroneWentOffline { words: None, .. } => Some(FACTS),
            _ => self.reason().and_then(Reason::cause).map(|_| FACTS),
        }
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.version() {
            Some(version) => Versioned { version, event: self }.serialize(to),
            None => Self::serialize(self, to),
        }
    }
}

/// An event with the version of its form.
#[derive(Serialize)]
struct Versioned<'e> {
    version: u32,
    #[serde(flatten, serialize_with = "Event::serialize")]
    event: &'e Event,
}

impl Body for Event {
    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::deserialize(from)
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        versioned(from)
    }
}

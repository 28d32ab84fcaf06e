//! The number of concurrent builds of a drone.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Maximum accepted in the configuration.
pub const MOST: u32 = 64;

/// Maximum chosen by `auto`.
const MOST_AUTO: u32 = 8;

/// Processors and bytes of memory per slot.
const CORES: u32 = 4;
const MEMORY: u64 = 4 << 30;

/// The setting `builder.slots`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slots {
    /// Derived from processors and memory.
    Auto,
    /// A fixed number.
    Number(u32),
}

/// The number of slots for `auto`: one per 4 processors and 4 GiB of memory, from 1 to 8.
#[must_use]
pub fn fitting(cores: u32, memory_bytes: u64) -> u32 {
    // Round to the nearest slot: the kernel reserves some memory, so the reported total is slightly too low.
    let by_memory = u32::try_from((memory_bytes + MEMORY / 2) / MEMORY).unwrap_or(MOST_AUTO);
    (cores / CORES).min(by_memory).clamp(1, MOST_AUTO)
}

impl Serialize for Slots {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Number(number) => serializer.serialize_u32(*number),
        }
    }
}

impl<'de> Deserialize<'de> for Slots {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum RawSlots {
            Number(u32),
            Word(String),
        }
        match RawSlots::deserialize(deserializer) {
            Ok(RawSlots::Number(number)) => Ok(Self::Number(number)),
            Ok(RawSlots::Word(word)) if word == "auto" => Ok(Self::Auto),
            _ => Err(D::Error::custom("slots is neither \"auto\" nor a number")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_follow_from_processors_and_memory() {
        let gib = |n: u64| n << 30;
        // The total memory that a machine with 8 GiB reports.
        let nearly_8 = 8_000_000_000;
        for (cores, memory, slots) in [
            (0, 0, 1),
            (2, gib(64), 1),
            (8, nearly_8, 2),
            (16, gib(2), 1),
            (16, gib(64), 4),
            (128, gib(512), 8),
            (u32::MAX, u64::MAX / 2, 8),
        ] {
            assert_eq!(fitting(cores, memory), slots, "{cores} processors, {memory} bytes");
        }
    }

    #[test]
    fn the_setting_is_auto_or_a_number() {
        #[derive(Deserialize)]
        struct Section {
            slots: Slots,
        }
        let read = |text: &str| toml::from_str::<Section>(text).map(|s| s.slots);
        assert_eq!(read("slots = \"auto\"").unwrap(), Slots::Auto);
        assert_eq!(read("slots = 3").unwrap(), Slots::Number(3));
        for bad in ["slots = \"three\"", "slots = -1", "slots = 1.5", "slots = true"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}

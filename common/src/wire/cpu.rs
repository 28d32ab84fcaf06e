//! A machine's processor, as far as it determines which compiler flags its builds can use.

use serde::{Deserialize, Serialize};

/// No processor has more flags with a Gentoo name.
const MOST_FLAGS: usize = 200;
const LONGEST_FLAG: usize = 32;

/// A processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Cpu {
    /// Such as `GenuineIntel` or `AuthenticAMD`; empty if the kernel does not provide it.
    #[serde(default)]
    pub vendor: String,
    /// The vendor's number of the family.
    #[serde(default)]
    pub family: u32,
    /// The vendor's number of the model in its family.
    #[serde(default)]
    pub model: u32,
    /// The highest x86-64 psABI level that it supports, 1 to 4. None for other architectures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x86_64_level: Option<u8>,
    /// Its features, by the names of Gentoo's `CPU_FLAGS_*`, sorted.
    #[serde(default)]
    pub flags: Vec<String>,
}

impl Cpu {
    /// Whether the values are within the limits for drone reports.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        self.vendor.len() <= LONGEST_FLAG
            && self.flags.len() <= MOST_FLAGS
            && self.flags.iter().all(|flag| flag.len() <= LONGEST_FLAG)
    }
}

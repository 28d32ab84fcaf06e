//! A machine's processor, as far as it determines which compiler flags its builds can use, and what a profile
//! requires of it.

use serde::{Deserialize, Serialize};

/// Limits of a report. No processor has more flags, or longer ones, with a Gentoo name.
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

/// What a processor must support to run what a profile compiles, as far as its settings say. Nothing by default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct CpuNeeds {
    /// The x86-64 psABI level of the compiler flags, 1 to 4. None if they name none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x86_64_level: Option<u8>,
    /// Features by the names of Gentoo's `CPU_FLAGS_*`, sorted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
}

impl CpuNeeds {
    /// Whether every processor satisfies the needs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the values are within the limits for requests.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        are_bounded(&self.flags)
    }

    /// What a processor lacks, such as `x86-64-v3` or `avx2`. The level is not compared if the processor has
    /// none.
    #[must_use]
    pub fn lacking(&self, cpu: &Cpu) -> Vec<String> {
        let level = self.x86_64_level.filter(|level| cpu.x86_64_level.is_some_and(|own| own < *level));
        let flags = self.flags.iter().filter(|flag| !cpu.flags.contains(flag)).cloned();
        level.map(|level| format!("x86-64-v{level}")).into_iter().chain(flags).collect()
    }
}

fn are_bounded(flags: &[String]) -> bool {
    flags.len() <= MOST_FLAGS && flags.iter().all(|flag| flag.len() <= LONGEST_FLAG)
}

impl Cpu {
    /// Whether the values are within the limits for drone reports.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        self.vendor.len() <= LONGEST_FLAG && are_bounded(&self.flags)
    }
}

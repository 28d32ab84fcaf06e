//! Profiles as admins set them, and when their runs start.

use super::{enums, is_default, structs};
use swarm_common::{
    digest::Digest,
    name::Name,
    wire::{admin, calendar, channel, cpu},
};

structs! {
    Profile of admin::ProfileRequest {
        builder: Builder,
        snapshot: Digest,
        source: String,
        #[serde(default, skip_serializing_if = "is_default")]
        base: Option<Name>,
        #[serde(default)]
        rebuild: Rebuild,
        #[serde(default, skip_serializing_if = "is_default")]
        publish: Channel,
        #[serde(default, skip_serializing_if = "is_default")]
        cpu: CpuNeeds,
    }

    /// What packages require of a processor.
    #[derive(Default)]
    #[serde(default)]
    CpuNeeds of cpu::CpuNeeds {
        #[serde(skip_serializing_if = "is_default")]
        x86_64_level: Option<u8>,
        #[serde(skip_serializing_if = "is_default")]
        flags: Vec<String>,
    }

    /// Content that a profile may switch to.
    Candidate of admin::CandidateRequest {
        snapshot: Digest,
        source: String,
    }

    /// When runs start.
    Schedule of calendar::ScheduleRequest {
        cron: String,
        zone: String,
        #[serde(default = "on")]
        enabled: bool,
    }

    /// The timer that updates a profile.
    Timer of calendar::TimerRequest {
        every_ms: u64,
        machine: Name,
    }
}

enums! {
    /// The package manager of a profile.
    #[serde(rename_all = "snake_case")]
    Builder of admin::BuilderKind {
        Portage,
        Nix,
    }

    /// When packages are rebuilt.
    #[derive(Default)]
    #[serde(rename_all = "snake_case")]
    Rebuild of admin::Rebuild {
        #[default]
        Gentoo,
        Strict,
    }

    #[derive(Default)]
    #[serde(rename_all = "snake_case")]
    Channel of channel::ChannelName {
        #[default]
        Stable,
        Staging,
    }
}

fn on() -> bool {
    true
}

//! What a host that builds nothing itself reads to decide whether to switch.

use crate::{digest::Digest, id::RunId, name::Name, time::TimeMs, wire::channel::ChannelName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `GET /binhost/{profile}/ready/{host}`: the system of a NixOS host that can be installed without
/// building anything, and `GET /binhost/{profile}/staging/ready/{host}` that of the staging channel.
/// The file changes only once the whole closure is served and signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The profile.
    pub profile: Name,
    /// The channel.
    #[serde(default, skip_serializing_if = "ChannelName::is_stable")]
    pub channel: ChannelName,
    /// The host.
    pub host: String,
    /// Store path of the system (`config.system.build.toplevel`).
    pub path: String,
    /// The generation of the channel with which this system came. It only increases.
    pub generation: u64,
    /// The run that evaluated it.
    pub run: RunId,
    /// When its closure was complete.
    pub built_at: TimeMs,
    /// The Git commit of the source, if it has one.
    #[serde(default)]
    pub commit: Option<String>,
    /// Digest of the source's `flake.lock`, if it has one. The file is `lock/DIGEST` beside this one's
    /// directory.
    #[serde(default)]
    pub lock: Option<Digest>,
    /// Paths of the closure in this cache. The others come from the profile's upstream caches.
    pub closure_paths: u64,
    /// Their uncompressed size in bytes.
    pub closure_size: u64,
    /// What the closure lacks. Always empty: clients reject a pointer where it is not.
    pub missing: Vec<String>,
    /// Where `kernel`, `kernel-modules`, `initrd`, `systemd`, `init`, `dbus-daemon` and
    /// `dbus.service` of the system lead, as far as that is known: if one of them differs from that
    /// of the booted system, switching takes a reboot.
    pub boot: BTreeMap<String, String>,
    /// A signature of [`Ready::fingerprint`] by each key of the cache: `NAME:BASE64`, as in a
    /// narinfo.
    #[serde(default)]
    pub signatures: Vec<String>,
}

impl Ready {
    /// The text that is signed. The text of a narinfo begins with `1;`, so neither signature is valid for the
    /// other. The text includes the staging channel, because a host on stable must not be given a system from
    /// there.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let Self { profile, channel, host, generation, path, .. } = self;
        let beside = if channel.is_stable() { String::new() } else { format!("/{channel}") };
        format!("swarm-ready-1;{profile}{beside};{host};{generation};{path}")
    }
}

//! The directories of the binary package hosts: one for each channel of a profile and for each run.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use swarm_common::{id::RunId, name::Name, wire::channel::ChannelName};
use tokio::sync::Notify;

#[derive(Debug, Clone)]
pub struct Binhosts {
    dir: PathBuf,
    /// Held while files are placed, switched or removed.
    writing: Arc<Mutex<()>>,
    /// Signals that the files on disk must be checked again.
    doubted: Arc<Notify>,
}

impl Binhosts {
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), writing: Arc::default(), doubted: Arc::default() }
    }

    /// Locks everything below for writing. May block.
    pub fn write(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the publisher compare everything with the state again, and write what differs.
    pub fn doubt(&self) {
        self.doubted.notify_one();
    }

    /// Waits until the files on disk must be checked again.
    pub async fn doubted(&self) {
        self.doubted.notified().await;
    }

    /// The top directory, with a subdirectory for each profile.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The channel from which a profile's workstations install.
    #[must_use]
    pub fn channel(&self, profile: &Name, channel: ChannelName) -> PathBuf {
        self.dir.join(profile.as_str()).join(channel.word())
    }

    /// The channel that most of a profile's workstations use.
    #[must_use]
    pub fn stable(&self, profile: &Name) -> PathBuf {
        self.channel(profile, ChannelName::Stable)
    }

    /// The directory with the channels of a profile's runs.
    #[must_use]
    pub fn runs(&self, profile: &Name) -> PathBuf {
        self.dir.join(profile.as_str()).join("runs")
    }

    /// The channel from which a run's drones install.
    #[must_use]
    pub fn run(&self, profile: &Name, run: RunId) -> PathBuf {
        self.runs(profile).join(run.to_string())
    }
}

//! What all builds of a drone share.

use super::nix::Nix;
use crate::{artifacts::Artifacts, buildroot::layers::Layers};
use std::sync::Arc;
use swarm_client::Client;
use tokio::sync::Mutex;

/// The caches that all builds of a drone share.
#[derive(Clone)]
pub struct Larder {
    /// The orchestrator; `None` for a builder without one, as in tests.
    pub client: Option<Client>,
    /// Package files.
    pub artifacts: Artifacts,
    /// Layers of installed packages.
    pub layers: Layers,
    /// Bases made of an image and additional packages.
    pub bases: Layers,
    /// Held while a layer or base is made; only one is at a time.
    pub making: Arc<Mutex<()>>,
    /// What builds with Nix share.
    pub nix: Nix,
}

impl std::fmt::Debug for Larder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Larder").field("artifacts", &self.artifacts).field("layers", &self.layers).finish()
    }
}

//! State that all builds of a drone share.

use super::nix::Nix;
use crate::{artifacts::Artifacts, buildroot::layers::Layers};
use std::sync::Arc;
use swarm_client::Client;
use tokio::sync::Mutex;

#[derive(Clone)]
pub struct BuildCaches {
    /// The orchestrator; `None` for a builder without one, as in tests.
    pub client: Option<Client>,
    pub artifacts: Artifacts,
    pub layers: Layers,
    /// Bases made from an image and additional packages.
    pub bases: Layers,
    /// Held while a layer or base is made, so that there is only one at a time.
    pub making: Arc<Mutex<()>>,
    /// State shared by builds with Nix.
    pub nix: Nix,
}

impl std::fmt::Debug for BuildCaches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BuildCaches")
            .field("artifacts", &self.artifacts)
            .field("layers", &self.layers)
            .finish()
    }
}

//! The `[signing]` section.

use serde::Deserialize;
use std::path::PathBuf;

/// `[signing]`: OpenPGP signatures of packages, which Portage verifies by default, and the signatures
/// of Nix caches.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Signing {
    /// Whether to sign packages. Default true.
    pub enabled: bool,
    /// The armored secret key, without a passphrase. Created at the first start if missing. Default
    /// `signing-key.asc` in the state directory.
    pub key_file: Option<PathBuf>,
    /// The user ID of a created key. Default `Build Swarm <build-swarm@localhost>`.
    pub user_id: String,
    /// The secret keys for Nix, in the form of `nix-store --generate-binary-cache-key`; all of them
    /// sign. Default: `nix-signing-key` in the state directory, created at the first start.
    pub nix_key_files: Vec<PathBuf>,
}

impl Default for Signing {
    fn default() -> Self {
        let user_id = "Build Swarm <build-swarm@localhost>".into();
        Self { enabled: true, key_file: None, user_id, nix_key_files: Vec::new() }
    }
}

//! Version and commit of the programs.

use serde::{Deserialize, Serialize};

/// The version, with the commit that it was built from if that is known: `0.1.0+0fd4f4d12ab3`.
pub const VERSION: &str = env!("SWARM_VERSION");

/// Response to `GET /version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The version, such as `0.1.0`.
    pub version: String,
    /// The first 12 digits of the commit that it was built from; `None` for a debug build, and for
    /// one without a git repository.
    pub commit: Option<String>,
}

impl Version {
    /// That of this program.
    #[must_use]
    pub fn own() -> Self {
        let commit = option_env!("SWARM_BUILT_FROM").map(str::to_owned);
        Self { version: env!("CARGO_PKG_VERSION").into(), commit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_in_one_word_has_the_commit_behind_a_plus() {
        let own = Version::own();
        let commit = own.commit.iter().map(|commit| format!("+{commit}"));
        assert_eq!(VERSION, own.version + &commit.collect::<String>());
    }
}

//! Version and commit of the programs.

use swarm_common::wire::version::Version;

/// The version with the commit that it was built from, if known: `0.1.0+0fd4f4d12ab3`.
pub const VERSION: &str = env!("SWARM_VERSION");

/// The version of this program.
#[must_use]
pub fn own() -> Version {
    let commit = option_env!("SWARM_BUILT_FROM").map(str::to_owned);
    Version { version: env!("CARGO_PKG_VERSION").into(), commit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_in_one_word_has_the_commit_behind_a_plus() {
        let own = own();
        let commit = own.commit.iter().map(|commit| format!("+{commit}"));
        assert_eq!(VERSION, own.version + &commit.collect::<String>());
    }
}

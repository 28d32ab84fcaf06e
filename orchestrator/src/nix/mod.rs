//! Code that only Nix needs: reading uploaded archives ([`archive`]), what they may refer to ([`run_paths`],
//! [`upstream`]), what plans expect from other caches ([`available`]), and data stored about archives
//! ([`stored`], [`listings`]).

pub mod archive;
pub mod available;
pub mod listing;
pub mod listings;
mod netrc;
pub mod reference_scanner;
pub mod run_paths;
pub mod stored;
pub mod upstream;

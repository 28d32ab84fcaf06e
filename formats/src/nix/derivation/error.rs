//! Errors of reading and verifying derivations.

use crate::nix::store_path::{StorePath, StorePathError};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DerivationError {
    /// A limit was exceeded.
    #[error("the derivation is too large: {what} exceeds the limit of {limit}")]
    TooLarge {
        /// The quantity that is limited.
        what: &'static str,
        limit: usize,
    },
    /// The file has a syntax error.
    #[error("not a sound derivation: {reason} (byte {at})")]
    Malformed {
        /// The byte offset.
        at: usize,
        reason: &'static str,
    },
    /// A path or an output's name is invalid.
    #[error("not a sound derivation: {error} (byte {at})")]
    Path {
        /// The byte offset.
        at: usize,
        #[source]
        error: StorePathError,
    },
    /// The derivation is of an experimental kind.
    #[error("output `{output}` is {kind}, which is not supported")]
    Unsupported { output: String, kind: &'static str },
    /// Nix would write the same derivation differently: items are unsorted or duplicated, or a string is
    /// escaped in another way.
    #[error("the derivation is not written as Nix writes it")]
    NotCanonical,
}

/// Why a derivation's paths are wrong or cannot be verified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The path does not end in `.drv`.
    #[error("`{0}` is not the path of a derivation")]
    NotDerivation(StorePath),
    /// The `.drv` file is not at the path that is computed from its text.
    #[error("the path of the derivation is `{expected}`, not `{path}`")]
    Path { path: StorePath, expected: StorePath },
    /// An output's path is not the computed one.
    #[error("the path of output `{output}` is `{expected}`, not `{path}`")]
    Output { output: String, path: StorePath, expected: StorePath },
    /// The environment gives the builder another path for this output.
    #[error("environment variable `{0}` is not the path of the output with that name")]
    Environment(String),
    /// A fixed output is not the only output, or is not called `out`.
    #[error("a fixed-output derivation has exactly one output, `out`")]
    FixedOutputs,
    /// The hash of this input is missing.
    #[error("input `{0}` has not been verified")]
    Input(StorePath),
    #[error(transparent)]
    Name(#[from] StorePathError),
}

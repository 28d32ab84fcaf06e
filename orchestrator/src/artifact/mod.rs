//! Package files: intake and store.

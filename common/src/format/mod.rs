//! Package formats.

//! The OpenPGP key and what it signs.

//! Writing the binary package host.

//! Exit codes that the programs share, from sysexits.h.

/// A disk or another system resource failed (`EX_IOERR`).
pub const EXIT_IO: u8 = 74;

/// The orchestrator refused the program for good (`EX_NOPERM`).
pub const EXIT_REFUSED: u8 = 77;

/// The configuration is invalid (`EX_CONFIG`).
pub const EXIT_CONFIG: u8 = 78;

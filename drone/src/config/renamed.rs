//! The environment variables of the settings, and those that used to be plain numbers with their unit in
//! the name, with their names of today.

use swarm_daemon::{
    config::{Program, Renamed, Unit},
    telemetry,
};

/// What sets the drone's settings besides files, and their old names.
pub const PROGRAM: Program = Program { variables: "SWARM_DRONE__", renamed: RENAMED };

/// All of the drone's configuration file.
pub const RENAMED: &[&[Renamed]] = &[
    &Renamed::in_section(
        "",
        Unit::Seconds,
        [
            ("drain_timeout_s", "drain_timeout"),
            ("blocked_timeout_s", "blocked_timeout"),
            ("heartbeat_s", "heartbeat"),
        ],
    ),
    telemetry::RENAMED,
    &Renamed::in_section(
        "builder",
        Unit::Gibibytes,
        [("layers_max_gib", "layers_max"), ("bases_max_gib", "bases_max")],
    ),
    &Renamed::in_section(
        "builder",
        Unit::Mebibytes,
        [("memory_max_mib", "memory_max"), ("disk_max_mib", "disk_max")],
    ),
    &Renamed::in_section("builder", Unit::Seconds, [("grace_seconds", "grace")]),
    &Renamed::in_section("builder.nix", Unit::Gibibytes, [("max_gib", "store_max")]),
    &Renamed::in_section("builder.nix", Unit::Mebibytes, [("evaluation_memory_mib", "evaluation_memory")]),
    &Renamed::in_section("builder.nix", Unit::Seconds, [("evaluation_timeout_s", "evaluation_timeout")]),
];

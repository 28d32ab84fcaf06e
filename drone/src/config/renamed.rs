//! Settings that used to be plain numbers with the unit in the name, and their current names.

use swarm_daemon::{
    config::{Renamed, Unit},
    telemetry,
};

/// All renamed settings of the drone's configuration file.
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

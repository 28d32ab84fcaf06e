//! The environment variables of the settings, and those that used to be plain numbers with their unit in
//! the name, with their names of today.

use swarm_daemon::{
    config::{Program, Renamed, Unit},
    telemetry,
};

/// What sets the orchestrator's settings besides files, and their old names.
pub const PROGRAM: Program = Program { variables: "SWARM_ORCHESTRATOR__", renamed: RENAMED };

/// All of the orchestrator's configuration file.
pub const RENAMED: &[&[Renamed]] = &[
    &Renamed::in_section("journal", Unit::Milliseconds, [("lock_ms", "lock_timeout")]),
    telemetry::RENAMED,
    &Renamed::in_section("build_logs", Unit::Days, [("days_kept", "max_age")]),
    &Renamed::in_section("build_logs", Unit::Bytes, [("total_bytes", "total_size")]),
    &Renamed::in_section("notify", Unit::Milliseconds, [("window_ms", "window")]),
    &LIMIT_TIMES,
    &LIMIT_SIZES,
    &POLICY_TIMES,
    &Renamed::in_section("policy", Unit::Bytes, [("log_bytes", "log_size")]),
    &HEALING_TIMES,
];

const LIMIT_TIMES: [Renamed; 4] = Renamed::in_section(
    "limits",
    Unit::Milliseconds,
    [
        ("header_ms", "header_timeout"),
        ("body_idle_ms", "body_idle_timeout"),
        ("publish_wait_ms", "publish_wait"),
        ("drain_ms", "drain_timeout"),
    ],
);

const LIMIT_SIZES: [Renamed; 7] = Renamed::in_section(
    "limits",
    Unit::Bytes,
    [
        ("plan_bytes", "plan_size"),
        ("log_piece_bytes", "log_piece_size"),
        ("upload_bytes", "upload_size"),
        ("attempt_bytes", "attempt_size"),
        ("index_bytes", "index_size"),
        ("snapshot_bytes", "snapshot_size"),
        ("image_bytes", "image_size"),
    ],
);

const POLICY_TIMES: [Renamed; 14] = Renamed::in_section(
    "policy",
    Unit::Milliseconds,
    [
        ("lease_ms", "lease"),
        ("offline_after_ms", "offline_after"),
        ("startup_grace_ms", "startup_grace"),
        ("ground_ms", "ground"),
        ("ground_max_ms", "ground_max"),
        ("fetch_patience_ms", "fetch_patience"),
        ("backoff_ms", "backoff"),
        ("backoff_max_ms", "backoff_max"),
        ("pause_max_ms", "pause_max"),
        ("due_grace_ms", "due_grace"),
        ("idle_alarm_ms", "idle_alarm"),
        ("live_max_age_ms", "live_max_age"),
        ("build_timeout_ms", "build_timeout"),
        ("silence_timeout_ms", "silence_timeout"),
    ],
);

const HEALING_TIMES: [Renamed; 7] = Renamed::in_section(
    "healing",
    Unit::Milliseconds,
    [
        ("connect_ms", "connect_timeout"),
        ("exec_ms", "exec_timeout"),
        ("step_ms", "step_timeout"),
        ("patience_ms", "patience"),
        ("recover_ms", "recover_timeout"),
        ("reboot_ms", "reboot_timeout"),
        ("calm_ms", "calm"),
    ],
);

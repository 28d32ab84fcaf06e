//! Enumerations of states and outcomes. Each has the same words in the core, in JSON, in `swarmctl`
//! and in logs.

use serde::{Deserialize, Serialize};
use std::fmt;

// `$word` is a `tt` instead of a `literal` so that derives can read it within `rename`, and the schema has
// the words of the wire format.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:tt,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// All values, in order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word used in JSON, logs and on screen.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.word())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|v| v.word() == text).ok_or_else(|| {
                    let all: Vec<_> = Self::ALL.iter().map(|v| v.word()).collect();
                    format!("`{text}` is not one of {}", all.join(", "))
                })
            }
        }
    };
}

pub(crate) use words;

words! {
    /// State of a package in its run.
    PackageState {
        /// Waits for a dependency.
        Blocked = "blocked",
        /// May be claimed.
        Needed = "needed",
        /// A drone has it.
        Delegated = "delegated",
        /// A verified artifact is stored.
        Received = "received",
        /// Judged broken or untrustworthy.
        Quarantined = "quarantined",
        /// Its run was cancelled.
        Cancelled = "cancelled",
    }
}

words! {
    /// State of a drone.
    DroneState {
        /// Enrolled, not yet approved by an admin.
        Pending = "pending",
        /// Heard from lately; may be given work.
        Online = "online",
        /// Finishes what it has and is given nothing more.
        Draining = "draining",
        /// Too many strikes: no work until the grounding ends.
        Grounded = "grounded",
        /// Silent for too long; comes back by itself.
        Offline = "offline",
        /// Healing gave up; an admin must act.
        Lost = "lost",
    }
}

words! {
    /// The phase of an attempt.
    Phase {
        /// Handed to the drone.
        Assigned = "assigned",
        /// Making the build root, installing dependencies.
        Preparing = "preparing",
        /// Fetching sources.
        Fetching = "fetching",
        /// Configuring, compiling, testing.
        Building = "building",
        /// Installing into the image and packing it.
        Packaging = "packaging",
        /// Sending the package.
        Uploading = "uploading",
        /// The orchestrator checks it.
        Verifying = "verifying",
    }
}

words! {
    /// Whose fault a failed attempt is, according to its evidence.
    FailureClass {
        /// The build itself failed.
        Package = "package",
        /// The drone's machine: disk full, killed for memory, broken toolchain.
        Drone = "drone",
        /// Fetching, the binary package host or the upload failed.
        Infra = "infra",
        /// The build took too long, or printed nothing for too long.
        Timeout = "timeout",
        /// The lease ran out.
        Lost = "lost",
        /// Stopped on request.
        Cancelled = "cancelled",
    }
}

words! {
    /// The missing resource of an attempt, if the drone is certain.
    FailureCause {
        /// Out of memory: the kernel killed a process of the build, or an allocation failed.
        OutOfMemory = "out_of_memory",
        /// The disk that is built on is full.
        DiskFull = "disk_full",
        /// A tool that every build needs is missing, such as the compiler.
        MissingToolchain = "missing_toolchain",
        /// No mirror could provide a source file.
        SourceMissing = "source_missing",
        /// A source file that was fetched is not the one that the repository's Manifest names.
        SourceMismatch = "source_mismatch",
        /// The package links a library that none of its run-time dependencies provides.
        SonameMissing = "soname_missing",
    }
}

words! {
    /// How an attempt ended.
    AttemptOutcome {
        /// Its result was accepted.
        Built = "built",
        /// It failed.
        Failed = "failed",
        /// Its result was rejected.
        Rejected = "rejected",
        /// Its drone returned it.
        HandedBack = "handed_back",
        /// Its lease was not renewed.
        Lost = "lost",
        /// Another attempt delivered first.
        Superseded = "superseded",
        /// Its run was cancelled.
        Cancelled = "cancelled",
    }
}

words! {
    /// State of a run.
    RunState {
        /// The resolver is at work, or waits for a drone.
        Planning = "planning",
        /// Packages are being built.
        Building = "building",
        /// Every package was received.
        Succeeded = "succeeded",
        /// Ended, but some packages are quarantined or the resolver refused some.
        Partial = "partial",
        /// No plan could be made.
        Failed = "failed",
        /// Stopped by an admin.
        Cancelled = "cancelled",
    }
}

words! {
    /// Priority of a run. Earlier classes go first.
    RunClass {
        /// A person is waiting.
        Interactive = "interactive",
        /// A security update.
        Security = "security",
        /// The nightly world update.
        Nightly = "nightly",
    }
}

words! {
    /// What a line of `why` is about.
    #[derive(Default)]
    WhyTopic {
        /// The package's state.
        State = "state",
        /// The reason for the state.
        Reason = "reason",
        /// The package's inputs, and which of them have changed.
        Inputs = "inputs",
        /// An attempt at it.
        Attempt = "attempt",
        /// A package that it waits for.
        Cause = "cause",
        /// Number of packages that wait for it.
        Dependants = "dependants",
        /// How the state will end.
        Ending = "ending",
        /// What a newer run does with it.
        NewerRun = "newer_run",
        /// A topic that only a newer version knows.
        #[default]
        Other = "other",
    }
}

words! {
    /// A step of healing a silent drone.
    HealStep {
        /// Ask the machine for its identity.
        Probe = "probe",
        /// Restart the service.
        Restart = "restart",
        /// Kill the service and start it.
        Kill = "kill",
        /// Reboot the machine.
        Reboot = "reboot",
    }
}

words! {
    /// How a step of healing ended.
    HealOutcome {
        /// It succeeded.
        Done = "done",
        /// The command exited with an error.
        Failed = "failed",
        /// The connection was refused.
        Refused = "refused",
        /// The machine did not answer in time.
        TimedOut = "timed_out",
        /// The connection broke while the command ran.
        CutOff = "cut_off",
        /// The command did not end in time.
        Hung = "hung",
        /// The machine answers after the reboot, but its boot ID has not changed.
        SameBoot = "same_boot",
        /// The orchestrator stopped meanwhile, so the outcome is unknown.
        Unseen = "unseen",
        /// The machine's host key is not in `known_hosts`.
        UnknownKey = "unknown_key",
        /// The machine's host key differs from the one in `known_hosts`.
        ChangedKey = "changed_key",
        /// The machine does not accept our key, or we have none.
        LoginDenied = "login_denied",
        /// The address answers, but as another machine.
        OtherMachine = "other_machine",
        /// Neither systemd nor OpenRC runs there.
        NoService = "no_service",
    }
}

impl HealOutcome {
    /// Whether the machine was not reached: it or the network path to it is down.
    #[must_use]
    pub fn is_absent(self) -> bool {
        matches!(self, Self::Refused | Self::TimedOut)
    }

    /// Whether only a person can resolve the outcome, so that healing must leave the machine alone.
    #[must_use]
    pub fn is_hands_off(self) -> bool {
        matches!(
            self,
            Self::UnknownKey | Self::ChangedKey | Self::LoginDenied | Self::OtherMachine | Self::NoService
        )
    }
}

words! {
    /// The kind of client of a connection.
    Caller {
        /// Not identified yet.
        Stranger = "stranger",
        /// A client that fetched published files.
        Workstation = "workstation",
        /// A drone, identified by its credential.
        Drone = "drone",
        /// An admin, identified by the token, or a client that reads the metrics.
        Admin = "admin",
    }
}

words! {
    /// Severity of a concern or message.
    Severity {
        /// Good to know.
        Info = "info",
        /// Something is wrong; other work continues.
        Warning = "warning",
        /// Work has stopped, or an admin must act.
        Critical = "critical",
    }
}

impl RunState {
    /// Whether the run has ended.
    #[must_use]
    pub fn is_over(self) -> bool {
        !matches!(self, Self::Planning | Self::Building)
    }
}

impl PackageState {
    /// Whether only an admin or a newer plan can change the package's state.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Received | Self::Quarantined | Self::Cancelled)
    }
}

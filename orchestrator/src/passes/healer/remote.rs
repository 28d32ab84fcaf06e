//! The commands that healing runs on a machine and their results; the interface that [`mod@super::ssh`]
//! implements.
//!
//! These are the only commands. They are constants, so data from the network can never become part
//! of one.

use crate::config::{Host, ServiceManager};
use swarm_common::state::HealOutcome;

/// Exit code of the scripts if no service manager is found.
pub const NO_SERVICE: u32 = 113;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// Print the machine's identity: `machine=` and `boot=`, one per line.
    WhoAreYou,
    Restart(ServiceManager),
    /// Kill the service and all its processes, then start it.
    KillAndStart(ServiceManager),
    Reboot,
}

// The script is one single-quoted argument of `sh`, because the login shell may be a different one. sshd's
// PATH may lack the sbin directories.
macro_rules! script {
    ($($part:expr),+) => {
        concat!(
            "exec sh -c 'PATH=$PATH:/usr/sbin:/sbin; r=; [ \"$(id -u)\" = 0 ] || r=\"sudo -n\"; ",
            $($part),+,
            "'"
        )
    };
}

macro_rules! by_manager {
    ($systemd:expr, $openrc:expr) => {
        script!(
            "if [ -d /run/systemd/system ]; then ",
            $systemd,
            "; elif command -v rc-service >/dev/null 2>&1; then ",
            $openrc,
            "; else echo \"neither systemd nor OpenRC runs there\" >&2; exit 113; fi"
        )
    };
}

macro_rules! systemd_restart {
    () => {
        "exec $r systemctl restart swarm-drone.service"
    };
}

macro_rules! openrc_restart {
    () => {
        "exec $r rc-service swarm-drone restart"
    };
}

macro_rules! systemd_kill {
    () => {
        "$r systemctl kill --signal=KILL swarm-drone.service; \
         $r systemctl reset-failed swarm-drone.service; \
         exec $r systemctl restart swarm-drone.service"
    };
}

// Kills everything in the service's cgroup, if OpenRC has one; then the supervisor, which would start another
// drone; and then the drone, whatever its parent is by now. The drone's builds end with it.
macro_rules! openrc_kill {
    () => {
        "c=/sys/fs/cgroup/openrc.swarm-drone/cgroup.kill; \
         [ ! -e $c ] || echo 1 | $r tee $c >/dev/null; \
         p=$(cat /run/supervise-swarm-drone.pid 2>/dev/null) && $r kill -KILL \"$p\" 2>/dev/null; \
         $r pkill -KILL -x swarm-drone; \
         $r rc-service swarm-drone zap; \
         exec $r rc-service swarm-drone start"
    };
}

impl Script {
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::WhoAreYou => script!(
                "echo \"machine=$(cat /etc/machine-id)\"; \
                 echo \"boot=$(cat /proc/sys/kernel/random/boot_id)\""
            ),
            Self::Restart(ServiceManager::Systemd) => script!(systemd_restart!()),
            Self::Restart(ServiceManager::Openrc) => script!(openrc_restart!()),
            Self::Restart(ServiceManager::Auto) => by_manager!(systemd_restart!(), openrc_restart!()),
            Self::KillAndStart(ServiceManager::Systemd) => script!(systemd_kill!()),
            Self::KillAndStart(ServiceManager::Openrc) => script!(openrc_kill!()),
            Self::KillAndStart(ServiceManager::Auto) => by_manager!(systemd_kill!(), openrc_kill!()),
            Self::Reboot => script!(
                "if [ -d /run/systemd/system ]; then exec $r systemctl reboot; else exec $r reboot; fi"
            ),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Fault {
    pub outcome: HealOutcome,
    pub detail: String,
}

impl Fault {
    pub fn new(outcome: HealOutcome, detail: impl Into<String>) -> Self {
        Self { outcome, detail: detail.into() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub code: u32,
    /// The beginning of its standard output.
    pub output: String,
    /// The beginning of its standard error.
    pub errors: String,
}

pub trait Remote: Send + Sync + 'static {
    /// A connection to a machine that has a known host key and has accepted the login.
    type Session: Session;

    /// Logs in.
    ///
    /// # Errors
    /// The machine cannot be reached, has an unexpected host key, or refuses the login.
    fn open(&self, host: &Host) -> impl Future<Output = Result<Self::Session, Fault>> + Send;
}

pub trait Session: Send {
    /// Runs a command and waits for it to end.
    ///
    /// # Errors
    /// It did not end in time, or the connection broke.
    fn run(&mut self, script: Script) -> impl Future<Output = Result<Ended, Fault>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Script; 8] = [
        Script::WhoAreYou,
        Script::Restart(ServiceManager::Auto),
        Script::Restart(ServiceManager::Openrc),
        Script::Restart(ServiceManager::Systemd),
        Script::KillAndStart(ServiceManager::Auto),
        Script::KillAndStart(ServiceManager::Openrc),
        Script::KillAndStart(ServiceManager::Systemd),
        Script::Reboot,
    ];

    #[test]
    fn every_script_is_one_quoted_argument_that_a_shell_can_read() {
        for script in ALL {
            let text = script.text();
            assert_eq!(text.matches('\'').count(), 2, "{text}");
            let checked = std::process::Command::new("sh").args(["-n", "-c", text]).status().unwrap();
            let inner = text.strip_prefix("exec sh -c '").and_then(|t| t.strip_suffix('\'')).unwrap();
            let inside = std::process::Command::new("sh").args(["-n", "-c", inner]).status().unwrap();
            assert!(checked.success() && inside.success(), "{text}");
        }
    }

    #[test]
    fn the_exit_code_for_no_service_manager_is_the_one_in_the_scripts() {
        assert!(Script::Restart(ServiceManager::Auto).text().contains(&format!("exit {NO_SERVICE}")));
    }
}

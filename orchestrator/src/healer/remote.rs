//! What healing says to a machine, and what may come back: the seam to SSH.
//!
//! The commands are these and no others. They are constants, so nothing that came over the
//! network can ever be part of one.

use super::config::{Host, ServiceManager};
use swarm_common::state::HealOutcome;

/// Exit code of our scripts when no service manager is there.
pub const NO_SERVICE: u32 = 113;

/// One of the commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// Who the machine is: `machine=` and `boot=`, one a line.
    WhoAreYou,
    /// Restart the service.
    Restart(ServiceManager),
    /// Kill the service and all it started, then start it.
    KillAndStart(ServiceManager),
    /// Reboot the machine.
    Reboot,
}

// In one quoted argument of `sh`, as the login shell may be another one. sshd's PATH may lack
// the directories of administration.
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

// The supervisor, which would start another, then the drone, whoever is its parent by now; and where
// OpenRC has a cgroup for the service, all in it. The builds of a drone end with it.
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
    /// The command line.
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

/// Why something did not come about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Fault {
    /// Which kind.
    pub outcome: HealOutcome,
    /// In one line.
    pub detail: String,
}

impl Fault {
    /// A fault of this kind.
    pub fn new(outcome: HealOutcome, detail: impl Into<String>) -> Self {
        Self { outcome, detail: detail.into() }
    }
}

/// A command that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code.
    pub code: u32,
    /// The beginning of what it wrote.
    pub output: String,
    /// The beginning of its errors.
    pub errors: String,
}

/// The way to machines.
pub trait Remote: Send + Sync + 'static {
    /// A machine that has let us in and has the host key that we know.
    type Session: Session;

    /// Logs in.
    ///
    /// # Errors
    /// It cannot be reached, is not the one that we know, or does not let us in.
    fn open(&self, host: &Host) -> impl Future<Output = Result<Self::Session, Fault>> + Send;
}

/// A machine that has let us in.
pub trait Session: Send {
    /// Runs a command and waits for its end.
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

//! A machine with a real sshd, in its own namespaces. It has its own machine ID, boot ID and `/run`, and it
//! really reboots (`reboot(2)` ends its PID namespace, which is then started again as by a power supply).
//! Only its service manager is a script, because systemd cannot restart a service that this machine does not
//! have.
//!
//! Requires root, `sshd`, `busybox` and util-linux.

use crate::e2e::{process::Process, wait};
use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use swarm_core::policy::RebootRule;
use swarm_orchestrator::{
    config::{Host, ServiceManager},
    passes::healer::ssh::Ssh,
};
use tempfile::TempDir;

/// Upper limit for everything that must not take long, enough for a busy machine.
pub const LIMIT: Duration = Duration::from_secs(60);

/// The service manager of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Init {
    /// `/run/systemd/system` exists.
    Systemd,
    /// `/run/systemd/system` does not exist, but `rc-service` does.
    Openrc,
    /// Neither exists.
    None,
}

pub struct Machine {
    /// Port of its sshd on 127.0.0.1.
    pub port: u16,
    pub machine_id: String,
    dir: TempDir,
    process: Process,
}

/// Runs as PID 1 of the machine. `$1` is its directory.
const BOOT: &str = r#"set -e
mount --make-rprivate /
mount --bind "$1/machine-id" /etc/machine-id
mount --bind "$1/boot-id" /proc/sys/kernel/random/boot_id
mount -t tmpfs tmpfs /run
mkdir -p /run/sshd
[ "$(cat "$1/init")" != systemd ] || mkdir -p /run/systemd/system
# Debian can have OpenRC beside systemd. What is no regular file is no command.
for real in /sbin/rc-service /usr/sbin/rc-service /bin/rc-service /usr/bin/rc-service; do
	[ ! -f "$real" ] || mount --bind /dev/null "$real"
done
exec "$SSHD" -D -e -f "$1/sshd_config"
"#;

/// The power supply. Boots the machine again after a reboot (the init of a PID namespace in which reboot(2)
/// was called is ended by SIGHUP), and stays off after any other end.
const POWER: &str = r#"while :; do
	cat /proc/sys/kernel/random/uuid >"$1/boot-id"
	unshare --mount --pid --fork --mount-proc --kill-child sh "$1/boot.sh" "$1"
	[ $? = 129 ] || exit 0
	[ ! -e "$1/stays-off" ] || exit 0
done
"#;

/// `systemctl` and `rc-service`. Records how it was called, and does what `$DIR/does` says.
const SERVICE_MANAGER: &str = r#"#!/bin/sh
echo "$(basename "$0") $*" >>DIR/asked
case $(cat DIR/does 2>/dev/null) in
	'') exit 0 ;;
	hang) exec sleep 1000 ;;
	cut) kill -9 $PPID; exec sleep 1000 ;;
	*) echo "Job for swarm-drone.service failed." >&2; exit "$(cat DIR/does)" ;;
esac
"#;

impl Machine {
    /// Boots a machine and waits until its sshd answers.
    ///
    /// # Errors
    /// A requirement is missing, or the machine does not come up.
    pub fn boot(init: Init) -> Result<Self> {
        ensure!(rustix::process::geteuid().is_root(), "this test makes namespaces: run it as root");
        let dir = tempfile::tempdir()?;
        let at = |name: &str| dir.path().join(name);
        let sshd = ["/usr/sbin/sshd", "/usr/bin/sshd"].into_iter().find(|path| Path::new(path).exists());
        let sshd = sshd.context("sshd is missing: apt-get install openssh-server (scripts/test does)")?;
        ensure!(
            Path::new("/etc/machine-id").exists(),
            "/etc/machine-id is missing: systemd-machine-id-setup"
        );
        let port = free_port()?;
        let machine_id = fs::read_to_string("/proc/sys/kernel/random/uuid")?.trim().replace('-', "");
        fs::write(at("machine-id"), format!("{machine_id}\n"))?;
        fs::write(at("boot-id"), "")?;
        fs::write(at("init"), if init == Init::Systemd { "systemd" } else { "" })?;
        fs::write(at("boot.sh"), BOOT)?;
        fs::write(at("power.sh"), POWER)?;
        for key in ["host_key", "user_key"] {
            keygen(&at(key))?;
        }
        fs::copy(at("user_key.pub"), at("authorized_keys"))?;
        let bin = at("bin");
        fs::create_dir(&bin)?;
        let manager = SERVICE_MANAGER.replace("DIR", &dir.path().display().to_string());
        let names = match init {
            Init::Systemd => &["systemctl"][..],
            Init::Openrc => &["rc-service"],
            Init::None => &[],
        };
        for name in names {
            program(&bin.join(name), &manager)?;
        }
        program(&bin.join("reboot"), "#!/bin/sh\nexec busybox reboot -f\n")?;
        let dir_name = dir.path().display();
        fs::write(
            at("sshd_config"),
            format!(
                "Port {port}\nListenAddress 127.0.0.1\nHostKey {dir_name}/host_key\n\
                 AuthorizedKeysFile {dir_name}/authorized_keys\nUsePAM no\nStrictModes no\n\
                 PermitRootLogin prohibit-password\nPidFile none\nUseDNS no\n\
                 SetEnv PATH={dir_name}/bin:/usr/bin:/bin\n"
            ),
        )?;
        let power = [at("power.sh"), dir.path().to_owned()];
        let process = Process::start(Command::new("sh").args(power).env("SSHD", sshd), &at("sshd.log"))?;
        let machine = Self { port, machine_id, dir, process };
        machine.await_sshd()?;
        machine.trust("host_key.pub")?;
        Ok(machine)
    }

    fn await_sshd(&self) -> Result<()> {
        let answers = || {
            let stream = std::net::TcpStream::connect(("127.0.0.1", self.port));
            Ok(stream.is_ok().then_some(()))
        };
        wait::until("sshd answers", LIMIT, answers)
            .with_context(|| format!("the machine said: {}", self.process.output()))
    }

    /// The path of one of the machine's files.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a public key to the known hosts as this machine's key.
    ///
    /// # Errors
    /// There is no such key.
    pub fn trust(&self, public_key: &str) -> Result<()> {
        let key = fs::read_to_string(self.file(public_key))?;
        Ok(fs::write(self.file("known_hosts"), format!("[127.0.0.1]:{} {key}", self.port))?)
    }

    /// Creates another key pair beside the machine's own.
    ///
    /// # Errors
    /// `ssh-keygen` fails.
    pub fn other_key(&self) -> Result<()> {
        keygen(&self.file("other_key"))
    }

    /// The settings of the SSH client.
    #[must_use]
    pub fn ssh(&self) -> Ssh {
        Ssh {
            known_hosts: self.file("known_hosts"),
            key_file: self.file("user_key"),
            connect: LIMIT,
            exec: LIMIT,
        }
    }

    /// The machine as in the configuration.
    #[must_use]
    pub fn host(&self) -> Host {
        Host {
            address: "127.0.0.1".into(),
            port: self.port,
            user: "root".into(),
            reboot: RebootRule::Allow,
            protected: false,
            service: ServiceManager::Auto,
        }
    }

    /// Sets what its service manager does from now on: nothing, `hang`, `cut`, or an exit code.
    ///
    /// # Errors
    /// The disk fails.
    pub fn manager_does(&self, what: &str) -> Result<()> {
        Ok(fs::write(self.file("does"), what)?)
    }

    /// The calls of its service manager so far, one per line.
    #[must_use]
    pub fn asked(&self) -> String {
        fs::read_to_string(self.file("asked")).unwrap_or_default()
    }

    #[must_use]
    pub fn boot_id(&self) -> String {
        fs::read_to_string(self.file("boot-id")).unwrap_or_default().trim().to_owned()
    }

    /// Stops or continues its sshd. The kernel accepts connections meanwhile.
    ///
    /// # Errors
    /// sshd is not running.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        let signal = if frozen { Signal::STOP } else { Signal::CONT };
        let child = |of: u32| -> Result<u32> {
            let path = format!("/proc/{of}/task/{of}/children");
            let children = fs::read_to_string(&path).with_context(|| path.clone())?;
            Ok(children.split_whitespace().next().context("no child")?.parse()?)
        };
        let sshd = child(child(self.process.id())?)?;
        let pid = Pid::from_raw(i32::try_from(sshd)?).context("no process id")?;
        Ok(kill_process(pid, signal)?)
    }
}

fn keygen(path: &Path) -> Result<()> {
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).output();
    let made = made.context("ssh-keygen is missing: apt-get install openssh-client")?;
    ensure!(made.status.success(), "ssh-keygen: {}", String::from_utf8_lossy(&made.stderr));
    Ok(())
}

fn program(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

/// A port that is currently free.
///
/// # Errors
/// There is none.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

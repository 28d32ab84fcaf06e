//! A machine made by `machine.sh`. Dropping it stops it.

use anyhow::{Context, Result, bail, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use tempfile::TempDir;

use crate::e2e::{
    process::Process,
    programs::{part, program, repository},
    wait,
    workstation::text,
};

/// Upper limit for booting, enough for a busy real machine.
const BOOT: Duration = Duration::from_secs(60);

/// The first process of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Init {
    Systemd,
    /// A shell that reaps processes, with OpenRC's services above it, as with sysvinit or busybox.
    OpenRc,
}

#[derive(Debug)]
pub struct Machine {
    // Dropped in this order: the processes before their files.
    outside: Process,
    /// PID of the machine's first process on the real machine.
    first: u32,
    name: String,
    pub init: Init,
    _folder: TempDir,
}

impl Machine {
    /// Boots a machine with the services installed and waits until it is up.
    ///
    /// # Errors
    /// The real machine lacks a requirement; the error says which.
    pub fn boot(init: Init) -> Result<Self> {
        Self::boot_with(init, &[])
    }

    /// Boots a machine that has the programs in `/usr/bin` but none of their services, users and files.
    ///
    /// # Errors
    /// As [`Machine::boot`].
    pub fn bare(init: Init) -> Result<Self> {
        Self::boot_with(init, &[("BARE", "yes")])
    }

    fn boot_with(init: Init, environment: &[(&str, &str)]) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        check_this_machine(init)?;
        let name = format!("swarm-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = tempfile::tempdir()?;
        let programs = program("swarmctl")?.parent().context("a program without a folder")?.to_owned();
        let mut command = Command::new("bash");
        command.arg(part("tests/src/services/machine.sh")).arg(folder.path().join("disk"));
        fs::create_dir(folder.path().join("disk"))?;
        command.env("MACHINE", &name).env("REPOSITORY", repository()).env("PROGRAMS", programs);
        command.envs(environment.iter().copied());
        match init {
            Init::Systemd => {
                let systemd = ["/lib/systemd/systemd", "--system", "--unit=basic.target"];
                command.args(systemd).arg("--log-target=journal").env("container", "build-swarm-test")
            }
            Init::OpenRc => command.args(["bash", "-c", "while :; do sleep 1 & wait; done"]),
        };
        let outside = Process::start(&mut command, &folder.path().join("console"))?;
        let mut machine = Self { outside, first: 0, name, init, _folder: folder };
        let up = wait::until("the machine is up", BOOT, || {
            if let Some(status) = machine.outside.ended()? {
                bail!(
                    "the machine does not boot ({status}); it takes mount, pid, net and cgroup namespaces and overlayfs"
                );
            }
            machine.look()
        });
        up.with_context(|| machine.outside.output())?;
        Ok(machine)
    }

    /// Returns something once the machine is up.
    fn look(&mut self) -> Result<Option<()>> {
        let outside = self.outside.id();
        let children = fs::read_to_string(format!("/proc/{outside}/task/{outside}/children"))?;
        let Some(first) = children.split_whitespace().next() else { return Ok(None) };
        self.first = first.parse()?;
        // Until then, its files are still those of the real machine, to which nobody may write.
        if !self.path("/run/machine-is-made").exists() {
            return Ok(None);
        }
        Ok(match self.init {
            Init::Systemd => {
                let state = self.run(&["systemctl", "is-system-running"])?;
                text(&state).starts_with("running").then_some(())
            }
            Init::OpenRc => Some(()),
        })
    }

    /// Connects it to another machine with a pair of virtual Ethernet devices that have these addresses.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn link(&self, address: &str, other: &Self, others: &str) -> Result<()> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("cable{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let ends = [(self, address), (other, others)];
        let [own, far] = ends.map(|(machine, _)| machine.first.to_string());
        let cable =
            ["link", "add", &name, "netns", &own, "type", "veth", "peer", "name", &name, "netns", &far];
        let made = Command::new("ip").args(cable).output()?;
        ensure!(made.status.success(), "{}", text(&made));
        for (machine, address) in ends {
            machine.must(&["ip", "address", "add", &format!("{address}/24"), "dev", &name])?;
            machine.must(&["ip", "link", "set", &name, "up"])?;
        }
        Ok(())
    }

    /// Runs a command in the machine.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn run(&self, command: &[&str]) -> Result<Output> {
        let mut enter = Command::new("nsenter");
        enter.arg(format!("--target={}", self.first));
        enter
            .args(["--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--root", "--wd"])
            .args(command);
        // The environment of a login, without variables of the test.
        enter.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root");
        enter.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))
    }

    /// Runs a command that must succeed, and returns its output.
    ///
    /// # Errors
    /// It fails; the error contains its output.
    pub fn must(&self, command: &[&str]) -> Result<String> {
        let done = self.run(command)?;
        ensure!(done.status.success(), "{command:?}: {}\n{}", done.status, text(&done));
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    }

    /// The path of one of the machine's files on the real machine.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        Path::new("/proc").join(self.first.to_string()).join("root").join(path.trim_start_matches('/'))
    }

    /// Writes a file and creates its folders.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = self.path(path);
        fs::create_dir_all(path.parent().context("a file without a folder")?)?;
        fs::write(&path, text).with_context(|| path.display().to_string())
    }

    /// The content of a file; empty if it does not exist.
    #[must_use]
    pub fn read(&self, path: &str) -> String {
        fs::read(self.path(path))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// PIDs on the real machine of the machine's processes with this program name.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn processes(&self, name: &str) -> Result<Vec<u32>> {
        let ours = fs::read_link(format!("/proc/{}/ns/pid", self.first))?;
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let is_ours = fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|ns| ns == ours);
            let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            // The kernel keeps only 15 characters of a name.
            let dead =
                fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "));
            if is_ours && !dead && comm.trim() == name.get(..15).unwrap_or(name) {
                found.push(pid);
            }
        }
        Ok(found)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // When the first process of a PID namespace ends, all its processes end.
        if let Err(error) = self.outside.kill() {
            eprintln!("a machine was left running: {error}");
        }
        let groups =
            wait::until("its control groups are gone", BOOT, || Ok(self.remove_groups().then_some(())));
        if let Err(error) = groups {
            eprintln!("{error:#}");
        }
    }
}

impl Machine {
    /// Whether all control groups are gone. A group disappears shortly after its last process.
    fn remove_groups(&self) -> bool {
        let hierarchies =
            fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
        let groups = hierarchies.chain([PathBuf::from("/sys/fs/cgroup")]).map(|dir| dir.join(&self.name));
        groups.filter(|group| group.is_dir()).all(|group| remove_group(&group))
    }
}

fn remove_group(group: &Path) -> bool {
    let below = fs::read_dir(group).into_iter().flatten().flatten().map(|entry| entry.path());
    let empty = below.filter(|path| path.is_dir()).all(|path| remove_group(&path));
    empty && fs::remove_dir(group).is_ok()
}

fn check_this_machine(init: Init) -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "only root can make a machine: run the tests as root");
    let (file, package) = match init {
        Init::Systemd => ("/lib/systemd/systemd", "systemd"),
        Init::OpenRc => ("/sbin/supervise-daemon", "openrc"),
    };
    for (file, package) in
        [(file, package), ("/usr/bin/nsenter", "util-linux"), ("/usr/bin/strace", "strace")]
    {
        ensure!(Path::new(file).exists(), "{file} is missing: apt-get install {package}");
    }
    Ok(())
}

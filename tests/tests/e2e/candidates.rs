//! A profile that follows a Git repository, with real processes, the real Git and the real Nix: a commit is
//! accepted if it builds; until then, and if it does not, the served content stays.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use anyhow::{Context, Result, ensure};
use std::{
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use swarm_common::{
    state::RunState,
    wire::{
        calendar::TimerView,
        concern::ConcernKind,
        view::{ProfileView, RunView},
    },
};
use swarm_tests::e2e::{
    nix::{NixMachine, seed},
    swarm::Swarm,
    wait,
};

/// A run takes seconds on an idle machine; test machines are busy.
const RUN: Duration = Duration::from_secs(600);
/// Upper limit for waiting for anything that does not require a build.
const SOON: Duration = Duration::from_secs(60);

const PROFILE: &str = "hosts";

/// A flake with one package, which prints a text and the words of its input.
const FLAKE: &str = r#"{
  inputs.words = { url = "path:@words@"; flake = false; };
  outputs = { self, words }: {
    packages.x86_64-linux.greeting = derivation {
      name = "greeting";
      system = "x86_64-linux";
      builder = "${builtins.path { path = ./seed; name = "seed"; }}/bin/busybox";
      args = [ "sh" "-ec" "echo @says@ ${builtins.readFile "${words}/words"} > $out" ];
    };
  };
}
"#;

struct Followed {
    swarm: Swarm,
    /// The machine on which `swarmctl profile update` runs.
    machine: NixMachine,
}

impl Followed {
    fn start() -> Result<Self> {
        let followed = Self { swarm: Swarm::bare()?, machine: NixMachine::new("")? };
        fs::create_dir(followed.words())?;
        seed(&followed.repository())?;
        followed.git(&["init", "--quiet", "--initial-branch=main"])?;
        Ok(followed)
    }

    fn repository(&self) -> PathBuf {
        self.swarm.path("config")
    }

    fn words(&self) -> PathBuf {
        self.swarm.path("words")
    }

    fn git(&self, arguments: &[&str]) -> Result<String> {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=t", "-c", "user.email=t@example.org", "-C"]).arg(self.repository());
        let done = git.args(arguments).output()?;
        ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Ok(String::from_utf8(done.stdout)?.trim().to_owned())
    }

    /// Commits what the package prints. Returns the first digits of the commit.
    fn commit(&self, says: &str) -> Result<String> {
        let flake = FLAKE.replace("@words@", &self.words().display().to_string()).replace("@says@", says);
        fs::write(self.repository().join("flake.nix"), flake)?;
        self.git(&["add", "--all"])?;
        self.git(&["commit", "--quiet", "--message", says])?;
        self.git(&["rev-parse", "--short=12", "HEAD"])
    }

    /// Runs `swarmctl profile …` for the newest commit.
    fn profile(&self, verb: &str, more: &[&str]) -> Result<(bool, String)> {
        let from = format!("git+file://{}?ref=main", self.repository().display());
        let own = ["profile", verb, PROFILE, "--nix", "--from", &from, "--attr", "greeting"];
        self.swarm.ctl_on(&self.machine, &[&own[..], more].concat())
    }

    fn offer(&self, more: &[&str]) -> Result<String> {
        let (good, output) = self.profile("update", &[&["--candidate"], more].concat())?;
        ensure!(good, "{output}");
        Ok(output)
    }

    fn run(&self) -> Result<RunView> {
        let run = self.swarm.start_run_of(PROFILE)?;
        self.swarm.run_to_its_end(run, RUN)
    }

    fn view(&self) -> Result<ProfileView> {
        self.swarm.ask(&["profile", "show", PROFILE])
    }

    /// Waits until the profile is at a commit and a machine that builds nothing gets the package that prints
    /// this.
    fn serves(&self, commit: &str, says: &str) -> Result<()> {
        let host = NixMachine::new(&self.swarm.nix_conf(PROFILE)?)?;
        wait::until("the commit is served", RUN, || {
            let view = self.view()?;
            let Some(root) = view.roots.first().filter(|_| view.source.contains(commit)) else {
                return Ok(None);
            };
            let there =
                host.realise(&root.path)?.0 && fs::read_to_string(host.file(&root.path))?.trim() == says;
            Ok(there.then_some(()))
        })
        .with_context(|| format!("{commit}: {:?}", self.view()))
    }

    fn timer(&self) -> Result<Option<TimerView>> {
        Ok(self.view()?.timer)
    }

    /// The concern about an update that was refused.
    fn refused(&self) -> Result<Option<String>> {
        let concerns = self.swarm.status()?.concerns.into_iter();
        let mut found = concerns.filter(|one| matches!(one.fact, ConcernKind::CandidateRefused { .. }));
        Ok(found.next().map(|concern| concern.what))
    }
}

// fault: 63
#[test]
fn the_newest_commit_is_taken_by_the_schedule_if_it_builds_and_otherwise_named_while_the_old_one_is_served() {
    the_whole_way().unwrap();
}

fn the_whole_way() -> Result<()> {
    let mut followed = Followed::start()?;
    fs::write(followed.words().join("words"), "world")?;
    let first = followed.commit("hello")?;
    let (good, output) = followed.profile("add", &[])?;
    ensure!(good, "{output}");
    followed.swarm.enrol("ada", "")?;
    let run = followed.run()?;
    ensure!(run.state == RunState::Succeeded, "{run:?}");
    followed.serves(&first, "hello world")?;

    // The schedule accepts a new commit.
    let second = followed.commit("good morning")?;
    let output = followed.offer(&[])?;
    ensure!(output.contains("switches to snapshot") && followed.view()?.candidates.len() == 1, "{output}");
    followed.serves(&first, "hello world")?;
    followed.swarm.ctl(&["schedule", "set", PROFILE, &soon()?, "--zone", "UTC"])?;
    followed.serves(&second, "good morning world")?;
    // Its timer reports also if there is nothing new.
    ensure!(followed.timer()?.is_none());
    let output = followed.offer(&["--every", "1d"])?;
    ensure!(output.contains("already") && followed.view()?.candidates.is_empty(), "{output}");
    let idle = followed.timer()?.context("it said that it will run again")?;
    ensure!(idle.every_ms == 24 * 3_600_000, "{idle:?}");
    let shown = followed.swarm.ctl(&["profile", "show", PROFILE])?;
    ensure!(shown.contains(&format!("timer       every 1 d on {}, last ", idle.machine)), "{shown}");

    // A commit that cannot be evaluated is not accepted.
    let bad = followed.commit(r#"${throw "undefined"}"#)?;
    followed.offer(&[])?;
    let run = followed.run()?;
    ensure!(run.state == RunState::Partial, "{run:?}");
    let reason = followed.refused()?.context("nothing is said of it")?;
    ensure!(reason.contains(&bad) && reason.contains(&second) && reason.contains("undefined"), "{reason}");
    followed.serves(&second, "good morning world")?;
    ensure!(followed.swarm.ctl(&["profile", "show", PROFILE])?.contains(&second));

    // Nor is one whose locked input is gone, which only the machine that makes the candidate knows.
    followed.git(&["reset", "--quiet", "--hard", &second])?;
    lock(&followed)?;
    let third = followed.commit("good evening")?;
    fs::write(followed.words().join("words"), "everybody")?;
    let (good, output) = followed.profile("update", &["--candidate", "--every", "1d"])?;
    ensure!(!good && output.contains("words"), "{output}");
    ensure!(followed.timer()?.is_some_and(|failing| failing.ran_at > idle.ran_at));
    let reason = followed.refused()?.context("nothing is said of it")?;
    ensure!(
        reason.contains("there is no candidate from git+file://") && reason.contains("words"),
        "{reason}"
    );

    // The next good one resolves the concern, with the newest content of the input.
    followed.offer(&["--update-input", "words", "--every", "never"])?;
    ensure!(followed.timer()?.is_none());
    let run = followed.run()?;
    ensure!(run.state == RunState::Succeeded, "{run:?}");
    followed.serves(&third, "good evening everybody")?;
    wait::until("the concern ends", SOON, || Ok(followed.refused()?.is_none().then_some(())))
}

/// A cron expression that is due within 70 seconds, but not before the schedule is set.
fn soon() -> Result<String> {
    let minute = (SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() + 70) / 60;
    Ok(format!("{} {} * * *", minute % 60, minute / 60 % 24))
}

/// Commits a lock file, like somebody who works on the repository.
fn lock(followed: &Followed) -> Result<()> {
    let machine = NixMachine::new("")?;
    let flake = format!("path:{}", followed.repository().display());
    let done = machine.command("nix").args(["flake", "lock", &flake]).output()?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

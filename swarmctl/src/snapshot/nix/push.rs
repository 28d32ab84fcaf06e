//! Pushes the lock file that a system was evaluated with to a branch of a Git repository.
//!
//! Nothing is overwritten: a new commit is added to the branch, whose head must be either the commit that was
//! evaluated or a lock that was pushed before.

use super::{
    LOCK,
    fetch::{CLONING, Repository, git, run},
};
use crate::failure::Failure;
use std::{fs, path::Path};
use swarm_common::wire::ready::Ready;

/// The commit message trailer that names the profile and identifies a pushed lock.
const TRAILER: &str = "Build-Swarm-Profile";

/// The result of a push.
#[derive(Debug, PartialEq, Eq)]
pub enum Pushed {
    /// The branch has this new commit.
    Commit(String),
    /// The branch, or the commit that was evaluated, already has this lock.
    Already,
}

/// Pushes a lock file to the branch that `to` names, `git+URL?ref=BRANCH&dir=FOLDER`.
///
/// # Errors
/// The branch has another commit, the repository does not have the one that was evaluated, or Git failed.
pub fn push_lock(to: &Path, ready: &Ready, lock: &str) -> Result<Pushed, Failure> {
    let Some(repository) = Repository::parse(to)? else {
        return Err(Failure::Usage(format!("--push-lock {}: expected git+URL?ref=BRANCH", to.display())));
    };
    let (url, dir) = (&repository.url, &repository.dir);
    let branch = repository.branch.as_deref().ok_or_else(|| {
        Failure::Usage(format!("--push-lock git+{url}: name the branch, as in git+{url}?ref=BRANCH"))
    })?;
    let is_commit = |text: &&str| text.bytes().all(|digit| digit.is_ascii_hexdigit());
    let commit = ready.commit.as_deref().filter(is_commit).ok_or_else(|| {
        Failure::Failed(format!("the system of {} was not evaluated from a Git commit", ready.host))
    })?;
    let folder = tempfile::tempdir()
        .map_err(|e| Failure::Failed(format!("cannot create a temporary directory: {e}")))?;
    let (file, reference) = (folder.path().join(LOCK), format!("refs/heads/{branch}"));
    fs::write(&file, lock).map_err(|e| Failure::Failed(format!("{}: {e}", file.display())))?;
    let call = |arguments: &[&str]| {
        let mut git = git();
        git.arg("--git-dir").arg(folder.path().join("git")).args(arguments);
        git.env("GIT_INDEX_FILE", folder.path().join("index"));
        for role in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{role}_NAME"), "Build Swarm");
            git.env(format!("GIT_{role}_EMAIL"), "build-swarm@localhost");
        }
        run(git, &format!("push the lock to {url}"), CLONING)
    };
    call(&["init", "--quiet", "--bare"])?;
    call(&["fetch", "--quiet", "--depth=1", "--no-tags", "--", url, commit])?;
    let listed = call(&["ls-remote", "--", url, &reference])?;
    let tip = listed.split_whitespace().next();
    if let Some(tip) = tip.filter(|&tip| tip != commit) {
        call(&["fetch", "--quiet", "--depth=1", "--no-tags", "--", url, tip])?;
        let message = call(&["log", "--max-count=1", "--format=%B", tip])?;
        if !message.lines().any(|line| line.starts_with(&format!("{TRAILER}: "))) {
            return Err(Failure::Failed(format!(
                "{branch} of {url} is at {}, which is neither {} that was evaluated nor a lock that was pushed: \
                 choose a branch for locks alone, or wait for the next update",
                short(tip),
                short(commit)
            )));
        }
    }
    let blob = call(&["hash-object", "-w", "--no-filters", "--", &file.display().to_string()])?;
    call(&["read-tree", commit])?;
    let entry = format!("100644,{blob},{}", dir.join(LOCK).display());
    call(&["update-index", "--add", "--cacheinfo", &entry])?;
    let tree = call(&["write-tree"])?;
    for known in [Some(commit), tip].into_iter().flatten() {
        if call(&["rev-parse", &format!("{known}^{{tree}}")])? == tree {
            return Ok(Pushed::Already);
        }
    }
    let message = format!(
        "Lock the inputs for which everything is built\n\n{} of {} can be installed with this lock without \
         compiling.\n\n{TRAILER}: {}",
        ready.host, ready.profile, ready.profile
    );
    let mut make = vec!["commit-tree", &tree, "-m", &message];
    for parent in tip.into_iter().chain((tip != Some(commit)).then_some(commit)) {
        make.extend(["-p", parent]);
    }
    let made = call(&make)?;
    call(&["push", "--quiet", "--", url, &format!("{made}:{reference}")])?;
    Ok(Pushed::Commit(made))
}

/// The first 12 digits of a commit.
fn short(commit: &str) -> String {
    commit.chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use swarm_common::{id::RunId, time::TimeMs};
    use tempfile::TempDir;

    /// A bare repository and a work tree of somebody who uses it.
    struct Lab {
        folder: TempDir,
        runtime: tokio::runtime::Runtime,
    }

    impl Lab {
        fn new() -> Self {
            let lab = Self {
                folder: tempfile::tempdir().unwrap(),
                runtime: tokio::runtime::Runtime::new().unwrap(),
            };
            let bare = lab.folder.path().join("bare");
            fs::create_dir(&bare).unwrap();
            lab.git_in("bare", &["init", "--quiet", "--bare", "--initial-branch=main"]);
            lab.git_in(".", &["clone", "--quiet", &bare.display().to_string(), "work"]);
            lab
        }

        fn git_in(&self, dir: &str, arguments: &[&str]) -> String {
            let mut git = Command::new("git");
            git.args([
                "-c",
                "user.name=t",
                "-c",
                "user.email=t@example.org",
                "-c",
                "init.defaultBranch=main",
                "-C",
            ]);
            let done = git.arg(self.folder.path().join(dir)).args(arguments).output().unwrap();
            assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
            String::from_utf8(done.stdout).unwrap().trim().to_owned()
        }

        /// Makes a commit on `main` and pushes it.
        fn commit(&self, text: &str) -> String {
            let dir = self.folder.path().join("work/hosts");
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("flake.nix"), text).unwrap();
            self.git_in("work", &["add", "--all"]);
            self.git_in("work", &["commit", "--quiet", "--message", text]);
            self.git_in("work", &["push", "--quiet", "origin", "HEAD:main"]);
            self.git_in("work", &["rev-parse", "HEAD"])
        }

        fn push(&self, branch: &str, commit: &str, lock: &str) -> Result<Pushed, Failure> {
            let ready = Ready {
                profile: "home".parse().unwrap(),
                channel: Default::default(),
                host: "desk".into(),
                path: String::new(),
                generation: 1,
                run: RunId(1),
                built_at: TimeMs(1),
                commit: Some(commit.to_owned()),
                lock: None,
                closure_paths: 0,
                closure_size: 0,
                missing: vec![],
                boot: Default::default(),
                signatures: vec![],
            };
            let _within = self.runtime.enter();
            let bare = self.folder.path().join("bare");
            push_lock(Path::new(&format!("git+file://{}?dir=hosts{branch}", bare.display())), &ready, lock)
        }

        fn pushed(&self, branch: &str, commit: &str, lock: &str) -> String {
            match self.push(&format!("&ref={branch}"), commit, lock).unwrap() {
                Pushed::Commit(commit) => commit,
                Pushed::Already => panic!("{branch} has {lock} already"),
            }
        }

        fn parents(&self, of: &str) -> String {
            self.git_in("bare", &["log", "--max-count=1", "--format=%P", of])
        }

        fn file(&self, branch: &str, file: &str) -> String {
            self.git_in("bare", &["show", &format!("{branch}:hosts/{file}")])
        }
    }

    #[test]
    fn a_branch_of_its_own_follows_each_lock_with_the_commit_that_it_is_for() {
        let lab = Lab::new();
        let one = lab.commit("one");
        let first = lab.pushed("locks/home", &one, "lock 1");
        assert_eq!(lab.git_in("bare", &["rev-parse", "locks/home"]), first);
        assert_eq!((lab.parents(&first), lab.file("locks/home", LOCK)), (one.clone(), "lock 1".to_owned()));
        assert_eq!(lab.push("&ref=locks/home", &one, "lock 1").unwrap(), Pushed::Already);

        let second = lab.pushed("locks/home", &one, "lock 2");
        let two = lab.commit("two");
        let third = lab.pushed("locks/home", &two, "lock 2");
        assert_eq!(lab.parents(&second), format!("{first} {one}"));
        assert_eq!(lab.parents(&third), format!("{second} {two}"));
        assert_eq!(lab.file("locks/home", "flake.nix"), "two");
        assert_eq!(lab.git_in("bare", &["rev-parse", "main"]), two, "nobody's work changes");
    }

    #[test]
    fn the_branch_that_is_evaluated_takes_a_lock_unless_somebody_committed_since() {
        let lab = Lab::new();
        let one = lab.commit("one");
        let locked = lab.pushed("main", &one, "lock 1");
        assert_eq!(lab.parents("main"), one);
        assert_eq!(lab.push("&ref=main", &locked, "lock 1").unwrap(), Pushed::Already);

        lab.git_in("work", &["pull", "--quiet", "--ff-only", "origin", "main"]);
        let two = lab.commit("two");
        let refused = lab.push("&ref=main", &locked, "lock 2").unwrap_err().to_string();
        assert!(
            refused.contains(&format!("is at {}, which is neither {}", short(&two), short(&locked))),
            "{refused}"
        );
        assert_eq!(lab.git_in("bare", &["rev-parse", "main"]), two);
        assert!(lab.push("", &two, "lock 2").unwrap_err().to_string().contains("?ref=BRANCH"));
        let missing = lab.push("&ref=main", &"0".repeat(40), "lock 2").unwrap_err().to_string();
        assert!(missing.starts_with("cannot push the lock to file://"), "{missing}");
    }
}

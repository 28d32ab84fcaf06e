//! Fetches the newest commit of a Git repository, and the inputs of a flake, into a folder of its own.

use super::{LOCK, NixSources};
use crate::failure::Failure;
use serde_json::Value;
use std::{
    fs::{self, File},
    io::{Read as _, Seek as _},
    path::{Component, Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};
use swarm_formats::snapshot::FLAKE;
use tempfile::TempDir;
use tokio::runtime::Handle;

/// Time limit for fetching a repository.
pub(super) const CLONING: Duration = Duration::from_secs(30 * 60);
/// Time limit for fetching all inputs.
const ARCHIVING: Duration = Duration::from_secs(60 * 60);
/// How many bytes of a program's output are read.
const MOST_SAID: u64 = 64 << 10;

/// A fetched commit of a repository. Dropping it removes the files.
#[derive(Debug)]
pub(super) struct Fetched {
    /// The directory with the flake or the file.
    pub(super) dir: PathBuf,
    _folder: TempDir,
}

/// A Git repository, named as in a flake: `git+URL?ref=BRANCH&dir=FOLDER`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Repository {
    pub(super) url: String,
    pub(super) branch: Option<String>,
    pub(super) dir: PathBuf,
}

/// Fetches the Git repository that the sources name. `None` if they name a directory.
pub(super) fn fetch(sources: &NixSources) -> Result<Option<Fetched>, Failure> {
    let Some(repository) = Repository::parse(&sources.dir)? else {
        return match sources.update.is_empty() {
            true => Ok(None),
            false => Err(Failure::Usage(format!(
                "--update-input, but {} is a directory: run `nix flake update` there, or pass --from git+URL",
                sources.dir.display()
            ))),
        };
    };
    let folder = tempfile::Builder::new().prefix("swarm-source-").tempdir();
    let folder = folder.map_err(|e| Failure::Failed(format!("cannot create a temporary directory: {e}")))?;
    let dir = repository.clone_to(&folder.path().join("source"))?;
    let is_flake = dir.join(FLAKE).is_file() && sources.file.as_deref().is_none_or(|file| file == FLAKE);
    if is_flake {
        forget(&dir.join(LOCK), &sources.update)?;
        archive(&dir)?;
    } else if !sources.update.is_empty() {
        return Err(Failure::Usage("--update-input is for flakes only".to_owned()));
    }
    Ok(Some(Fetched { dir, _folder: folder }))
}

impl Repository {
    pub(super) fn parse(from: &Path) -> Result<Option<Self>, Failure> {
        let Some(text) = from.to_str().and_then(|text| text.strip_prefix("git+")) else { return Ok(None) };
        let (url, query) = text.split_once('?').unwrap_or((text, ""));
        let wrong = |why: &str| Err(Failure::Usage(format!("git+{url}: {why}")));
        let authority =
            url.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
        if authority.is_empty() && !url.starts_with("file:///") {
            return wrong("expected git+https://HOST/PATH, git+ssh://USER@HOST/PATH or git+file:///PATH");
        }
        if authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':')) {
            return Err(Failure::Usage(
                "leave the password out of the address and give it to Git (`git help credentials`)"
                    .to_owned(),
            ));
        }
        let mut repository = Self { url: url.to_owned(), branch: None, dir: PathBuf::new() };
        for part in query.split('&').filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some(("ref", branch)) => repository.branch = Some(branch.to_owned()),
                Some(("dir", dir))
                    if Path::new(dir).components().all(|c| matches!(c, Component::Normal(_))) =>
                {
                    repository.dir = PathBuf::from(dir);
                }
                _ => return wrong("after `?`, expected ref=BRANCH or dir=FOLDER, joined by `&`"),
            }
        }
        Ok(Some(repository))
    }

    /// Fetches the newest commit. Returns the directory with the flake or the file.
    fn clone_to(&self, to: &Path) -> Result<PathBuf, Failure> {
        let mut git = git();
        git.args(["clone", "--quiet", "--depth=1", "--single-branch", "--no-tags"]);
        git.args(self.branch.iter().map(|branch| format!("--branch={branch}")));
        git.arg("--").arg(&self.url).arg(to);
        run(git, &format!("fetch {}", self.url), CLONING)?;
        Ok(to.join(&self.dir))
    }
}

/// A Git command that never asks for a password, because nobody is there to answer.
pub(super) fn git() -> Command {
    let mut git = Command::new("git");
    git.env("GIT_TERMINAL_PROMPT", "0").env("SSH_ASKPASS_REQUIRE", "never");
    git
}

/// Removes inputs from a lock file, so that Nix locks their newest content.
fn forget(lock: &Path, names: &[String]) -> Result<(), Failure> {
    if names.is_empty() || !lock.exists() {
        return Ok(());
    }
    let wrong = |why: String| Failure::Failed(format!("cannot use {LOCK}: {why}"));
    let text = fs::read(lock).map_err(|e| wrong(e.to_string()))?;
    let mut file: Value = serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
    let root = file["root"].as_str().unwrap_or_default().to_owned();
    let inputs = file["nodes"].get_mut(&root).and_then(|node| node.get_mut("inputs"));
    let inputs = inputs.and_then(Value::as_object_mut).ok_or_else(|| wrong("it has no inputs".to_owned()))?;
    for name in names {
        if inputs.remove(name).is_none() {
            return Err(Failure::Failed(format!("{LOCK} has no input `{}`", name.escape_debug())));
        }
    }
    fs::write(lock, file.to_string()).map_err(|e| wrong(e.to_string()))
}

/// Locks the inputs that are not locked, and copies all inputs into this machine's store.
fn archive(dir: &Path) -> Result<(), Failure> {
    let mut nix = Command::new("nix");
    nix.args(["--extra-experimental-features", "nix-command flakes", "flake", "archive"]);
    // Pass the directory as a path: for a Git repository, Nix would require the whole history.
    nix.arg(format!("path:{}", dir.display()));
    run(nix, "fetch the inputs of the flake", ARCHIVING).map(drop)
}

/// Runs a program with a time limit. Returns its output without trailing whitespace.
pub(super) fn run(mut command: Command, what: &str, limit: Duration) -> Result<String, Failure> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |why: String| Failure::Failed(format!("cannot {what}: {why}"));
    let io = |error: std::io::Error| failed(format!("{program}: {error}"));
    let (printed, stderr) = (tempfile::tempfile().map_err(io)?, tempfile::tempfile().map_err(io)?);
    command
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(printed.try_clone().map_err(io)?)
        .stderr(stderr.try_clone().map_err(io)?);
    let ended = Handle::current().block_on(async {
        // Dropping the future kills the program.
        let mut command = tokio::process::Command::from(command);
        tokio::time::timeout(limit, command.kill_on_drop(true).status()).await
    });
    let Ok(status) = ended else {
        return Err(failed(format!("{program} took longer than {} min", limit.as_secs() / 60)));
    };
    let status = status.map_err(io)?;
    let read = |mut file: File| {
        let mut text = Vec::new();
        file.rewind().and_then(|()| file.take(MOST_SAID).read_to_end(&mut text)).map_err(io)?;
        Ok(String::from_utf8_lossy(&text).trim_end().to_owned())
    };
    if status.success() {
        return read(printed);
    }
    let text = read(stderr)?;
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let line = lines().find(|line| line.starts_with("fatal:") || line.starts_with("error:"));
    Err(failed(format!("{program}: {}", line.or(lines().next_back()).unwrap_or("it said nothing"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_named_as_in_a_flake() {
        let parse = |text: &str| Repository::parse(Path::new(text));
        assert_eq!(parse("/etc/nixos").unwrap(), None);
        let all = parse("git+ssh://git@host/config?ref=main&dir=hosts/desk").unwrap().unwrap();
        let (url, branch) = ("ssh://git@host/config".to_owned(), Some("main".to_owned()));
        assert_eq!(all, Repository { url, branch, dir: "hosts/desk".into() });
        assert_eq!(parse("git+file:///srv/config").unwrap().unwrap().url, "file:///srv/config");
        for (bad, why) in [
            ("git+https://host/x?rev=0", "expected ref=BRANCH"),
            ("git+https://host/x?dir=../y", "expected ref=BRANCH"),
            ("git+https://host/x?dir=/y", "expected ref=BRANCH"),
            ("git+--upload-pack=x", "expected git+https"),
            ("git+https:///x", "expected git+https"),
            ("git+https://me:secret@host/x", "leave the password out"),
        ] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_program_that_hangs_is_ended_and_one_that_fails_is_quoted() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _within = runtime.enter();
        let shell = |script: &str, limit| {
            let mut shell = Command::new("sh");
            shell.args(["-c", script]);
            run(shell, "try", limit).map_err(|e| e.to_string())
        };
        assert_eq!(shell("echo said; echo > /dev/stderr", CLONING), Ok("said".to_owned()));
        let failed = shell("echo first >&2; echo 'error: this' >&2; echo last >&2; exit 1", CLONING);
        assert_eq!(failed.unwrap_err(), "cannot try: sh: error: this");
        assert_eq!(
            shell("exec sleep 600", Duration::from_millis(20)).unwrap_err(),
            "cannot try: sh took longer than 0 min"
        );
    }
}

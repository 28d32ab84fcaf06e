//! A directory in which the real Nix has its stores, settings and caches.

use std::{
    ffi::OsStr,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};
use tempfile::TempDir;

/// No sandbox is needed here, and nothing is fetched.
const SETTINGS: &str = "build-users-group =
substituters =
flake-registry =
experimental-features = nix-command
sandbox = false
";

pub struct Lab {
    folder: TempDir,
}

impl Lab {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("nix.conf"), SETTINGS).unwrap();
        Self { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command of Nix whose default store is `store` below the directory. The paths in that store depend on
    /// the directory, unlike those of `--store`.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"NIX_"))
        {
            command.env_remove(name);
        }
        command.env("NIX_CONF_DIR", self.folder.path()).env("NIX_PATH", "");
        for (name, folder) in [
            ("HOME", "home"),
            ("XDG_CACHE_HOME", "cache"),
            ("NIX_STORE_DIR", "store"),
            ("NIX_STATE_DIR", "state"),
            ("NIX_LOG_DIR", "log"),
        ] {
            command.env(name, self.path(folder));
        }
        command
    }

    /// Runs a program that must succeed, and returns its output.
    pub fn run<A: AsRef<OsStr>>(&self, program: &str, args: impl IntoIterator<Item = A>) -> Vec<u8> {
        self.feed(program, args, b"")
    }

    /// Runs a program whose arguments name a store. The paths in that store are those of `/nix/store`.
    pub fn run_in_nix_store<A: AsRef<OsStr>>(
        &self,
        program: &str,
        args: impl IntoIterator<Item = A>,
    ) -> Vec<u8> {
        succeeded(program, fed(self.command_in_nix_store(program).args(args), b""))
    }

    /// The command that [`Self::run_in_nix_store`] runs.
    pub fn command_in_nix_store(&self, program: &str) -> Command {
        let mut command = self.command(program);
        for name in ["NIX_STORE_DIR", "NIX_STATE_DIR", "NIX_LOG_DIR"] {
            command.env_remove(name);
        }
        command
    }

    /// Runs a program that must succeed with `input` on standard input, and returns its output.
    pub fn feed<A: AsRef<OsStr>>(
        &self,
        program: &str,
        args: impl IntoIterator<Item = A>,
        input: &[u8],
    ) -> Vec<u8> {
        succeeded(program, fed(self.command(program).args(args), input))
    }
}

impl Drop for Lab {
    /// Nix removes write permission from everything in a store, which prevents its deletion.
    fn drop(&mut self) {
        let _ = Command::new("chmod").args(["-R", "u+w"]).arg(self.folder.path()).status();
    }
}

/// Runs a command with `input` on standard input.
pub fn fed(command: &mut Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| {
        let program = command.get_program().display();
        panic!("cannot start {program}: {error}; scripts/install-missing nix-store=nix-bin=sys-apps/nix")
    });
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // A program that refuses its input does not read all of it.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().unwrap()
    })
}

fn succeeded(program: &str, output: Output) -> Vec<u8> {
    assert!(output.status.success(), "{program} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The lines of a program's output.
pub fn lines(output: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(output).lines().map(str::to_owned).collect()
}

/// All files of a directory whose names end with `end`.
pub fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_string_lossy().ends_with(end)).collect()
}

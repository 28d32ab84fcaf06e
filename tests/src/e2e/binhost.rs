//! A copy of the swarm's binary package host in a folder, in which a test can change files as an attacker in
//! the middle could.

use anyhow::{Context, Result, ensure};
use md5::{Digest, Md5};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

use super::workstation::text;

/// The copy. Dropping it removes it.
#[derive(Debug)]
pub struct BinhostCopy {
    folder: TempDir,
}

impl BinhostCopy {
    /// Downloads the index at `uri` and every file that it names.
    ///
    /// # Errors
    /// A file is missing.
    pub fn of(uri: &str) -> Result<Self> {
        let copy = Self { folder: tempfile::tempdir()? };
        copy.fetch(uri, "Packages")?;
        for path in copy.paths()? {
            copy.fetch(uri, &path)?;
        }
        Ok(copy)
    }

    /// The URI of the copy, for a workstation's `sync-uri`.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("file://{}", self.folder.path().display())
    }

    /// The newest file of a package, such as `app-misc/reckon`.
    ///
    /// # Errors
    /// The index does not contain it.
    pub fn file(&self, package: &str) -> Result<PathBuf> {
        let paths = self.paths()?;
        let path = paths.iter().rev().find(|path| path.starts_with(&format!("{package}/")));
        Ok(self.folder.path().join(path.with_context(|| format!("{package} is not published"))?))
    }

    /// Corrects the sizes and digests in the index, which is not signed.
    ///
    /// # Errors
    /// A file is missing.
    pub fn reindex(&self) -> Result<()> {
        let index = fs::read_to_string(self.index())?;
        let mut blocks = Vec::new();
        for block in index.split("\n\n") {
            let Some(path) = value(block, "PATH") else {
                blocks.push(block.to_owned());
                continue;
            };
            let bytes = fs::read(self.folder.path().join(path))?;
            let digest = hex::encode(Md5::digest(&bytes));
            let lines: Vec<String> = block
                .lines()
                // One digest is enough for Portage.
                .filter(|line| !line.starts_with("SHA1: "))
                .map(|line| match line.split_once(": ") {
                    Some(("MD5", _)) => format!("MD5: {digest}"),
                    Some(("SIZE", _)) => format!("SIZE: {}", bytes.len()),
                    _ => line.to_owned(),
                })
                .collect();
            blocks.push(lines.join("\n"));
        }
        fs::write(self.index(), blocks.join("\n\n") + "\n")?;
        Ok(())
    }

    fn index(&self) -> PathBuf {
        self.folder.path().join("Packages")
    }

    fn paths(&self) -> Result<Vec<String>> {
        let index = fs::read_to_string(self.index())?;
        Ok(index.split("\n\n").filter_map(|block| value(block, "PATH").map(str::to_owned)).collect())
    }

    fn fetch(&self, uri: &str, path: &str) -> Result<()> {
        let file = self.folder.path().join(path);
        fs::create_dir_all(file.parent().unwrap_or(Path::new("/")))?;
        // Portage downloads with wget too.
        let mut wget = Command::new("wget");
        wget.args(["--quiet", "--tries=1", "--timeout=20", "-O"]).arg(&file);
        let done = wget.arg(format!("{}/{path}", uri.trim_end_matches('/'))).output()?;
        ensure!(done.status.success(), "cannot fetch {path}: {}", text(&done));
        Ok(())
    }
}

fn value<'a>(block: &'a str, key: &str) -> Option<&'a str> {
    block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
}

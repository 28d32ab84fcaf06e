//! The structure of a root file system, as far as needed to recognise one.

use super::ImageError;
use std::collections::{HashMap, HashSet};
use swarm_common::wire::base::UsrMerge;

/// The maximum number of symbolic links that resolving a path may follow, as in Linux.
const MAX_LINKS: usize = 40;

/// The paths in a root file system, by kind.
#[derive(Debug, Default)]
pub(super) struct Outline {
    pub(super) dirs: HashSet<Vec<u8>>,
    pub(super) files: HashSet<Vec<u8>>,
    pub(super) links: HashMap<Vec<u8>, Vec<u8>>,
}

impl Outline {
    /// The file that `/bin/sh` resolves to.
    ///
    /// # Errors
    /// There is no such file, or another required part of a root file system is missing.
    pub(super) fn shell(&self) -> Result<Vec<u8>, ImageError> {
        for dir in ["etc", "usr", "var"] {
            if !self.resolve(dir.as_bytes()).is_some_and(|path| self.dirs.contains(&path)) {
                return Err(ImageError::NoRoot(format!("it has no directory /{dir}")));
            }
        }
        let shell = self.resolve(b"bin/sh").filter(|path| self.files.contains(path));
        shell.ok_or_else(|| ImageError::NoRoot("it has no shell /bin/sh".into()))
    }

    pub(super) fn has_file(&self, path: &[u8]) -> bool {
        self.resolve(path).is_some_and(|path| self.files.contains(&path))
    }

    /// Which directories are links below `/usr`.
    pub(super) fn usr(&self) -> UsrMerge {
        UsrMerge::of(|path, to| self.resolve(path.as_bytes()).is_some_and(|end| end == to.as_bytes()))
    }

    /// Resolves `path` within the root, following symbolic links. `None` if it leads through too many of
    /// them.
    fn resolve(&self, path: &[u8]) -> Option<Vec<u8>> {
        let mut ahead: Vec<Vec<u8>> = parts(path).rev().collect();
        let mut at: Vec<Vec<u8>> = Vec::new();
        let mut links = 0;
        while let Some(part) = ahead.pop() {
            match &*part {
                b"." => continue,
                b".." => {
                    at.pop();
                    continue;
                }
                _ => at.push(part),
            }
            if let Some(target) = self.links.get(&at.join(&b'/')) {
                links += 1;
                if links > MAX_LINKS {
                    return None;
                }
                match target.starts_with(b"/") {
                    true => at.clear(),
                    false => drop(at.pop()),
                }
                ahead.extend(parts(target).rev());
            }
        }
        Some(at.join(&b'/'))
    }
}

fn parts(path: &[u8]) -> impl DoubleEndedIterator<Item = Vec<u8>> {
    path.split(|&b| b == b'/').filter(|part| !part.is_empty()).map(<[u8]>::to_vec)
}

/// The architecture in the first 20 bytes of an ELF file. `None` if it is unknown.
pub(super) fn machine(head: &[u8]) -> Option<&'static str> {
    let number: [u8; 2] = head.get(18..20)?.try_into().ok()?;
    if !head.starts_with(b"\x7fELF") {
        return None;
    }
    let number = if head[5] == 2 { u16::from_be_bytes(number) } else { u16::from_le_bytes(number) };
    Some(match (number, head[4]) {
        (3, _) => "x86",
        (62, 1) => "x32",
        (62, _) => "x86_64",
        (40, _) => "arm",
        (183, _) => "aarch64",
        (20, _) => "powerpc",
        (21, _) => "powerpc64",
        (8, 2) => "mips64",
        (8, _) => "mips",
        (22, _) => "s390x",
        (43, _) => "sparc64",
        (243, 2) => "riscv64",
        (243, _) => "riscv32",
        (258, _) => "loongarch64",
        _ => return None,
    })
}

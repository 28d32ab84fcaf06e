//! What this machine lacks to build with Portage. This concerns mostly builds in its own `/`.

use crate::{buildroot::Tree, config::BuilderConfig};
use std::path::Path;

/// Programs that Portage and almost every package's build use.
const PROGRAMS: [&str; 13] =
    ["bash", "cc", "ld", "ar", "make", "patch", "tar", "gzip", "bzip2", "xz", "zstd", "scanelf", "file"];

pub(crate) fn lacks(builder: &BuilderConfig) -> Vec<String> {
    let tree = Tree::at(builder.base());
    let missing = PROGRAMS.iter().filter(|program| tree.program(program).is_none());
    let mut lacks: Vec<String> = missing.map(|&program| program.to_owned()).collect();
    let (emerge, there) = match &builder.portage_prefix {
        // A configured prefix is a path on this machine.
        Some(prefix) => (prefix.join("bin/emerge"), prefix.join("bin/emerge").exists()),
        None => ("/usr/bin/emerge".into(), tree.has(Path::new("/usr/bin/emerge"))),
    };
    if !there {
        lacks.push(format!("Portage ({}; see builder.portage_prefix)", emerge.display()));
    }
    lacks
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn programs_that_are_missing_are_named() {
        let base = tempfile::tempdir().unwrap();
        let bin = base.path().join("usr/bin");
        fs::create_dir_all(&bin).unwrap();
        for program in PROGRAMS.iter().filter(|p| **p != "scanelf").chain(&["emerge"]) {
            fs::write(bin.join(program), "").unwrap();
        }
        // Like gcc-config: an absolute link that must be resolved inside the base.
        fs::rename(bin.join("cc"), base.path().join("usr/gcc-of-the-base")).unwrap();
        std::os::unix::fs::symlink("/usr/gcc-of-the-base", bin.join("cc")).unwrap();
        let builder = BuilderConfig { base_root: Some(base.path().into()), ..BuilderConfig::default() };
        assert_eq!(lacks(&builder), ["scanelf"]);
        fs::remove_file(bin.join("emerge")).unwrap();
        let lacks = lacks(&builder);
        assert!(lacks[1].starts_with("Portage ("), "{lacks:?}");
    }
}

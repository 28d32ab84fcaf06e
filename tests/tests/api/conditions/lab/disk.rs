//! A disk with a size that the test chooses.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A tmpfs. Mounting it requires root.
pub struct Disk(PathBuf);

impl Disk {
    pub fn mount(at: &Path, options: &str) -> Self {
        fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).status();
        assert!(mounted.is_ok_and(|status| status.success()), "this takes root and tmpfs");
        Self(at.to_owned())
    }

    pub fn resize(&self, size: &str) {
        let option = format!("remount,size={size}");
        let done = Command::new("mount").args(["-o", &option]).arg(&self.0).status();
        assert!(done.is_ok_and(|status| status.success()), "{option}");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "{} stays mounted", self.0.display());
    }
}

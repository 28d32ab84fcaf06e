//! Runs a program in a build root.

use super::root::Root;
use crate::builder::{Stop, steps::Steps};
use std::{ffi::OsString, path::PathBuf};

/// A program to run in a build root.
pub(super) struct Step<'a> {
    /// Path inside the build root.
    pub program: PathBuf,
    pub args: Vec<OsString>,
    /// Variables added to the environment of the build root.
    pub env: Vec<(OsString, OsString)>,
    pub root: &'a Root,
}

impl Step<'_> {
    /// Runs the program; the result is as that of [`Steps::run`].
    pub async fn run(self, steps: &mut Steps) -> Result<bool, Stop> {
        let mut env = self.root.environment();
        env.extend(self.env);
        let (command, args) = self.root.command(&self.program, self.args);
        let job = steps.job(self.root.config(), self.root.attempt(), command, args, env);
        steps.run(&job, &self.program).await
    }
}

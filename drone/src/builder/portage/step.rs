//! Runs a program in a build root.

use super::root::Root;
use crate::builder::{Stop, steps::Steps};
use std::{ffi::OsString, path::PathBuf};

pub(super) struct Step<'a> {
    pub program: PathBuf,
    pub args: Vec<OsString>,
    /// Variables added to the environment of the build root.
    pub env: Vec<(OsString, OsString)>,
    pub root: &'a Root,
}

impl Step<'_> {
    /// Runs the program. Returns the same as [`Steps::run`].
    pub async fn run(self, steps: &mut Steps) -> Result<bool, Stop> {
        let mut env = self.root.environment();
        env.extend(self.env);
        let (command, args) = self.root.command(&self.program, self.args);
        let job = steps.job(self.root.config(), self.root.attempt(), command, args, env);
        steps.run(&job, &self.program).await
    }
}

//! The command line of `emerge`.

use std::ffi::OsString;

/// Options of every `emerge`: ignore defaults from the bundle, no colours, no prompts, no resolver. Package
/// moves are off, because a fresh root would replay all moves in the history of the tree.
pub(super) const COMMON: [&str; 9] = [
    "--ignore-default-opts",
    "--color=n",
    "--nospinner",
    "--oneshot",
    "--quiet-build=n",
    "--autounmask=n",
    "--nodeps",
    "--package-moves=n",
    "--getbinpkg=n",
];

/// Arguments: common options, options of this call, and the atoms to install or build.
pub(super) fn arguments(common: &[&str], own: &[&str], atoms: &[&str]) -> Vec<OsString> {
    common.iter().chain(own).chain(atoms).map(OsString::from).collect()
}

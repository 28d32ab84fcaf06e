//! What `swarmctl status` says while something is broken: once for each kind of fault, shortly
//! before it is mended.

use super::{farm::Farm, fault::Fault};
use std::collections::BTreeMap;

/// Lines that are kept of what says nothing of a drone in particular.
const HEAD: usize = 3;

/// What was said, by kind of fault.
#[derive(Debug, Default)]
pub(super) struct Told(BTreeMap<&'static str, Vec<String>>);

impl Told {
    /// Looks at a fault that has gone on for most of the time that it can.
    pub(super) fn look(&mut self, farm: &Farm, fault: Fault) {
        if self.0.contains_key(fault.kind()) {
            return;
        }
        let said = farm.ground().ctl_whatever(&["status"]);
        let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
        let lines: Vec<String> = match fault.drone() {
            Some(n) => {
                let name = &farm.nodes[n].name;
                let names = |line: &&str| line.split(|c: char| !c.is_alphanumeric()).any(|w| w == name);
                lines.filter(names).map(str::to_owned).collect()
            }
            None => lines.take(HEAD).map(str::to_owned).collect(),
        };
        if !lines.is_empty() {
            self.0.insert(fault.kind(), lines);
        }
    }

    /// Everything that was said.
    pub(super) fn lines(&self) -> impl Iterator<Item = String> {
        self.0.iter().flat_map(|(kind, said)| said.iter().map(move |line| format!("{kind}: {line}")))
    }
}

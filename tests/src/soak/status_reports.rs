//! What `swarmctl status` reports during a fault: once for each kind, shortly before the fault ends.

use super::{farm::Farm, fault::Fault};
use std::collections::BTreeMap;

/// The reports, by kind of fault.
#[derive(Debug, Default)]
pub(super) struct StatusReports(BTreeMap<&'static str, Vec<String>>);

impl StatusReports {
    /// Records the status during a fault that has lasted for most of its duration.
    pub(super) fn look(&mut self, farm: &Farm, fault: Fault) {
        if self.0.contains_key(fault.kind()) {
            return;
        }
        let name = fault.drone().map(|n| farm.nodes[n].name.as_str());
        let output = farm.ground().ctl_whatever(&["status"]);
        let all: Vec<&str> = output.lines().map(str::trim).collect();
        let is_named = |line: &str, name| line.split(|c: char| !c.is_alphanumeric()).any(|word| word == name);
        let lines: Vec<String> = all
            .iter()
            .enumerate()
            .filter(|&(n, line)| match name {
                Some(name) => is_named(line, name),
                // A problem, and what to do about it.
                None => [n, n.wrapping_sub(1)].iter().any(|&n| all.get(n).is_some_and(|l| is_concern(l))),
            })
            .map(|(_, line)| (*line).to_owned())
            .collect();
        if !lines.is_empty() {
            self.0.insert(fault.kind(), lines);
        }
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = String> {
        self.0.iter().flat_map(|(kind, lines)| lines.iter().map(move |line| format!("{kind}: {line}")))
    }
}

fn is_concern(line: &str) -> bool {
    line.starts_with("! ") || line.starts_with("error: ")
}

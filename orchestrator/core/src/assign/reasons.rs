//! Why a drone gets no work.

use crate::state::Swarm;
use swarm_common::id::*;

/// The reasons found for assigning nothing.
#[derive(Default)]
pub(super) struct Reasons {
    pub(super) held_back: Option<(PackageId, DroneId)>,
    /// A package that is being built for another run.
    pub(super) twin: Option<PackageId>,
    pub(super) kept_free: Option<PackageId>,
    pub(super) waiting_ms: Option<u64>,
    pub(super) no_memory: Option<PackageId>,
    pub(super) not_for_it: usize,
    pub(super) kept_out: Option<PackageId>,
}

impl Reasons {
    /// The reason given to a drone that gets no work, as a sentence.
    pub(super) fn describe(&self, swarm: &Swarm, idle: bool) -> String {
        let title =
            |id: &PackageId| swarm.packages.get(id).map(|package| package.title()).unwrap_or_default();
        if let Some(id) = &self.no_memory {
            return format!("{} takes more memory than is free here", title(id));
        }
        if let Some((id, drone)) = &self.held_back {
            let name = swarm.drones.get(drone).map(|d| d.name.to_string()).unwrap_or_default();
            return format!("held back: {} will be finished sooner by {name}", title(id));
        }
        if let Some(id) = &self.twin {
            return format!("{} is being built for another run and will be reused", title(id));
        }
        if let Some(id) = &self.kept_free {
            return format!("kept free for {}, which will be ready soon", title(id));
        }
        if let Some(ms) = self.waiting_ms {
            return format!("the next attempt at a needed package starts in {} s", ms.div_ceil(1000));
        }
        if let Some(id) = &self.kept_out {
            return format!("{} waits for another exclusive package of its group", title(id));
        }
        match (self.not_for_it, idle) {
            (1.., _) => "this drone can build none of the needed packages".into(),
            (_, true) => "no run is under way".into(),
            _ => "everything left waits for packages that are being built".into(),
        }
    }
}

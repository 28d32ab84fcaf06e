//! Logs what an admin looks for after a night: runs, failures, and drones that came and went. `swarmctl
//! events` shows everything.

use swarm_core::{Event, Record, Swarm, text};
use tracing::{debug, info, warn};

/// Logs a journaled event, which is already applied to `swarm`.
pub(super) fn log(swarm: &Swarm, record: &Record) {
    let title = |id| swarm.packages.get(id).map(|package| package.title()).unwrap_or_default();
    let name = |id| swarm.drones.get(id).map(|drone| drone.name.to_string()).unwrap_or_default();
    let of = |id| swarm.attempts.get(id).map(|attempt| attempt.drone_name.to_string()).unwrap_or_default();
    let why = || text::optional_reason(record.event.reason());
    match &record.event {
        Event::RunStarted { run, profile, class, .. } => info!(%run, %profile, %class, "a run started"),
        Event::PlanReceived { run, attempt, plan, .. } => {
            info!(%run, %attempt, drone = of(attempt), packages = plan.packages.len(), "a run has its plan");
        }
        Event::RunEnded { run, state, .. } => info!(%run, %state, reason = why(), "a run ended"),
        Event::PackageDelegated { package, attempt, .. } => {
            debug!(%package, title = title(package), %attempt, drone = of(attempt), "an attempt started");
        }
        Event::PackageReceived { package, attempt, .. } => {
            info!(%package, title = title(package), %attempt, drone = of(attempt), "a package was received");
        }
        Event::PackageQuarantined { package, .. } => {
            warn!(%package, title = title(package), reason = why(), "a package was quarantined");
        }
        Event::AttemptFailed { attempt, failure, .. } => {
            let (class, error) = (failure.class, failure.headline());
            warn!(%attempt, drone = of(attempt), %class, phase = %failure.phase, error, "an attempt failed");
        }
        Event::AttemptLost { attempt, .. } => {
            warn!(%attempt, drone = of(attempt), reason = why(), "an attempt was lost");
        }
        Event::DroneEnrolled { drone, name, approved, .. } => {
            info!(%drone, %name, approved, "a drone enrolled")
        }
        Event::DroneWentOffline { drone, why, .. } => {
            let reason = why.as_ref().map(text::offline);
            info!(%drone, name = name(drone), reason, "a drone went offline");
        }
        Event::DroneReturned { drone } => info!(%drone, name = name(drone), "a drone is back"),
        Event::DroneGrounded { drone, .. } => {
            warn!(%drone, name = name(drone), reason = why(), "a drone was grounded");
        }
        Event::DroneLost { drone, .. } => {
            warn!(%drone, name = name(drone), reason = why(), "a drone was lost")
        }
        _ => {}
    }
}

//! The network between drones and orchestrator. It loses, duplicates and delays messages.

use super::{
    drone::Message,
    orchestrator::Caller,
    world::{What, World},
};
use swarm_drone::agent::{Delivery, Input};

/// A request without an answer is given up after this time, in addition to its own wait time.
const PATIENCE_MS: u64 = 15_000;

/// The result of a delivery without an answer.
fn lost() -> Delivery {
    Delivery::Blocked { why: "no answer".to_owned(), arrived: 0 }
}

impl World {
    /// Sends a drone's message. It may be lost, delayed or duplicated. The drone notices a missing answer
    /// only by its timeout.
    pub(super) fn send(&mut self, caller: Caller, message: Message) {
        self.last_request += 1;
        let caller = Caller { request: self.last_request, ..caller };
        self.open.insert((caller.drone, caller.request));
        let (patience, no_answer) = match &message {
            Message::Claim(request) => (request.wait_ms + PATIENCE_MS, Input::ClaimAnswered(None)),
            Message::Heartbeat(_) => (PATIENCE_MS, Input::HeartbeatAnswered(None)),
            Message::Upload(attempt, _) => (PATIENCE_MS, Input::UploadEnded(*attempt, lost())),
            Message::Report(attempt, _) => (PATIENCE_MS, Input::ReportEnded(*attempt, lost())),
            Message::SignOff => (PATIENCE_MS, Input::SignedOff),
        };
        self.at(patience, What::TimesOut(caller, no_answer));
        for in_ms in self.ways() {
            self.at(in_ms, What::Arrives(caller, message.clone()));
        }
    }

    pub(super) fn answer(&mut self, answers: Vec<(Caller, Input)>) {
        for (caller, input) in answers {
            for in_ms in self.ways() {
                self.at(in_ms, What::Answer(caller, input.clone()));
            }
        }
    }

    /// Latency of each copy of a message; empty if the message is lost.
    pub(super) fn ways(&mut self) -> Vec<u64> {
        let faults = self.context.faults.clone();
        let on = self.faults_on();
        if on && self.rng.chance(faults.drop) {
            return Vec::new();
        }
        let copies = 1 + usize::from(on && self.rng.chance(faults.double));
        (0..copies)
            .map(|_| {
                let late = on && self.rng.chance(faults.delay);
                1 + self.rng.below(if late { 60_000 } else { faults.latency_ms })
            })
            .collect()
    }
}

//! The calendar of the world: due runs, which are sometimes reported twice, pauses, and operations on
//! channels.

use super::world::{BEGAN_AT, What, World};
use swarm_common::{
    digest::Digest,
    name::Name,
    wire::{
        admin::{BuilderKind, CandidateRequest, ProfileRequest},
        calendar::ScheduleRequest,
        channel::ChannelName,
    },
};
use swarm_core::{
    Command,
    state::{Forecast, Generation, History, Profile},
};

const PAUSE_MS: u64 = 1_200_000;

impl World {
    /// Creates the schedules that start the nightly runs, and lets people start the others.
    pub(super) fn set_schedule(&mut self) -> Result<(), String> {
        for profile in self.size.nightly() {
            let key = format!("schedule {profile}");
            let put = Command::PutSchedule {
                profile,
                request: ScheduleRequest { cron: "30 3 * * *".into(), zone: "UTC".into(), enabled: true },
                forecast: Forecast { next: BEGAN_AT + 1, period_ms: 1 },
            };
            self.orchestrator.admin(self.now, &mut self.rng, put, &key)?;
        }
        (0..self.size.others).for_each(|n| self.next_start(n));
        self.next_pause();
        self.next_move();
        Ok(())
    }

    /// For each profile, reports that the next run is due once the previous one has ended, and sometimes that
    /// an older one is. If this starts a run twice, there is one too many at the end.
    pub(super) fn start_due_runs(&mut self) -> Result<(), String> {
        for profile in self.size.nightly() {
            let Some(swarm) = &self.orchestrator.swarm else { return Ok(()) };
            let runs = || swarm.runs.values().filter(|run| run.profile == profile);
            let last = runs().count() as u64;
            if last < u64::from(self.size.runs) && runs().all(|run| run.state.is_over()) {
                self.say_due(&profile, last + 1)?;
            }
            if last > 0 && self.rng.chance(50) {
                self.say_due(&profile, last)?;
            }
        }
        Ok(())
    }

    fn say_due(&mut self, profile: &Name, n: u64) -> Result<(), String> {
        let due = BEGAN_AT + n;
        let forecast = Forecast { next: due + 1, period_ms: 1 };
        let said = self.rng.bits();
        let handle = Command::HandleDue { profile: profile.clone(), due, forecast };
        self.orchestrator.admin(self.now, &mut self.rng, handle, &format!("due {said}"))?;
        Ok(())
    }

    pub(super) fn pause(&mut self) -> Result<(), String> {
        if self.faults_on() && self.orchestrator.swarm.is_some() {
            let for_ms = 1 + self.rng.below(PAUSE_MS);
            let pause = Command::Pause { for_ms, reason: "the simulation".into() };
            let said = self.rng.bits();
            self.orchestrator.admin(self.now, &mut self.rng, pause, &format!("pause {said}"))?;
        }
        if self.faults_on() {
            self.next_pause();
        }
        Ok(())
    }

    /// Publishes the generation of a stable channel, rolls the channel back to an arbitrary or non-existent one,
    /// promotes to it, pins or unpins it, makes runs publish to the other channel, or lets the next run try a
    /// candidate.
    pub(super) fn move_channel(&mut self) -> Result<(), String> {
        let mut profiles = self.size.profiles();
        let name = match profiles.len() {
            1 => profiles.remove(0),
            several => profiles.remove(self.rng.below(several as u64) as usize),
        };
        if let Some(swarm) = &self.orchestrator.swarm {
            let profile = swarm.profiles.get(&name);
            let last = profile.and_then(|profile| profile.generations().map(|g| g.number).max()).unwrap_or(0);
            let generation = self.rng.chance(500).then(|| self.rng.below(last + 2));
            let seen = generation.unwrap_or_else(|| profile.map_or(0, |profile| profile.generation));
            let command = match (self.rng.below(8), profile) {
                (0, Some(Profile { request, .. })) => {
                    let staging = request.publish.is_stable();
                    let publish = if staging { ChannelName::Staging } else { ChannelName::Stable };
                    Command::PutProfile { name, request: ProfileRequest { publish, ..request.clone() } }
                }
                (1, Some(profile)) if profile.request.builder == BuilderKind::Nix => {
                    let source = format!("commit {}", self.rng.bits());
                    let candidate = CandidateRequest { snapshot: Digest::of(source.as_bytes()), source };
                    Command::OfferCandidate { profile: name, candidate }
                }
                (0..=2, _) => Command::RollBack { profile: name, generation },
                (3, Some(Profile { stable: History { generations, .. }, .. })) if !generations.is_empty() => {
                    let Generation { number, run, .. } = generations[generations.len() - 1];
                    let (channel, packages) = (ChannelName::Stable, 0);
                    Command::RecordGeneration { profile: name, channel, run, generation: number, packages }
                }
                (4, _) => {
                    let note = self.rng.bits().to_string();
                    Command::PinGeneration { profile: name, generation: seen, note }
                }
                (5, _) => Command::UnpinGeneration { profile: name, generation: seen },
                _ => Command::Promote { profile: name, generation },
            };
            let said = self.rng.bits();
            self.orchestrator.admin(self.now, &mut self.rng, command, &format!("channel {said}"))?;
        }
        if self.faults_on() {
            self.next_move();
        }
        Ok(())
    }

    fn next_move(&mut self) {
        if self.context.faults.rollback_ms > 0 {
            self.soon(self.context.faults.rollback_ms, What::MoveChannel);
        }
    }

    fn next_pause(&mut self) {
        if self.context.faults.pause_ms > 0 {
            self.soon(self.context.faults.pause_ms, What::Pause);
        }
    }
}

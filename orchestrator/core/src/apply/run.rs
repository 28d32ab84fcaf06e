//! Applies the events of runs: plan, progress and end.

use super::attempt::history_name;
use crate::{
    channel,
    estimate::Prediction,
    graph::Graph,
    keys::{self, Keys},
    package::Step,
    plan, quarantine,
    reason::Reason,
    retention,
    shared::Shared,
    state::{Built, Ending, Job, Needs, Package, Swarm},
};
use std::{cmp::Reverse, collections::BTreeSet};
use swarm_common::{
    digest::Digest,
    id::*,
    state::*,
    time::TimeMs,
    wire::{artifact::Artifact, base::Base, drone::Target, plan::PlanReport},
};

impl Swarm {
    /// Takes a plan. Large parts are shared with `other`, which has it already.
    pub(super) fn take_plan(
        &mut self,
        id: RunId,
        first: PackageId,
        report: &PlanReport,
        other: Option<&Self>,
    ) {
        let mut nodes = plan::nodes(report);
        let keys = keys::keys(report, &nodes);
        self.keep_inputs(report, &nodes, &keys, other);
        let others = other.and_then(|other| other.runs.get(&id));
        let others_package = |n: usize| other?.packages.get(&PackageId(first.0 + n as u64));
        let profile = self.runs.get(&id).and_then(|run| self.profiles.get(&run.profile));
        let rule = profile.map(|p| p.request.rebuild).unwrap_or_default();
        let build: Vec<Vec<u32>> = nodes.iter_mut().map(|n| std::mem::take(&mut n.build)).collect();
        let runtime: Vec<Vec<u32>> = nodes.iter_mut().map(|n| std::mem::take(&mut n.runtime)).collect();
        let (mut graph, bundle, unmet) = Graph::new(&build, &runtime);
        if let Some(run) = others {
            graph.share(&run.graph);
        }
        let targets = nodes.iter().enumerate().map(|(n, node)| {
            Shared::like(node.targets(report), others_package(n).map(|package| &package.targets))
        });
        let targets: Vec<Shared<Vec<Target>>> = targets.collect();
        let ids = (first.0..).map(PackageId);
        let outputs = targets.iter().zip(ids).flat_map(|(targets, id)| {
            let outputs = targets.iter().filter_map(Target::nix);
            outputs.map(move |output| (output.base_name().to_owned(), id))
        });
        let outputs = outputs.collect();
        let predict = |(targets, build): (&Shared<Vec<Target>>, &Vec<u32>)| {
            let (name, version) = history_name(targets);
            self.history.predict(&name, &version, build.len())
        };
        let predicted: Vec<Prediction> = targets.iter().zip(&build).map(predict).collect();
        let overhead_ms = self.overhead_ms();
        graph.set_work(predicted.iter().enumerate().map(|(n, p)| (n as u32, p.work_ms + overhead_ms)));
        let Some(run) = self.runs.get_mut(&id) else { return };
        let absolute = |positions: &[u32]| {
            positions.iter().map(|&p| PackageId(first.0 + u64::from(p))).collect::<Vec<_>>()
        };
        let package = |(n, (node, targets)): (usize, (plan::Node, Shared<Vec<Target>>))| {
            let (package, like) = (PackageId(first.0 + n as u64), others_package(n));
            let state = if unmet[n] == 0 { PackageState::Needed } else { PackageState::Blocked };
            *run.counts.entry(state).or_default() += 1;
            if state == PackageState::Needed {
                run.ready.insert((Reverse(graph.rank_ms(n as u32)), package));
            }
            run.open.insert((Reverse(graph.rank_ms(n as u32)), package));
            run.open_ms += predicted[n].work_ms;
            run.packages.push(package);
            let record = Package {
                run: id,
                build_key: keys[n].of(rule),
                strict_key: keys[n].strict,
                build_deps: Shared::like(absolute(&build[n]), like.map(|package| &package.build_deps)),
                runtime_deps: Shared::like(absolute(&runtime[n]), like.map(|package| &package.runtime_deps)),
                cut_deps: absolute(&node.cut),
                in_base: node
                    .members
                    .iter()
                    .any(|&m| report.packages[m as usize].portage().is_some_and(|p| p.in_base)),
                targets,
                needs: node.members.first().and_then(|&m| Needs::of(&report.packages[m as usize])),
                stages: Shared::like(node.stages, like.map(|package| &package.stages)),
                state,
                reason: None,
                needed_since: self.at,
                not_before: TimeMs(0),
                bundle: bundle[n],
                unmet: unmet[n],
                attempts: Vec::new(),
                forgiven: 0,
                held: false,
                artifacts: Shared::default(),
                reused: false,
                predicted_ms: predicted[n].work_ms,
                guessed: predicted[n].guessed,
                peak_memory_bytes: predicted[n].peak.0,
                peak_cores: predicted[n].peak.1,
                rank_ms: graph.rank_ms(n as u32),
            };
            (package, Shared::like(record, like))
        };
        // Collected at once: inserting in ascending order would leave the nodes of the map half empty.
        let mut packages = nodes.into_iter().zip(targets).enumerate().map(package).collect();
        self.packages.append(&mut packages);
        self.last.package = first.0 - 1 + run.packages.len() as u64;
        run.graph = graph;
        run.problems = Shared::like_ref(&report.problems, others.map(|run| &run.problems));
        run.base_provides = Shared::like_ref(&*report.base_provides, others.map(|run| &run.base_provides));
        run.roots.clone_from(&report.roots);
        run.derivations = report.derivations.as_deref().copied();
        run.outputs = outputs;
        run.state = RunState::Building;
        run.reason = None;
    }

    /// Binds a run to the toolchain of the drone that planned it, if it is built in the drones' own
    /// systems.
    pub(super) fn keep_toolchain(&mut self, run: RunId, attempt: AttemptId) {
        let drone = self.attempts.get(&attempt).and_then(|attempt| self.drones.get(&attempt.drone));
        let toolchain = drone.and_then(|drone| drone.facts.toolchain.clone());
        if let Some(run) = self.runs.get_mut(&run).filter(|run| run.base == Base::Host) {
            run.built_with = toolchain;
        }
    }

    /// Keeps the inputs of a plan's keys, to explain later what changed.
    fn keep_inputs(
        &mut self,
        report: &PlanReport,
        nodes: &[plan::Node],
        keys: &[Keys],
        other: Option<&Self>,
    ) {
        if report.settings.is_empty() {
            return;
        }
        let settings = keys::settings_digest(report);
        self.settings.entry(settings).or_insert_with(|| report.settings.clone());
        let bound = keys::bound(report);
        for (node, keys) in nodes.iter().zip(keys) {
            let others = other.and_then(|other| other.inputs.get(&keys.strict));
            self.inputs
                .entry(keys.strict)
                .or_insert_with(|| Shared::like(keys::inputs(report, node, settings, &bound), others));
        }
    }

    pub(super) fn receive(
        &mut self,
        at: TimeMs,
        id: PackageId,
        artifacts: &Shared<Vec<Artifact>>,
        reused: bool,
    ) {
        if !self.step(id, Step::Receive) {
            return;
        }
        let Some(package) = self.packages.get_mut(&id) else { return };
        package.artifacts = artifacts.clone();
        package.reused = reused;
        package.reason = None;
        if let Some(run) = self.runs.get(&package.run).filter(|run| !run.outputs.is_empty()) {
            package.runtime_deps = run.references(id, artifacts).into();
        }
        let (bundle, key) = (package.bundle, package.build_key);
        self.quarantine.lift(&quarantine::key(package));
        let Some(run) = self.runs.get_mut(&package.run) else { return };
        run.reused += u64::from(reused);
        if reused {
            // An artifact built for another profile may have a build id that this profile has not
            // assigned.
            if let Some(profile) = self.profiles.get_mut(&run.profile) {
                for target in artifacts.iter().filter_map(|a| a.target.portage()) {
                    let last = profile.build_ids.entry(target.cpv.clone()).or_default();
                    *last = target.build_id.max(*last);
                }
            }
            self.built.entry(key).or_insert_with(|| Built { at, artifacts: artifacts.clone() });
        } else {
            self.built.insert(key, Built { at, artifacts: artifacts.clone() });
            if self.rebuilds.get(&key).is_some_and(|rebuild| rebuild.after < id) {
                self.rebuilds.remove(&key);
            }
        }
        let first = run.packages.first().map_or(0, |p| p.0);
        for position in run.graph.receive(bundle) {
            let dependant = PackageId(first + u64::from(position));
            let Some(package) = self.packages.get_mut(&dependant) else { continue };
            package.unmet = package.unmet.saturating_sub(1);
            if package.unmet == 0 {
                self.step(dependant, Step::Unblock);
            }
        }
    }

    /// Renews the estimates of packages never built from what is now known about others, and reorders the
    /// waiting packages.
    pub(super) fn guess_again(&mut self) {
        if !self.history.guess.is_due() {
            return;
        }
        let overhead_ms = self.overhead_ms();
        for run in self.runs.values_mut().filter(|r| r.state == RunState::Building) {
            let first = run.packages.first().map_or(0, |p| p.0);
            let mut revised = Vec::new();
            for &(_, id) in &run.open {
                let Some(package) = self.packages.get_mut(&id).filter(|p| p.guessed) else { continue };
                let (name, _) = history_name(&package.targets);
                let work_ms = self.history.guess.work_ms(&name, package.build_deps.len());
                run.open_ms = (run.open_ms + work_ms).saturating_sub(package.predicted_ms);
                package.predicted_ms = work_ms;
                revised.push(((id.0 - first) as u32, package.predicted_ms + overhead_ms));
            }
            for position in run.graph.set_work(revised) {
                let id = PackageId(first + u64::from(position));
                let Some(package) = self.packages.get_mut(&id) else { continue };
                let old = (Reverse(package.rank_ms), id);
                package.rank_ms = run.graph.rank_ms(position);
                let new = (Reverse(package.rank_ms), id);
                if run.open.remove(&old) {
                    run.open.insert(new);
                }
                if run.ready.remove(&old) {
                    run.ready.insert(new);
                }
            }
        }
    }

    /// Moves the channel of the run's profile to what the run has received.
    pub(super) fn publish(&mut self, id: RunId) {
        let Some(channel) = channel::follow(self, id) else { return };
        let profile = self.runs.get(&id).map(|run| run.profile.clone());
        if let Some(profile) = profile.and_then(|name| self.profiles.get_mut(&name)) {
            profile.move_to(channel);
        }
        self.drop_builds();
    }

    pub(super) fn end_run(&mut self, at: TimeMs, id: RunId, state: RunState, reason: Option<&Reason>) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        (run.state, run.ended_at) = (state, Some(at));
        run.reason = reason.cloned();
        if matches!(state, RunState::Succeeded | RunState::Partial) {
            return self.publish(id);
        }
        if state != RunState::Cancelled {
            return;
        }
        let jobs: Vec<Job> = run.packages.iter().map(|&p| Job::Build(p)).chain([Job::Plan(id)]).collect();
        for job in jobs {
            let live: Vec<AttemptId> = self.attempts_at(job).map(|(id, _)| id).collect();
            for attempt in live {
                self.end(at, attempt, Ending::Cancelled, None);
            }
            if let Job::Build(package) = job {
                self.step(package, Step::Cancel);
            }
        }
    }

    pub(super) fn forget_run(&mut self, id: RunId) {
        self.keep_builds(id);
        self.keep_attempts(id);
        let Some(run) = self.runs.remove(&id) else { return };
        let mut attempts = [run.plan_attempts, run.base_attempts].concat();
        for package in &run.packages {
            if let Some(package) = self.packages.remove(package) {
                attempts.extend(&package.attempts);
            }
        }
        for attempt in attempts {
            self.attempts.remove(&attempt);
        }
        let packages = || self.packages.values();
        let built: BTreeSet<Digest> = packages().map(|p| p.build_key).collect();
        let strict: BTreeSet<Digest> = packages().map(|p| p.strict_key).collect();
        self.built.retain(|key, _| built.contains(key));
        self.rebuilds.retain(|key, _| built.contains(key));
        self.inputs.retain(|key, _| strict.contains(key));
        let settings: BTreeSet<Digest> = self.inputs.values().map(|inputs| inputs.settings).collect();
        self.settings.retain(|digest, _| settings.contains(digest));
        let planned: BTreeSet<_> = packages().map(|package| quarantine::key(package)).collect();
        self.quarantine.retain(|key| planned.contains(key));
        if !self.collisions.is_empty() {
            let stored = retention::artifacts(self, None).iter().map(|a| a.digest).collect();
            self.collisions.retain(self.at, &stored);
        }
        self.drop_builds();
    }
}

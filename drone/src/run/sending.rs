//! Requests to the orchestrator. Each one is a task that ends with an event.

use super::{Event, Loop};
use crate::{
    agent::{Delivery, Input},
    deliver, machine, vitals,
};
use std::{sync::Arc, time::Duration};
use swarm_common::{id::AttemptId, wire::drone::*};

/// Timeout of the sign-off request.
const GOODBYE: Duration = Duration::from_secs(5);

impl Loop {
    pub(super) fn claim(&mut self, mut request: ClaimRequest) {
        let (client, inputs) = (self.client.clone(), self.inputs.clone());
        let stopping = self.stopping.clone();
        request.memory_free_bytes = vitals::read(&self.resources.work_dir).memory_free_bytes;
        self.spawn(async move {
            let reply = tokio::select! {
                reply = client.claim(&request) => reply,
                () = stopping.cancelled() => return Event::Happened(Input::ClaimAnswered(None).into()),
            };
            let (reply, error) = reply.map_or_else(|e| (None, Some(e)), |r| (Some(r), None));
            let _ = inputs.send(Event::Contact(error)).await;
            Event::Happened(Input::ClaimAnswered(reply).into())
        });
    }

    pub(super) fn heartbeat(&mut self, mut attempts: Vec<AttemptStatus>, draining: bool) {
        self.made_from.retain(|attempt, _| attempts.iter().any(|status| status.attempt == *attempt));
        for status in &mut attempts {
            let attempt = status.attempt;
            let read = || self.resources.spool.assignment(attempt).ok()?.made_from();
            let made_from = *self.made_from.entry(attempt).or_insert_with(read);
            // The orchestrator never wants the failure of an attempt that it does not know.
            let may_be_wanted = self.reports.get(&attempt).is_none_or(|report| report.is_built());
            status.made_from = made_from.filter(|_| may_be_wanted);
        }
        let (client, inputs) = (self.client.clone(), self.inputs.clone());
        let vitals = vitals::read(&self.resources.work_dir);
        let builder = &self.resources.builder;
        let facts = machine::facts(&self.profiles, builder, self.probe.toolchain(), self.fitness.found());
        let facts = Some(facts).filter(|facts| self.facts_told.as_ref() != Some(facts));
        self.facts_on_their_way.clone_from(&facts);
        let (boot_id, highest_attempt) = (machine::boot_id(), self.highest.get());
        let request = HeartbeatRequest { vitals, attempts, draining, boot_id, facts, highest_attempt };
        self.spawn(async move {
            let reply = client.heartbeat(&request).await;
            let (reply, error) = reply.map_or_else(|e| (None, Some(e)), |r| (Some(r), None));
            let _ = inputs.send(Event::Contact(error)).await;
            Event::Happened(Input::HeartbeatAnswered(reply).into())
        });
    }

    pub(super) fn upload(&mut self, attempt: AttemptId) {
        let Some(report) = self.reports.get(&attempt).map(Arc::clone) else {
            // Every report is recorded before its files are sent.
            tracing::error!(%attempt, "no report to upload files for");
            let broken = Delivery::Broken { why: "there is no report of it".into() };
            return self.spawn(async move { Event::Happened(Input::UploadEnded(attempt, broken).into()) });
        };
        let (client, resources) = (self.client.clone(), Arc::clone(&self.resources));
        self.builds.remove(&attempt);
        self.spawn(async move {
            let delivery = deliver::files(&client, &resources.spool, attempt, &report).await;
            Event::Happened(Input::UploadEnded(attempt, delivery).into())
        });
    }

    pub(super) fn report(&mut self, attempt: AttemptId, report: ReportRequest) {
        let (client, resources) = (self.client.clone(), Arc::clone(&self.resources));
        self.builds.remove(&attempt);
        self.spawn(async move {
            let delivery = deliver::report(&client, &resources.spool, attempt, &report).await;
            Event::Happened(Input::ReportEnded(attempt, delivery).into())
        });
    }

    pub(super) fn sign_off(&mut self) {
        let client = self.client.clone();
        self.spawn(async move {
            let request = SignOffRequest { reason: "the drone was asked to stop".into() };
            match tokio::time::timeout(GOODBYE, client.sign_off(&request)).await {
                Ok(Ok(())) => tracing::info!("signed off"),
                Ok(Err(error)) => tracing::warn!(%error, "cannot sign off"),
                Err(_) => tracing::warn!("cannot sign off in {} s", GOODBYE.as_secs()),
            }
            Event::Happened(Input::SignedOff.into())
        });
    }
}

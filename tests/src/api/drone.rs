//! A fake drone, which sends the same requests as a real one but builds nothing.

use super::parts::{facts, name, package_file};
use anyhow::{Context, Result, ensure};
use swarm_client::{Bytes, Client, ClientError};
use swarm_common::{
    digest::Digest,
    id::{AttemptId, DroneId},
    secret::Secret,
    wire::{drone::*, plan::PlanReport},
};

pub struct FakeDrone {
    pub client: Client,
    pub id: DroneId,
    /// Its credential, for raw requests.
    pub credential: String,
}

/// Vitals that report no resources.
#[must_use]
pub fn nothing_free() -> Vitals {
    Vitals { load1: 0.0, memory_free_bytes: 0, disk_free_bytes: 0 }
}

impl FakeDrone {
    /// Enrols a drone with a token.
    ///
    /// # Errors
    /// The orchestrator refuses the request.
    pub async fn enrol(nobody: &Client, token: &str, called: &str) -> Result<Self> {
        Self::enrol_with(nobody, token, called, facts()).await
    }

    /// Enrols a drone with these facts about its machine.
    ///
    /// # Errors
    /// The orchestrator refuses the request.
    pub async fn enrol_with(nobody: &Client, token: &str, called: &str, facts: DroneFacts) -> Result<Self> {
        let request =
            EnrolRequest { token: token.to_owned(), name: name(called), facts, credential_hash: None };
        let EnrolReply { drone, credential } = nobody.enrol(&request).await?;
        let credential = credential.context("no credential came")?;
        let client = nobody.with_credential(Secret::new(&credential));
        Ok(Self { client, id: drone, credential })
    }

    /// Claims work with an idempotency key.
    ///
    /// # Errors
    /// The orchestrator refuses the request.
    pub async fn ask(&self, key: &str, wait_ms: u64) -> Result<ClaimReply, ClientError> {
        let request = ClaimRequest { key: key.to_owned(), wait_ms, memory_free_bytes: 1 << 30 };
        self.client.claim(&request).await
    }

    /// Claims work, waiting up to a minute.
    ///
    /// # Errors
    /// There is none within that time.
    pub async fn work(&self) -> Result<Assignment> {
        self.work_within(60_000).await
    }

    /// Claims work, waiting up to `wait_ms`.
    ///
    /// # Errors
    /// There is none within that time.
    pub async fn work_within(&self, wait_ms: u64) -> Result<Assignment> {
        let key = format!("{:p}-{}", self, swarm_client::IdempotencyKey::random()?);
        let reply = self.ask(&key[..key.len().min(64)], wait_ms).await?;
        reply.assignment.with_context(|| format!("no work: {:?}", reply.reason))
    }

    /// Claims a plan attempt and reports this plan.
    ///
    /// # Errors
    /// There is no plan to make, or the orchestrator refuses the report.
    pub async fn bring_plan(&self, plan: PlanReport) -> Result<AttemptId> {
        let assignment = self.work().await?;
        ensure!(assignment.work == Work::Plan, "{assignment:?} is no plan");
        let reply = self.report(assignment.attempt, Outcome::Planned { plan }).await?;
        ensure!(reply.accepted, "the plan was not accepted: {}", reply.reason);
        Ok(assignment.attempt)
    }

    /// Claims a build attempt.
    ///
    /// # Errors
    /// There is none.
    pub async fn build_order(&self) -> Result<(AttemptId, BuildOrder)> {
        let assignment = self.work().await?;
        match assignment.work {
            Work::Build(order) => Ok((assignment.attempt, order)),
            other => anyhow::bail!("{} builds nothing: {other:?}", assignment.attempt),
        }
    }

    /// Uploads the complete package file that an order asks for.
    ///
    /// # Errors
    /// The orchestrator refuses the request.
    pub async fn upload(&self, attempt: AttemptId, target: &Target) -> Result<Digest> {
        self.upload_bytes(attempt, target, std::fs::read(package_file(target))?).await
    }

    /// Uploads these bytes as the file that an order asks for.
    ///
    /// # Errors
    /// The orchestrator refuses the request.
    pub async fn upload_bytes(&self, attempt: AttemptId, target: &Target, bytes: Vec<u8>) -> Result<Digest> {
        let digest = Digest::of(&bytes);
        let request = UploadRequest { digest, size: bytes.len() as u64, target: target.id().to_owned() };
        let status = self.client.begin_upload(attempt, &request).await?;
        if !status.verified {
            let rest = Bytes::from(bytes).slice(usize::try_from(status.offset)?..);
            let status = self.client.upload_piece(attempt, digest, status.offset, rest).await?;
            ensure!(status.verified, "the upload was not verified: {status:?}");
        }
        Ok(digest)
    }

    /// Claims a build attempt, uploads its files and reports success.
    ///
    /// # Errors
    /// The orchestrator refuses a request.
    pub async fn build(&self) -> Result<AttemptId> {
        let (attempt, order) = self.build_order().await?;
        let mut artifacts = Vec::new();
        for target in &order.targets {
            artifacts.push(self.upload(attempt, target).await?);
        }
        let reply = self.report(attempt, Outcome::Built { artifacts }).await?;
        ensure!(reply.accepted, "the package was not accepted: {}", reply.reason);
        Ok(attempt)
    }

    /// Reports how an attempt ended.
    ///
    /// # Errors
    /// The orchestrator refuses the request.
    pub async fn report(&self, attempt: AttemptId, outcome: Outcome) -> Result<ReportReply, ClientError> {
        let usage = Usage { wall_ms: 1000, cpu_ms: 1000, peak_memory_bytes: 1 << 20 };
        self.client.report(attempt, &ReportRequest::new(outcome, usage)).await
    }

    /// Reports built files, with the references that Nix registered for each.
    ///
    /// # Errors
    /// The orchestrator refuses the request.
    pub async fn report_with(
        &self,
        attempt: AttemptId,
        artifacts: Vec<Digest>,
        references: Vec<Vec<String>>,
    ) -> Result<ReportReply, ClientError> {
        let built = ReportRequest::new(Outcome::Built { artifacts }, Usage::default());
        self.client.report(attempt, &ReportRequest { references, ..built }).await
    }

    /// Sends a heartbeat that lists these attempts.
    ///
    /// # Errors
    /// The orchestrator refuses the request.
    pub async fn heartbeat(&self, attempts: Vec<AttemptStatus>) -> Result<HeartbeatReply, ClientError> {
        let request = HeartbeatRequest {
            vitals: nothing_free(),
            attempts,
            draining: false,
            boot_id: "b".to_owned(),
            facts: None,
            highest_attempt: None,
        };
        self.client.heartbeat(&request).await
    }
}

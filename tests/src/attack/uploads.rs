//! Attacks with the uploads of a hostile drone: mutated packages and packages made to do harm, which the real
//! Portage judges too, and uploads that violate the protocol.

use super::{
    Dice,
    packages::{
        model::{Entry, Model, Style, pack},
        mutate,
        reference::{Reference, Verdict},
        table,
    },
    prey::Prey,
    tally::{Due, Said, Tally},
};
use crate::api::{forge::end, pebble, plan_of};
use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use serde_json::json;
use std::{io::Write as _, time::Instant};
use swarm_common::{
    cpv::Cpv,
    digest::Digest,
    id::AttemptId,
    wire::{
        drone::{BuildOrder, Outcome, Work},
        plan::{PlanReport, PortagePackage},
    },
};

/// Packages of a plan. Each is tried once.
const PACKAGES: usize = 400;

/// Attacks until `until`. Without scaling, this includes packages of the largest allowed size.
///
/// # Errors
/// A valid package is refused.
pub async fn attack(
    prey: &Prey,
    dice: &mut Dice,
    until: Instant,
    scale: u32,
    tally: &mut Tally,
) -> Result<()> {
    let mut reference = tokio::task::spawn_blocking(Reference::start).await?;
    // `formats/tests/verdicts` tries these packages one by one. They take a while to make.
    let (made, mut heavy) = if scale == 1 { (table::rows(), heavy()) } else { (Vec::new(), Vec::new()) };
    for series in 0.. {
        let attempt = prey.plan_to_make().await?;
        prey.hostile.report(attempt, Outcome::Planned { plan: plan(series) }).await?;
        for n in 0..PACKAGES {
            if Instant::now() >= until && tally.inputs > 0 {
                prey.end_runs().await?;
                prey.read_all(tally).await;
                return whole(prey, tally).await;
            }
            let work = prey.work().await?;
            let Work::Build(order) = work.work else { continue };
            let one =
                One { prey, attempt: work.attempt, cpv: order.targets[0].portage().unwrap().cpv.clone() };
            let heavy = (dice.below(8) == 0).then(|| heavy.pop()).flatten();
            match (heavy, dice.below(10)) {
                (Some((what, make)), _) => {
                    let said = one.bring(&what, Due::Refused, make(), tally).await;
                    if said.is_ok() {
                        one.report(tally, &[]).await;
                    }
                }
                (None, 0) => one.break_rules(dice, tally).await,
                (None, 1) if !made.is_empty() => {
                    // These packages have another name, so even a valid one does not match any order.
                    let table::Row(what, package, _) = &made[dice.below(made.len())];
                    one.bring(what, Due::Refused, package.clone(), tally).await;
                }
                _ => {
                    let seed = dice.below(1 << 48) as u64;
                    one.mutated(seed, &order, &mut reference, tally).await?;
                }
            }
            one.give_up(tally).await;
            if n % 100 == 99 {
                prey.read_all(tally).await;
            }
        }
    }
    Ok(())
}

/// A plan with packages made by `Model`, which have no dependencies.
fn plan(series: u64) -> PlanReport {
    let package = |n: usize| PortagePackage {
        cpv: format!("app-misc/x-{series}.{n}").parse().unwrap(),
        subslot: "2".into(),
        use_flags: vec!["smooth".into()],
        iuse: vec!["dry".into(), "smooth".into(), "wet".into()],
        inputs: Digest::of(format!("{series}.{n}").as_bytes()),
        ..pebble()
    };
    let mut plan = plan_of(&[]);
    plan.packages = (0..PACKAGES).map(package).map(Into::into).collect();
    let provided = ["libc.so.6", "libm.so.6"].map(str::to_owned).into();
    plan.base_provides.insert("x86_64".into(), provided);
    plan
}

/// Checks that every index names only intact files.
async fn whole(prey: &Prey, tally: &mut Tally) -> Result<()> {
    let folder = prey.orchestrator.folder().join("state/binhost");
    if let Err(error) = tokio::task::spawn_blocking(move || crate::faults::named_files(&folder)).await? {
        tally.wrong(format!("{error:#}"));
    }
    Ok(())
}

/// A description, and a function that makes the package. A few packages are large.
type Heavy = (String, Box<dyn Fn() -> Vec<u8> + Send + Sync>);

/// Packages that need as much memory or time as possible.
fn heavy() -> Vec<Heavy> {
    let with_image = |name: &str, bytes: Vec<u8>| {
        let mut forge = pack(&Model::new().metadata(), &[]);
        forge.members[2] = (name.to_owned(), bytes);
        forge.build()
    };
    let mut heavy: Vec<Heavy> = Vec::new();
    for log in [20, 24, 27, 30] {
        let make = move || with_image("image.tar.zst", windowed(log, 160 << 20));
        heavy.push((format!("an image with a zstd window of 2^{log} bytes"), Box::new(make)));
    }
    heavy.push((
        "an image of 128 GiB in a few bytes".into(),
        Box::new(move || with_image("image.tar.zst", zstd::encode_all(&vec![0; 64 << 20][..], 19).unwrap())),
    ));
    for (what, count, path) in [
        ("half a million short paths", 500_000, ""),
        ("two million paths", 2_000_000, ""),
        ("long paths", 20_000, "/long-name-of-a-directory".repeat(100).leak()),
    ] {
        heavy.push((
            what.into(),
            Box::new(move || {
                let style = if path.is_empty() { Style::Ustar } else { Style::Gnu };
                let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
                for n in 0..count {
                    let entry = Entry { style, ..Entry::new(&format!("image{path}/{n}"), b'0', "", b"") };
                    encoder.write_all(&entry.bytes()).unwrap();
                }
                encoder.write_all(&end(Vec::new())).unwrap();
                with_image("image.tar.zst", encoder.finish().unwrap())
            }),
        ));
    }
    heavy.push((
        "metadata of 30 MiB".into(),
        Box::new(|| {
            let mut model = Model::new();
            let value: Vec<u8> = (0_u32..).flat_map(|n| format!("{n} ").into_bytes()).take(8 << 20).collect();
            for key in ["NEEDED", "NEEDED.ELF.2", "environment.bz2"] {
                model.values.retain(|(other, _)| other != key);
                model.values.push((key.into(), value.clone()));
            }
            model.build()
        }),
    ));
    heavy.reverse();
    heavy
}

/// `bytes` bytes compressed with this window, at a ratio too low for a decompression bomb.
fn windowed(log: u32, bytes: usize) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(log).unwrap();
    let header = {
        let mut header = Entry::new("image/x", b'0', "", b"").bytes();
        header[124..136].copy_from_slice(format!("{bytes:011o}\0").as_bytes());
        crate::api::forge::seal(&mut header[..512]);
        header
    };
    encoder.write_all(&header).unwrap();
    let mut state = 1_u64;
    let mut block = vec![0_u8; 1 << 20];
    for _ in 0..bytes >> 20 {
        for byte in block.iter_mut().step_by(64) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = (state >> 32) as u8;
        }
        encoder.write_all(&block).unwrap();
    }
    encoder.write_all(&end(Vec::new())).unwrap();
    encoder.finish().unwrap()
}

/// An attempt at a package.
struct One<'p> {
    prey: &'p Prey,
    attempt: AttemptId,
    cpv: Cpv,
}

impl One<'_> {
    async fn post(&self, path: &str, body: serde_json::Value) -> Said {
        let path = format!("/attempts/{}/{path}", self.attempt);
        let body = body.to_string().into_bytes();
        self.prey.send(Method::POST, &path, &self.prey.hostile.credential, &[], body).await.0
    }

    async fn announce(&self, digest: Digest, size: u64) -> Said {
        self.post("uploads", json!({"digest": digest, "size": size, "cpv": self.cpv})).await
    }

    async fn piece(&self, digest: Digest, offset: &str, bytes: Vec<u8>) -> Said {
        let path = format!("/attempts/{}/uploads/{digest}", self.attempt);
        let headers = [("upload-offset", offset.to_owned())];
        self.prey.send(Method::PATCH, &path, &self.prey.hostile.credential, &headers, bytes).await.0
    }

    /// Uploads these bytes as the package.
    async fn bring(&self, what: &str, due: Due, bytes: Vec<u8>, tally: &mut Tally) -> Said {
        let began = Instant::now();
        let digest = Digest::of(&bytes);
        let begun = self.announce(digest, bytes.len() as u64).await;
        let said = if begun.is_ok() { self.piece(digest, "0", bytes).await } else { begun };
        tally.judge(format!("a package: {what}"), due, &said, began.elapsed());
        said
    }

    /// Uploads the mutated package of a seed, and asks the reference.
    async fn mutated(
        &self,
        seed: u64,
        order: &BuildOrder,
        reference: &mut Reference,
        tally: &mut Tally,
    ) -> Result<()> {
        let target = &order.targets[0];
        ensure!(target.portage().unwrap().build_id == 1, "{target:?} was tried before");
        let version = target.portage().unwrap().cpv.pf().strip_prefix("x-").context("another package")?;
        let bytes = mutate::package(seed, Model::of(version));
        let said = self.bring(&format!("mutation {seed}"), Due::Either, bytes.clone(), tally).await;
        let verdict = tokio::task::block_in_place(|| reference.of(&bytes));
        if let Some(differs) = difference(&said, &verdict) {
            tally.wrong(format!("{version}, mutation {seed}: {differs}"));
        }
        if said.is_ok() {
            self.report(tally, &[Digest::of(&bytes)]).await;
        }
        Ok(())
    }

    async fn report(&self, tally: &mut Tally, artifacts: &[Digest]) -> Said {
        let outcome = json!({"kind": "built", "artifacts": artifacts});
        let usage = json!({"wall_ms": 1, "cpu_ms": 1, "peak_memory_bytes": 1});
        let said = self.post("report", json!({"outcome": outcome, "usage": usage})).await;
        if matches!(said, Said::Status(500.., _) | Said::Nothing(_)) {
            tally.wrong(format!("the report of a package: {said:?}"));
        }
        said
    }

    /// Ends the attempt if it has not ended yet.
    async fn give_up(&self, tally: &mut Tally) {
        let failure = json!({"class": "package", "phase": "building", "signature": "s", "message": "m"});
        let usage = json!({"wall_ms": 1, "cpu_ms": 1, "peak_memory_bytes": 1});
        let outcome = json!({"kind": "failed", "failure": failure});
        let said = self.post("report", json!({"outcome": outcome, "usage": usage})).await;
        if !said.is_ok() {
            tally.wrong(format!("a failure is not taken: {said:?}"));
        }
    }

    /// Uploads that violate the protocol.
    async fn break_rules(&self, dice: &mut Dice, tally: &mut Tally) {
        let began = Instant::now();
        let bytes = mutate::package(dice.below(1 << 30) as u64, Model::new());
        let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
        let half = bytes[..bytes.len() / 2].to_vec();
        let (what, due, said) = match dice.below(10) {
            0 => ("an upload of 9 GiB", Due::Refused, self.announce(digest, 9 << 30).await),
            1 => ("an upload of 16 EiB", Due::Refused, self.announce(digest, u64::MAX).await),
            2 => {
                let mut taken = 0;
                for n in 0..20_u8 {
                    taken += u64::from(self.announce(Digest::of(&[n]), 8 << 30).await.is_ok());
                }
                if taken > 2 {
                    tally.wrong(format!("{taken} uploads of 8 GiB were taken of one attempt"));
                }
                ("twenty uploads", Due::Refused, self.announce(digest, 8 << 30).await)
            }
            3 => ("a piece of nothing", Due::Refused, self.piece(digest, "0", half).await),
            4 => {
                let offset = dice.of(&["-1", "18446744073709551616", "7", "x", "", "0x0", "+0", "1e3"]);
                let _begun = self.announce(digest, size).await;
                ("a piece at a wrong offset", Due::Refused, self.piece(digest, offset, half).await)
            }
            5 => {
                let _begun = self.announce(digest, size - 1).await;
                ("more bytes than announced", Due::Refused, self.piece(digest, "0", bytes).await)
            }
            6 => {
                let _begun = self.announce(digest, size).await;
                ("another size", Due::Refused, self.announce(digest, size + 1).await)
            }
            7 => {
                let _begun = self.announce(digest, 0).await;
                ("no bytes", Due::Refused, self.piece(digest, "0", Vec::new()).await)
            }
            8 => {
                let other = Digest::of(b"other");
                let _begun = self.announce(other, size).await;
                ("other bytes", Due::Refused, self.piece(other, "0", bytes).await)
            }
            _ => {
                let _begun = self.announce(digest, size).await;
                let _half = self.piece(digest, "0", half).await;
                ("half a package", Due::Refused, self.report(tally, &[digest]).await)
            }
        };
        tally.judge(what, due, &said, began.elapsed());
    }
}

/// How a verdict differs from the reference, if it does. The orchestrator may also refuse a package because
/// it is not the requested one.
fn difference(said: &Said, verdict: &Verdict) -> Option<String> {
    let another = |kind: &str| {
        let kind = kind.rsplit('/').next().unwrap_or_default();
        kind.starts_with("wrong-") || kind == "unbound-slot"
    };
    match (said, verdict) {
        (Said::Status(200..=299, _), Ok(_)) => None,
        (Said::Status(422, kind), Ok(_)) if another(kind) => None,
        (Said::Status(422, _), Err(_)) => None,
        _ => Some(format!("{said:?}, and the reference {verdict:?}")),
    }
}

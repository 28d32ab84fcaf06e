//! An upload from the drone's first byte to the stored, signed artifact, compared with merely hashing the
//! same file.

use super::{
    Settings,
    report::{Goal, Row, Section, median},
    server::{Orchestrator, independent, memory_mb},
};
use crate::api::{
    FakeDrone, identity,
    mold::{Mold, incompressible_image},
};
use anyhow::{Context, Result, ensure};
use std::{
    fs::{self, File},
    io::BufReader,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};
use swarm_common::{digest::Digest, wire::drone::*};

/// Sizes of the images in MB. Only the second one is timed.
const SIZES: [u64; 3] = [20, 200, 1000];
const TIMED: u64 = SIZES[1];
/// Maximum memory above idle for an upload of any size, in MB.
const MEMORY: f64 = 16.0;

/// A real orchestrator, and a drone that uploads to it.
struct Intake {
    orchestrator: Orchestrator,
    drone: FakeDrone,
}

impl Intake {
    async fn start(folder: &Path, packages: usize) -> Result<Self> {
        let orchestrator = Orchestrator::start(folder, "[policy]\nlease = \"1h\"\n")?;
        let drone = orchestrator.crew(1).await?.pop().context("no drone")?;
        orchestrator.planned(&drone, independent(1, packages)).await?;
        Ok(Self { orchestrator, drone })
    }

    /// A value in `/proc/PID/io`.
    fn io(&self, key: &str) -> Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/io", self.orchestrator.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        Ok(line.with_context(|| key.to_owned())?.trim().parse()?)
    }

    fn megabytes(&self, key: &str) -> Result<f64> {
        memory_mb(self.orchestrator.id(), "status", key)
    }

    /// Uploads and reports a package with this image.
    async fn upload(&self, mold: &Mold, image: &mut BufReader<File>, file: &Path) -> Result<Upload> {
        let (attempt, order) = self.drone.build_order().await?;
        let target = order.targets.first().context("an order for nothing")?;
        cast(mold, target, image, file)?;
        let sums = [sum("sha512sum", file)?, sum("b2sum", file)?];
        let size = fs::metadata(file)?.len();
        let digest = digest_of(file)?;
        // Sync the file, so that it is not written during the upload.
        File::open(file)?.sync_all()?;
        // Resets the peak resident memory (proc(5)).
        fs::write(format!("/proc/{}/clear_refs", self.orchestrator.id()), "5")?;
        let (read, written) = (self.io("rchar:")?, self.io("wchar:")?);
        let began = Instant::now();
        let request = UploadRequest { digest, size, target: target.id().to_owned() };
        let status = self.drone.client.begin_upload(attempt, &request).await?;
        let status = self.drone.client.upload_file(attempt, digest, file, status.offset).await?;
        let seconds = began.elapsed().as_secs_f64();
        ensure!(status.verified, "the upload was not taken: {status:?}");
        let per_byte =
            |key: &str, before: f64| Ok::<f64, anyhow::Error>((self.io(key)? - before) / size as f64);
        let upload = Upload {
            rate: size as f64 / 1e6 / seconds,
            slower_sum: size as f64 / 1e6 / sums.into_iter().fold(0.0, f64::max),
            peak: self.megabytes("VmHWM:")?,
            read: per_byte("rchar:", read)?,
            written: per_byte("wchar:", written)?,
        };
        let reply = self.drone.report(attempt, Outcome::Built { artifacts: vec![digest] }).await?;
        ensure!(reply.accepted, "the package was not accepted: {}", reply.reason);
        Ok(upload)
    }
}

struct Upload {
    /// MB/s.
    rate: f64,
    /// MB/s of the slower of the two hash programs.
    slower_sum: f64,
    /// Peak resident memory in MB.
    peak: f64,
    /// Bytes read from files per uploaded byte.
    read: f64,
    /// Bytes written per uploaded byte.
    written: f64,
}

fn cast(mold: &Mold, target: &Target, image: &mut BufReader<File>, file: &Path) -> Result<()> {
    let identity = identity(target);
    let values: Vec<(&str, &str)> = identity.iter().map(|(key, value)| (*key, value.as_str())).collect();
    mold.cast(
        file,
        &format!("{}-{}", target.portage().unwrap().cpv.pf(), target.portage().unwrap().build_id),
        &values,
        image,
    )
}

/// Seconds that a program takes to hash a file.
fn sum(program: &str, file: &Path) -> Result<f64> {
    let began = Instant::now();
    let done = Command::new(program).arg(file).stdout(Stdio::null()).status()?;
    ensure!(done.success(), "{program} ended with {done}");
    Ok(began.elapsed().as_secs_f64())
}

/// The digest as computed by the drone that built the file.
fn digest_of(file: &Path) -> Result<Digest> {
    let done = Command::new("sha256sum").arg(file).output()?;
    let text = String::from_utf8(done.stdout)?;
    text.split(' ').next().unwrap_or_default().parse().map_err(|_| anyhow::anyhow!("no digest: {text}"))
}

/// Runs the benchmark.
///
/// # Errors
/// The orchestrator does not start or does not accept a package.
pub fn run(settings: &Settings) -> Result<Section> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure(settings))
}

async fn measure(settings: &Settings) -> Result<Section> {
    let folder = tempfile::tempdir()?;
    let mold = Mold::new()?;
    let intake = Intake::start(folder.path(), settings.rounds + SIZES.len()).await?;
    let idle = intake.megabytes("VmRSS:")?;
    let file = folder.path().join("upload.gpkg.tar");
    let (mut rates, mut sums, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    let (mut read, mut written) = (0.0_f64, 0.0_f64);
    for size in SIZES {
        let mut image = incompressible_image(&folder.path().join("image.tar.zst"), size * 1_000_000)?;
        let mut peak = 0.0_f64;
        for _ in 0..if size == TIMED { settings.rounds } else { 1 } {
            let upload = intake.upload(&mold, &mut image, &file).await?;
            peak = peak.max(upload.peak);
            if size == TIMED {
                rates.push(upload.rate);
                sums.push(upload.slower_sum);
                (read, written) = (read.max(upload.read), written.max(upload.written));
            }
        }
        rows.push(Row::within(format!("memory above idle, upload of {size} MB, MB"), peak - idle, MEMORY));
    }
    let ratio = Goal::AtLeast(0.7);
    let rate = Row::new(
        format!("upload of {TIMED} MB, MB/s"),
        median(rates)?,
        "the slower of sha512sum and b2sum",
        median(sums)?,
        ratio,
    );
    rows.insert(0, rate);
    rows.push(Row::within("bytes read from files, per byte uploaded", read, 0.01));
    rows.push(Row::within("bytes written, per byte uploaded", written, 1.05));
    let about = format!(
        "The drone's client uploads a package of incompressible data to the orchestrator over HTTP on loopback. Before it \
         answers, the orchestrator checks, signs and stores the package: it computes SHA-256, MD5 and SHA1 of the file and \
         SHA512 and BLAKE2B of its members, and reads both archives. When idle, it uses {idle:.1} MB. The compared \
         programs hash the same file once."
    );
    Ok(Section { title: "Intake", about, rows })
}

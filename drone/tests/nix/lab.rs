//! Test fixtures: drones with their own stores, and the files they built.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};
use swarm_common::{
    digest::Digest,
    id::{AttemptId, PackageId, RunId},
    state::Phase,
    wire::{
        base::Base,
        drone::{Assignment, BuildLimits, BuildOrder, Failure, Target, Work},
        nix::{DerivationArchive, Nar, NixInput, NixPackage, NixTarget},
        plan::PlanReport,
    },
};
use swarm_drone::{
    artifacts::Artifacts,
    builder::{BuildCaches, BuildContext, BuildEnd, BuildUpdate, nix::Nix, run},
    buildroot::layers::Layers,
    config::BuilderConfig,
};
use swarm_formats::nix::{
    nar::{NarLimits, NarReader, References},
    store_path::{StoreDir, StorePath},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Tools of the static busybox that the expressions use.
const TOOLS: [&str; 12] =
    ["sh", "cat", "mkdir", "chmod", "sleep", "echo", "printf", "ln", "seq", "setsid", "touch", "ls"];

/// A drone and a snapshot.
pub struct Lab {
    pub dir: tempfile::TempDir,
    pub config: BuilderConfig,
    pub nix: Nix,
}

impl Lab {
    /// A drone with the snapshot of `world.nix`, for which it builds these attributes.
    pub fn new(attributes: &[&str]) -> Self {
        let lab = Self::with_manifest(&format!(
            r#"{{"flake": false, "file": "default.nix", "attributes": {attributes:?}}}"#
        ));
        lab.file("source/default.nix", include_str!("world.nix"));
        lab
    }

    /// A drone with a snapshot that contains only the tools and this `NixSource`.
    pub fn with_manifest(nix: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let bin = at("snapshot/source/seed/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::copy("/bin/busybox", bin.join("busybox")).expect("needs busybox-static");
        for tool in TOOLS {
            symlink("busybox", bin.join(tool)).unwrap();
        }
        fs::write(at("snapshot/snapshot.json"), format!(r#"{{"format": 1, "nix": {nix}}}"#)).unwrap();
        let config =
            BuilderConfig { work_dir: at("work"), cache_dir: at("cache"), ..BuilderConfig::default() };
        Self { dir, config, nix: Nix::default() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Adds or replaces a file of the snapshot.
    pub fn file(&self, path: &str, text: &str) -> &Self {
        let at = self.path("snapshot").join(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at, text).unwrap();
        self
    }

    pub fn caches(&self) -> BuildCaches {
        let cache = self.path("cache");
        BuildCaches {
            client: None,
            artifacts: Artifacts::open(&cache.join("artifacts"), u64::MAX).unwrap(),
            layers: Layers::open(&cache.join("layers"), u64::MAX).unwrap(),
            bases: Layers::open(&cache.join("bases"), u64::MAX).unwrap(),
            making: Default::default(),
            nix: self.nix.clone(),
        }
    }

    pub fn context(&self, work: Work) -> BuildContext {
        static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let attempt_dir = self.config.work_dir.join(number.to_string());
        fs::create_dir_all(&attempt_dir).unwrap();
        let snapshot = self.path("snapshot");
        BuildContext {
            assignment: Assignment {
                attempt: AttemptId(number),
                run: RunId(1),
                profile: "tools".parse().unwrap(),
                snapshot: Digest::of(&fs::read(snapshot.join("snapshot.json")).unwrap()),
                binhost: String::new(),
                base: Base::Nix,
                lease_ms: 60_000,
                limits: BuildLimits {
                    build_timeout_ms: 300_000,
                    silence_timeout_ms: 120_000,
                    log_bytes: 4 << 20,
                    jobs: 0,
                },
                work,
            },
            snapshot,
            snapshot_layers: Vec::new(),
            caches: self.caches(),
            hidden: Vec::new(),
            jobserver: None,
            config: self.config.clone(),
            attempt_dir,
        }
    }

    pub async fn plan(&self) -> PlanReport {
        let (end, log, _) = play(self.context(Work::Plan)).await;
        let BuildEnd::Planned { plan, .. } = end else { panic!("{end:?}\n{log}") };
        plan
    }

    /// Builds a package of a plan with these inputs. Returns the result, the log and the phases.
    pub async fn build(&self, package: &NixPackage, inputs: Vec<NixInput>) -> (BuildEnd, String, Vec<Phase>) {
        self.play_order(package, inputs, None).await
    }

    /// The same, with the derivations of the plan.
    pub async fn play_order(
        &self,
        package: &NixPackage,
        inputs: Vec<NixInput>,
        archive: Option<DerivationArchive>,
    ) -> (BuildEnd, String, Vec<Phase>) {
        let Work::Build(order) = order(package, inputs) else { unreachable!() };
        play(self.context(Work::Build(BuildOrder { derivations: archive, ..order }))).await
    }

    /// Copies the archive of a plan's derivations from the cache of the drone that made the plan.
    pub fn get_derivations(&self, plan: &PlanReport, from: &Self) -> DerivationArchive {
        let archive = *plan.derivations.clone().expect("the plan has no derivations");
        let file = from.path("cache/artifacts").join(archive.digest.to_string());
        self.caches().artifacts.adopt(&file, archive.digest).unwrap();
        archive
    }

    /// The failure of a package that needs no inputs.
    pub async fn failure(&self, plan: &PlanReport, name: &str) -> (Failure, String) {
        let (end, log, _) = self.build(package(plan, name), Vec::new()).await;
        let BuildEnd::Failed { failure, .. } = end else { panic!("{end:?}\n{log}") };
        (failure, log)
    }

    /// Whether the build store contains a file at this store path.
    pub fn has_built(&self, path: &str) -> bool {
        self.path("cache/nix/build").join(path.trim_start_matches('/')).exists()
    }
}

/// Built files, as in the store of an orchestrator.
#[derive(Default)]
pub struct Built(pub BTreeMap<String, NixInput>);

impl Built {
    /// Stores the archives of a package, and copies them to a drone's cache.
    pub fn receive(&mut self, plan: &PlanReport, package: &NixPackage, files: &[PathBuf], to: &Lab) {
        assert_eq!(package.outputs.len(), files.len());
        for (output, file) in package.outputs.iter().zip(files) {
            let packed = fs::read(file).unwrap();
            let digest = Digest::of(&packed);
            to.caches().artifacts.adopt(file, digest).unwrap();
            let nar = examine(plan, &packed);
            let (path, size) = (output.path.clone(), packed.len() as u64);
            let input = NixInput { path: path.clone(), nar, digest, uploaded_digest: digest, size };
            let others: Vec<_> = self.0.values().filter(|other| other.digest == digest).collect();
            assert!(others.iter().all(|o| o.path == path), "two files of one content: {others:?}");
            self.0.insert(path, input);
        }
    }

    /// The inputs for building a package, with everything that they refer to.
    pub fn inputs(&self, plan: &PlanReport, at: u32) -> Vec<NixInput> {
        let direct = plan.edges.iter().filter(|edge| edge.from == at && edge.build);
        let direct = direct.flat_map(|edge| nix(plan, edge.to).outputs.iter().map(|o| o.path.clone()));
        let mut next: Vec<String> = direct.collect();
        let mut found = BTreeMap::new();
        while let Some(path) = next.pop() {
            let input = self.0.get(&path).unwrap_or_else(|| panic!("{path} is not built")).clone();
            if found.insert(path, input.clone()).is_none() {
                next.extend(input.nar.references.iter().map(|name| format!("/nix/store/{name}")));
            }
        }
        found.into_values().collect()
    }
}

/// Examines an archive as an orchestrator would.
fn examine(plan: &PlanReport, packed: &[u8]) -> Nar {
    let dir = StoreDir::default();
    let outputs = plan.packages.iter().flat_map(|package| &package.nix().unwrap().outputs);
    let candidates: BTreeSet<StorePath> = outputs.map(|output| dir.parse(&output.path).unwrap()).collect();
    let unpacked = zstd::Decoder::new(packed).unwrap();
    let mut reader = NarReader::scanning(unpacked, NarLimits::default(), References::to(&candidates));
    while reader.next_event().unwrap().is_some() {}
    let summary = reader.finish().unwrap();
    let references = summary.references.iter().map(ToString::to_string).collect();
    Nar { hash: summary.sum.hash, size: summary.sum.size, references }
}

pub fn nix(plan: &PlanReport, at: u32) -> &NixPackage {
    plan.packages[at as usize].nix().unwrap()
}

/// The position of the package with this name.
pub fn position(plan: &PlanReport, name: &str) -> u32 {
    let found = plan.packages.iter().position(|package| package.title() == name);
    u32::try_from(found.unwrap_or_else(|| panic!("{name} is not in the plan"))).unwrap()
}

pub fn package<'p>(plan: &'p PlanReport, name: &str) -> &'p NixPackage {
    nix(plan, position(plan, name))
}

/// The names of the packages that a package depends on.
pub fn dependencies(plan: &PlanReport, name: &str) -> Vec<String> {
    let at = position(plan, name);
    let edges = plan.edges.iter().filter(|edge| edge.from == at);
    let mut names: Vec<String> = edges.map(|edge| nix(plan, edge.to).name.clone()).collect();
    names.sort_unstable();
    names
}

/// An order for all outputs of a package.
pub fn order(package: &NixPackage, inputs: Vec<NixInput>) -> Work {
    let target = |output: &swarm_common::wire::nix::NixOutput| {
        Target::Nix(NixTarget {
            name: package.name.clone(),
            drv: package.drv.clone(),
            output: output.name.clone(),
            path: output.path.clone(),
            content_hash: package.content_hash,
        })
    };
    let targets = package.outputs.iter().map(target).collect();
    let (stages, dependencies) = (vec![], vec![]);
    Work::Build(BuildOrder {
        package: PackageId(1),
        targets,
        stages,
        dependencies,
        inputs,
        derivations: None,
        key: None,
    })
}

/// Runs an attempt to its end. Returns the result, the log and the phases.
pub async fn play(context: BuildContext) -> (BuildEnd, String, Vec<Phase>) {
    play_until(context, None).await
}

/// Runs an attempt, and cancels it as soon as its log contains `words`.
pub async fn play_until(context: BuildContext, words: Option<&str>) -> (BuildEnd, String, Vec<Phase>) {
    let cancel = CancellationToken::new();
    let (tx, mut rx) = mpsc::channel(16);
    let stop = cancel.clone();
    let listen = async move {
        let (mut log, mut phases) = (String::new(), Vec::new());
        while let Some(note) = rx.recv().await {
            match note {
                BuildUpdate::Log(bytes) => log.push_str(&String::from_utf8_lossy(&bytes)),
                BuildUpdate::Phase(phase) => phases.push(phase),
            }
            if words.is_some_and(|words| log.contains(words)) {
                stop.cancel();
            }
        }
        (log, phases)
    };
    let (end, (log, phases)) = tokio::join!(run(context, tx, cancel), listen);
    (end, log, phases)
}

/// Command lines of processes left by a drone with this directory, and of processes whose command line
/// contains a text.
pub fn left_processes(work_dir: &Path, text: &str) -> Vec<String> {
    let ids = processes().map(|id| (command_line(id), is_of(work_dir, id)));
    ids.filter(|(line, is_ours)| *is_ours || line.contains(text)).map(|(line, _)| line).collect()
}

/// The processes of a drone with this directory that serve builds.
pub fn serving(work_dir: &Path) -> Vec<i32> {
    processes().filter(|&id| is_of(work_dir, id) && command_line(id).contains("--serve")).collect()
}

fn processes() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|process| process.file_name().to_str()?.parse().ok())
}

fn command_line(id: i32) -> String {
    let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ")
}

/// Whether a process was started by a drone with this directory.
fn is_of(work_dir: &Path, id: i32) -> bool {
    let mark = format!("SWARM_DRONE_DIR={}", work_dir.display());
    let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
    environment.split(|&byte| byte == 0).any(|entry| entry == mark.as_bytes())
}

//! Test fixtures: the drone's directories, and a snapshot of the example repository.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};
use swarm_common::{
    digest::Digest,
    id::{AttemptId, PackageId, RunId},
    state::Phase,
    wire::{
        base::Dependency,
        drone::{Assignment, BuildLimits, BuildOrder, PortageTarget, Work},
        plan::{PlanPackage, PlanReport, PlanStage, PortagePackage},
    },
};
use swarm_drone::{
    artifacts::Artifacts,
    builder::{BuildCaches, BuildContext, BuildEnd, BuildUpdate, run},
    buildroot::layers::Layers,
    config::BuilderConfig,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A file in an archive of a package.
type Member<'a, 'b> = tar::Entry<'a, zstd::Decoder<'static, std::io::BufReader<tar::Entry<'b, fs::File>>>>;

pub fn portage() -> &'static Path {
    static PREFIX: LazyLock<PathBuf> = LazyLock::new(|| {
        if let Some(prefix) = std::env::var_os("SWARM_PORTAGE") {
            return prefix.into();
        }
        let script = workspace().join("scripts/portage");
        let ran = Command::new(&script).output();
        match ran {
            Ok(ran) if ran.status.success() => String::from_utf8(ran.stdout).unwrap().trim().into(),
            other => panic!("no Portage: run scripts/portage or set SWARM_PORTAGE ({other:?})"),
        }
    });
    &PREFIX
}

pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

pub struct Lab {
    pub dir: tempfile::TempDir,
}

impl Lab {
    pub fn new() -> Self {
        let lab = Self { dir: tempfile::tempdir().unwrap() };
        // Portage drops privileges, and its user must be able to enter this directory.
        fs::set_permissions(lab.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let snapshot = lab.snapshot();
        fs::create_dir_all(snapshot.join("repos")).unwrap();
        let examples = workspace().join("examples");
        copy(&examples.join("repository"), &snapshot.join("repos/swarm-example"));
        copy(&examples.join("desktop/etc"), &snapshot.join("etc"));
        copy(&examples.join("desktop/distfiles"), &snapshot.join("distfiles"));
        fs::copy(examples.join("desktop/world"), snapshot.join("world")).unwrap();
        let manifest = r#"{"format":1,"portage_profile":"example/amd64","main_repository":"swarm-example",
            "repositories":[{"name":"swarm-example","commit":null}]}"#;
        fs::write(snapshot.join("snapshot.json"), manifest).unwrap();
        lab
    }

    pub fn snapshot(&self) -> PathBuf {
        self.dir.path().join("snapshot")
    }

    pub fn world(&self, atoms: &str) -> &Self {
        fs::write(self.snapshot().join("world"), atoms).unwrap();
        self
    }

    /// Adds a category to the repository.
    pub fn category(&self, name: &str) -> &Self {
        let path = "profiles/categories";
        let all = fs::read_to_string(self.snapshot().join("repos/swarm-example").join(path)).unwrap();
        self.file(path, &format!("{all}{name}\n"))
    }

    /// Adds or replaces a file in the repository.
    pub fn file(&self, path: &str, text: &str) -> &Self {
        let at = self.snapshot().join("repos/swarm-example").join(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at, text).unwrap();
        self
    }

    pub fn caches(&self) -> BuildCaches {
        let cache = self.dir.path().join("cache");
        BuildCaches {
            client: None,
            artifacts: Artifacts::open(&cache.join("artifacts"), u64::MAX).unwrap(),
            layers: Layers::open(&cache.join("layers"), u64::MAX).unwrap(),
            bases: Layers::open(&cache.join("bases"), u64::MAX).unwrap(),
            making: Default::default(),
            nix: Default::default(),
        }
    }

    /// Adds a built package to the cache and returns it as a dependency.
    pub fn keep(&self, file: &Path, of: &PortageTarget) -> Dependency {
        let bytes = fs::read(file).unwrap();
        let digest = Digest::of(&bytes);
        self.caches().artifacts.adopt(file, digest).unwrap();
        Dependency {
            cpv: of.cpv.clone(),
            slot: of.slot.clone(),
            build_id: of.build_id,
            digest,
            uploaded_digest: digest,
            size: bytes.len() as u64,
        }
    }

    pub fn context(&self, work: Work) -> BuildContext {
        static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let work_dir = self.dir.path().join("work");
        let attempt_dir = work_dir.join(number.to_string());
        fs::create_dir_all(&attempt_dir).unwrap();
        BuildContext {
            assignment: Assignment {
                attempt: AttemptId(number),
                run: RunId(1),
                profile: "desktop".parse().unwrap(),
                snapshot: Digest::of(b"example"),
                binhost: "binhost/desktop/building".into(),
                base: Default::default(),
                lease_ms: 60_000,
                limits: BuildLimits {
                    build_timeout_ms: 300_000,
                    silence_timeout_ms: 120_000,
                    log_bytes: 4 << 20,
                    jobs: 0,
                },
                work,
            },
            snapshot: self.snapshot(),
            snapshot_layers: Vec::new(),
            caches: self.caches(),
            hidden: vec![self.dir.path().join("state"), self.dir.path().join("cache"), work_dir.clone()],
            config: BuilderConfig {
                work_dir,
                cache_dir: self.dir.path().join("cache"),
                portage_prefix: Some(portage().to_owned()),
                ..BuilderConfig::default()
            },
            attempt_dir,
            jobserver: None,
        }
    }

    pub async fn plan(&self) -> PlanReport {
        let context = self.context(Work::Plan);
        let (end, log, _) = play(context).await;
        let BuildEnd::Planned { plan, usage } = end else { panic!("{end:?}\n{log}") };
        assert!(usage.cpu_ms > 0);
        plan
    }
}

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let at = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &at);
        } else {
            fs::copy(entry.path(), at).unwrap();
        }
    }
}

/// Starts an HTTP server and returns its address. `page` gets a path and the value of User-Agent, and
/// returns a content type and a body, or `None` for status 404.
pub fn serve(page: impl Fn(&str, &str) -> Option<(&'static str, Vec<u8>)> + Send + 'static) -> String {
    let answer = move |mut stream: TcpStream| -> std::io::Result<()> {
        let lines = BufReader::new(stream.try_clone()?).lines().map_while(Result::ok);
        let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        let path = head.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
        let agent = head.iter().find_map(|line| line.strip_prefix("User-Agent: ")).unwrap_or_default();
        let (status, (kind, body)) = match page(path, agent) {
            Some(page) => ("200 OK", page),
            None => ("404 Not Found", ("text/plain", vec![])),
        };
        let length = body.len();
        write!(stream, "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n")?;
        write!(stream, "Connection: close\r\n\r\n")?;
        stream.write_all(&body)
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    // It does not matter if a client disconnects.
    std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| _ = answer(stream)));
    address
}

/// Runs a build to its end. Returns the result, the log and the phases.
pub async fn play(context: BuildContext) -> (BuildEnd, String, Vec<Phase>) {
    let (tx, mut rx) = mpsc::channel(16);
    let listen = async move {
        let (mut log, mut phases) = (Vec::new(), Vec::new());
        while let Some(note) = rx.recv().await {
            match note {
                BuildUpdate::Log(bytes) => log.extend(bytes),
                BuildUpdate::Phase(phase) => phases.push(phase),
            }
        }
        (String::from_utf8_lossy(&log).into_owned(), phases)
    };
    let (end, (log, phases)) = tokio::join!(run(context, tx, CancellationToken::new()), listen);
    (end, log, phases)
}

/// Runs a build and cancels it as soon as its log contains `words`.
pub async fn cancel_when(context: BuildContext, words: &str) -> BuildEnd {
    let cancel = CancellationToken::new();
    let (tx, mut rx) = mpsc::channel(16);
    let stop = cancel.clone();
    let listen = async move {
        let mut log = String::new();
        while let Some(note) = rx.recv().await {
            if let BuildUpdate::Log(bytes) = note {
                log.push_str(&String::from_utf8_lossy(&bytes));
            }
            if log.contains(words) {
                stop.cancel();
            }
        }
    };
    tokio::join!(run(context, tx, cancel), listen).0
}

pub fn target(cpv: &str, subslot: &str, build_id: u32) -> PortageTarget {
    PortageTarget {
        cpv: cpv.parse().unwrap(),
        slot: "0".into(),
        subslot: subslot.into(),
        repository: "swarm-example".into(),
        use_flags: vec![],
        iuse: vec![],
        chost: "x86_64-pc-linux-gnu".into(),
        build_id,
    }
}

pub fn with_use(mut target: PortageTarget, on: &[&str], known: &[&str]) -> PortageTarget {
    target.use_flags = on.iter().map(ToString::to_string).collect();
    target.iuse = known.iter().map(ToString::to_string).collect();
    target
}

pub fn order(targets: Vec<PortageTarget>, stages: Vec<PlanStage>) -> Work {
    order_with(targets, stages, vec![])
}

/// An order with dependencies to install.
pub fn order_with(
    targets: Vec<PortageTarget>,
    stages: Vec<PlanStage>,
    dependencies: Vec<Dependency>,
) -> Work {
    let targets = targets.into_iter().map(Into::into).collect();
    Work::Build(BuildOrder {
        package: PackageId(1),
        targets,
        stages,
        dependencies,
        inputs: vec![],
        derivations: None,
        key: None,
    })
}

/// The packages of a plan.
pub fn packages(plan: &PlanReport) -> impl Iterator<Item = &PortagePackage> {
    plan.packages.iter().filter_map(PlanPackage::portage)
}

/// The package directory of a build, which contains Portage's index.
pub fn package_dir(file: &Path) -> PathBuf {
    file.ancestors().nth(3).unwrap().to_owned()
}

/// A value of a package's metadata (`metadata/KEY`).
pub fn metadata(file: &Path, key: &str) -> String {
    let value = member(file, "metadata", key, |value| {
        let mut text = String::new();
        std::io::Read::read_to_string(value, &mut text).unwrap();
        text.trim().to_owned()
    });
    value.unwrap_or_default()
}

/// User and group of a file in a package (`image/PATH`).
pub fn owner(file: &Path, path: &str) -> Option<(String, String)> {
    member(file, "image", path, |value| {
        let header = value.header();
        (header.username().unwrap().unwrap().to_owned(), header.groupname().unwrap().unwrap().to_owned())
    })
}

/// Applies `read` to `path` in one of the two archives of a package.
fn member<T>(file: &Path, archive: &str, path: &str, read: impl Fn(&mut Member<'_, '_>) -> T) -> Option<T> {
    let mut outer = tar::Archive::new(fs::File::open(file).unwrap());
    let mut members = outer.entries().unwrap().map(Result::unwrap);
    let inner = members.find(|found| found.path().unwrap().ends_with(format!("{archive}.tar.zst")))?;
    let mut inner = tar::Archive::new(zstd::Decoder::new(inner).unwrap());
    let mut members = inner.entries().unwrap().map(Result::unwrap);
    members
        .find(|found| found.path().unwrap() == Path::new(archive).join(path))
        .map(|mut found| read(&mut found))
}

pub fn flags(file: &Path) -> Vec<String> {
    metadata(file, "USE").split_whitespace().map(str::to_owned).collect()
}

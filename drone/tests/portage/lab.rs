//! What the tests work with: a drone's directories, a snapshot of the example repository, and a
//! package host on the loopback interface.

use std::{
    fs,
    net::SocketAddr,
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
        drone::{Assignment, BuildLimits, BuildOrder, Target, Work},
        plan::{PlanReport, PlanStage},
    },
};
use swarm_drone::builder::{BuildContext, BuildEnd, BuildNote, BuilderConfig, run};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

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

/// A drone's directories, and a snapshot of the example repository.
pub struct Lab {
    pub dir: tempfile::TempDir,
}

impl Lab {
    pub fn new() -> Self {
        let lab = Self { dir: tempfile::tempdir().unwrap() };
        // Where Portage drops root's rights, its user has to get here.
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

    /// Adds or replaces a file of the repository.
    pub fn file(&self, path: &str, text: &str) -> &Self {
        let at = self.snapshot().join("repos/swarm-example").join(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at, text).unwrap();
        self
    }

    pub fn context(&self, work: Work, orchestrator: &str) -> BuildContext {
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
            orchestrator: orchestrator.to_owned(),
            config: BuilderConfig {
                work_dir,
                cache_dir: self.dir.path().join("cache"),
                portage_prefix: Some(portage().to_owned()),
                ..BuilderConfig::default()
            },
            attempt_dir,
        }
    }

    pub async fn plan(&self) -> PlanReport {
        let context = self.context(Work::Plan, "http://127.0.0.1:9");
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

/// Runs it to its end; gives that, the log, and the phases.
pub async fn play(context: BuildContext) -> (BuildEnd, String, Vec<Phase>) {
    let (tx, mut rx) = mpsc::channel(16);
    let listen = async move {
        let (mut log, mut phases) = (Vec::new(), Vec::new());
        while let Some(note) = rx.recv().await {
            match note {
                BuildNote::Log(bytes) => log.extend(bytes),
                BuildNote::Phase(phase) => phases.push(phase),
            }
        }
        (String::from_utf8_lossy(&log).into_owned(), phases)
    };
    let (end, (log, phases)) = tokio::join!(run(context, tx, CancellationToken::new()), listen);
    (end, log, phases)
}

/// Runs a build and cancels it as soon as its log has these words.
pub async fn cancel_when(context: BuildContext, words: &str) -> BuildEnd {
    let cancel = CancellationToken::new();
    let (tx, mut rx) = mpsc::channel(16);
    let stop = cancel.clone();
    let listen = async move {
        let mut log = String::new();
        while let Some(note) = rx.recv().await {
            if let BuildNote::Log(bytes) = note {
                log.push_str(&String::from_utf8_lossy(&bytes));
            }
            if log.contains(words) {
                stop.cancel();
            }
        }
    };
    tokio::join!(run(context, tx, cancel), listen).0
}

pub fn target(cpv: &str, subslot: &str, build_id: u32) -> Target {
    Target {
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

pub fn with_use(mut target: Target, on: &[&str], known: &[&str]) -> Target {
    target.use_flags = on.iter().map(ToString::to_string).collect();
    target.iuse = known.iter().map(ToString::to_string).collect();
    target
}

pub fn order(targets: Vec<Target>, stages: Vec<PlanStage>) -> Work {
    Work::Build(BuildOrder { package: PackageId(1), targets, stages, dependencies: vec![] })
}

/// A package host on the loopback interface: files below a directory, and what was asked.
pub struct Binhost {
    pub address: SocketAddr,
    pub asked: std::sync::Arc<std::sync::Mutex<Vec<String>>>,
}

impl Binhost {
    pub async fn serve(dir: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = std::sync::Arc::<std::sync::Mutex<Vec<String>>>::default();
        let log = asked.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (dir, log) = (dir.clone(), log.clone());
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        let mut byte = [0];
                        if stream.read(&mut byte).await.unwrap_or(0) == 0 {
                            return;
                        }
                        request.push(byte[0]);
                    }
                    let request = String::from_utf8_lossy(&request).into_owned();
                    let path = request.split(' ').nth(1).unwrap().to_owned();
                    log.lock().unwrap().push(path.clone());
                    let body = path
                        .strip_prefix("/binhost/desktop/building/")
                        .and_then(|p| fs::read(dir.join(p)).ok());
                    let head = match &body {
                        Some(body) => format!("200 OK\r\nContent-Length: {}", body.len()),
                        None => "404 Not Found\r\nContent-Length: 0".to_owned(),
                    };
                    let head = format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n");
                    let _ = stream.write_all(head.as_bytes()).await;
                    let _ = stream.write_all(&body.unwrap_or_default()).await;
                });
            }
        });
        Self { address, asked }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// The directory that has the packages of a build: the one with Portage's own index.
pub fn package_dir(file: &Path) -> PathBuf {
    file.ancestors().nth(3).unwrap().to_owned()
}

/// What Portage wrote into a package: `metadata/KEY`.
pub fn metadata(file: &Path, key: &str) -> String {
    let mut outer = tar::Archive::new(fs::File::open(file).unwrap());
    for member in outer.entries().unwrap().map(Result::unwrap) {
        if member.path().unwrap().file_name().unwrap() != "metadata.tar.zst" {
            continue;
        }
        let mut inner = tar::Archive::new(zstd::Decoder::new(member).unwrap());
        for mut value in inner.entries().unwrap().map(Result::unwrap) {
            if value.path().unwrap() == Path::new("metadata").join(key) {
                let mut text = String::new();
                std::io::Read::read_to_string(&mut value, &mut text).unwrap();
                return text.trim().to_owned();
            }
        }
    }
    String::new()
}

pub fn flags(file: &Path) -> Vec<String> {
    metadata(file, "USE").split_whitespace().map(str::to_owned).collect()
}

//! The two sides of the comparison: a Portage with packages in its PKGDIR, and our store with the same files.

use crate::{
    api::mold::Mold,
    e2e::{
        programs::part,
        workstation::{Workstation, text},
    },
};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    io::Cursor,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};
use swarm_common::{
    digest::Digest,
    id::{AttemptId, DroneId},
    time::TimeMs,
    wire::{artifact::Artifact, drone::PortageTarget},
};
use swarm_formats::portage::gpkg::Limits;
use swarm_orchestrator::{
    publish::Published,
    store::{ArtifactStore as _, LocalStore, entries::IndexEntryCache},
};

const CHOST: &str = "x86_64-pc-linux-gnu";

/// A Portage and its packages.
pub struct Peer {
    portage: Workstation,
    script: PathBuf,
}

impl Peer {
    /// A Portage without packages.
    ///
    /// # Errors
    /// Portage cannot be installed.
    pub fn new() -> Result<Self> {
        let portage = Workstation::new(&part("examples/repository"))?;
        let script = portage.folder().join("measured.py");
        fs::write(&script, include_str!("portage.py"))?;
        Ok(Self { portage, script })
    }

    #[must_use]
    pub fn packages(&self) -> PathBuf {
        self.portage.folder().join("packages")
    }

    fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut command: Command = self.portage.command("python3");
        let done = command.arg(&self.script).args(arguments).output()?;
        ensure!(done.status.success(), "{}", text(&done));
        Ok(String::from_utf8(done.stdout)?)
    }

    /// Runs `emaint binhost --fix`, after which the index must have `expected` packages.
    ///
    /// # Errors
    /// It does not accept all of them.
    pub fn fix(&self, stock: bool, expected: usize) -> Result<()> {
        let output = self.run(if stock { &["fix", "--stock"] } else { &["fix"] })?;
        let found = fs::read_to_string(self.packages().join("Packages")).unwrap_or_default();
        let found = found.lines().filter(|line| line.starts_with("CPV: ")).count();
        ensure!(found == expected, "emaint accepts {found} of {expected} packages: {output}");
        Ok(())
    }

    /// Milliseconds that three calls of `bintree.inject` take for a package.
    ///
    /// # Errors
    /// It does not accept the package.
    pub fn inject(&self, cpv: &str) -> Result<Vec<f64>> {
        let output = self.run(&["inject", cpv])?;
        output.lines().map(|line| line.parse().with_context(|| output.clone())).collect()
    }
}

pub struct Ours {
    /// The store with all packages.
    pub store: Arc<LocalStore>,
    /// The packages as the engine knows them.
    pub artifacts: Vec<Artifact>,
    mold: Mold,
    folder: PathBuf,
}

impl Ours {
    /// An empty store in `folder`.
    ///
    /// # Errors
    /// The disk fails.
    pub fn new(folder: &Path) -> Result<Self> {
        let store = Arc::new(LocalStore::open(folder.join("store"))?);
        Ok(Self { store, artifacts: Vec::new(), mold: Mold::new()?, folder: folder.to_owned() })
    }

    /// Makes another package. Returns its path in a PKGDIR. In the store it is found by its artifact's
    /// digest.
    ///
    /// # Errors
    /// The disk fails.
    pub fn make(&mut self) -> Result<String> {
        let n = self.artifacts.len();
        let category = ["app-misc", "dev-libs", "media-libs", "dev-util", "net-misc"][n % 5];
        let cpv = format!("{category}/made{n:05}-1.{}", n % 13);
        let target = PortageTarget {
            cpv: cpv.parse()?,
            slot: "0".to_owned(),
            subslot: "0".to_owned(),
            repository: "fixture".to_owned(),
            use_flags: Vec::new(),
            iuse: Vec::new(),
            chost: CHOST.to_owned(),
            build_id: 1,
        };
        let needs = format!("dev-libs/made{:05} >=app-misc/made{:05}-1", n / 2, n / 3);
        let values = [
            ("CATEGORY", category),
            ("PF", target.cpv.pf()),
            ("BUILD_ID", "1"),
            ("DEPEND", &needs),
            ("RDEPEND", &needs),
            ("PROVIDES", &format!("x86_64: libmade{n:05}.so.1")),
        ];
        let file = self.folder.join("made.gpkg.tar");
        self.mold.cast(
            &file,
            &format!("{}-1", target.cpv.pf()),
            &values,
            &mut Cursor::new(&self.mold.image),
        )?;
        let bytes = fs::read(&file)?;
        let digest = Digest::of(&bytes);
        let place = PathBuf::from(self.store.describe(digest));
        place.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::rename(&file, place)?;
        let path = target.path();
        self.artifacts.push(Artifact {
            target: target.into(),
            digest,
            uploaded_digest: digest,
            size: bytes.len() as u64,
            attempt: AttemptId(n as u64),
            drone: DroneId(1),
            received_at: TimeMs(1_700_000_000_000 + n as u64 * 1000),
            index_bytes: 0,
            nar: None,
        });
        Ok(path)
    }

    /// A book of index entries that is still empty.
    ///
    /// # Errors
    /// The disk fails.
    pub fn no_entries(&self, name: &str) -> Result<IndexEntryCache> {
        Ok(IndexEntryCache::open(self.folder.join(name), self.store.clone(), Limits::default())?)
    }

    /// The package in the form that the publisher needs.
    ///
    /// # Errors
    /// The package cannot be read.
    pub fn published(&self, entries: &IndexEntryCache, artifact: &Artifact) -> Result<Published> {
        let entry = entries.entry(artifact)?;
        Ok(Published { digest: artifact.digest, entry })
    }
}

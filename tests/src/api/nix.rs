//! A small set of derivations built by the real Nix, for a fake drone that uploads their outputs, and for
//! clients of the cache.

use super::{FakeDrone, PROFILE, Swarm, facts, name};
use anyhow::{Context, Result, ensure};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::symlink,
    path::PathBuf,
    process::{Command, Output},
};
use swarm_client::IdempotencyKey;
use swarm_common::{
    digest::Digest,
    id::{AttemptId, RunId},
    wire::{
        admin::{BuilderKind, ProfileRequest},
        drone::{BuildOrder, DroneFacts, Outcome, Target},
        nix::{NixOutput, NixPackage, NixRoot, base_name},
        plan::{PlanEdge, PlanPackage, PlanReport},
    },
};
use swarm_formats::{
    nix::{derivation::Derivation, store_path::StoreDir},
    snapshot::{SnapshotContents, SnapshotManifest},
};
use tempfile::TempDir;

/// Settings that let Nix work without a daemon and offline.
const SETTINGS: &str = "build-users-group =
substituters =
flake-registry =
experimental-features = nix-command
sandbox = true
sandbox-fallback = false
sandbox-paths =
narinfo-cache-negative-ttl = 0
download-attempts = 3
";

/// A library, a program that needs it, outputs with equal contents, a file of 4 MiB, and the system of a
/// host, which links to all of them.
const WORLD: &str = r#"
let
  seed = builtins.path { path = ./seed; name = "seed"; };
  mk = name: script: extra: derivation ({
    inherit name; system = "x86_64-linux"; builder = "${seed}/bin/sh"; PATH = "${seed}/bin";
    args = [ "-e" "-c" script ];
  } // extra);
in rec {
  lib = mk "lib-1.0" ''mkdir -p $out/lib; echo "the library speaks" > $out/lib/l.txt'' { };
  prog = mk "prog-2.0" ''
    mkdir -p $out/bin; printf '#!%s\ncat %s/lib/l.txt\n' $PATH/sh $lib > $out/bin/prog; chmod +x $out/bin/prog
    ln -s $lib/lib/l.txt $out/bin/dbus-daemon
  '' { inherit lib; };
  twins = mk "twins-1.0" ''mkdir $out $doc'' { outputs = [ "out" "doc" ]; };
  big = mk "big-1.0" ''dd if=/dev/urandom of=$out bs=65536 count=64'' { };
  fixed = mk "fixed.txt" ''printf 'hello\n' > $out'' {
    outputHashMode = "flat"; outputHashAlgo = "sha256"; outputHash = builtins.hashString "sha256" "hello\n";
  };
  system = mk "nixos-system-desk-24.11" ''
    mkdir $out; ln -s $prog $out/sw; ln -s $lib/lib $out/kernel
    for p in $twins $doc $big $fixed; do echo $p >> $out/all; done
  '' { inherit prog lib twins big fixed; doc = twins.doc; };
}
"#;

/// The derivations, with stores and clients in one folder.
pub struct World {
    folder: TempDir,
}

impl World {
    /// Writes the expressions.
    ///
    /// # Errors
    /// busybox is missing, or the disk fails.
    pub fn new() -> Result<Self> {
        let world = Self { folder: tempfile::tempdir()? };
        let bin = world.path("seed/bin");
        fs::create_dir_all(&bin)?;
        fs::copy("/bin/busybox", bin.join("busybox")).context("install busybox-static")?;
        for applet in ["sh", "cat", "mkdir", "chmod", "dd", "ln", "echo", "printf"] {
            symlink("busybox", bin.join(applet))?;
        }
        fs::write(world.path("nix.conf"), SETTINGS)?;
        fs::write(world.path("world.nix"), WORLD)?;
        Ok(world)
    }

    /// A path in the folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A Nix program without arguments and with its own environment: this folder's `nix.conf`, and a cache that
    /// belongs to `store`.
    #[must_use]
    pub fn program(&self, store: &str, program: &str) -> Command {
        let mut command = Command::new(program);
        let ours = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b"NIX_");
        for (name, _) in std::env::vars_os().filter(|(name, _)| ours(name)) {
            command.env_remove(name);
        }
        command
            .env("NIX_CONF_DIR", self.folder.path())
            .env("NIX_PATH", "")
            .env("HOME", self.path("home"))
            .env("XDG_CACHE_HOME", self.path(&format!("{store}.cache")))
            .current_dir(self.folder.path());
        command
    }

    /// A command of a Nix program with these arguments and `--store store`.
    #[must_use]
    pub fn command(&self, store: &str, program: &str, args: &[&str]) -> Command {
        let mut command = self.program(store, program);
        // Options must come before the arguments that `nix shell` passes on.
        let (verb, rest) = args.split_at(usize::from(program == "nix"));
        command.args(verb);
        if !args.contains(&"--store") {
            command.arg("--store").arg(self.path(store));
        }
        command.args(rest);
        command
    }

    /// Runs a Nix program without blocking the server.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn run(&self, store: &str, program: &str, args: &[&str]) -> Result<Output> {
        let mut command = self.command(store, program, args);
        let output = tokio::task::spawn_blocking(move || command.output()).await?;
        output.with_context(|| format!("{program} cannot be started: install nix-bin"))
    }

    /// Runs a Nix program that must succeed. Returns its output.
    ///
    /// # Errors
    /// It fails.
    pub async fn ok(&self, store: &str, program: &str, args: &[&str]) -> Result<String> {
        let output = self.run(store, program, args).await?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{program} {args:?}: {stderr}");
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// Builds the system of the host in the drone's store, and returns the plan for it.
    ///
    /// # Errors
    /// Nix fails.
    pub async fn plan(&self) -> Result<PlanReport> {
        let drv = self.ok("drone", "nix-instantiate", &["world.nix", "-A", "system"]).await?;
        let top = self.ok("drone", "nix-store", &["--realise", &drv]).await?;
        let closure = self.ok("drone", "nix-store", &["-qR", &drv]).await?;
        let paths: Vec<&str> = closure.lines().collect();
        let (mut packages, mut edges) = (Vec::new(), Vec::new());
        for (from, path) in paths.iter().enumerate() {
            let (package, needs) = self.package(path)?;
            packages.push(PlanPackage::Nix(package));
            for need in needs {
                let to = paths.iter().position(|other| *other == need).context("not in the closure")?;
                edges.push(PlanEdge {
                    from: u32::try_from(from)?,
                    to: u32::try_from(to)?,
                    build: true,
                    runtime: false,
                    slot_operator: false,
                    satisfied: false,
                });
            }
        }
        Ok(PlanReport {
            packages,
            edges,
            roots: vec![NixRoot { attribute: "desk".to_owned(), path: top, host: true }],
            ..super::plan_of(&[])
        })
    }

    /// The package for a derivation or source, and the paths that it needs to be built.
    fn package(&self, path: &str) -> Result<(NixPackage, Vec<String>)> {
        let dir = StoreDir::default();
        let store_path = dir.parse(path)?;
        let mut package = NixPackage {
            name: store_path.name().to_owned(),
            drv: None,
            outputs: vec![NixOutput { name: "source".to_owned(), path: path.to_owned() }],
            system: String::new(),
            fixed: false,
            content_hash: None,
            features: Vec::new(),
            local: false,
        };
        let Some(derived) = store_path.derivation_name() else { return Ok((package, Vec::new())) };
        let derivation = Derivation::parse(&fs::read(self.physical("drone", path))?, &dir)?;
        derived.clone_into(&mut package.name);
        package.drv = Some(path.to_owned());
        package.system.clone_from(&derivation.system);
        let outputs = derivation.outputs.iter();
        let output = |(name, output): (&String, &swarm_formats::nix::derivation::Output)| NixOutput {
            name: name.clone(),
            path: dir.absolute(&output.path),
        };
        package.outputs = outputs.map(output).collect();
        let needs = derivation.input_derivations.keys().chain(&derivation.input_sources);
        Ok((package, needs.map(|path| dir.absolute(path)).collect()))
    }

    /// The real location of a path in a store.
    #[must_use]
    pub fn physical(&self, store: &str, path: &str) -> PathBuf {
        PathBuf::from(format!("{}{path}", self.path(store).display()))
    }

    /// The references that Nix registered for a path, except itself, as base names.
    ///
    /// # Errors
    /// The path is not in the drone's store.
    pub async fn references(&self, path: &str) -> Result<Vec<String>> {
        let output = self.ok("drone", "nix-store", &["-q", "--references", path]).await?;
        let others = output.lines().filter(|other| *other != path);
        Ok(others.map(|other| base_name(other).to_owned()).collect())
    }

    /// The archive that the drone uploads for a path.
    ///
    /// # Errors
    /// The path is not in the drone's store.
    pub async fn archive(&self, path: &str) -> Result<Vec<u8>> {
        let path = self.physical("drone", path).to_string_lossy().into_owned();
        let output = self.run("drone", "nix-store", &["--dump", &path]).await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(zstd::encode_all(&output.stdout[..], 3)?)
    }
}

impl Drop for World {
    /// Nix makes the content of a store read-only. It must be writable to be removed.
    fn drop(&mut self) {
        let _ = Command::new("chmod").args(["-R", "u+w"]).arg(self.folder.path()).status();
    }
}

impl Swarm {
    /// Creates a Nix profile with the host `desk`, and with these upstream caches and their keys.
    ///
    /// # Errors
    /// The orchestrator refuses a request.
    pub async fn nix_profile(&self, upstreams: &[(String, String)]) -> Result<()> {
        let upstreams: Vec<_> =
            upstreams.iter().map(|(url, key)| serde_json::json!({ "url": url, "keys": [key] })).collect();
        let source = serde_json::json!(
            { "flake": false, "file": "world.nix", "hosts": ["desk"], "upstreams": upstreams }
        );
        self.nix_profile_of(&source, &[("world.nix", WORLD)]).await
    }

    /// Creates a Nix profile from these files.
    ///
    /// # Errors
    /// The orchestrator refuses a request.
    pub async fn nix_profile_of(&self, source: &serde_json::Value, files: &[(&str, &str)]) -> Result<()> {
        let request = ProfileRequest {
            builder: BuilderKind::Nix,
            snapshot: self.nix_snapshot(source, files).await?,
            source: "test".to_owned(),
            base: None,
            rebuild: Default::default(),
            publish: Default::default(),
            cpu: Default::default(),
        };
        self.admin.put_profile(&name(PROFILE), &request, &IdempotencyKey::random()?).await?;
        Ok(())
    }

    /// Uploads a snapshot of these files.
    ///
    /// # Errors
    /// The orchestrator refuses a request.
    pub async fn nix_snapshot(&self, source: &serde_json::Value, files: &[(&str, &str)]) -> Result<Digest> {
        let manifest: SnapshotManifest =
            serde_json::from_value(serde_json::json!({ "format": 1, "nix": source }))?;
        let mut contents = SnapshotContents::new(manifest)?;
        for (name, text) in files {
            contents.add_bytes(&format!("source/{name}"), text.as_bytes().to_vec())?;
        }
        let folder = tempfile::tempdir()?;
        let archive = folder.path().join("snapshot.tar.zst");
        let digest = contents.write(File::create(&archive)?, || {})?;
        self.admin.put_snapshot(digest, &archive).await?;
        Ok(digest)
    }

    /// Enrols a drone that has Nix.
    ///
    /// # Errors
    /// The orchestrator refuses a request.
    pub async fn nix_drone(&self, name: &str) -> Result<FakeDrone> {
        let facts = DroneFacts { nix: Some("2.8.0".to_owned()), ..facts() };
        self.enrol_with(name, true, facts).await
    }

    /// Creates a profile and starts a run of it with this plan.
    ///
    /// # Errors
    /// The orchestrator refuses a request.
    pub async fn nix_run(&self, drone: &FakeDrone, plan: PlanReport) -> Result<RunId> {
        let run = self.run().await?;
        drone.bring_plan(plan).await?;
        Ok(run)
    }
}

impl FakeDrone {
    /// Claims the next build and uploads its outputs from the drone's store.
    ///
    /// # Errors
    /// The orchestrator refuses a request.
    pub async fn build_from(&self, world: &World) -> Result<(AttemptId, BuildOrder)> {
        let (attempt, order) = self.build_order().await?;
        let text = format!("building {}\n", order.targets[0].title());
        self.client.append_log(attempt, 0, text.into_bytes().into()).await?;
        let artifacts = self.bring(world, attempt, &order.targets).await?;
        let reply = self.report(attempt, Outcome::Built { artifacts }).await?;
        ensure!(reply.accepted, "the outputs were not accepted: {}", reply.reason);
        Ok((attempt, order))
    }

    /// Uploads the archives of these targets.
    ///
    /// # Errors
    /// The orchestrator refuses the request.
    pub async fn bring(&self, world: &World, attempt: AttemptId, targets: &[Target]) -> Result<Vec<Digest>> {
        let mut artifacts = Vec::new();
        for target in targets {
            let bytes = world.archive(target.id()).await?;
            artifacts.push(self.upload_bytes(attempt, target, bytes).await?);
        }
        Ok(artifacts)
    }
}

/// The fields of a narinfo or another file with lines of `Key: value`.
#[must_use]
pub fn fields(text: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(text).into_owned();
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

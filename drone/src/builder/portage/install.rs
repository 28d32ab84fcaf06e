//! Installs dependencies in a build root: each as a cached layer if possible, otherwise with Portage.

use super::{
    emerge::{COMMON, arguments},
    root::{Root, RootOptions},
    step::Step,
};
use crate::{
    builder::{BuildContext, Stop, steps::Steps},
    buildroot::{
        Tree, layer,
        layers::{Kept, Layer},
        replaced::Replaced,
    },
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use swarm_common::{
    digest::Digest,
    state::{FailureClass, Phase},
    wire::base::{Base, Dependency},
};

/// Version of the procedure for making layers; part of the cache key.
const FORMAT: &str = "layer-4";

/// The dependencies of one build root.
#[derive(Debug, Default)]
pub(super) struct Installed {
    /// The layers, lowest first. They are not evicted while this value exists.
    pub layers: Vec<Layer>,
    /// Artifacts that Portage installs in this order, with their package files.
    pub ordered: Vec<(Dependency, PathBuf)>,
}

impl Installed {
    /// The paths of the base that the layers hide.
    pub(super) fn gone(&self) -> Result<Vec<PathBuf>, Stop> {
        let gone = self.layers.iter().map(Layer::gone).collect::<io::Result<Vec<_>>>();
        let gone = gone.map_err(|error| {
            let message = format!("cannot read a layer: {error}");
            Stop::failed(FailureClass::Drone, Phase::Preparing, message)
        });
        Ok(gone?.concat())
    }
}

fn disk(what: &Dependency) -> impl Fn(io::Error) -> Stop {
    let cpv = what.cpv.to_string();
    move |error| {
        let message = format!("cannot create the layer of {cpv}: {error}");
        Stop::failed(FailureClass::Drone, Phase::Preparing, message)
    }
}

/// Provides all dependencies. Makes the layers that are not cached.
pub(super) async fn prepare(
    context: &BuildContext,
    dependencies: &[Dependency],
    steps: &mut Steps,
) -> Result<Installed, Stop> {
    let caches = &context.caches;
    let mut installed = Installed::default();
    for dependency in dependencies {
        if !context.config.is_overlay() {
            let file = caches.artifacts.get(caches.client.as_ref(), &dependency.into()).await?;
            if !is_installed(&Tree::at("/"), dependency, &file).map_err(disk(dependency))? {
                installed.ordered.push((dependency.clone(), file));
            }
            continue;
        }
        match layer(context, dependency, steps).await? {
            Kept::Layer(layer) => installed.layers.push(layer),
            Kept::Ordered => {
                let file = caches.artifacts.get(caches.client.as_ref(), &dependency.into()).await?;
                installed.ordered.push((dependency.clone(), file));
            }
        }
    }
    Ok(installed)
}

/// Whether exactly this artifact is installed in a tree, with the same version and build time.
pub(super) fn is_installed(tree: &Tree, dependency: &Dependency, file: &Path) -> io::Result<bool> {
    let there = tree.installed(dependency.cpv.cp(), &dependency.slot);
    let built = layer::metadata(file)?.line("BUILD_TIME");
    Ok(there.is_some_and(|there| there == format!("{} {built}", dependency.cpv)))
}

/// Returns the layer of an artifact, making it if necessary. The cache key consists of the artifact, the
/// package that it replaces in the base, and the digest of the image, on whose links and user IDs a layer
/// depends. Packages that a base adds to its image are not part of the key, so layers survive updates of
/// these packages.
async fn layer(context: &BuildContext, dependency: &Dependency, steps: &mut Steps) -> Result<Kept, Stop> {
    let caches = &context.caches;
    let base = Tree::at(context.config.base());
    let replaced = base.installed(dependency.cpv.cp(), &dependency.slot);
    let image = match &context.assignment.base {
        Base::Host | Base::Nix => Vec::new(),
        Base::Image { image, .. } => image.digest.0.to_vec(),
    };
    let key = |digest: Digest| {
        let replaced = replaced.as_deref().unwrap_or_default();
        Digest::of_fields([FORMAT.as_bytes(), &digest.0, replaced.as_bytes(), &image])
    };
    let keys = [key(dependency.digest), key(dependency.uploaded_digest)];
    let find = || keys.iter().find_map(|&key| caches.layers.get(key).transpose()).transpose();
    if let Some(found) = find().map_err(disk(dependency))? {
        return Ok(found);
    }
    let making = caches.making.lock().await;
    if let Some(found) = find().map_err(disk(dependency))? {
        return Ok(found);
    }
    let file = caches.artifacts.get(caches.client.as_ref(), &dependency.into()).await?;
    let [key, _] = keys;
    let metadata = layer::metadata(&file).map_err(disk(dependency))?;
    let replaced = replaced.as_deref().and_then(|replaced| replaced.split(' ').next());
    let replaced = replaced.map(|package| Replaced::new(&base, package));
    let acts = layer::acts(&metadata) || replaced.as_ref().is_some_and(|replaced| replaced.acts(&metadata));
    let unpacked = if acts {
        Ok(None)
    } else {
        let (layers, file, base) = (caches.layers.clone(), file.clone(), base.clone());
        let entry = dependency.cpv.to_string();
        let unpacked = tokio::task::spawn_blocking(move || {
            let files = layers.begin(key)?;
            layer::unpack(&file, &base, &entry, &files)?;
            let gone = replaced.map_or(Ok(Some(Vec::new())), |replaced| replaced.gone(&files))?;
            gone.map(|gone| layers.keep(key, Some(&gone))).transpose()
        });
        unpacked.await.map_err(io::Error::other).flatten().map_err(disk(dependency))
    };
    let kept = match unpacked {
        Ok(None) => capture(context, dependency, &file, key, &base, steps).await,
        Ok(Some(kept)) => Ok(kept),
        Err(stop) => Err(stop),
    };
    if kept.is_err() {
        // On a full disk, a partial layer would occupy space that the next attempt needs.
        caches.layers.give_up(key).map_err(disk(dependency))?;
    }
    drop(making);
    let kept = kept?;
    if matches!(kept, Kept::Layer(_)) {
        caches.artifacts.remove(&file).map_err(disk(dependency))?;
    }
    Ok(kept)
}

/// Lets Portage install an artifact over the bare base. Stores the changes as a layer, if they can be
/// stacked.
async fn capture(
    context: &BuildContext,
    dependency: &Dependency,
    file: &Path,
    key: Digest,
    base: &Tree,
    steps: &mut Steps,
) -> Result<Kept, Stop> {
    let caches = &context.caches;
    let attempt = context.attempt_dir.join("capture");
    fs::create_dir_all(&attempt).map_err(disk(dependency))?;
    let root = Root::make(RootOptions { attempt: &attempt, ..context.root_options() })?;
    let merged = install(&root, &[(dependency.clone(), file.to_owned())], steps).await;
    let kept = match merged {
        Ok(()) => {
            let upper =
                root.upper().ok_or_else(|| disk(dependency)(io::Error::other("there is no overlay")))?;
            let (layers, base, entry) = (caches.layers.clone(), base.clone(), dependency.cpv.to_string());
            let kept = tokio::task::spawn_blocking(move || {
                let gone = layer::strip(&upper, &base, &entry)?;
                let files = layers.begin(key)?;
                fs::remove_dir(&files)?;
                move_dir(&upper, &files)?;
                layers.keep(key, gone.as_deref())
            });
            kept.await.map_err(io::Error::other).and_then(|kept| kept).map_err(disk(dependency))?
        }
        // Its install script may need something that the bare base lacks. With all dependencies installed it
        // will work.
        Err(Stop::Failed(failure)) => {
            let text = format!("{} is installed in each build root: {}", dependency.cpv, failure.headline());
            steps.log.say(&text).await;
            caches.layers.begin(key).and_then(|_| caches.layers.keep(key, None)).map_err(disk(dependency))?
        }
        Err(Stop::Cancelled) => return Err(Stop::Cancelled),
    };
    drop(root);
    fs::remove_dir_all(&attempt).map_err(disk(dependency))?;
    Ok(kept)
}

/// Moves a directory with its whiteouts, by copying if it is on another file system.
pub(super) fn move_dir(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
        moved => return moved,
    }
    // `cp -a` keeps whiteouts, owners and extended attributes, which the standard library does not
    // copy.
    let copied = std::process::Command::new("cp").arg("-a").arg("--").arg(from).arg(to).output()?;
    if copied.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&copied.stderr).trim().to_owned()))
}

/// Lets Portage install package files in this order, without dependency resolution.
pub(super) async fn install(
    root: &Root,
    files: &[(Dependency, PathBuf)],
    steps: &mut Steps,
) -> Result<(), Stop> {
    if files.is_empty() {
        return Ok(());
    }
    steps.phase(Phase::Preparing).await;
    for (dependency, file) in files {
        let name = format!("{}-{}.gpkg.tar", dependency.cpv.pf(), dependency.build_id);
        let at = root.outside().artifacts.join(dependency.cpv.cp()).join(name);
        let placed = at.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| {
            if fs::hard_link(file, &at).is_err() {
                fs::copy(file, &at)?;
            }
            Ok(())
        });
        placed.map_err(disk(dependency))?;
    }
    let atoms = files.iter().map(|(dependency, _)| format!("={}-{}", dependency.cpv, dependency.build_id));
    install_from(root, &root.inside().artifacts, atoms.collect(), steps).await
}

/// Lets Portage install packages from a package directory inside the build root.
pub(super) async fn install_from(
    root: &Root,
    packages: &Path,
    atoms: Vec<String>,
    steps: &mut Steps,
) -> Result<(), Stop> {
    let mut args = arguments(&COMMON, &["--usepkgonly"], &[]);
    args.extend(atoms.into_iter().map(Into::into));
    let mut env = vec![("PKGDIR".into(), packages.into())];
    if root.is_thrown_away() {
        // Changed configuration files must be installed, not saved as `._cfg` files.
        env.push(("CONFIG_PROTECT".into(), "-*".into()));
    }
    let step = Step { program: root.program("emerge"), args, env, root };
    let succeeded = step.run(steps).await?;
    if succeeded { Ok(()) } else { Err(steps.failed(FailureClass::Infra)) }
}

//! Reads all layers and bases once a month while nothing is built, so that a failing disk is noticed before a
//! build uses damaged data. Seals only detect files that were written to.

use super::{CONTENT, FILES, Layers, fingerprint, key_of, remove};
use std::{
    fs::{self, File},
    io,
    path::PathBuf,
    time::{Duration, SystemTime},
};
use swarm_common::digest::Digest;
use tokio_util::sync::CancellationToken;

/// How often to check whether a layer is due.
const LOOK: Duration = Duration::from_secs(600);

/// How often each layer is read.
const EVERY: Duration = Duration::from_secs(30 * 24 * 3600);

/// Pause after each piece ([`fingerprint::PIECE`]), so that the disk remains usable for others.
const PAUSE: Duration = Duration::from_millis(20);

/// Reads the layers that are due in these caches, until the future is dropped.
pub async fn run(caches: [Layers; 2]) {
    let stop = CancellationToken::new();
    let _stops_with_this = stop.clone().drop_guard();
    loop {
        tokio::time::sleep(LOOK).await;
        for cache in &caches {
            let (cache, stop) = (cache.clone(), stop.clone());
            let scrub = move || cache.scrub(EVERY, &|| !stop.is_cancelled());
            let done = tokio::task::spawn_blocking(scrub).await.map_err(io::Error::other).flatten();
            if let Err(error) = done {
                tracing::warn!(%error, "cannot check the layers on the disk");
            }
        }
    }
}

impl Layers {
    /// Reads layers that were last read longer than `every` ago, while no build uses them and `goes_on`
    /// returns true. Removes damaged ones, which are made again when needed.
    fn scrub(&self, every: Duration, goes_on: &dyn Fn() -> bool) -> io::Result<()> {
        for (key, dir) in self.due(every)? {
            let mut pause = || {
                if !self.ref_counts().is_empty() || !goes_on() {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                std::thread::sleep(PAUSE);
                Ok(())
            };
            let damage = match fingerprint::content(&dir.join(FILES), &mut pause) {
                // The layer is in use now, or was evicted.
                Err(error) if error.kind() == io::ErrorKind::Interrupted || !dir.exists() => return Ok(()),
                Err(error) => error.to_string(),
                Ok(content) => match fs::read_to_string(dir.join(CONTENT)) {
                    Ok(kept) if kept == content => {
                        File::open(dir.join(CONTENT))?.set_modified(SystemTime::now())?;
                        continue;
                    }
                    // An older version made the layer.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        fs::write(dir.join(CONTENT), content)?;
                        continue;
                    }
                    Ok(_) => "its content changed".into(),
                    Err(error) => error.to_string(),
                },
            };
            let mut refs = self.ref_counts();
            if refs.is_empty() {
                tracing::warn!(layer = %dir.display(), damage, "the disk damaged a layer, removing it; check \
                                                                the disk");
                refs.forget(key);
                remove(&dir)?;
            }
        }
        Ok(())
    }

    /// The layers that were last read longer than `every` ago, or never.
    fn due(&self, every: Duration) -> io::Result<Vec<(Digest, PathBuf)>> {
        let mut due = Vec::new();
        for entry in fs::read_dir(&self.0.dir)? {
            let path = entry?.path();
            let Some(key) = key_of(&path).filter(|_| path.join(FILES).exists()) else { continue };
            let read = fs::metadata(path.join(CONTENT)).and_then(|found| found.modified()).ok();
            // A time in the future was set by a wrong clock.
            if read.and_then(|read| read.elapsed().ok()).is_none_or(|since| since >= every) {
                due.push((key, path));
            }
        }
        Ok(due)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Kept, *};
    use std::{fs::FileTimes, os::unix::fs::FileExt as _, path::Path};

    fn make(layers: &Layers, name: &str) -> Digest {
        let key = Digest::of(name.as_bytes());
        let files = layers.begin(key).unwrap();
        fs::create_dir(files.join("usr")).unwrap();
        fs::write(files.join("usr/file"), name).unwrap();
        drop(layers.keep(key, Some(&[])).unwrap());
        key
    }

    /// Changes a byte like a failing disk: size and times stay the same.
    fn flip(file: &Path) {
        let found = fs::metadata(file).unwrap();
        let bytes = fs::read(file).unwrap();
        let open = File::options().write(true).open(file).unwrap();
        open.write_all_at(&[bytes[0] ^ 1], 0).unwrap();
        let times = FileTimes::new().set_modified(found.modified().unwrap());
        open.set_times(times.set_accessed(found.accessed().unwrap())).unwrap();
    }

    fn has(layers: &Layers, key: Digest) -> bool {
        matches!(layers.get(key).unwrap(), Some(Kept::Layer(_)))
    }

    #[test]
    fn a_flipped_byte_is_found_once_a_month_while_nothing_is_built_and_the_layer_removed() {
        let dir = tempfile::tempdir().unwrap();
        let layers = Layers::open(dir.path(), u64::MAX).unwrap();
        let [whole, damaged, old] = ["whole", "damaged", "old"].map(|name| make(&layers, name));
        let of = |key: Digest, file: &str| dir.path().join(key.to_string()).join(file);
        fs::remove_file(of(old, CONTENT)).unwrap();
        flip(&of(damaged, "files/usr/file"));
        let layers = Layers::open(dir.path(), u64::MAX).unwrap();
        assert!(has(&layers, damaged), "a seal does not show it");

        layers.scrub(EVERY, &|| true).unwrap();
        assert!(has(&layers, damaged), "it is not due");
        assert!(of(old, CONTENT).exists(), "what was never read is due");

        let month_ago = SystemTime::now() - EVERY;
        for key in [whole, damaged] {
            File::open(of(key, CONTENT)).unwrap().set_modified(month_ago).unwrap();
        }
        let used = layers.get(whole).unwrap();
        layers.scrub(EVERY, &|| true).unwrap();
        assert!(has(&layers, damaged), "nothing is read beside a build");
        drop(used);
        layers.scrub(EVERY, &|| false).unwrap();
        assert!(has(&layers, damaged), "nothing is read after a stop");
        layers.scrub(EVERY, &|| true).unwrap();
        assert!(!has(&layers, damaged) && has(&layers, whole) && has(&layers, old));
        assert!(layers.due(EVERY).unwrap().is_empty());
    }
}

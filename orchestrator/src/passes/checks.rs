//! Checks this machine before something fails on it: its directories must be writable, their disks must have
//! free space, and the certificate must remain valid. The checks also load a renewed certificate, report
//! damaged records until an admin has removed them, and repeat questions to upstream caches that did not
//! answer.
//!
//! A problem is listed until a later check no longer finds it.

use crate::{
    config::Config,
    nix::upstream::Upstreams,
    own_record::OwnRecord,
    passes::{Context, Pass, Report, every},
    tls::Shown,
};
use jiff::{SignedDuration, Timestamp};
use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use swarm_common::wire::concern::ConcernKind;
use tokio::{task::JoinError, time::Interval};

const EVERY: Duration = Duration::from_secs(30);

/// A disk with fewer free bytes than this is a concern.
const LITTLE: u64 = 1 << 30;

/// A certificate that expires within this time is a concern.
const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Data for a test write. Larger than the rest of the last block, which even a full file system may still
/// accept.
static PROBE: [u8; 64 * 1024] = [0; 64 * 1024];

/// Checks this machine, and stores what the last check found.
pub struct Checks {
    /// The directories, each with its purpose.
    places: Vec<(&'static str, PathBuf)>,
    records: Vec<OwnRecord>,
    shown: Option<Arc<Shown>>,
    upstreams: Arc<Upstreams>,
    found: Mutex<Vec<ConcernKind>>,
}

impl Checks {
    /// Checks the configured directories and the HTTPS certificate.
    #[must_use]
    pub fn new(config: &Config, shown: Option<Arc<Shown>>, upstreams: Arc<Upstreams>) -> Self {
        let mut places = vec![("state directory", config.state_dir.clone())];
        places.extend(config.artifact_dir.clone().map(|dir| ("store", dir)));
        let records = OwnRecord::all(&config.state_dir);
        Self { places, records, shown, upstreams, found: Mutex::default() }
    }

    #[must_use]
    pub fn found(&self) -> Vec<ConcernKind> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs all checks once.
    ///
    /// # Errors
    /// A check panicked.
    pub async fn look(&self) -> Result<(), JoinError> {
        let (places, records, shown) = (self.places.clone(), self.records.clone(), self.shown.clone());
        let looked = tokio::task::spawn_blocking(move || {
            let mut found = of_disks(&places);
            found.extend(records.iter().filter_map(OwnRecord::concern));
            found.extend(shown.and_then(|shown| of_certificate(&shown, Timestamp::now())));
            found
        });
        let looked = looked.await;
        self.upstreams.ask_again().await;
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = looked?;
        Ok(())
    }
}

/// The pass that runs the checks.
pub struct CheckPass {
    checks: Arc<Checks>,
    timer: Interval,
}

impl CheckPass {
    #[must_use]
    pub fn new(checks: Arc<Checks>) -> Self {
        Self { checks, timer: every(EVERY) }
    }
}

impl Pass for CheckPass {
    const NAME: &'static str = "checks";
    const LEADS: bool = false;

    async fn wake(&mut self) {
        self.timer.tick().await;
    }

    async fn run_once(&mut self, _: &Context) -> Report {
        self.checks.look().await.map(|()| String::new()).map_err(|error| error.to_string())
    }
}

fn of_disks(places: &[(&str, PathBuf)]) -> Vec<ConcernKind> {
    let mut found = Vec::new();
    let mut devices = BTreeSet::new();
    for (name, dir) in places {
        let at = dir.display().to_string();
        if let Err(error) = probe(dir) {
            let (place, why) = ((*name).to_owned(), error.to_string());
            found.push(ConcernKind::DirectoryUnwritable { place, at, why });
            continue;
        }
        let is_new = fs::metadata(dir).is_ok_and(|meta| devices.insert(meta.dev()));
        let free = rustix::fs::statvfs(dir).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        if let (true, Ok(free @ ..LITTLE)) = (is_new, free) {
            found.push(ConcernKind::DiskNearlyFull { at, free_mib: free >> 20 });
        }
    }
    found
}

/// Checks that a file can be written in `dir`.
fn probe(dir: &Path) -> io::Result<()> {
    use io::Write as _;
    let mut file = tempfile::Builder::new().prefix(".probe-").tempfile_in(dir)?;
    file.write_all(&PROBE)?;
    file.flush()
}

fn of_certificate(shown: &Shown, now: Timestamp) -> Option<ConcernKind> {
    let file = shown.file().display().to_string();
    if let Err(error) = shown.renew() {
        return Some(ConcernKind::CertificateUnusable { file, why: error.to_string() });
    }
    let (until, left) = (shown.until(), shown.until().duration_since(now));
    let on = until.strftime("%F").to_string();
    if left.is_negative() {
        return Some(ConcernKind::CertificateExpired { file, on });
    }
    (left < SOON).then(|| ConcernKind::CertificateExpires { file, on, days: left.as_hours() / 24 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_core::view::stops;

    #[test]
    fn a_directory_that_is_gone_or_read_only_stops_the_work_and_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let gone = dir.path().join("gone");
        // Not even root can write to this directory.
        let places =
            [("state directory", dir.path().into()), ("store", gone.clone()), ("store", "/proc".into())];
        let found = of_disks(&places);
        let named: Vec<_> = found.iter().filter(|fact| stops(fact)).collect();
        assert_eq!(named.len(), 2, "{found:?}");
        let gone = gone.to_string_lossy();
        assert!(
            matches!(named[0], ConcernKind::DirectoryUnwritable { place, at, .. } if place == "store" && *at == gone),
            "{found:?}"
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left of a look");
    }

    #[test]
    fn a_certificate_is_a_concern_from_thirty_days_before_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let shown = crate::tls::Shown::of_this_machine(dir.path()).unwrap();
        let before = |days: i64| shown.until() - SignedDuration::from_hours(days * 24);
        assert_eq!(of_certificate(&shown, before(31)), None);
        let soon = of_certificate(&shown, before(12)).unwrap();
        assert!(matches!(soon, ConcernKind::CertificateExpires { days: 12, .. }), "{soon:?}");
        let past = of_certificate(&shown, before(-1)).unwrap();
        assert!(matches!(past, ConcernKind::CertificateExpired { .. }), "{past:?}");
    }
}

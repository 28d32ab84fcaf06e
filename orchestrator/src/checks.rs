//! Looks whether this machine is in order, before anything fails on it: that its directories can be
//! written, that their disks have room, that the certificate lasts. A renewed certificate is taken over.
//!
//! What is found stays in the list until a later look does not find it.

use crate::{app::App, tls::Shown};
use jiff::{SignedDuration, Timestamp};
use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use swarm_core::view::Trouble;

/// What it is called in the list of passes.
pub const NAME: &str = "checks";

/// From one look to the next.
const EVERY: Duration = Duration::from_secs(30);

/// Less room than this on a disk, in bytes, is a concern.
const LITTLE: u64 = 1 << 30;

/// A certificate that ends sooner is one.
const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);

/// More than what a full file system still has in its last block.
static PROBE: [u8; 64 * 1024] = [0; 64 * 1024];

/// What the last look found.
#[derive(Debug, Default)]
pub struct Checks(Mutex<Vec<Trouble>>);

impl Checks {
    /// What was found wrong.
    #[must_use]
    pub fn found(&self) -> Vec<Trouble> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Looks again and again until the orchestrator stops.
pub(crate) async fn run(app: Arc<App>) {
    while !app.stopping.is_cancelled() {
        look(&app).await;
        app.passes.note(NAME, "");
        tokio::select! {
            () = app.stopping.cancelled() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// Looks once.
pub async fn look(app: &App) {
    let mut places = vec![("state directory", app.config.state_dir.clone())];
    places.extend(app.config.artifact_dir.clone().map(|dir| ("store", dir)));
    let shown = app.tls.as_ref().map(|tls| tls.shown.clone());
    let looked = tokio::task::spawn_blocking(move || {
        let mut found = of_disks(&places);
        found.extend(shown.and_then(|shown| of_certificate(&shown, Timestamp::now())));
        found
    });
    match looked.await {
        Ok(found) => *app.checks.0.lock().unwrap_or_else(PoisonError::into_inner) = found,
        Err(error) => app.passes.fail(NAME, error.to_string()),
    }
}

fn of_disks(places: &[(&str, PathBuf)]) -> Vec<Trouble> {
    let mut found = Vec::new();
    let mut devices = BTreeSet::new();
    for (name, dir) in places {
        let at = dir.display();
        if let Err(error) = probe(dir) {
            let next = format!("mount, free or repair the disk of {at}; it goes on by itself");
            found.push(Trouble::new(format!("the {name} {at} cannot be written: {error}"), next).stopping());
            continue;
        }
        let is_new = fs::metadata(dir).is_ok_and(|meta| devices.insert(meta.dev()));
        let free = rustix::fs::statvfs(dir).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        if let (true, Ok(free @ ..LITTLE)) = (is_new, free) {
            let what = format!("the disk of {at} is nearly full: {} MiB are free", free >> 20);
            let next = "free some space there; once it is full, nothing more is taken from drones".to_owned();
            found.push(Trouble::new(what, next).warning());
        }
    }
    found
}

/// Whether something can be written there.
fn probe(dir: &Path) -> io::Result<()> {
    use io::Write as _;
    let mut file = tempfile::Builder::new().prefix(".probe-").tempfile_in(dir)?;
    file.write_all(&PROBE)?;
    file.flush()
}

fn of_certificate(shown: &Shown, now: Timestamp) -> Option<Trouble> {
    let file = shown.file().display();
    if let Err(error) = shown.renew() {
        let next = "mend the files; the certificate before is shown until then".to_owned();
        return Some(Trouble::new(format!("the TLS certificate {file} cannot be taken over: {error}"), next));
    }
    let (until, left) = (shown.until(), shown.until().duration_since(now));
    let renew = format!("put a new one at {file}, with its key; it is taken over by itself");
    if left.is_negative() {
        let what = format!("the TLS certificate {file} is past its time since {}", until.strftime("%F"));
        let next = format!("drones and admins that do not pin it refuse it: {renew}");
        return Some(Trouble::new(what, next));
    }
    let days = left.as_hours() / 24;
    let what = || format!("the TLS certificate {file} ends in {days} days, on {}", until.strftime("%F"));
    (left < SOON).then(|| Trouble::new(what(), renew).warning())
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_common::state::Severity;

    #[test]
    fn a_directory_that_is_gone_or_read_only_stops_the_work_and_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let gone = dir.path().join("gone");
        // Nobody can write to it, not even root.
        let places =
            [("state directory", dir.path().into()), ("store", gone.clone()), ("store", "/proc".into())];
        let found = of_disks(&places);
        let named: Vec<_> = found.iter().filter(|trouble| trouble.stops).collect();
        assert_eq!(named.len(), 2, "{found:?}");
        assert!(named[0].what.contains(&*gone.to_string_lossy()), "{found:?}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left of a look");
    }

    #[test]
    fn a_certificate_is_a_concern_from_thirty_days_before_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let shown = crate::tls::Shown::of_this_machine(dir.path()).unwrap();
        let before = |days: i64| shown.until() - SignedDuration::from_hours(days * 24);
        assert_eq!(of_certificate(&shown, before(31)), None);
        let soon = of_certificate(&shown, before(12)).unwrap();
        assert!(soon.what.contains("ends in 12 days") && soon.severity == Severity::Warning, "{soon:?}");
        let past = of_certificate(&shown, before(-1)).unwrap();
        assert!(past.what.contains("past its time") && past.severity == Severity::Critical, "{past:?}");
    }
}

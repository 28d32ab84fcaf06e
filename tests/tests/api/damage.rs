//! One changed byte in each kind of file that is kept, and what is found, said and mended.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};
use swarm_common::digest::Digest;
use swarm_tests::api::{Swarm, until};

/// What is to come of the damage.
enum Then {
    /// It does not start, and says this.
    Refused(&'static str),
    /// An audit makes it good, and names it.
    Mended,
    /// An audit names it, with this.
    Named(&'static str),
    /// It is as it was as soon as it is used.
    AsItWas,
}

/// Changes a byte after the first occurrence of `mark`, or in the middle, as a disk does it:
/// the file's date stays.
fn change(path: &Path, mark: &str) {
    let mut bytes = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let found = |mark: &str| bytes.windows(mark.len()).position(|window| window == mark.as_bytes());
    let at = if mark.is_empty() { bytes.len() / 2 } else { found(mark).unwrap() + mark.len() };
    bytes[at] ^= 1;
    let date = fs::metadata(path).unwrap().modified().unwrap();
    let file = File::options().write(true).open(path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
    file.set_modified(date).unwrap();
}

fn only_file(folder: &Path, ending: &str) -> PathBuf {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found = names.filter(|path| path.to_str().unwrap().ends_with(ending));
    found.next().unwrap_or_else(|| panic!("nothing ends with {ending} in {}", folder.display()))
}

/// A swarm that has published one package.
async fn published() -> (Swarm, Digest) {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    drone.build().await.unwrap();
    crate::binhost::generation(&swarm, 1).await;
    let audit = swarm.admin.audit().await.unwrap();
    assert_eq!((audit.faults, audit.mended), (vec![], vec![]), "nothing is damaged yet");
    let digest = swarm.admin.artifacts(None).await.unwrap()[0].digest;
    (swarm, digest)
}

/// The published index without its date, which moves when it is written again.
fn index(swarm: &Swarm) -> String {
    let text = fs::read_to_string(swarm.state_dir().join("binhost/desk/stable/Packages")).unwrap();
    text.lines().filter(|line| !line.starts_with("TIMESTAMP")).collect::<Vec<_>>().join("\n")
}

// fault: 51
#[tokio::test]
async fn one_changed_byte_in_any_file_of_a_stopped_swarm_is_found_and_mended_or_named() {
    let stable = "binhost/desk/stable";
    let cases: [(&str, &str, Then); 14] = [
        ("journal.sqlite", "{\"event\":\"run_started\"", Then::Named("does not match the hash chain")),
        ("journal.sqlite", "{\"seq\":", Then::AsItWas),
        ("journal.mark", "", Then::Refused("lost acknowledged events")),
        ("signing-key.asc", "", Then::Refused("signing-key.asc: ")),
        ("entries/DIGEST", "SHA1: ", Then::AsItWas),
        ("entries/DIGEST", "LICENSE: ", Then::AsItWas),
        ("entries/DIGEST", "SIZE: ", Then::AsItWas),
        ("entries/DIGEST.files", "", Then::Mended),
        ("store/DIGEST", "", Then::Named("rebuild it: `swarmctl rebuild dev-libs/pebble`")),
        ("STABLE/Packages", "SHA1: ", Then::AsItWas),
        ("STABLE/Packages", "PATH: ", Then::AsItWas),
        ("STABLE/Packages", "CPV: ", Then::AsItWas),
        ("STABLE/Packages.gz", "", Then::AsItWas),
        ("snapshots/.tar.zst", "", Then::Named("update the profile with")),
    ];
    for (file, mark, then) in cases {
        let (swarm, digest) = published().await;
        let before = index(&swarm);
        let state = swarm.state_dir();
        let path = match file.split_once('/') {
            Some(("store", _)) => swarm.app.store.path(digest),
            Some(("snapshots", ending)) => only_file(&state.join("snapshots"), ending),
            _ => state.join(file.replace("STABLE", stable).replace("DIGEST", &digest.to_string())),
        };
        let whole = fs::read(&path).unwrap();
        let started = swarm.restart_after(|_| change(&path, mark)).await;
        let (swarm, what) = match (started, &then) {
            (Err(error), Then::Refused(words)) => {
                let said = format!("{error:#}");
                assert!(said.contains(words), "{file} {mark}: {said}");
                continue;
            }
            (Err(error), _) => panic!("{file} {mark}: {error:#}"),
            (Ok(swarm), _) => (swarm, format!("{file} {mark}")),
        };
        // The publisher has looked at everything once.
        let seq = swarm.app.engine.read(|s| s.seq);
        assert!(swarm.app.published.reached(seq, std::time::Duration::from_secs(60)).await, "{what}");
        let audit = swarm.admin.audit().await.unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        match then {
            Then::Refused(_) => panic!("{what}: it started"),
            Then::AsItWas => {
                assert_eq!((audit.faults, audit.mended), (vec![], vec![]), "{what}");
                if file.starts_with("entries") {
                    assert!(fs::read(&path).unwrap() == whole, "{what}");
                }
            }
            Then::Mended => {
                assert_eq!(audit.faults, Vec::<String>::new(), "{what}");
                assert!(
                    matches!(&audit.mended[..], [one] if one.contains(name)),
                    "{what}: {:?}",
                    audit.mended
                );
                assert!(fs::read(&path).unwrap() == whole, "{what}");
            }
            Then::Named(words) => {
                assert_eq!(audit.faults.len(), 1, "{what}: {:?}", audit.faults);
                assert!(
                    audit.faults[0].contains(name) && audit.faults[0].contains(words),
                    "{what}: {:?}",
                    audit.faults
                );
                let concerns = swarm.admin.status().await.unwrap().concerns;
                assert!(concerns.iter().any(|c| c.next == "swarmctl audit verify"), "{what}: {concerns:?}");
            }
        }
        assert_eq!(index(&swarm), before, "{what}");
    }
}

// fault: 51
#[tokio::test]
async fn a_damaged_copy_of_a_stored_package_is_found_by_an_audit_and_published_again() {
    let (swarm, digest) = published().await;
    let path = swarm.state_dir().join("binhost/desk/stable/dev-libs/pebble/pebble-1.2-1.gpkg.tar");
    // As a restore may leave it, which makes two files of one.
    let copy = path.with_extension("copy");
    fs::copy(&path, &copy).unwrap();
    fs::rename(&copy, &path).unwrap();
    let audit = swarm.admin.audit().await.unwrap();
    assert_eq!((audit.faults, audit.mended), (vec![], vec![]), "a copy is as good");
    change(&path, "");
    let audit = swarm.admin.audit().await.unwrap();
    assert_eq!(audit.faults, Vec::<String>::new());
    assert!(matches!(&audit.mended[..], [one] if one.contains(path.to_str().unwrap())), "{:?}", audit.mended);
    assert_eq!(Digest::of(&fs::read(&path).unwrap()), digest);

    // Where what is stored is damaged as well nothing is published again.
    fs::copy(&path, &copy).unwrap();
    fs::rename(&copy, &path).unwrap();
    change(&path, "");
    change(&swarm.app.store.path(digest), "");
    let audit = swarm.admin.audit().await.unwrap();
    assert_eq!(audit.mended, Vec::<String>::new());
    assert!(audit.faults.iter().any(|fault| fault.contains(path.to_str().unwrap())), "{:?}", audit.faults);
}

// fault: 51
#[tokio::test]
async fn what_is_damaged_while_it_runs_is_mended_by_an_audit_and_named_by_the_monthly_scrub() {
    let (swarm, digest) = published().await;
    let before = index(&swarm);
    let state = swarm.state_dir();
    let kept = state.join("entries").join(digest.to_string());
    let published = state.join("binhost/desk/stable");
    for path in [&kept, &published.join("Packages.gz")] {
        change(path, "");
    }
    let audit = swarm.admin.audit().await.unwrap();
    assert_eq!(audit.faults, Vec::<String>::new());
    let named = |what: &str| audit.mended.iter().any(|line| line.contains(what));
    assert!(named(kept.to_str().unwrap()) && named("Packages.gz"), "{:?}", audit.mended);
    let audit = swarm.admin.audit().await.unwrap();
    assert_eq!((audit.faults, audit.mended), (vec![], vec![]));
    assert_eq!(index(&swarm), before);

    // More than a month later.
    let stored = swarm.app.store.path(digest);
    let swarm = swarm
        .restart_after(|config| {
            fs::write(config.state_dir.join("scrub.json"), "{\"at\":1,\"faults\":[]}").unwrap();
            change(&stored, "");
        })
        .await
        .unwrap();
    let told = until("the scrub tells of it", async || {
        let concerns = swarm.admin.status().await.ok()?.concerns;
        concerns.into_iter().find(|concern| concern.what.contains("is damaged"))
    });
    let concern = told.await;
    assert!(concern.what.contains(&digest.to_string()), "{concern:?}");
    let passes = swarm.admin.status().await.unwrap().passes;
    let scrub = passes.iter().find(|pass| pass.name == "scrub").unwrap();
    assert!(scrub.did.contains("packages checked: 1, damaged: 1"), "{scrub:?}");
    // It is remembered, and not looked for at every start.
    let swarm = swarm.restart().await.unwrap();
    until("it is told after a restart", async || {
        let concerns = swarm.admin.status().await.ok()?.concerns;
        concerns.into_iter().find(|concern| concern.what.contains("is damaged"))
    })
    .await;
}

//! A changed byte, a truncated file or a missing file of every kind that is stored, and whether the damage is
//! found, reported and repaired.

mod harm;

use self::harm::Harm;
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};
use swarm_client::IdempotencyKey;
use swarm_common::{
    digest::Digest,
    wire::{
        admin::EnrolTokenRequest,
        drone::{Outcome, UploadRequest},
    },
};
use swarm_orchestrator::config::Config;
use swarm_tests::api::{Swarm, again, package_file, until};

/// The expected consequence of the damage.
enum Then {
    /// The orchestrator does not start and reports this.
    Refused(&'static str),
    /// An audit repairs and names it.
    Mended,
    /// An audit names it with this text.
    Named(&'static str),
    /// An audit names it with this text, and the index omits it.
    LeftOut(&'static str),
    /// Everything works as before: the damage is harmless, or is repaired when the file is used.
    AsItWas,
    /// The record is reset, and the status reports that until the file that was moved aside is removed.
    SetAside,
}

/// Changes a byte in the middle.
fn change(path: &Path) {
    Harm::Flip("").befall(path);
}

fn only_file(folder: &Path, ending: &str) -> PathBuf {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found = names.filter(|path| path.to_str().unwrap().ends_with(ending));
    found.next().unwrap_or_else(|| panic!("nothing ends with {ending} in {}", folder.display()))
}

/// A swarm that has published one package.
async fn published() -> (Swarm, Digest) {
    published_with(|_| {}).await
}

/// The same with a changed configuration.
async fn published_with(settings: impl FnOnce(&mut Config)) -> (Swarm, Digest) {
    let swarm = Swarm::start_with(settings).await.unwrap();
    let drone = swarm.drone("one").await.unwrap();
    swarm.planned(&drone).await.unwrap();
    drone.build().await.unwrap();
    crate::binhost::generation(&swarm, 1).await;
    let audit = swarm.admin.audit().await.unwrap();
    assert_eq!((audit.faults, audit.mended), (vec![], vec![]), "nothing is damaged yet");
    let digest = swarm.admin.artifacts(None).await.unwrap()[0].digest;
    (swarm, digest)
}

/// The published index without its date, which changes when it is written again.
fn index(swarm: &Swarm) -> String {
    let text = fs::read_to_string(swarm.state_dir().join("binhost/desk/stable/Packages")).unwrap();
    text.lines().filter(|line| !line.starts_with("TIMESTAMP")).collect::<Vec<_>>().join("\n")
}

/// Damages a file of a stopped swarm and starts the swarm.
async fn befallen(file: &str, harm: Harm, then: Then) {
    let what = format!("{file} {harm:?}");
    let settings = |config: &mut Config| {
        config.tls.listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let sink = "url = \"http://127.0.0.1:9/\"\nminimum = \"info\"";
        config.notify.sink.push(swarm_daemon::config::parse(Path::new("sink.toml"), sink).unwrap());
    };
    let (swarm, digest) = published_with(settings).await;
    let book = swarm.state_dir().join("notify.json");
    until("the notifier has written", async || book.exists().then_some(())).await;
    if file.starts_with("images") {
        crate::bases::make_base(&swarm, tempfile::tempdir().unwrap().path()).await;
    }
    let before = index(&swarm);
    let state = swarm.state_dir();
    let path = match file.split_once('/') {
        Some(("store", _)) => swarm.app.store.describe(digest).into(),
        Some((dir @ ("snapshots" | "images"), ending)) => only_file(&state.join(dir), ending),
        _ => state.join(file.replace("CHANNEL", "binhost/desk").replace("DIGEST", &digest.to_string())),
    };
    let whole = fs::read(&path).unwrap();
    let started = swarm.restart_after(|_| harm.befall(&path)).await;
    let swarm = match (started, &then) {
        (Err(error), Then::Refused(words)) => {
            let message = format!("{error:#}");
            assert!(message.contains(words), "{what}: {message}");
            return;
        }
        (Err(error), _) => panic!("{what}: {error:#}"),
        (Ok(swarm), _) => swarm,
    };
    // The publisher has examined everything once.
    let seq = swarm.app.engine.read(|s| s.seq);
    assert!(swarm.app.published.reached(seq, std::time::Duration::from_secs(60)).await, "{what}");
    let audit = swarm.admin.audit().await.unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    match then {
        Then::Refused(_) => panic!("{what}: it started: {audit:?}"),
        Then::SetAside => {
            let concerns = async || swarm.admin.status().await.unwrap().concerns;
            let named =
                async || concerns().await.iter().any(|concern| concern.what.contains(name)).then_some(());
            until(&format!("{what} is named"), &named).await;
            until(&format!("{what} is reset"), async || path.exists().then_some(())).await;
            fs::remove_file(path.with_extension("damaged")).unwrap();
            swarm.app.checks.look().await.unwrap();
            assert_eq!(named().await, None, "{what}");
        }
        Then::AsItWas => {
            assert_eq!((audit.faults, audit.mended), (vec![], vec![]), "{what}");
            if file.starts_with("entries") {
                assert!(fs::read(&path).unwrap() == whole, "{what}");
            }
        }
        Then::Mended => {
            assert_eq!(audit.faults, Vec::<String>::new(), "{what}");
            assert!(matches!(&audit.mended[..], [one] if one.contains(name)), "{what}: {:?}", audit.mended);
            assert!(fs::read(&path).unwrap() == whole, "{what}");
        }
        Then::Named(words) | Then::LeftOut(words) => {
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
    match then {
        Then::LeftOut(_) => assert!(!index(&swarm).contains("CPV: "), "{what}"),
        _ => assert_eq!(index(&swarm), before, "{what}"),
    }
}

// fault: 51
#[tokio::test]
async fn damage_of_any_file_of_a_stopped_swarm_is_found_and_mended_or_named() {
    use Harm::{Cut, Empty, Flip, Gone, Half, Swap};
    let rebuild = "rebuild it: `swarmctl rebuild dev-libs/pebble`";
    let cases = [
        ("journal.sqlite", Flip("{\"event\":\"run_started\""), Then::Named("does not match the hash chain")),
        ("journal.sqlite", Flip("zstd:"), Then::AsItWas),
        // SQLite may not use the last byte.
        ("journal.sqlite", Half, Then::Refused("journal")),
        ("journal.sqlite", Gone, Then::Refused("journal")),
        // Changes a digit of its number, because a changed digit of its hash might not be a digit any more.
        ("journal.mark", Flip("00000000"), Then::Refused("its mark: it is damaged")),
        ("journal.mark", Cut, Then::AsItWas),
        ("journal.mark", Empty, Then::Refused("its mark: it is damaged")),
        ("journal.mark", Gone, Then::AsItWas),
        ("signing-key.asc", Flip(""), Then::Refused("signing-key.asc: ")),
        ("signing-key.asc", Cut, Then::AsItWas),
        ("signing-key.asc", Gone, Then::Refused("signing")),
        ("admin.token", Cut, Then::AsItWas),
        ("admin.token", Empty, Then::Refused("admin.token: ")),
        ("metrics.token", Empty, Then::Refused("metrics.token: ")),
        ("scrub.json", Flip(""), Then::SetAside),
        ("scrub.json", Cut, Then::SetAside),
        ("scrub.json", Empty, Then::SetAside),
        ("scrub.json", Gone, Then::AsItWas),
        ("entries/DIGEST", Flip("SHA1: "), Then::AsItWas),
        ("entries/DIGEST", Flip("LICENSE: "), Then::AsItWas),
        ("entries/DIGEST", Flip("SIZE: "), Then::AsItWas),
        ("entries/DIGEST", Cut, Then::AsItWas),
        ("entries/DIGEST", Gone, Then::AsItWas),
        ("entries/DIGEST.files", Flip(""), Then::Mended),
        ("entries/DIGEST.files", Cut, Then::Mended),
        ("entries/DIGEST.files", Gone, Then::Mended),
        ("store/DIGEST", Flip(""), Then::Named(rebuild)),
        ("store/DIGEST", Cut, Then::LeftOut(rebuild)),
        ("store/DIGEST", Gone, Then::Named(rebuild)),
        ("CHANNEL/stable/Packages", Flip("SHA1: "), Then::AsItWas),
        ("CHANNEL/stable/Packages", Flip("PATH: "), Then::AsItWas),
        ("CHANNEL/stable/Packages", Flip("CPV: "), Then::AsItWas),
        ("CHANNEL/stable/Packages", Cut, Then::AsItWas),
        ("CHANNEL/stable/Packages", Gone, Then::AsItWas),
        ("CHANNEL/stable/Packages.gz", Flip(""), Then::AsItWas),
        ("CHANNEL/stable/Packages.gz", Cut, Then::AsItWas),
        ("CHANNEL/stable/Packages.gz", Gone, Then::AsItWas),
        ("CHANNEL/runs/r1/Packages", Flip("SHA1: "), Then::AsItWas),
        ("CHANNEL/runs/r1/Packages", Cut, Then::AsItWas),
        ("CHANNEL/runs/r1/Packages", Gone, Then::AsItWas),
        ("snapshots/.tar.zst", Flip(""), Then::Named("update the profile with")),
        ("snapshots/.tar.zst", Cut, Then::Named("update the profile with")),
        ("snapshots/.tar.zst", Gone, Then::Named("update the profile with")),
        ("images/.tar.zst", Flip(""), Then::Named("base")),
        ("images/.tar.zst", Cut, Then::Named("base")),
        ("images/.tar.zst", Gone, Then::Named("base")),
        ("images/.json", Flip(""), Then::AsItWas),
        ("images/.json", Cut, Then::AsItWas),
        ("images/.json", Gone, Then::AsItWas),
        ("nix-signing-key", Flip(":"), Then::Refused("nix-signing-key")),
        ("nix-signing-key", Cut, Then::AsItWas),
        ("nix-signing-key", Gone, Then::Refused("nix-signing-key")),
        ("nix-signing-key.public", Flip(""), Then::AsItWas),
        ("nix-signing-key.public", Empty, Then::AsItWas),
        ("nix-signing-key.public", Gone, Then::AsItWas),
        ("signing-key.fingerprint", Flip(""), Then::AsItWas),
        ("signing-key.fingerprint", Empty, Then::AsItWas),
        ("signing-key.fingerprint", Gone, Then::AsItWas),
        ("metrics.token", Gone, Then::AsItWas),
        ("tls.crt", Swap(200), Then::Refused("tls.crt: was changed or damaged")),
        ("tls.crt", Half, Then::Refused("tls.crt: ")),
        ("tls.crt", Gone, Then::Refused("tls.crt is missing")),
        ("tls.key", Swap(60), Then::Refused("tls.key")),
        ("tls.key", Half, Then::Refused("tls.key: ")),
        ("tls.key", Gone, Then::Refused("tls.key is missing")),
        ("tls.fingerprint", Flip(""), Then::AsItWas),
        ("tls.fingerprint", Empty, Then::AsItWas),
        ("tls.fingerprint", Gone, Then::AsItWas),
        ("notify.json", Flip(""), Then::SetAside),
        ("notify.json", Half, Then::SetAside),
        ("notify.json", Empty, Then::SetAside),
        ("notify.json", Gone, Then::AsItWas),
    ];
    let mut wrong = Vec::new();
    for (file, harm, then) in cases {
        let row = tokio::task::LocalSet::new();
        let befalls = async move { tokio::task::spawn_local(befallen(file, harm, then)).await };
        if let Err(panicked) = row.run_until(befalls).await {
            let panic = panicked.into_panic();
            wrong.push(panic.downcast_ref::<String>().cloned().unwrap_or_else(|| format!("{file} {harm:?}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

// fault: 51
#[tokio::test]
async fn a_damaged_note_of_a_taken_upload_costs_another_upload_and_nothing_else() {
    let cases = [
        (None, true),
        (Some(Harm::Flip("\"at\":")), false),
        (Some(Harm::Half), false),
        (Some(Harm::Gone), false),
    ];
    for (harm, is_known) in cases {
        let swarm = Swarm::start().await.unwrap();
        let drone = swarm.drone("one").await.unwrap();
        swarm.planned(&drone).await.unwrap();
        let (attempt, order) = drone.build_order().await.unwrap();
        let digest = drone.upload(attempt, &order.targets[0]).await.unwrap();
        let damaged = swarm.restart_after(|config| {
            let folder = config.state_dir.join("incoming").join(attempt.to_string());
            let note = only_file(&folder, ".taken");
            harm.iter().for_each(|harm| harm.befall(&note));
        });
        let swarm = damaged.await.unwrap();
        let drone = again(&swarm, &drone).unwrap();
        let size = fs::metadata(package_file(&order.targets[0])).unwrap().len();
        let request = UploadRequest { digest, size, target: order.targets[0].id().to_owned() };
        let status = drone.client.begin_upload(attempt, &request).await.unwrap();
        assert_eq!(status.verified, is_known, "{harm:?}");
        drone.upload(attempt, &order.targets[0]).await.unwrap();
        let built = Outcome::Built { artifacts: vec![digest] };
        assert!(drone.report(attempt, built).await.unwrap().accepted, "{harm:?}");
        crate::binhost::generation(&swarm, 1).await;
        let audit = swarm.admin.audit().await.unwrap();
        assert_eq!((audit.faults, audit.mended), (vec![], vec![]), "{harm:?}");
    }
}

// fault: 52
#[tokio::test]
async fn a_state_directory_that_is_copied_while_it_is_written_to_starts_whole_or_not_at_all() {
    let (swarm, _) = published().await;
    let admin = swarm.admin.clone();
    let writes = tokio::spawn(async move {
        let request = EnrolTokenRequest { valid_ms: 3_600_000, approved: false };
        loop {
            admin.make_enrol_token(&request, &IdempotencyKey::random().unwrap()).await.unwrap();
        }
    });
    let copies = tempfile::tempdir().unwrap();
    for round in 0..6 {
        let acknowledged = swarm.app.engine.read(|s| s.seq);
        let goes_on = async || swarm.app.engine.read(|s| (s.seq > acknowledged).then_some(()));
        until("something is written", goes_on).await;
        let copy = copies.path().join(round.to_string());
        let mut cp = tokio::process::Command::new("cp");
        let copied = cp.arg("-a").arg(swarm.state_dir()).arg(&copy).status().await.unwrap();
        // Files that are renamed or removed meanwhile cannot be copied.
        assert!(matches!(copied.code(), Some(0 | 1)), "{copied}");
        match Swarm::start_with(|config| config.state_dir = copy).await {
            Ok(started) => {
                let seq = started.app.engine.read(|s| s.seq);
                assert!(seq >= acknowledged, "{round}: {seq} of {acknowledged} events");
                let audit = started.admin.audit().await.unwrap();
                assert_eq!((audit.faults, audit.mended), (vec![], vec![]), "{round}");
                started.stop().await.unwrap();
            }
            Err(error) => {
                let message = format!("{error:#}");
                assert!(message.contains("journal"), "{round}: {message}");
            }
        }
    }
    writes.abort();
}

// fault: 51
#[tokio::test]
async fn a_damaged_copy_of_a_stored_package_is_found_by_an_audit_and_published_again() {
    let (swarm, digest) = published().await;
    let path = swarm.state_dir().join("binhost/desk/stable/dev-libs/pebble/pebble-1.2-1.gpkg.tar");
    // As a restore may leave it, with two separate files instead of a hard link.
    let copy = path.with_extension("copy");
    fs::copy(&path, &copy).unwrap();
    fs::rename(&copy, &path).unwrap();
    let audit = swarm.admin.audit().await.unwrap();
    assert_eq!((audit.faults, audit.mended), (vec![], vec![]), "a copy is as good");
    change(&path);
    let audit = swarm.admin.audit().await.unwrap();
    assert_eq!(audit.faults, Vec::<String>::new());
    assert!(matches!(&audit.mended[..], [one] if one.contains(path.to_str().unwrap())), "{:?}", audit.mended);
    assert_eq!(Digest::of(&fs::read(&path).unwrap()), digest);

    // If the stored file is damaged too, nothing is published again.
    fs::copy(&path, &copy).unwrap();
    fs::rename(&copy, &path).unwrap();
    change(&path);
    change(Path::new(&swarm.app.store.describe(digest)));
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
        change(path);
    }
    let audit = swarm.admin.audit().await.unwrap();
    assert_eq!(audit.faults, Vec::<String>::new());
    let named = |what: &str| audit.mended.iter().any(|line| line.contains(what));
    assert!(named(kept.to_str().unwrap()) && named("Packages.gz"), "{:?}", audit.mended);
    let audit = swarm.admin.audit().await.unwrap();
    assert_eq!((audit.faults, audit.mended), (vec![], vec![]));
    assert_eq!(index(&swarm), before);

    // More than a month later.
    let stored = PathBuf::from(swarm.app.store.describe(digest));
    let swarm = swarm
        .restart_after(|config| {
            fs::write(config.state_dir.join("scrub.json"), "{\"at\":1,\"faults\":[]}").unwrap();
            change(&stored);
        })
        .await
        .unwrap();
    let reported = until("the scrub reports it", async || {
        let concerns = swarm.admin.status().await.ok()?.concerns;
        concerns.into_iter().find(|concern| concern.what.contains("is damaged"))
    });
    let concern = reported.await;
    assert!(concern.what.contains(&digest.to_string()), "{concern:?}");
    let passes = swarm.admin.status().await.unwrap().passes;
    let scrub = passes.iter().find(|pass| pass.name == "scrub").unwrap();
    assert!(scrub.did.contains("packages checked: 1, damaged: 1"), "{scrub:?}");
    // The result is stored, so not every start scrubs again.
    let swarm = swarm.restart().await.unwrap();
    until("it is reported after a restart", async || {
        let concerns = swarm.admin.status().await.ok()?.concerns;
        concerns.into_iter().find(|concern| concern.what.contains("is damaged"))
    })
    .await;
}

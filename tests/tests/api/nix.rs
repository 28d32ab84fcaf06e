//! Nix archives and the binary cache: a fake drone uploads what the real Nix built, and the real Nix installs
//! it.

mod all;
mod candidates;
mod clients;
mod daemon;
mod derivations;
mod intake;
mod pins;
mod upstreams;

use crate::{
    advice::follow,
    binhost::generation,
    channels::{publish, staged},
};
use anyhow::{Result, ensure};
use std::process::Command;
use swarm_common::{
    digest::Digest,
    wire::{
        channel::{ChannelName, PromoteRequest, RollbackRequest},
        concern::ConcernKind,
        drone::{DroneFacts, HeartbeatRequest, Vitals},
        nix::{NixMachine, NixRoot, base_name},
        plan::{PlanEdge, PlanPackage, PlanReport},
        ready::Ready,
    },
};
use swarm_tests::api::{
    Answer, FakeDrone, Line, PROFILE, Swarm, facts, name,
    nix::{World, fields},
};

const BUILDS: usize = 7;

/// A swarm that has built everything, and the path of the system.
async fn built(world: &World) -> Result<(Swarm, String)> {
    let swarm = Swarm::start().await?;
    let drone = swarm.nix_drone("one").await?;
    swarm.nix_profile(&[]).await?;
    let plan = world.plan().await?;
    let top = plan.roots[0].path.clone();
    swarm.nix_run(&drone, plan).await?;
    for _ in 0..BUILDS {
        drone.build_from(world).await?;
    }
    generation(&swarm, 1).await;
    Ok((swarm, top))
}

async fn get(swarm: &Swarm, path: &str, headers: &[(&str, &str)]) -> Answer {
    let line = format!("GET /binhost/{PROFILE}/{path}");
    swarm.raw().await.unwrap().ask(&line, headers, b"").await.unwrap()
}

/// The public key that clients must trust.
async fn key(swarm: &Swarm) -> String {
    swarm.nobody().unwrap().key().await.unwrap().nix.join(" ")
}

/// Lets a client fetch a path from a cache without building anything. Returns Nix's output.
async fn realise(world: &World, store: &str, path: &str, url: &str, key: &str) -> Result<String> {
    let args = ["--realise", path, "--max-jobs", "0", "--option", "substituters", url];
    let args = [&args[..], &["--option", "trusted-public-keys", key]].concat();
    let output = world.run(store, "nix-store", &args).await?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{stderr}");
    Ok(stderr)
}

fn url(swarm: &Swarm) -> String {
    format!("http://{}/binhost/{PROFILE}", swarm.address)
}

/// The default output of a package.
fn output_of(plan: &PlanReport, name: &str) -> String {
    let package = plan.packages.iter().find(|package| package.title() == name).unwrap();
    let PlanPackage::Nix(package) = package else { panic!("{package:?}") };
    package.outputs.iter().find(|output| output.name == "out").unwrap().path.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_nix_installs_a_host_and_runs_its_program() {
    let world = World::new().unwrap();
    let (swarm, top) = built(&world).await.unwrap();
    let (url, key) = (url(&swarm), key(&swarm).await);

    let ready: Ready = serde_json::from_slice(&get(&swarm, "ready/desk", &[]).await.body).unwrap();
    assert_eq!((&ready.path, ready.generation, ready.missing.len()), (&top, 1, 0));
    // The pointer also contains what the program links to through `sw`.
    for (part, leads_to) in [("kernel", "-lib-1.0/lib"), ("dbus-daemon", "-lib-1.0/lib/l.txt")] {
        assert!(ready.boot[part].ends_with(leads_to), "{:?}", ready.boot);
    }
    assert_eq!(ready.boot.len(), 2);
    let kept = get(&swarm, "generations/1/ready-desk", &[]).await;
    assert_eq!(serde_json::from_slice::<Ready>(&kept.body).unwrap(), ready);
    realise(&world, "client", &ready.path, &url, &key).await.unwrap();
    let closure = world.ok("client", "nix-store", &["-qR", &top]).await.unwrap();
    assert_eq!(closure.lines().count() as u64, ready.closure_paths);
    let drones = world.ok("drone", "nix-store", &["-qR", &top]).await.unwrap();
    assert_eq!(closure, drones, "the references are those that Nix found where it was built");
    let prog = closure.lines().find(|path| path.ends_with("-prog-2.0")).unwrap();
    let output = world.ok("client", "nix", &["shell", prog, "-c", "prog"]).await.unwrap();
    assert_eq!(output, "the library speaks");

    let sizes = world.ok("any", "nix", &["path-info", "--store", &url, "-rs", &top]).await.unwrap();
    assert_eq!(sizes.lines().count() as u64, ready.closure_paths);
    let sum: u64 =
        sizes.lines().map(|line| line.split_whitespace().last().unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(sum, ready.closure_size);
    let listed = world.ok("any", "nix", &["store", "ls", "--store", &url, "-lR", prog]).await.unwrap();
    assert!(listed.contains("./bin/prog"), "{listed}");
    let log = world.ok("any", "nix", &["log", "--store", &url, prog]).await.unwrap();
    assert_eq!(log, "building prog-2.0");

    for (other, words) in [
        ("swarm-other-1:fM2i9qGiocAwtR4qUr6MOqeoyQaLEK8g2jo84DCu9MU=", "signed by any of the keys"),
        ("", "signed by any of the keys"),
    ] {
        let refused = realise(&world, "stranger", &top, &url, other).await.unwrap_err().to_string();
        assert!(refused.contains(words) || refused.contains("lacks a valid signature"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_moves_ready_back_to_a_system_that_the_real_nix_installs() {
    let world = World::new().unwrap();
    let (swarm, top) = built(&world).await.unwrap();
    let drone = swarm.nix_drone("two").await.unwrap();
    // The next commit makes another system from what is already built.
    let mut plan = world.plan().await.unwrap();
    let other = output_of(&plan, "prog-2.0");
    plan.roots.iter_mut().for_each(|root| root.path.clone_from(&other));
    swarm.nix_run(&drone, plan).await.unwrap();
    let ready = async |generation: u64| {
        crate::binhost::generation(&swarm, generation).await;
        let ready: Ready = serde_json::from_slice(&get(&swarm, "ready/desk", &[]).await.body).unwrap();
        (ready.generation, ready.path)
    };
    assert_eq!(ready(2).await, (2, other.clone()));
    let back = RollbackRequest { generation: Some(1) };
    swarm.admin.roll_back(&name(PROFILE), back, &crate::key()).await.unwrap();
    assert_eq!(ready(3).await, (3, top.clone()), "back, under a number that clients follow");
    realise(&world, "client", &top, &url(&swarm), &key(&swarm).await).await.unwrap();
    let kept = get(&swarm, "generations/2/ready-desk", &[]).await;
    assert_eq!(serde_json::from_slice::<Ready>(&kept.body).unwrap().path, other);
    swarm.admin.promote(&name(PROFILE), PromoteRequest::default(), &crate::key()).await.unwrap();
    assert_eq!(ready(4).await, (4, other));
    for (line, expected) in
        [("", "generation 3 -> 4"), (" --from 1", "generation 1 -> 4"), (" --from 2", "2 -> 4")]
    {
        let shown = follow(&swarm, &format!("swarmctl diff {PROFILE} desk{line}")).await;
        assert!(shown.starts_with("desk: ") && shown.contains(expected), "{line}: {shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_on_staging_is_ready_for_the_next_system_before_one_on_stable() {
    let world = World::new().unwrap();
    let (swarm, top) = built(&world).await.unwrap();
    publish(&swarm, ChannelName::Staging).await;
    staged(&swarm, 2).await;
    let drone = swarm.nix_drone("two").await.unwrap();
    let mut plan = world.plan().await.unwrap();
    let other = output_of(&plan, "prog-2.0");
    plan.roots.iter_mut().for_each(|root| root.path.clone_from(&other));
    swarm.nix_run(&drone, plan).await.unwrap();
    staged(&swarm, 3).await;
    let ready = async |channel: &str| {
        let file = get(&swarm, &format!("{channel}ready/desk"), &[]).await;
        let ready: Ready = serde_json::from_slice(&file.body).unwrap();
        assert_eq!(format!("{}/", ready.channel).replace("stable/", ""), channel);
        (ready.generation, ready.path)
    };
    assert_eq!((ready("").await, ready("staging/").await), ((1, top), (3, other.clone())));
    let staging = format!("{}/staging", url(&swarm));
    realise(&world, "client", &other, &staging, &key(&swarm).await).await.unwrap();
    let shown = follow(&swarm, &format!("swarmctl diff {PROFILE} desk --channel staging")).await;
    assert!(shown.starts_with("desk: generation 2 -> 3\n"), "{shown}");
    let shown = follow(&swarm, &format!("swarmctl ready {PROFILE} desk --channel staging")).await;
    assert!(shown.contains("generation  3 "), "{shown}");
    let shown = follow(&swarm, &format!("swarmctl ready {PROFILE}")).await;
    assert!(shown.lines().nth(1).unwrap().starts_with("desk  1 "), "{shown}");
    swarm.admin.promote(&name(PROFILE), PromoteRequest::default(), &crate::key()).await.unwrap();
    generation(&swarm, 4).await;
    assert_eq!(ready("").await, (4, other));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lock_that_a_system_was_evaluated_with_is_published_with_it_and_can_be_pushed() {
    let world = World::new().unwrap();
    let repository = tempfile::tempdir().unwrap();
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=t", "-c", "user.email=t@example.org", "-C"]).arg(repository.path());
        let done = git.args(arguments).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().trim_end().to_owned()
    };
    git(&["init", "--quiet"]);
    git(&["commit", "--quiet", "--allow-empty", "--message", "one"]);
    let commit = git(&["rev-parse", "HEAD"]);
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.nix_drone("one").await.unwrap();
    let lock = r#"{ "nodes": { "root": {} }, "root": "root", "version": 7 }"#;
    let digest = Digest::of(lock.as_bytes());
    let source = serde_json::json!({ "flake": true, "file": "flake.nix", "hosts": ["desk"], "lock": digest,
        "commit": commit });
    swarm.nix_profile_of(&source, &[("flake.nix", "{ }"), ("flake.lock", lock)]).await.unwrap();
    let mut plan = only(&world.plan().await.unwrap(), &["fixed.txt"]);
    let path = output_of(&plan, "fixed.txt");
    plan.roots = vec![NixRoot { attribute: "desk".to_owned(), path, host: true }];
    swarm.nix_run(&drone, plan).await.unwrap();
    drone.build_from(&world).await.unwrap();
    generation(&swarm, 1).await;
    let ready: Ready = serde_json::from_slice(&get(&swarm, "ready/desk", &[]).await.body).unwrap();
    assert_eq!(ready.lock, Some(digest));
    assert_eq!(get(&swarm, &format!("lock/{digest}"), &[]).await.body, lock.as_bytes());
    assert_eq!(follow(&swarm, &format!("swarmctl ready {PROFILE} desk --lock")).await, lock);
    let to = format!("git+file://{}?ref=locks", repository.path().display());
    follow(&swarm, &format!("swarmctl ready {PROFILE} desk --push-lock {to}")).await;
    assert_eq!(git(&["show", "locks:flake.lock"]), lock);
    assert_eq!(git(&["rev-parse", "locks^"]), commit);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_connection_is_resumed() {
    let world = World::new().unwrap();
    let (swarm, top) = built(&world).await.unwrap();
    let line = Line::that_breaks_after(1 << 20, swarm.address).await.unwrap();
    let url = format!("http://{}/binhost/{PROFILE}", line.address());
    let output = realise(&world, "client", &top, &url, &key(&swarm).await).await.unwrap();
    assert!(output.contains("retrying from offset"), "{output}");
    let brought = line.brought();
    assert!(brought < 6 << 20, "{brought} bytes came for 4 MiB: it began anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_of_a_cache_have_their_types_and_what_is_missing_is_not_found() {
    let world = World::new().unwrap();
    let (swarm, top) = built(&world).await.unwrap();
    let hash = &base_name(&top)[..32];
    let narinfo = get(&swarm, &format!("{hash}.narinfo"), &[]).await;
    let fields = fields(&narinfo.body);
    assert_eq!(fields["StorePath"], top);
    let log = format!("log/{}", fields["Deriver"]);
    let etag = narinfo.header("etag").to_owned();
    for (path, media) in [
        (format!("{hash}.narinfo"), "text/x-nix-narinfo"),
        (format!("{hash}.ls"), "application/json"),
        (fields["URL"].clone(), "application/x-nix-nar"),
        ("nix-cache-info".to_owned(), "text/x-nix-cache-info"),
        (log, "text/plain; charset=utf-8"),
        ("ready/desk".to_owned(), "application/json"),
    ] {
        let answer = get(&swarm, &path, &[]).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, media), "{path}");
        let line = format!("HEAD /binhost/{PROFILE}/{path}");
        let head = swarm.raw().await.unwrap().ask(&line, &[], b"").await.unwrap();
        assert_eq!((head.status, head.header("content-length")), (200, answer.header("content-length")));
    }
    let part = get(&swarm, &fields["URL"], &[("range", "bytes=4-7")]).await;
    assert_eq!((part.status, part.body.len()), (206, 4));
    let again = get(&swarm, &format!("{hash}.narinfo"), &[("if-none-match", &etag)]).await;
    assert_eq!(again.status, 304);
    let nothing = "0".repeat(32);
    for path in [format!("{nothing}.narinfo"), format!("nar/{}.nar.zst", Digest::of(b"")), "paths".to_owned()]
    {
        assert_eq!(get(&swarm, &path, &[]).await.status, 404, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_finds_a_damaged_archive_and_mends_a_damaged_narinfo_and_a_cache_without_its_mark() {
    let world = World::new().unwrap();
    let (swarm, top) = built(&world).await.unwrap();
    let audit = swarm.admin.audit().await.unwrap();
    assert_eq!((audit.faults, audit.mended), (Vec::<String>::new(), Vec::new()));
    let cache = swarm.app.binhosts.stable(&name(PROFILE));
    let narinfo = cache.join(format!("{}.narinfo", &base_name(&top)[..32]));
    let text = std::fs::read_to_string(&narinfo).unwrap();
    std::fs::write(&narinfo, text.replace("NarSize: ", "NarSize: 1")).unwrap();
    let audit = swarm.admin.audit().await.unwrap();
    assert_eq!((audit.faults.len(), audit.mended.len()), (0, 1), "{:?}", audit.faults);
    assert_eq!(std::fs::read_to_string(&narinfo).unwrap(), text);
    let mark = cache.join("nix-cache-info");
    std::fs::remove_file(&mark).unwrap();
    let audit = swarm.admin.audit().await.unwrap();
    assert_eq!((audit.faults.len(), audit.mended.len()), (0, 1), "{:?}", audit.faults);
    assert!(mark.exists());
    let artifacts = swarm.admin.artifacts(None).await.unwrap();
    let big = artifacts.iter().find(|artifact| artifact.target.title() == "big-1.0").unwrap();
    let path = swarm.app.store.describe(big.digest);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let faults = swarm.admin.audit().await.unwrap().faults;
    assert!(faults.len() == 1 && faults[0].contains("-big-1.0"), "{faults:?}");
}

/// A plan with only these packages of another plan, each built with the previous one.
fn only(plan: &PlanReport, names: &[&str]) -> PlanReport {
    let find = |name: &&str| plan.packages.iter().find(|package| package.title() == *name).unwrap().clone();
    let packages: Vec<PlanPackage> = names.iter().map(find).collect();
    let edge = |from| PlanEdge {
        from,
        to: from - 1,
        build: true,
        runtime: false,
        slot_operator: false,
        satisfied: false,
    };
    let edges = (1..packages.len() as u32).map(edge).collect();
    PlanReport { packages, edges, roots: Vec::new(), ..plan.clone() }
}

/// A swarm whose drone builds these packages one after the other.
async fn building(plan: &PlanReport, names: &[&str]) -> (Swarm, FakeDrone) {
    let swarm = Swarm::start().await.unwrap();
    let drone = swarm.nix_drone("one").await.unwrap();
    swarm.nix_profile(&[]).await.unwrap();
    swarm.nix_run(&drone, only(plan, names)).await.unwrap();
    (swarm, drone)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_derivation_waits_for_a_drone_of_its_system_and_status_says_what_is_missing() {
    let world = World::new().unwrap();
    let mut plan = only(&world.plan().await.unwrap(), &["lib-1.0", "prog-2.0"]);
    plan.edges.clear();
    let PlanPackage::Nix(lib) = &mut plan.packages[0] else { panic!("{plan:?}") };
    lib.system = "aarch64-linux".to_owned();
    let swarm = Swarm::start().await.unwrap();
    let one = swarm.nix_drone("one").await.unwrap();
    let tell = |systems: Vec<String>| {
        let machine = NixMachine { systems, features: vec!["kvm".to_owned()] };
        let nix = Some("2.8.0".to_owned());
        HeartbeatRequest {
            vitals: Vitals { load1: 0.0, memory_free_bytes: 0, disk_free_bytes: 0 },
            attempts: Vec::new(),
            draining: false,
            boot_id: "b".to_owned(),
            facts: Some(DroneFacts { nix, nix_machine: Some(machine.into()), ..facts() }),
            highest_attempt: None,
        }
    };
    let many = (0..65).map(|n| format!("s{n}")).collect();
    let refused = one.client.heartbeat(&tell(many)).await.unwrap_err().to_string();
    assert!(refused.contains("at most 64 systems or features"), "{refused}");
    one.client.heartbeat(&tell(vec!["x86_64-linux".to_owned()])).await.unwrap();
    swarm.nix_profile(&[]).await.unwrap();
    swarm.nix_run(&one, plan).await.unwrap();
    let (_, order) = one.build_order().await.unwrap();
    assert_eq!(order.targets[0].title(), "prog-2.0");
    let status = swarm.admin.status().await.unwrap();
    let found = status.concerns.iter().find(|concern| {
        matches!(&concern.fact, ConcernKind::NoSuchMachine { system, .. } if system == "aarch64-linux")
    });
    let found = found.unwrap_or_else(|| panic!("{:?}", status.concerns));
    assert!(found.next.contains("extra_platforms"), "{found:?}");
    let why = swarm.admin.why("lib-1.0", None).await.unwrap().lines.join("\n");
    assert!(why.contains("builds for aarch64-linux"), "{why}");

    let two = swarm.nix_drone("two").await.unwrap();
    two.client.heartbeat(&tell(vec!["aarch64-linux".to_owned()])).await.unwrap();
    let (_, order) = two.build_order().await.unwrap();
    assert_eq!(order.targets[0].title(), "lib-1.0");
    assert!(swarm.admin.status().await.unwrap().concerns.iter().all(|c| c.fact != found.fact));
}

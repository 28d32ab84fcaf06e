//! Thousands of swarms in virtual time, each with its own faults.
//!
//! A failing seed prints the command that repeats it.

use std::sync::atomic::{AtomicU64, Ordering};
use swarm_tests::sim::{
    faults::Faults, rng::Rng, size::Size, small, summary::Summary, words::Words, world::World,
};

const SEEDS: u64 = 2_000;

/// The size also depends on the seed.
fn size(seed: u64) -> Size {
    let mut rng = Rng::new(!seed);
    let (packages, drones) = (1 + rng.below(40) as u32, 1 + rng.below(6));
    let others = [0, 0, 0, 0, 0, 0, 0, 1, 1, 2][rng.below(10) as usize];
    // Several profiles share the packages, so that all worlds have the same amount of work.
    let packages = packages.div_ceil(1 + others);
    Size { packages, drones, runs: 2, both: false, others, check_every: 1 }
}

/// Number of seeds; fewer in scripts/check.
fn seeds() -> u64 {
    std::env::var("SWARM_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(SEEDS)
}

fn try_seed(seed: u64) -> Result<Summary, String> {
    World::run(seed, size(seed), None).map_err(|e| {
        format!(
            "seed {seed}: {e}\n  repeat: SWARM_SEED={seed} cargo test --workspace --test simulation one_seed"
        )
    })
}

/// Runs the worlds of the first seeds on all processors.
fn all(seeds: u64, world: impl Fn(u64) -> Result<Summary, String> + Sync) -> Vec<Summary> {
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let outcomes: Vec<Result<Summary, String>> = std::thread::scope(|scope| {
        let worker = || {
            let seeds =
                std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)).filter(|s| *s < seeds));
            seeds.map(&world).collect::<Vec<_>>()
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|w| w.join().unwrap()).collect()
    });
    let failures: Vec<_> = outcomes.iter().filter_map(|o| o.as_ref().err()).cloned().collect();
    let few = failures.iter().take(5).cloned().collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} of {seeds} seeds failed:\n{few}", failures.len());
    outcomes.into_iter().flatten().collect()
}

// fault: 23, 25
#[test]
fn every_seed_ends_with_every_package_received_or_quarantined_with_a_reason() {
    let seeds = seeds();
    let outcomes = all(seeds, try_seed);
    // A simulation without faults proves nothing.
    let total = |f: fn(&Summary) -> u64| outcomes.iter().map(f).sum::<u64>();
    let (received, kills, clocks) = (total(|s| s.received), total(|s| s.kills), total(|s| s.clocks_set));
    let (urgent, shared) = (total(|s| s.urgent), total(|s| s.shared));
    println!(
        "{seeds} seeds: {} events, {received} received, {} attempts, {kills} kills, {clocks} clocks set, {} bases, \
         {} pinned, \
         {urgent} urgent before older, {shared} shared with another run",
        total(|s| s.events),
        total(|s| s.attempts),
        total(|s| s.followed),
        total(|s| s.pinned)
    );
    assert!(received > seeds && kills > seeds && total(|s| s.quarantined) > 0 && total(|s| s.reused) > 0);
    assert!(clocks > seeds / 2, "too few clocks were set");
    assert!(total(|s| s.followed) > seeds / 2, "too few bases followed");
    assert!(total(|s| s.pinned) > seeds / 30, "too few generations were pinned");
    assert!(urgent > seeds / 2, "too few urgent runs while others were active");
    assert!(shared > seeds / 2, "too few packages of several runs");
    assert!(total(|s| s.attempts) > received + 4 * seeds, "too few attempts were lost");
}

#[test]
fn one_seed() {
    let seed = std::env::var("SWARM_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    if let Err(error) = try_seed(seed) {
        panic!("{error}");
    }
}

#[test]
fn nothing_that_is_decided_or_found_wrong_depends_on_wordings_or_fields_of_a_newer_version() {
    for seed in 0..20 {
        let in_words = |words| {
            let mut faults = Faults::from(&mut Rng::new(seed));
            (faults.words, faults.polite_stop, faults.reject) = (Some(words), 500, 200);
            World::run(seed, size(seed), Some(faults)).unwrap_or_else(|e| panic!("seed {seed}: {e}"))
        };
        let own = in_words(Words::Own);
        assert!(own.facts.is_some());
        assert_eq!(own, in_words(Words::Other), "seed {seed}");
        assert_eq!(own, in_words(Words::Newer), "seed {seed}");
    }
}

#[test]
fn without_faults_nothing_is_built_twice() {
    let (mut seconds, mut attempts, mut again, mut shared) = (0, 0, 0, 0);
    for seed in 0..50 {
        let size = size(seed);
        let several = size.others > 0;
        let summary = World::run(seed, size, Some(Faults::none())).unwrap();
        assert_eq!(summary.wasted, 0, "seed {seed}: {summary:?}");
        assert!(several || summary.again == 0, "seed {seed}: {summary:?}");
        (again, shared) = (again + summary.again, shared + summary.shared);
        (seconds, attempts) = (seconds + summary.seconds, attempts + summary.attempts);
    }
    println!("{attempts} attempts, {seconds} duplicates, {shared} shared, {again} built by two runs");
    // Two runs build the same package only where one would wait too long for the other.
    assert!(again * 25 < attempts && again < shared, "{again} of {attempts} attempts, {shared} shared");
    // There are few deliberate duplicates of late builds.
    assert!(seconds > 0 && seconds * 8 < attempts, "{seconds} of {attempts} attempts");
}

#[test]
fn five_thousand_packages_on_sixty_four_drones_come_to_rest() {
    let often = 1_200_000;
    let faults = Faults {
        orchestrator_kill_ms: often,
        drone_crash_ms: often,
        until_ms: 4 * 3_600_000,
        ..Faults::from(&mut Rng::new(64))
    };
    let size = Size { packages: 5_000, drones: 64, runs: 1, both: false, others: 0, check_every: 5_000 };
    let summary = World::run(64, size, Some(faults)).unwrap();
    println!("{summary:?}");
    assert!(summary.received > 1_000 && summary.kills > 0, "{summary:?}");
}

#[test]
fn a_fleet_builds_for_portage_and_for_nix_in_one_night_whatever_happens() {
    let seeds = seeds() / 5;
    let (mut derivations, mut others, mut kills) = (0, 0, 0);
    for seed in 0..seeds {
        let size = Size { both: true, ..size(seed) };
        let summary = World::run(seed, size, None).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        derivations += summary.derivations;
        others += summary.received + summary.reused - summary.derivations;
        kills += summary.kills;
    }
    println!("{seeds} seeds: {derivations} derivations, {others} others, {kills} kills");
    assert!(derivations > 4 * seeds && others > 4 * seeds && kills > seeds);
    for seed in 0..20 {
        let size = Size { both: true, others: 0, ..size(seed) };
        let summary = World::run(seed, size, Some(Faults::none())).unwrap();
        assert_eq!((summary.wasted, summary.again), (0, 0), "seed {seed}: {summary:?}");
    }
}

// fault: 52
#[test]
fn a_journal_restored_from_a_backup_loses_no_package_and_changes_no_published_file() {
    let seeds = seeds() / 8;
    let outcomes = all(seeds, |seed| {
        let mut rng = Rng::new(seed);
        let restore_ms = (1 + rng.below(20)) * 60_000;
        let faults = Faults { restore_ms, ..Faults::from(&mut rng) };
        let size = Size { both: seed.is_multiple_of(4), ..size(seed) };
        World::run(seed, size, Some(faults)).map_err(|error| format!("seed {seed}: {error}"))
    });
    let total = |f: fn(&Summary) -> u64| outcomes.iter().map(f).sum::<u64>();
    let (restores, returned) = (total(|s| s.restores), total(|s| s.returned));
    let kept = total(|s| s.kept);
    println!("{seeds} seeds: {restores} restores, {returned} attempts taken back, {kept} by a later run");
    assert!(restores > seeds && returned > seeds && kept > seeds / 10);
}

/// Build dependencies, then run-time dependencies, as `(from, to)`.
type Edges = &'static [(u32, u32)];

#[test]
fn whatever_happens_in_a_small_world_it_comes_to_rest_with_a_reason_for_every_package() {
    // How many things may go wrong, and the minimum number of states that the search must find.
    let worlds: [(&str, Edges, Edges, u8, usize); 4] = [
        ("chain", &[(1, 0), (2, 1)], &[], 1, 2_000),
        ("fork", &[(1, 0), (2, 0)], &[], 1, 4_000),
        ("independent", &[], &[], 1, 9_000),
        ("bundle", &[(2, 0)], &[(0, 1), (1, 0)], 2, 90_000),
    ];
    let quick = seeds() < SEEDS;
    for (name, build, runtime, faults, least) in worlds.into_iter().filter(|world| world.3 < 2 || !quick) {
        let found = small::search(&small::world::plan(build, runtime), faults);
        let found = found.unwrap_or_else(|violation| panic!("{name}: {violation}"));
        println!("{name}, {faults} going wrong: {found:?}");
        // A search that finds nothing proves nothing.
        assert!(found.states > least && found.whole > 0 && found.whole < found.rests, "{name}: {found:?}");
        assert!(found.blocked > 0 || faults < 2, "{name}: nothing is left blocked");
    }
}

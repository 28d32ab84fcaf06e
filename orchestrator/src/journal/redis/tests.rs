//! The Redis journal against a real `redis-server`: its contract, and faults of Redis.

#[path = "../../../../tests/src/faults/redis.rs"]
#[allow(dead_code, reason = "the fault tests use the rest")]
mod server;

use super::*;
use crate::journal::contract::{self, Replayed, append, load, records};
use server::Redis;
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Instant,
};
use swarm_common::state::PackageState;
use tempfile::TempDir;

/// Upper bound for waiting in these tests.
const LIMIT: Duration = Duration::from_secs(60);

/// Lifetime of a lock whose expiry a test waits for. Longer than a busy machine may delay its renewal.
const SHORT_MS: u64 = 3000;

/// One machine's view of a Redis.
struct Machine {
    settings: RedisSettings,
    folder: TempDir,
    opened: AtomicU32,
}

impl Machine {
    fn of(redis: &Redis) -> Self {
        let mut settings = RedisSettings::at(&redis.url());
        settings.swarm = "test".into();
        settings.lock_ms = 600_000;
        Self { settings, folder: tempfile::tempdir().unwrap(), opened: AtomicU32::new(0) }
    }

    fn open(&self) -> RedisJournal {
        let id = format!("{:p}-{}", self, self.opened.fetch_add(1, Ordering::Relaxed));
        let mark = self.folder.path().join("journal.mark");
        RedisJournal::open(&self.settings, &id, "http://nas:8100", Some(&mark)).unwrap()
    }

    /// Leads a journal that has this many events.
    fn lead(&self, events: u64) -> RedisJournal {
        let mut journal = self.open();
        load(&mut journal).unwrap();
        assert_eq!(journal.lead().unwrap(), Lead::Ours);
        append(&mut journal, 0, &records(1, events)).unwrap();
        journal
    }
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < LIMIT, "waited in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

#[test]
fn it_keeps_the_contract() {
    let redis = Redis::start().unwrap();
    let machine = Machine::of(&redis);
    contract::check(|| {
        // The previous holder is cut off, so its lock expires.
        redis.say("DEL {test}:lock").unwrap();
        Box::new(machine.open())
    });
}

#[test]
fn the_second_is_told_who_leads_and_follows_until_the_first_gives_up() {
    let redis = Redis::start().unwrap();
    let (one, other) = (Machine::of(&redis), Machine::of(&redis));
    let mut leader = one.lead(3);
    let mut standby = other.open();
    assert_eq!(load(&mut standby).unwrap().records, records(1, 3));
    assert_eq!(standby.lead().unwrap(), Lead::Theirs(Some("http://nas:8100".into())));
    append(&mut leader, 3, &records(4, 2)).unwrap();
    let mut new = Replayed::default();
    standby.follow(&mut new).unwrap();
    assert_eq!(new.records, records(4, 2));
    assert!(matches!(append(&mut standby, 5, &records(6, 1)), Err(JournalError::Deposed { .. })));
    drop(leader);
    assert_eq!(standby.lead().unwrap(), Lead::Ours);
    assert!(redis.say("GET {test}:fence").unwrap().contains("\n2\r"), "each takeover is counted");
    append(&mut standby, 5, &records(6, 1)).unwrap();
}

#[test]
fn a_stale_holder_is_refused_by_redis_itself_and_finds_out() {
    let redis = Redis::start().unwrap();
    let (mut one, other) = (Machine::of(&redis), Machine::of(&redis));
    one.settings.lock_ms = SHORT_MS;
    let mut old = one.lead(3);
    // As after a long suspension: the lock is gone, and another holder has it before we check.
    redis.say("SET {test}:lock somebody PX 600000").unwrap();
    let refused = append(&mut old, 3, &records(4, 1)).unwrap_err();
    assert!(matches!(&refused, JournalError::Deposed { by } if by == "somebody"), "{refused}");
    until("the thread notices too", || matches!(old.held(), Err(JournalError::Deposed { .. })));
    redis.say("DEL {test}:lock").unwrap();
    let new = other.lead_after(3);
    assert_eq!(new.reader().unwrap().verify().unwrap().events, 4);
}

impl Machine {
    /// Leads a journal that has this many events, and appends one.
    fn lead_after(&self, events: u64) -> RedisJournal {
        let mut journal = self.open();
        load(&mut journal).unwrap();
        assert_eq!(journal.lead().unwrap(), Lead::Ours);
        append(&mut journal, events, &records(events + 1, 1)).unwrap();
        journal
    }
}

#[test]
fn a_lock_that_lapsed_unnoticed_is_taken_anew_only_if_nobody_led_meanwhile() {
    let redis = Redis::start().unwrap();
    let mut machine = Machine::of(&redis);
    machine.settings.lock_ms = SHORT_MS;
    let mut journal = machine.lead(3);
    redis.say("DEL {test}:lock").unwrap();
    until("it has the lock again", || redis.say("GET {test}:fence").unwrap().contains("\n2\r"));
    until("it knows", || append(&mut journal, 3, &records(4, 1)).is_ok());

    redis.say("INCR {test}:fence").unwrap();
    until("it knows that somebody led", || matches!(journal.held(), Err(JournalError::Deposed { .. })));
    assert!(append(&mut journal, 4, &records(5, 1)).is_err());
}

/// A proxy to Redis. When told to, it closes the connection instead of forwarding a response.
fn swallowing_proxy(redis: &Redis) -> (String, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let (swallow, port) = (Arc::new(AtomicBool::new(false)), redis.port());
    let swallow_next = swallow.clone();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut server) =
                (client.unwrap(), TcpStream::connect(("127.0.0.1", port)).unwrap());
            let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            let swallow_next = swallow_next.clone();
            std::thread::spawn(move || {
                let mut piece = [0; 4096];
                while let Ok(n @ 1..) = server.read(&mut piece) {
                    if swallow_next.swap(false, Ordering::SeqCst) {
                        let _ = client.shutdown(std::net::Shutdown::Both);
                        return;
                    }
                    if client.write_all(&piece[..n]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (url, swallow)
}

#[test]
fn a_batch_whose_answer_was_lost_is_found_kept_when_it_is_tried_again() {
    let redis = Redis::start().unwrap();
    let (url, swallow) = swallowing_proxy(&redis);
    let mut machine = Machine::of(&redis);
    machine.settings.location = super::super::ServerLocation::Url(url);
    let mut journal = machine.lead(3);
    swallow.store(true, Ordering::SeqCst);
    let lost = append(&mut journal, 3, &records(4, 2)).unwrap_err();
    assert!(matches!(lost, JournalError::Away { .. }), "{lost}");
    assert!(redis.say("XLEN {test}:events").unwrap().starts_with(":5"), "and yet it was done");
    append(&mut journal, 3, &records(4, 2)).unwrap();
    append(&mut journal, 5, &records(6, 1)).unwrap();
    assert_eq!(journal.reader().unwrap().verify().unwrap().events, 6);
}

#[test]
fn a_redis_that_forgot_is_noticed_by_who_led_and_by_who_followed_and_by_a_restart() {
    let mut redis = Redis::start().unwrap();
    let (mut one, other) = (Machine::of(&redis), Machine::of(&redis));
    one.settings.lock_ms = SHORT_MS;
    let mut leader = one.lead(3);
    let mut standby = other.open();
    load(&mut standby).unwrap();
    redis.kill().unwrap();
    redis.forget().unwrap();
    let away = append(&mut leader, 3, &records(4, 1)).unwrap_err();
    assert!(matches!(away, JournalError::Away { .. }), "{away}");
    redis.run().unwrap();
    until("the leader's thread says why", || {
        matches!(leader.held(), Err(JournalError::LostTail { known: 3, found: 0, .. }))
    });
    // The first use of a connection fails.
    assert!(matches!(standby.follow(&mut Replayed::default()), Err(JournalError::Away { .. })));
    for result in [
        standby.follow(&mut Replayed::default()),
        standby.lead().map(|_| ()),
        load(&mut other.open()).map(|_| ()),
    ] {
        let error = result.unwrap_err();
        assert!(matches!(error, JournalError::LostTail { known: 3, found: 0, .. }), "{error}");
    }
    // An orchestrator without a mark started a new journal and reached the same number.
    let fresh = Machine::of(&redis);
    let mut fresh = fresh.open();
    load(&mut fresh).unwrap();
    assert_eq!(fresh.lead().unwrap(), Lead::Ours);
    append(
        &mut fresh,
        0,
        &records(11, 4).into_iter().zip(1..).map(|(r, seq)| Record { seq, ..r }).collect::<Vec<_>>(),
    )
    .unwrap();
    assert!(matches!(load(&mut other.open()), Err(JournalError::LostTail { .. })), "it is another history");
}

#[test]
fn a_redis_without_memory_refuses_the_batch_whole_and_takes_it_later() {
    let redis = Redis::start().unwrap();
    let mut machine = Machine::of(&redis);
    machine.settings.lock_ms = SHORT_MS;
    let mut journal = machine.lead(3);
    redis.say("CONFIG SET maxmemory 1").unwrap();
    let error = append(&mut journal, 3, &records(4, 2)).unwrap_err().to_string();
    assert!(error.contains("out of memory") && error.contains("maxmemory"), "{error}");
    // The lock is kept meanwhile.
    let (mut left, mut renewals) = (0, 0);
    until("the lock is renewed", || {
        let reply = redis.say("PTTL {test}:lock").unwrap();
        let before =
            std::mem::replace(&mut left, reply.trim().trim_start_matches(':').parse::<i64>().unwrap());
        renewals += i32::from(left > before);
        renewals > 2
    });
    journal.held().unwrap();
    redis.say("CONFIG SET maxmemory 0").unwrap();
    append(&mut journal, 3, &records(4, 2)).unwrap();
    assert_eq!(journal.reader().unwrap().verify().unwrap().events, 5);
}

// fault: 13
#[test]
fn what_is_wrong_with_a_redis_is_said() {
    let redis = Redis::start_with(&["--requirepass", "s3cret"]).unwrap();
    let mut machine = Machine::of(&redis);
    let error = load(&mut machine.open()).unwrap_err().to_string();
    assert!(error.contains("password_file"), "{error}");
    let file = machine.folder.path().join("password");
    swarm_daemon::config::secret::write_private(&file, "s3cret\n").unwrap();
    machine.settings.password_file = Some(file);
    drop(machine.lead(2));

    let wrong = Redis::start().unwrap();
    wrong.say("SET {test}:events x").unwrap();
    let error = load(&mut Machine::of(&wrong).open()).unwrap_err().to_string();
    assert!(error.contains("another program") && error.contains("`swarm`"), "{error}");

    let newer = Redis::start().unwrap();
    newer.say("SET {test}:format 99").unwrap();
    let error = load(&mut Machine::of(&newer).open()).unwrap_err().to_string();
    assert!(error.contains("format 99"), "{error}");

    let master = Redis::start().unwrap();
    let port = master.port().to_string();
    let replica = Redis::start_with(&["--replicaof", "127.0.0.1", &port]).unwrap();
    let mut journal = Machine::of(&replica).open();
    load(&mut journal).unwrap();
    let error = journal.lead().unwrap_err().to_string();
    assert!(error.contains("read-only replica") && error.contains("master"), "{error}");

    let tampered = Redis::start().unwrap();
    let journal = Machine::of(&tampered).lead(3);
    tampered.say("XDEL {test}:events 2-0").unwrap();
    let error = journal.reader().unwrap().verify().unwrap_err().to_string();
    assert!(error.contains("event 3 follows event 1"), "{error}");
}

#[test]
fn the_queue_can_be_seen_with_redis_cli() {
    let redis = Redis::start().unwrap();
    let mut journal = Machine::of(&redis).lead(1);
    redis.say("SADD {test}:queue:needed stale").unwrap();
    let needed = Some(PackageState::Needed);
    let moved = vec![("p1 a/b-1".to_owned(), None, needed), ("p2 a/c-1".to_owned(), None, needed)];
    journal.append(1, &records(2, 1), &QueueDelta { reset: true, moved }).unwrap();
    let moved = vec![
        ("p1 a/b-1".to_owned(), needed, Some(PackageState::Delegated)),
        ("p2 a/c-1".into(), needed, None),
    ];
    journal.append(2, &records(3, 1), &QueueDelta { reset: false, moved }).unwrap();
    assert!(redis.say("SMEMBERS {test}:queue:needed").unwrap().starts_with("*0"));
    assert!(redis.say("SMEMBERS {test}:queue:delegated").unwrap().contains("p1 a/b-1"));

    // More members than one Lua call can pass.
    let moved = (3..12_003).map(|n| (format!("p{n} a/d-{n}"), None, needed)).collect();
    journal.append(3, &records(4, 1), &QueueDelta { reset: false, moved }).unwrap();
    assert_eq!(redis.say("SCARD {test}:queue:needed").unwrap().trim(), ":12000");
}

#[test]
fn a_batch_that_replicas_must_have_is_not_acknowledged_without_them() {
    let master = Redis::start().unwrap();
    let port = master.port().to_string();
    let mut replica = Redis::start_with(&["--replicaof", "127.0.0.1", &port]).unwrap();
    let mut machine = Machine::of(&master);
    machine.settings.wait_replicas = 1;
    let mut journal = machine.open();
    load(&mut journal).unwrap();
    assert_eq!(journal.lead().unwrap(), Lead::Ours);
    until("the replica follows", || append(&mut journal, 0, &records(1, 1)).is_ok());
    replica.kill().unwrap();
    let error = append(&mut journal, 1, &records(2, 1)).unwrap_err().to_string();
    assert!(error.contains("0 of 1 replicas"), "{error}");
    replica.run().unwrap();
    until("the replica is back", || append(&mut journal, 1, &records(2, 1)).is_ok());
    assert!(replica.say("XLEN {test}:events").unwrap().starts_with(":2"));
}

#[test]
fn a_journal_moves_there_and_back_with_the_same_chain_and_never_while_somebody_has_it() {
    use crate::journal::migrate::{JournalLocation, MigrateError, migrate};
    let redis = Redis::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| JournalLocation::Sqlite(folder.path().join(name).join("journal.sqlite"));
    let there = JournalLocation::parse(&redis.url(), "test", None).unwrap();
    let (first, back) = (file("first"), file("back"));
    assert!(matches!(migrate(&first, &there), Err(MigrateError::Nothing(_))));

    let state = crate::state_dir::StateDir::open(&folder.path().join("first")).unwrap();
    let mut journal = crate::journal::SqliteJournal::open(&state.join("journal.sqlite")).unwrap();
    load(&mut journal).unwrap();
    append(&mut journal, 0, &records(1, 2500)).unwrap();
    journal.checkpoint(2000, "{}").unwrap();
    let head = journal.reader().unwrap().verify().unwrap();
    assert!(migrate(&first, &there).unwrap_err().is_held());
    drop((journal, state));

    assert_eq!(migrate(&first, &there).unwrap(), head);
    let again = migrate(&first, &there).unwrap_err().to_string();
    assert!(again.contains("already contains 2500 events"), "{again}");
    let mut leader = Machine::of(&redis).lead_after(2500);
    assert!(migrate(&there, &back).unwrap_err().is_held());
    append(&mut leader, 2501, &records(2502, 1)).unwrap();
    let head = leader.reader().unwrap().verify().unwrap();
    drop(leader);
    assert_eq!(migrate(&there, &back).unwrap(), head);
}

//! Problems between a drone and its orchestrator: proxies that answer themselves, answers that are lost, and
//! an orchestrator that does not know the drone.

use super::*;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};
use swarm_core::Command;
use swarm_daemon::config::Span;
use swarm_tests::api::limit_plan;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// What happens to a connection.
#[derive(Clone)]
enum Fate {
    /// Everything passes through.
    Passes,
    /// The first data is answered with this.
    Answered(&'static str),
    /// The connection is cut as soon as an answer begins to arrive.
    AnswerLost,
    /// Some requests are answered by the proxy; everything else passes through.
    Stops(Stop),
}

/// The requests that a proxy does not let through.
#[derive(Clone)]
struct Stop {
    /// Whether this request is one of them.
    is: fn(&str) -> bool,
    answer: &'static str,
    /// Set when everything may pass through again.
    lifted: Arc<AtomicBool>,
}

const SILENCE: &str = "";
const FORBIDDEN: &str =
    "HTTP/1.1 403 Forbidden\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>";

const BAD_GATEWAY: &str =
    "HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>";
const TOO_LARGE: &str = "HTTP/1.1 413 Payload Too Large\r\ncontent-type: text/html\r\nconnection: close\r\ncontent-length: 6\r\n\r\n<html>";

/// A proxy on its own port.
struct Between {
    address: SocketAddr,
    upstream: watch::Sender<SocketAddr>,
    /// Number of answers, or pieces of answers, that it has passed on.
    passed: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Between {
    /// The first connections have the fates in `first`, all others `later`.
    async fn start(upstream: SocketAddr, first: Vec<Fate>, later: Fate) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, upstream) = watch::channel(upstream);
        let passed = Arc::<AtomicUsize>::default();
        let counts = passed.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            for fate in first.into_iter().chain(std::iter::repeat(later)) {
                let (client, _) = listener.accept().await.unwrap();
                connections.spawn(talk(client, upstream.clone(), fate, counts.clone()));
            }
        });
        Self { address, upstream: sender, passed, task }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Forwards a connection until either end closes it, or the proxy gets another orchestrator.
async fn talk(
    mut client: TcpStream,
    mut upstream: watch::Receiver<SocketAddr>,
    fate: Fate,
    passed: Arc<AtomicUsize>,
) {
    let address = *upstream.borrow_and_update();
    let Ok(mut server) = TcpStream::connect(address).await else { return };
    let (mut asked, mut answered) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(n @ 1..) = read else { return };
                let instead = match &fate {
                    Fate::Answered(answer) => Some(*answer),
                    Fate::Stops(stop) => {
                        let stops = (stop.is)(&String::from_utf8_lossy(&asked[..n]));
                        (stops && !stop.lifted.load(Ordering::Relaxed)).then_some(stop.answer)
                    }
                    Fate::Passes | Fate::AnswerLost => None,
                };
                if let Some(answer) = instead {
                    // It does not matter if the other end is gone. It gets the answer only if the data that
                    // it still sends is read.
                    let _ = client.write_all(answer.as_bytes()).await;
                    let _ = client.shutdown().await;
                    while !answer.is_empty() && matches!(client.read(&mut asked).await, Ok(1..)) {}
                    return;
                }
                if server.write_all(&asked[..n]).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut answered) => {
                let Ok(n @ 1..) = read else { return };
                if matches!(fate, Fate::AnswerLost) || client.write_all(&answered[..n]).await.is_err() {
                    return;
                }
                passed.fetch_add(1, Ordering::Relaxed);
            }
            _ = upstream.changed() => return,
        }
    }
}

// fault: 54
#[tokio::test]
async fn an_enrolment_outlives_a_proxys_answer_and_the_loss_of_its_own() {
    let swarm = Swarm::start().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    write_token(&swarm, dir.path(), true).await;
    let fates = vec![Fate::Answered(BAD_GATEWAY), Fate::AnswerLost];
    let between = Between::start(swarm.address, fates, Fate::Passes).await;
    let drone = Running::start(config(dir.path(), &between.url()));
    let found = ada(&swarm.admin, DroneState::Online).await;
    until("it has said what its machine is", async || {
        swarm.app.engine.read(|s| s.live.vitals.contains_key(&found.id)).then_some(())
    })
    .await;
    assert_eq!(swarm.admin.drones().await.unwrap().len(), 1, "no ghost");
    drone.stop().await.unwrap();
    assert_eq!(
        fs::metadata(dir.path().join("state/credential")).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

// fault: 55
#[tokio::test]
async fn a_token_that_an_orchestrator_does_not_know_is_tried_until_the_right_one_is_back() {
    let (right, empty) = (Swarm::start().await.unwrap(), Swarm::start().await.unwrap());
    let dir = tempfile::tempdir().unwrap();
    write_token(&right, dir.path(), true).await;
    let between = Between::start(empty.address, Vec::new(), Fate::Passes).await;
    let drone = Running::start(config(dir.path(), &between.url()));
    let asked = async || (between.passed.load(Ordering::Relaxed) >= 2).then_some(());
    until("the wrong one has refused it twice", asked).await;
    assert!(!drone.task.is_finished());
    between.upstream.send_replace(right.address);
    ada(&right.admin, DroneState::Online).await;
    assert!(empty.admin.drones().await.unwrap().is_empty());
    drone.stop().await.unwrap();
}

// fault: 55
#[tokio::test]
async fn an_orchestrator_that_knows_nobody_ends_no_drone_and_the_right_one_finds_it_again() {
    let (right, empty) = (Swarm::start().await.unwrap(), Swarm::start().await.unwrap());
    let dir = tempfile::tempdir().unwrap();
    write_token(&right, dir.path(), true).await;
    let between = Between::start(right.address, Vec::new(), Fate::Passes).await;
    let drone = Running::start(config(dir.path(), &between.url()));
    let id = ada(&right.admin, DroneState::Online).await.id;
    between.upstream.send_replace(empty.address);
    // It continues to ask there.
    until("it is silent at the right one", async || {
        let seen = right.app.engine.read(|s| s.live.seen.get(&id).copied())?;
        (right.app.engine.now().since(seen) > 2_500).then_some(())
    })
    .await;
    assert!(!drone.task.is_finished());
    let back_at = right.app.engine.now();
    between.upstream.send_replace(right.address);
    until("it is heard again", async || {
        right.app.engine.read(|s| s.live.seen.get(&id).copied()).filter(|&seen| seen > back_at)
    })
    .await;
    assert!(empty.admin.drones().await.unwrap().is_empty());
    drone.stop().await.unwrap();
}

// fault: 55
#[tokio::test]
async fn a_drone_returns_by_itself_where_a_restored_journal_does_not_know_it() {
    let (before, restored) = (Swarm::start().await.unwrap(), Swarm::start().await.unwrap());
    // As a start with a restored journal does.
    restored.app.engine.submit(Command::SkipIds, None).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    write_token(&before, dir.path(), true).await;
    let between = Between::start(before.address, Vec::new(), Fate::Passes).await;
    let drone = Running::start(config(dir.path(), &between.url()));
    ada(&before.admin, DroneState::Online).await;
    between.upstream.send_replace(restored.address);
    let id = ada(&restored.admin, DroneState::Pending).await.id;
    restored.admin.approve_drone(id, &key()).await.unwrap();
    ada(&restored.admin, DroneState::Online).await;
    drone.stop().await.unwrap();
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Sent {
    File,
    Plan,
    Built,
    Failure,
}

impl Sent {
    /// The attempt whose spool contains it.
    async fn spooled(self, swarm: &Swarm) -> Earlier {
        if self == Self::Plan {
            let earlier = Earlier::planning(swarm).await;
            earlier.ended(Outcome::Planned { plan: limit_plan(50_000) });
            return earlier;
        }
        let earlier = Earlier::life(swarm).await;
        if self == Self::Failure {
            let (class, phase) = (FailureClass::Package, Phase::Building);
            let (signature, message) = ("it fails".to_owned(), "it fails".to_owned());
            earlier.ended(Outcome::Failed {
                failure: Failure { class, cause: None, phase, signature, message },
            });
        } else {
            earlier.build();
        }
        earlier
    }

    /// Recognises the request that delivers it.
    fn request(self, answer: &str) -> fn(&str) -> bool {
        match self {
            Self::File => |request| request.starts_with("PATCH "),
            // A limit on the size lets the replacement of the plan through.
            Self::Plan if answer == TOO_LARGE => |request| {
                let length = request.lines().find_map(|line| line.strip_prefix("content-length: "));
                length.is_some_and(|length| length.parse::<usize>().unwrap() > 10_000)
            },
            Self::Plan | Self::Built | Self::Failure => {
                |request| request.lines().next().is_some_and(|line| line.contains("/report "))
            }
        }
    }
}

/// A proxy stops the delivery with this answer.
async fn stopped(sent: Sent, answer: &'static str, reason: &str) {
    let swarm = Swarm::start().await.unwrap();
    let earlier = sent.spooled(&swarm).await;
    let attempt = earlier.assignment.attempt;
    let stop = Stop { is: sent.request(answer), answer, lifted: Arc::default() };
    let between = Between::start(swarm.address, Vec::new(), Fate::Stops(stop.clone())).await;
    let mut config = config(earlier.dir.path(), &between.url());
    config.blocked_timeout = Span::from_secs(3);
    let drone = Running::start(config);
    let stuck = |swarm: &Swarm| {
        swarm.app.engine.read(|s| s.live.stuck.values().find_map(|of| of.get(&attempt).cloned()))
    };
    let why = until("the drone says what stops it", async || stuck(&swarm)).await.why;
    assert!(why.contains(reason), "{sent:?}: {why}");

    let may_be_given_up = matches!(sent, Sent::File | Sent::Plan);
    let ending = until("it ends", async || {
        let given_up = earlier.spool.report(attempt).is_ok_and(|report| match report.outcome {
            Outcome::Failed { failure } => failure.class == FailureClass::Infra,
            _ => false,
        });
        assert!(may_be_given_up || !given_up, "{sent:?}: {why}");
        let for_long = stuck(&swarm).is_some_and(|stuck| stuck.for_ms > 6_000);
        if given_up || !may_be_given_up && for_long {
            stop.lifted.store(true, Ordering::Relaxed);
        }
        earlier.ending(&swarm)
    })
    .await;
    match ending {
        Ending::Failed(failure) if may_be_given_up => {
            assert_eq!(failure.class, FailureClass::Infra, "{sent:?}: {failure:?}");
            assert!(failure.message.contains(reason), "{sent:?}: {failure:?}");
        }
        Ending::Failed(failure) if sent == Sent::Failure => assert_eq!(failure.message, "it fails"),
        Ending::Accepted if sent == Sent::Built => {}
        other => panic!("{sent:?} {reason}: {other:?}"),
    }
    drone.stop().await.unwrap();
}

// fault: 56
#[tokio::test]
async fn what_a_proxy_stops_becomes_a_concern_and_if_it_is_large_then_a_failure_of_the_way() {
    for sent in [Sent::File, Sent::Plan, Sent::Built, Sent::Failure] {
        tokio::join!(
            stopped(sent, TOO_LARGE, "413"),
            stopped(sent, FORBIDDEN, "403"),
            stopped(sent, BAD_GATEWAY, "502"),
            stopped(sent, SILENCE, ""),
        );
    }
}

// fault: 51
#[tokio::test]
async fn a_result_that_was_damaged_in_the_spool_ends_its_attempt_and_says_so() {
    let flip = |path: PathBuf| {
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let cut = |path: PathBuf| {
        let bytes = fs::read(&path).unwrap();
        fs::write(path, &bytes[..bytes.len() - 1]).unwrap();
    };
    let gone = |path: PathBuf| fs::remove_file(path).unwrap();
    let package = |name: &str| name.len() == 64;
    type Is = fn(&str) -> bool;
    type Damage = fn(PathBuf);
    let rows: [(&str, Is, Damage); 5] = [
        ("a flipped package", package, flip),
        ("a shortened package", package, cut),
        ("a missing package", package, gone),
        ("a shortened assignment", |name| name == "assignment.json", cut),
        ("a shortened report", |name| name == "report.json", cut),
    ];
    for (what, is, damage) in rows {
        let swarm = Swarm::start().await.unwrap();
        let earlier = Earlier::life(&swarm).await;
        earlier.build();
        let files = earlier.spool.of(earlier.assignment.attempt);
        let damaged = entries(files.clone()).into_iter().find(|name| is(name)).unwrap();
        damage(files.join(damaged));
        let drone = Running::start(config(earlier.dir.path(), &address(&swarm)));
        let ending = until(what, async || earlier.ending(&swarm)).await;
        let Ending::Failed(failure) = ending else { panic!("{what}: {ending:?}") };
        assert_eq!(failure.class, FailureClass::Drone, "{what}: {failure:?}");
        assert!(failure.message.contains("the stored result was damaged"), "{what}: {failure:?}");
        drone.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_drone_that_was_drained_on_its_machine_is_drained_after_a_restart() {
    let swarm = Swarm::start().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    write_token(&swarm, dir.path(), true).await;
    let drone = Running::start(config(dir.path(), &address(&swarm)));
    ada(&swarm.admin, DroneState::Online).await;
    drone.stop.send(ControlRequest::Pause).await.unwrap();
    ada(&swarm.admin, DroneState::Draining).await;
    drone.stop().await.unwrap();
    swarm.profile().await.unwrap();
    swarm.run().await.unwrap();
    let drone = Running::start(config(dir.path(), &address(&swarm)));
    let id = ada(&swarm.admin, DroneState::Draining).await.id;
    assert_eq!(swarm.app.engine.read(|s| s.attempts_of(id).count()), 0);
    drone.stop.send(ControlRequest::Resume).await.unwrap();
    until("it gets work", async || swarm.app.engine.read(|s| (!s.attempts.is_empty()).then_some(()))).await;
    drone.stop().await.unwrap();
}

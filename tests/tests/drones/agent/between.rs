//! What stands between a drone and its orchestrator: proxies that answer in its place, answers that
//! are lost, and an orchestrator that knows nobody.

use super::*;
use std::net::SocketAddr;
use swarm_common::config::Span;
use swarm_core::Command;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// What becomes of a connection.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// Everything goes through.
    Passes,
    /// This is answered to the first thing that is sent.
    Answered(&'static str),
    /// It is cut as soon as an answer begins to come.
    AnswerLost,
    /// This is answered to each piece of a file, and all else goes through.
    NoFiles(&'static str),
}

const BAD_GATEWAY: &str =
    "HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>";
const TOO_LARGE: &str = "HTTP/1.1 413 Payload Too Large\r\ncontent-type: text/html\r\nconnection: close\r\ncontent-length: 6\r\n\r\n<html>";

/// A proxy on a port of its own.
struct Between {
    address: SocketAddr,
    upstream: watch::Sender<SocketAddr>,
    task: JoinHandle<()>,
}

impl Between {
    /// The first connections have these fates, later ones the other.
    async fn start(upstream: SocketAddr, first: Vec<Fate>, later: Fate) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, upstream) = watch::channel(upstream);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            for fate in first.into_iter().chain(std::iter::repeat(later)) {
                let (client, _) = listener.accept().await.unwrap();
                connections.spawn(talk(client, upstream.clone(), fate));
            }
        });
        Self { address, upstream: sender, task }
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

/// Carries a connection until an end closes it, or another orchestrator is put behind it.
async fn talk(mut client: TcpStream, mut upstream: watch::Receiver<SocketAddr>, fate: Fate) {
    let address = *upstream.borrow_and_update();
    let Ok(mut server) = TcpStream::connect(address).await else { return };
    let (mut asked, mut answered) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(n @ 1..) = read else { return };
                let instead = match fate {
                    Fate::Answered(answer) => Some(answer),
                    Fate::NoFiles(answer) => asked.starts_with(b"PATCH ").then_some(answer),
                    Fate::Passes | Fate::AnswerLost => None,
                };
                if let Some(answer) = instead {
                    // The other end may have gone, which is as good.
                    let _ = client.write_all(answer.as_bytes()).await;
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
async fn an_orchestrator_that_knows_nobody_ends_no_drone_and_the_right_one_finds_it_again() {
    let (right, empty) = (Swarm::start().await.unwrap(), Swarm::start().await.unwrap());
    let dir = tempfile::tempdir().unwrap();
    write_token(&right, dir.path(), true).await;
    let between = Between::start(right.address, Vec::new(), Fate::Passes).await;
    let drone = Running::start(config(dir.path(), &between.url()));
    let id = ada(&right.admin, DroneState::Online).await.id;
    between.upstream.send_replace(empty.address);
    // It goes on asking there.
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
    // As the start on a restored journal does.
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

// fault: 56
#[tokio::test]
async fn files_that_a_proxy_does_not_let_through_become_a_concern_and_then_a_failure_of_the_way() {
    let swarm = Swarm::start().await.unwrap();
    let earlier = Earlier::life(&swarm).await;
    earlier.build();
    let between = Between::start(swarm.address, Vec::new(), Fate::NoFiles(TOO_LARGE)).await;
    let mut config = config(earlier.dir.path(), &between.url());
    config.blocked_timeout = Span::from_secs(10);
    let drone = Running::start(config);
    let told = until("the drone says what stops it", async || {
        let stuck = swarm.app.engine.read(|s| s.live.stuck.values().next().cloned())?;
        stuck.into_values().next()
    })
    .await;
    assert!(told.why.contains("413"), "{told:?}");
    let attempt = earlier.assignment.attempt;
    let failure = until("it is given up", async || {
        swarm.app.engine.read(|s| match s.attempts[&attempt].ending.clone()? {
            Ending::Failed(failure) => Some(failure),
            other => panic!("{other:?}"),
        })
    })
    .await;
    assert_eq!(failure.class, FailureClass::Infra, "{failure:?}");
    assert!(failure.message.contains("413"), "{failure:?}");
    drone.stop().await.unwrap();
}

#[tokio::test]
async fn a_drone_that_was_drained_on_its_machine_is_drained_after_a_restart() {
    let swarm = Swarm::start().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    write_token(&swarm, dir.path(), true).await;
    let drone = Running::start(config(dir.path(), &address(&swarm)));
    ada(&swarm.admin, DroneState::Online).await;
    drone.stop.send(Ask::Pause).await.unwrap();
    ada(&swarm.admin, DroneState::Draining).await;
    drone.stop().await.unwrap();
    swarm.profile().await.unwrap();
    swarm.run().await.unwrap();
    let drone = Running::start(config(dir.path(), &address(&swarm)));
    let id = ada(&swarm.admin, DroneState::Draining).await.id;
    assert_eq!(swarm.app.engine.read(|s| s.attempts_of(id).count()), 0);
    drone.stop.send(Ask::Resume).await.unwrap();
    until("it gets work", async || swarm.app.engine.read(|s| (!s.attempts.is_empty()).then_some(()))).await;
    drone.stop().await.unwrap();
}

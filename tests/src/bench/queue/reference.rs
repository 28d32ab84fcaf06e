//! The reference for the queue: the minimal server that assigns packages durably over HTTP. Axum, SQLite with
//! `synchronous=FULL`, and one writer with group commit; no events, rules, credentials or drones. Like the
//! orchestrator, it runs as a separate process.

use super::load::{Given, Protocol};
use anyhow::{Context, Result};
use axum::{
    Json, Router,
    extract::State,
    routing::post,
    serve::{Listener as _, ListenerExt as _},
};
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};
use serde::{Deserialize, Serialize};
use std::{
    path::Path,
    sync::mpsc::{Receiver, Sender, channel},
};
use tokio::{net::TcpListener, sync::oneshot};

/// Maximum number of requests committed together.
const BATCH: usize = 1024;

const SCHEMA: &str = "
    CREATE TABLE ready (seq INTEGER PRIMARY KEY, package TEXT NOT NULL);
    CREATE TABLE leases (package TEXT PRIMARY KEY, owner TEXT NOT NULL, until INTEGER NOT NULL);
    CREATE TABLE done (package TEXT PRIMARY KEY, owner TEXT NOT NULL);
";

#[derive(Serialize, Deserialize)]
struct Claim {
    drone: String,
}

#[derive(Serialize, Deserialize)]
struct Claimed {
    package: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Complete {
    drone: String,
    package: String,
}

#[derive(Serialize, Deserialize)]
struct Completed {
    accepted: bool,
}

enum Ask {
    Claim(Claim, oneshot::Sender<Claimed>),
    Complete(Complete, oneshot::Sender<Completed>),
}

/// Serves packages from a new database until it is killed.
///
/// # Errors
/// It cannot be started.
pub fn serve(database: &Path, packages: usize) -> Result<()> {
    let connection = Connection::open(database)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute_batch(SCHEMA)?;
    connection.execute(
        "INSERT INTO ready (package) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
         SELECT 'p' || i FROM n",
        [packages],
    )?;
    let (asks, waiting) = channel();
    std::thread::spawn(move || {
        if let Err(error) = write(connection, &waiting) {
            eprintln!("the writer broke off: {error}");
        }
    });
    tokio::runtime::Runtime::new()?.block_on(async {
        let router = Router::new().route("/claim", post(claim)).route("/complete", post(complete));
        let listener = TcpListener::bind("127.0.0.1:0").await?.tap_io(|stream| {
            // Without this option, answers may only be late.
            let _late = stream.set_nodelay(true);
        });
        println!("ready address={}", listener.local_addr()?);
        axum::serve(listener, router.with_state(asks)).await.context("serving ended")
    })
}

async fn claim(State(asks): State<Sender<Ask>>, Json(claim): Json<Claim>) -> Json<Claimed> {
    let (answer, wait) = oneshot::channel();
    // Without the writer there are no more answers.
    let _gone = asks.send(Ask::Claim(claim, answer));
    Json(wait.await.unwrap_or(Claimed { package: None }))
}

async fn complete(State(asks): State<Sender<Ask>>, Json(complete): Json<Complete>) -> Json<Completed> {
    let (answer, wait) = oneshot::channel();
    let _gone = asks.send(Ask::Complete(complete, answer));
    Json(wait.await.unwrap_or(Completed { accepted: false }))
}

/// Collects waiting requests, commits them, and only then answers.
fn write(mut connection: Connection, waiting: &Receiver<Ask>) -> rusqlite::Result<()> {
    while let Ok(first) = waiting.recv() {
        let (mut claimed, mut completed) = (Vec::new(), Vec::new());
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for ask in std::iter::once(first).chain(waiting.try_iter().take(BATCH)) {
            let run = |sql, values: &[&dyn rusqlite::ToSql]| transaction.prepare_cached(sql)?.execute(values);
            match ask {
                Ask::Claim(Claim { drone }, answer) => {
                    let head = "SELECT seq, package FROM ready ORDER BY seq LIMIT 1";
                    let row = |r: &rusqlite::Row<'_>| Ok((r.get::<_, i64>(0)?, r.get::<_, String>(1)?));
                    let head = transaction.prepare_cached(head)?.query_row([], row).optional()?;
                    if let Some((seq, package)) = &head {
                        run("DELETE FROM ready WHERE seq = ?1", params![seq])?;
                        let lease =
                            "INSERT INTO leases (package, owner, until) VALUES (?1, ?2, unixepoch() + 60)";
                        run(lease, params![package, drone])?;
                    }
                    claimed.push((answer, Claimed { package: head.map(|(_, package)| package) }));
                }
                Ask::Complete(Complete { drone, package }, answer) => {
                    let ours = "DELETE FROM leases WHERE package = ?1 AND owner = ?2";
                    let accepted = run(ours, params![package, drone])? == 1;
                    if accepted {
                        run("INSERT INTO done (package, owner) VALUES (?1, ?2)", params![package, drone])?;
                    }
                    completed.push((answer, Completed { accepted }));
                }
            }
        }
        transaction.commit()?;
        for (answer, said) in claimed {
            let _gone = answer.send(said);
        }
        for (answer, said) in completed {
            let _gone = answer.send(said);
        }
    }
    Ok(())
}

/// The protocol of the reference.
pub struct Spoken;

impl Protocol for Spoken {
    fn claim(&self, drone: usize, _: usize) -> String {
        super::load::post("/claim", "nobody", &format!("{{\"drone\":\"d{drone}\"}}"))
    }

    fn given(&self, answer: &[u8]) -> Result<Option<Given>> {
        let Claimed { package } = serde_json::from_slice(answer)?;
        Ok(package.map(|package| Given { ticket: package.clone(), package }))
    }

    fn complete(&self, drone: usize, given: &Given) -> String {
        let body = format!("{{\"drone\":\"d{drone}\",\"package\":\"{}\"}}", given.ticket);
        super::load::post("/complete", "nobody", &body)
    }

    fn is_accepted(&self, answer: &[u8]) -> bool {
        serde_json::from_slice::<Completed>(answer).is_ok_and(|said| said.accepted)
    }
}

//! A client that repeatedly reads the published index and downloads files that it names. Everything must be
//! intact whenever it is read.

use super::damaged::KnownDamage;
use crate::e2e::swarm::PROFILE;
use md5::{Digest as _, Md5};
use reqwest::StatusCode;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};
use swarm_client::{Client, parse_address};
use swarm_formats::portage::packages_index::{Entry, PackagesIndex};

/// A request that takes longer was affected by a fault.
const PATIENCE: Duration = Duration::from_secs(10);

/// Files to download for each reading of the index.
const FILES: usize = 3;

#[derive(Debug, Default)]
pub(super) struct Read {
    /// Number of times the index was read.
    pub indexes: u64,
    /// Number of package files that were read.
    pub packages: u64,
    /// Violations, one line each.
    pub breaches: Vec<String>,
    /// The MD5 digest of every path that an index ever named.
    named: BTreeMap<String, String>,
}

pub(super) fn start(address: String, damaged: KnownDamage, over: Arc<AtomicBool>) -> JoinHandle<Read> {
    thread::spawn(move || {
        let mut read = Read::default();
        // Selects the same cryptography for this process as the swarm's own client.
        let chosen =
            parse_address(&address).and_then(|url| Client::new(&[url], None).map_err(|e| e.to_string()));
        if let Err(error) = chosen {
            read.breaches.push(error);
            return read;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let client = reqwest::Client::builder().timeout(PATIENCE).build();
        match (runtime, client) {
            (Ok(runtime), Ok(client)) => runtime.block_on(async {
                let base = format!("{address}/binhost/{PROFILE}");
                while !over.load(Ordering::Relaxed) {
                    read.once(&client, &base, &damaged).await;
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }),
            (Err(error), _) => read.breaches.push(error.to_string()),
            (_, Err(error)) => read.breaches.push(error.to_string()),
        }
        read
    })
}

impl Read {
    async fn once(&mut self, client: &reqwest::Client, base: &str, damaged: &KnownDamage) {
        let before = self.breaches.len();
        self.read(client, base, damaged).await;
        if damaged.has_index() {
            self.breaches.truncate(before);
        }
    }

    async fn read(&mut self, client: &reqwest::Client, base: &str, damaged: &KnownDamage) {
        // Failed connections are expected during faults; only answers are judged. A new swarm has no index
        // yet.
        let Some((status, bytes)) = get(client, &format!("{base}/Packages")).await else { return };
        let none_yet = self.indexes == 0 || damaged.with(|damaged| damaged.no_index);
        if status == StatusCode::NOT_FOUND && none_yet {
            return;
        }
        let text = String::from_utf8_lossy(&bytes);
        let index = match PackagesIndex::parse(&text) {
            Ok(index) if status == StatusCode::OK => index,
            Ok(_) => return self.breaches.push(format!("the index was answered with {status}")),
            Err(error) => return self.breaches.push(format!("the index was not whole: {error}")),
        };
        self.indexes += 1;
        damaged.with(|damaged| damaged.no_index = false);
        let entries: Vec<&Entry> = index.entries().collect();
        for entry in entries.iter().filter(|_| !damaged.has_index()) {
            let (path, md5) = (entry.path().to_owned(), entry.get("MD5").to_owned());
            let first = self.named.entry(path).or_insert_with(|| md5.clone());
            if *first != md5 {
                self.breaches.push(format!("{} was published with other bytes before", entry.path()));
            }
        }
        let step = (self.indexes as usize * FILES) % entries.len().max(1);
        for entry in entries.iter().cycle().skip(step).take(FILES.min(entries.len())) {
            self.file(client, base, entry, damaged).await;
        }
    }

    async fn file(&mut self, client: &reqwest::Client, base: &str, entry: &Entry, damaged: &KnownDamage) {
        let path = entry.path();
        let Some((status, bytes)) = get(client, &format!("{base}/{path}")).await else { return };
        let (size, md5) = (entry.get("SIZE"), hex::encode(Md5::digest(&bytes)));
        if status != StatusCode::OK {
            self.breaches.push(format!("the index named {path}, which was answered with {status}"));
        } else if damaged.has(entry.get("MD5")) {
            // Whether or not its bytes are damaged now.
        } else if size != bytes.len().to_string() || entry.get("MD5") != md5 {
            self.breaches.push(format!("{path} was not what the index says"));
        } else {
            self.packages += 1;
        }
    }
}

/// The complete response; `None` if the connection failed.
async fn get(client: &reqwest::Client, url: &str) -> Option<(StatusCode, Vec<u8>)> {
    let answer = client.get(url).send().await.ok()?;
    let status = answer.status();
    Some((status, answer.bytes().await.ok()?.to_vec()))
}

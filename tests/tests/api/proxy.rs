//! Behind a proxy: the real nginx, configured as in the handbook and by default, and the meaning of forwarded
//! headers.

use crate::key;
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use swarm_client::{Bytes, Client, Trust, parse_address};
use swarm_common::{
    digest::Digest,
    secret::Secret,
    wire::{admin::EnrolTokenRequest, drone::Outcome},
};
use swarm_orchestrator::config::Config;
use swarm_tests::{
    api::{FakeDrone, Raw, Swarm, pebble, plan_of, until},
    e2e::{
        nginx::{Nginx, replaced},
        process::Process,
        programs::{part, program},
    },
};

/// Upper limit for every wait.
const SOON: Duration = Duration::from_secs(60);

/// The settings of `orchestrator.toml` in the handbook, and a port that stays the same after a restart.
fn behind_a_proxy(config: &mut Config) {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    config.listen = free.unwrap();
    config.tls.listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
}

/// Clients that reach the swarm at `url`: the admin's, and one without a credential.
fn through(swarm: &Swarm, url: &str, trust: &Trust) -> Result<(Client, Client)> {
    let url = parse_address(url).map_err(anyhow::Error::msg)?;
    let admin = Client::with_trust(&[url], Some(Secret::new(&swarm.admin_token())), trust)?;
    let nobody = admin.without_credential();
    Ok((admin, nobody))
}

async fn enrol(admin: &Client, nobody: &Client) -> Result<FakeDrone> {
    let request = EnrolTokenRequest { valid_ms: 60_000, approved: true };
    let token = admin.make_enrol_token(&request, &key()).await?.token;
    FakeDrone::enrol(nobody, &token, "one").await
}

struct Watcher {
    process: Process,
    out: PathBuf,
}

impl Watcher {
    fn command(swarm: &Swarm, url: &str, trust: &Trust, out: &Path, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new("sh");
        // Standard output and standard error are kept apart.
        command.args(["-c", "exec \"$@\" >\"$0\""]).arg(out).arg(program("swarmctl")?).args(arguments);
        command.env("SWARM_ORCHESTRATOR", url).env("SWARM_TOKEN_FILE", swarm.state_dir().join("admin.token"));
        let pins: Vec<String> = trust.pins.0.iter().map(ToString::to_string).collect();
        command.env_remove("SWARM_FINGERPRINT").env_remove("SWARM_CA").env("SWARMCTL_CONFIG", "/nonexistent");
        if !pins.is_empty() {
            command.env("SWARM_FINGERPRINT", pins.join(","));
        }
        Ok(command)
    }

    fn start(swarm: &Swarm, url: &str, trust: &Trust, folder: &Path, arguments: &[&str]) -> Result<Self> {
        let name = arguments.join("-").replace('/', "_");
        let out = folder.join(format!("{name}.out"));
        let mut command = Self::command(swarm, url, trust, &out, arguments)?;
        let process = Process::start(&mut command, &folder.join(format!("{name}.said")))?;
        Ok(Self { process, out })
    }

    fn printed(&self) -> String {
        fs::read_to_string(&self.out).unwrap_or_default()
    }

    async fn has_printed(&self, text: &str) {
        until(text, async || self.printed().contains(text).then_some(())).await;
    }

    async fn has_said(&self, text: &str) {
        until(text, async || self.process.output().contains(text).then_some(())).await;
    }

    fn ended(mut self) -> Result<String> {
        let status = self.process.end(SOON)?;
        ensure!(status.success(), "{status}: {}", self.process.output());
        Ok(self.printed())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_night_goes_through_nginx_as_the_handbook_sets_it_up_and_both_restart_meanwhile() -> Result<()> {
    // Build the program before anything has a lease.
    program("swarmctl")?;
    let swarm = Swarm::start_with(behind_a_proxy).await?;
    let mut nginx = Nginx::of_the_handbook(&swarm.state_dir(), swarm.address, Ok)?;
    let (url, trust) = (format!("https://{}/swarm/", nginx.address), swarm.over_tls()?.1);
    let (admin, nobody) = through(&swarm, &url, &trust)?;
    let drone = enrol(&admin, &nobody).await?;
    swarm.profile().await?;
    let run = swarm.run().await?;
    drone.bring_plan(plan_of(&[pebble()])).await?;
    let (attempt, order) = drone.build_order().await?;

    let folder = tempfile::tempdir()?;
    let (id, run) = (order.package.to_string(), run.to_string());
    let start = |arguments: &[&str]| Watcher::start(&swarm, &url, &trust, folder.path(), arguments);
    // By its name too, which contains a slash that a proxy may decode.
    let logs = start(&["logs", "-f", "dev-libs/pebble"])?;
    let events = start(&["events", "-f", "--json", "--last", "1000"])?;
    let watch = start(&["run", "watch", &run])?;
    let append = async |offset, text: &'static str| {
        drone.client.append_log(attempt, offset, Bytes::from_static(text.as_bytes())).await
    };
    append(0, "one\n").await?;
    logs.has_printed("one\n").await;
    events.has_printed("\"seq\":1,").await;
    watch.has_printed("delegated").await;

    nginx.stop()?;
    for watcher in [&logs, &events, &watch] {
        watcher.has_said("waiting for the orchestrator").await;
    }
    nginx.go_on()?;
    append(4, "two\n").await?;
    logs.has_printed("two\n").await;

    let swarm = swarm.restart_after(|_| {
        // Meanwhile the requests reach nginx, which answers with errors of its own.
        let wait = async {
            for watcher in [&logs, &events, &watch] {
                watcher.has_said("HTTP 502").await;
            }
        };
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(wait));
    });
    let swarm = swarm.await?;
    append(8, "three\n").await?;
    let mut artifacts = Vec::new();
    for target in &order.targets {
        artifacts.push(drone.upload(attempt, target).await?);
    }
    ensure!(drone.report(attempt, Outcome::Built { artifacts }).await?.accepted);
    ensure!(logs.ended()? == "one\ntwo\nthree\n", "each line once");
    let watched = watch.ended()?;
    ensure!(watched.contains("received"), "{watched}");
    let last = swarm.admin.status().await?.journal_seq;
    events.has_printed(&format!("\"seq\":{last},")).await;
    let numbers: Vec<u64> = events.printed().lines().map(number).collect::<Result<_>>()?;
    ensure!(numbers.windows(2).all(|two| two[0] + 1 == two[1]), "an event is missing or twice: {numbers:?}");
    ensure!(admin.why(&id, None).await?.package.title.contains("pebble"));
    Ok(())
}

fn number(line: &str) -> Result<u64> {
    let event: serde_json::Value = serde_json::from_str(line)?;
    event["seq"].as_u64().context("an event without a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_as_it_comes_passes_followed_answers_on_as_they_grow() -> Result<()> {
    let swarm = Swarm::start().await?;
    let nginx = Nginx::start(|address| {
        Ok(format!("server {{ listen {address}; location / {{ proxy_pass http://{}; }} }}\n", swarm.address))
    })?;
    let url = format!("http://{}", nginx.address);
    let (admin, nobody) = through(&swarm, &url, &Trust::default())?;
    let drone = enrol(&admin, &nobody).await?;
    swarm.planned(&drone).await?;
    let (attempt, order) = drone.build_order().await?;
    let mut events = admin.events(Some(0)).await?;
    ensure!(events.next().await?.context("the stream ended")?.seq == 1);
    let mut log = admin.package_log(order.package, None, true).await?;
    for (at, text) in ["one\n", "two\n"].into_iter().enumerate() {
        drone.client.append_log(attempt, 4 * at as u64, Bytes::from_static(text.as_bytes())).await?;
        let piece = tokio::time::timeout(SOON, log.next()).await.context("nginx keeps the answer back")??;
        ensure!(piece.as_deref() == Some(text.as_bytes()), "{piece:?}");
    }
    // The requests of a workstation.
    let artifacts = vec![drone.upload(attempt, &order.targets[0]).await?];
    ensure!(drone.report(attempt, Outcome::Built { artifacts }).await?.accepted);
    crate::binhost::generation(&swarm, 1).await;
    let mut workstation = Raw::connect(nginx.address).await?;
    let index = workstation.ask("GET /binhost/desk/Packages", &[], b"").await?;
    let (tag, date) = (index.header("etag").to_owned(), index.header("last-modified").to_owned());
    ensure!(index.status == 200 && String::from_utf8_lossy(&index.body).contains("pebble-1.2"), "{index:?}");
    for known in [("if-none-match", tag.as_str()), ("if-modified-since", date.as_str())] {
        ensure!(
            workstation.ask("GET /binhost/desk/Packages", &[known], b"").await?.status == 304,
            "{known:?}"
        );
    }
    let part = [("range", "bytes=0-9")];
    let part = workstation.ask("GET /binhost/desk/dev-libs/pebble/pebble-1.2-1.gpkg.tar", &part, b"").await?;
    ensure!((part.status, part.body.len()) == (206, 10), "{part:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_nginx_does_not_take_is_said_with_the_setting_to_change() -> Result<()> {
    let swarm = Swarm::start_with(behind_a_proxy).await?;
    let nginx = Nginx::of_the_handbook(&swarm.state_dir(), swarm.address, |text| {
        replaced(&text, "client_max_body_size 0;", "")
    })?;
    let (url, trust) = (format!("https://{}/swarm", nginx.address), swarm.over_tls()?.1);
    let (admin, _) = through(&swarm, &url, &trust)?;
    let folder = tempfile::tempdir()?;
    let large = folder.path().join("large");
    fs::write(&large, vec![7; 3 << 20])?;
    let refused = admin.put_snapshot(Digest::of(b"x"), &large).await.err().context("it was taken")?;
    ensure!(refused.to_string().contains("HTTP 413") && refused.status().is_none(), "{refused:?}");

    // The same with swarmctl, and a repository that cannot be compressed.
    let repository = folder.path().join("repository");
    let copied = Command::new("cp").arg("-a").arg(part("examples/repository")).arg(&repository).status()?;
    ensure!(copied.success());
    let mut noise = Vec::new();
    while noise.len() < 2 << 20 {
        noise.extend_from_slice(&Digest::of(&noise.len().to_be_bytes()).0);
    }
    fs::create_dir_all(repository.join("dev-libs/noise/files"))?;
    fs::write(repository.join("dev-libs/noise/files/noise"), noise)?;
    let [bundle, repository] = [part("examples/desktop"), repository].map(|path| path.display().to_string());
    let arguments = ["profile", "add", "desk", "--from", &*bundle, "--repository", &*repository];
    let mut command = Watcher::command(&swarm, &url, &trust, &folder.path().join("out"), &arguments)?;
    let done = tokio::task::spawn_blocking(move || command.output()).await??;
    let stderr = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.code() == Some(1), "{stderr}");
    ensure!(stderr.contains("HTTP 413") && stderr.contains("client_max_body_size"), "{stderr}");
    Ok(())
}

#[tokio::test]
async fn forwarded_headers_count_from_proxies_that_are_named_and_take_this_machine_away_from_others()
-> Result<()> {
    let named = |config: &mut Config| config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let https = &[("x-forwarded-for", "203.0.113.9"), ("x-forwarded-proto", "https")][..];
    let http = &[("x-forwarded-for", "203.0.113.9"), ("x-forwarded-proto", "http")][..];
    for (trusting, headers, status, expected) in [
        (false, &[][..], 200, ""),
        (false, https, 403, "`trusted_proxies`"),
        (false, http, 403, "`trusted_proxies`"),
        (false, &[("forwarded", "for=127.0.0.1;proto=https")][..], 403, "`trusted_proxies`"),
        (false, &[("via", "1.1 proxy")][..], 403, "`trusted_proxies`"),
        (true, &[][..], 200, ""),
        (true, https, 200, ""),
        (true, http, 403, "X-Forwarded-Proto: https"),
        (true, &[("x-forwarded-for", "127.0.0.1")][..], 403, "X-Forwarded-Proto: https"),
        (true, &[("forwarded", "for=203.0.113.9;proto=https")][..], 200, ""),
    ] {
        let swarm = Swarm::start_with(|config| {
            if trusting {
                named(config)
            }
        })
        .await?;
        let bearer = format!("Bearer {}", swarm.admin_token());
        let headers = [&[("authorization", bearer.as_str())][..], headers].concat();
        for path in ["/api/v1/status", "/metrics"] {
            let answer = swarm.raw().await?.ask(&format!("GET {path}"), &headers, b"").await?;
            ensure!(answer.status == status, "{path} {trusting} {headers:?}: {answer:?}");
            ensure!(
                String::from_utf8_lossy(&answer.body).contains(expected),
                "{path} {headers:?}: {answer:?}"
            );
        }
        // Public paths stay public.
        ensure!(swarm.raw().await?.ask("GET /healthz", &headers, b"").await?.status == 200);
        swarm.stop().await?;
    }
    Ok(())
}

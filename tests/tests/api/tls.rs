//! HTTPS, pinned certificates, and what other machines get over plain HTTP: the real client and the real
//! server over real sockets.

use crate::{key, patient, stops_at_once};
use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};
use swarm_client::{Client, Trust, Url, parse_address, shown_fingerprint};
use swarm_common::{
    fingerprint::{Fingerprint, Pins},
    secret::Secret,
    state::RunState,
    wire::admin::EnrolTokenRequest,
};
use swarm_daemon::config::Span;
use swarm_orchestrator::config::Config;
use swarm_tests::api::{FakeDrone, Raw, Swarm, in_a_network_of_its_own};

/// Serves HTTPS on a free port of loopback.
fn tls(config: &mut Config) {
    config.tls.listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
}

fn admin(swarm: &Swarm, url: &Url, trust: &Trust) -> Client {
    Client::with_trust(std::slice::from_ref(url), Some(Secret::new(&swarm.admin_token())), trust).unwrap()
}

fn only(pin: Fingerprint) -> Trust {
    Trust { pins: Pins(vec![pin]), ca: None }
}

#[tokio::test]
async fn a_drone_with_the_right_pin_enrols_builds_and_uploads_over_tls() {
    let swarm = Swarm::start_with(tls).await.unwrap();
    let (url, trust) = swarm.over_tls().unwrap();
    let admin = admin(&swarm, &url, &trust);
    let request = EnrolTokenRequest { valid_ms: 60_000, approved: true };
    let token = admin.make_enrol_token(&request, &key()).await.unwrap().token;
    let nobody = Client::with_trust(std::slice::from_ref(&url), None, &trust).unwrap();
    let drone = FakeDrone::enrol(&nobody, &token, "one").await.unwrap();
    let run = swarm.planned(&drone).await.unwrap();
    drone.build().await.unwrap();
    assert_eq!(admin.run(run).await.unwrap().state, RunState::Succeeded);
    swarm.stop().await.unwrap();
}

#[tokio::test]
async fn another_certificate_than_the_pinned_one_is_refused_with_both_fingerprints() {
    let swarm = Swarm::start_with(tls).await.unwrap();
    let (url, right) = swarm.over_tls().unwrap();
    let other = Fingerprint::of_certificate(b"another");
    let error = admin(&swarm, &url, &only(other)).status().await.unwrap_err();
    assert!(error.is_untrusted() && !error.is_transient(), "{error:?}");
    let message = error.to_string();
    for part in [&other.to_string(), &right.pins.0[0].to_string(), "nothing was sent", "was replaced"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    // One matching pin of several is enough, as during the replacement of a certificate.
    let both = Trust { pins: Pins(vec![other, right.pins.0[0]]), ca: None };
    admin(&swarm, &url, &both).status().await.unwrap();
}

#[tokio::test]
async fn without_a_pin_a_self_signed_certificate_is_refused_and_pinning_is_proposed() {
    let authorities = Path::new("/etc/ssl/certs/ca-certificates.crt");
    assert!(authorities.exists(), "this machine trusts nobody: install ca-certificates");
    let swarm = Swarm::start_with(tls).await.unwrap();
    let (url, right) = swarm.over_tls().unwrap();
    let error = admin(&swarm, &url, &Trust::default()).status().await.unwrap_err();
    assert!(error.is_untrusted(), "{error:?}");
    assert!(error.to_string().contains("Pin it with `fingerprint`"), "{error}");
    assert_eq!(shown_fingerprint(&url).await.unwrap(), right.pins.0[0]);
}

#[tokio::test]
async fn a_ca_file_vouches_for_what_it_signed_under_its_names_only() {
    let swarm = Swarm::start_with(|config| {
        tls(config);
        config.tls.names = vec!["swarm.invalid".to_owned()];
    })
    .await
    .unwrap();
    let other = Swarm::start_with(tls).await.unwrap();
    let ca = |swarm: &Swarm| Trust { pins: Pins::default(), ca: Some(swarm.state_dir().join("tls.crt")) };
    let (url, _) = swarm.over_tls().unwrap();
    admin(&swarm, &url, &ca(&swarm)).status().await.unwrap();
    let error = admin(&swarm, &url, &ca(&other)).status().await.unwrap_err();
    assert!(error.is_untrusted(), "{error:?}");

    let empty = swarm.state_dir().join("empty.pem");
    fs::write(&empty, "no certificate\n").unwrap();
    let trust = Trust { pins: Pins::default(), ca: Some(empty) };
    let error = Client::with_trust(&[url], None, &trust).err().unwrap().to_string();
    assert!(error.contains("empty.pem") && error.contains("no certificate"), "{error}");
}

#[tokio::test]
async fn the_certificate_stays_over_restarts_and_a_replaced_one_breaks_the_pin() {
    let swarm = Swarm::start_with(tls).await.unwrap();
    let (_, first) = swarm.over_tls().unwrap();
    let swarm = swarm.restart().await.unwrap();
    let (url, trust) = swarm.over_tls().unwrap();
    assert_eq!(trust, first);
    admin(&swarm, &url, &trust).status().await.unwrap();

    let replaced = swarm.restart_after(|config| {
        for file in ["tls.crt", "tls.key"] {
            fs::remove_file(config.state_dir.join(file)).unwrap();
        }
        config.accept_new = true;
    });
    let swarm = replaced.await.unwrap();
    let (url, second) = swarm.over_tls().unwrap();
    assert_ne!(second, first);
    assert!(admin(&swarm, &url, &first).status().await.unwrap_err().is_untrusted());
    admin(&swarm, &url, &second).status().await.unwrap();
    let kept = fs::read_to_string(swarm.state_dir().join("tls.fingerprint")).unwrap();
    assert_eq!(kept.trim(), second.pins.0[0].to_string());
}

#[tokio::test]
async fn handshakes_that_do_not_end_are_closed_and_keep_nobody_else_from_being_served() {
    let swarm = Swarm::start_with(|config| {
        tls(config);
        config.limits.header_timeout = Span::from_secs(5);
        config.limits.connections = 32;
    })
    .await
    .unwrap();
    let (url, trust) = swarm.over_tls().unwrap();
    let address = swarm.app.tls.as_ref().unwrap().address;
    let mut halves = Vec::new();
    // Nothing, only the head of a record, or the beginning of a handshake.
    for half in
        [&b""[..], b"\x16\x03\x01", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"].iter().cycle().take(99)
    {
        let mut raw = Raw::connect(address).await.unwrap();
        raw.send(half).await.unwrap();
        halves.push(raw);
    }
    admin(&swarm, &url, &trust).status().await.unwrap();
    for mut raw in halves {
        raw.closed().await.unwrap();
    }
    let mut plain = Raw::connect(address).await.unwrap();
    plain.send("GET /healthz HTTP/1.1\r\nhost: s\r\n\r\n").await.unwrap();
    plain.closed().await.unwrap();
    swarm.stop().await.unwrap();
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_handshake() {
    let swarm = Swarm::start_with(|config| {
        tls(config);
        patient(config);
    });
    let swarm = swarm.await.unwrap();
    let mut raw = Raw::connect(swarm.app.tls.as_ref().unwrap().address).await.unwrap();
    raw.send(b"\x16\x03\x01").await.unwrap();
    let ((), closed) = tokio::join!(stops_at_once(swarm), raw.closed());
    closed.unwrap();
}

/// Sends a request as from another machine.
async fn from_outside(at: SocketAddr, line: &str, credential: &str) -> swarm_tests::api::Answer {
    let bearer = format!("Bearer {credential}");
    let headers = [("authorization", bearer.as_str())];
    Raw::connect(at).await.unwrap().ask(line, &headers, b"{}").await.unwrap()
}

#[test]
fn other_machines_get_packages_and_the_key_in_the_clear_and_the_api_over_tls() {
    in_a_network_of_its_own(async |own| {
        let everywhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let listen = |config: &mut Config| {
            config.listen = everywhere;
            config.tls.listen = Some(everywhere);
        };
        let swarm = Swarm::start_with(listen).await?;
        let plain = SocketAddr::new(own.parse()?, swarm.address.port());
        let tls_port = swarm.app.tls.as_ref().unwrap().address.port();
        swarm.profile().await?;
        let token = swarm.admin_token();
        for line in ["GET /healthz", "GET /readyz", "GET /api/v1/key", "GET /binhost/desk/Packages"] {
            let status = from_outside(plain, line, &token).await.status;
            // Nothing is published yet, so the file does not exist.
            assert_eq!(status, if line.contains("binhost") { 404 } else { 200 }, "{line}");
        }
        for line in
            ["GET /api/v1/status", "POST /api/v1/enrol", "POST /api/v1/claim", "DELETE /api/v1/drones/d1"]
        {
            let answer = from_outside(plain, line, &token).await;
            assert_eq!(answer.status, 403, "{line}");
            let problem = answer.json()?;
            assert_eq!(problem["type"], "/problems/plain-http", "{problem}");
            let detail = problem["detail"].as_str().unwrap();
            // `Raw` uses the host name "swarm", so the response does too.
            assert!(detail.contains(&format!("https://swarm:{tls_port}")), "{detail}");
            assert!(
                detail.contains(&swarm.app.tls.as_ref().unwrap().shown.fingerprint().to_string()),
                "{detail}"
            );
        }
        let (_, trust) = swarm.over_tls()?;
        let url = parse_address(&format!("https://{own}:{tls_port}")).unwrap();
        admin(&swarm, &url, &trust).status().await?;
        swarm.admin.status().await?;
        swarm.stop().await?;

        // In a network that the admin trusts, where there is no HTTPS to refer to.
        let swarm = Swarm::start_with(|config| {
            (config.listen, config.plain_api) = (everywhere, true);
        })
        .await?;
        let plain = SocketAddr::new(own.parse()?, swarm.address.port());
        assert_eq!(from_outside(plain, "GET /api/v1/status", &swarm.admin_token()).await.status, 200);
        swarm.stop().await?;
        let swarm = Swarm::start_with(|config| config.listen = everywhere).await?;
        let plain = SocketAddr::new(own.parse()?, swarm.address.port());
        let answer = from_outside(plain, "GET /api/v1/status", &swarm.admin_token()).await;
        assert_eq!(answer.status, 403);
        assert!(answer.json()?["detail"].as_str().unwrap().contains("`listen` of `[tls]`"));
        swarm.stop().await?;
        Ok(())
    })
    .unwrap();
}

#[tokio::test]
async fn the_strangers_tls_library_agrees_about_certificate_and_fingerprint() {
    let swarm = Swarm::start_with(tls).await.unwrap();
    let address = swarm.app.tls.as_ref().unwrap().address.to_string();
    let crt = swarm.state_dir().join("tls.crt");
    let openssl = tokio::task::spawn_blocking(move || {
        let run = |arguments: &[&str]| {
            let done = Command::new("openssl").args(arguments).stdin(Stdio::null()).output();
            let done = done.expect("openssl is missing: install openssl");
            String::from_utf8_lossy(&done.stdout).into_owned()
        };
        let crt = crt.to_str().unwrap();
        let shown = run(&["s_client", "-connect", &address, "-CAfile", crt, "-verify_ip", "127.0.0.1"]);
        (shown, run(&["x509", "-in", crt, "-noout", "-fingerprint", "-sha256"]))
    });
    let (shown, fingerprint) = openssl.await.unwrap();
    assert!(shown.contains("Verify return code: 0 (ok)"), "{shown}");
    let digits = fingerprint.trim().split_once('=').unwrap().1;
    let ours = swarm.app.tls.as_ref().unwrap().shown.fingerprint();
    assert_eq!(format!("sha256:{digits}").parse(), Ok(ours));
    swarm.stop().await.unwrap();
}

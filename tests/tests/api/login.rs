//! How `swarmctl` comes to trust an orchestrator: the real program against a real server with a self-signed
//! certificate.

use std::{
    net::SocketAddr,
    path::Path,
    process::{Command, Output, Stdio},
};
use swarm_orchestrator::config::Config;
use swarm_tests::{api::Swarm, e2e::programs::program};

fn tls(config: &mut Config) {
    config.tls.listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
}

/// Runs `swarmctl` with its own home directory.
pub async fn swarmctl(home: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new("env");
    command.arg(program("swarmctl").unwrap()).args(arguments).stdin(Stdio::null());
    done(home, command).await
}

/// Runs a command without settings from outside. Returns its exit code and output.
pub async fn done(home: &Path, mut command: Command) -> (i32, String, String) {
    for name in ["SWARM_ORCHESTRATOR", "SWARM_FINGERPRINT", "SWARM_CA", "SWARM_TOKEN_FILE", "SWARMCTL_CONFIG"]
    {
        command.env_remove(name);
    }
    command.env("HOME", home).env_remove("XDG_CONFIG_HOME");
    let ended = tokio::task::spawn_blocking(move || command.output().unwrap());
    let Output { status, stdout, stderr } = ended.await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[tokio::test]
async fn a_login_pins_only_what_was_said_or_asked() {
    let swarm = Swarm::start_with(tls).await.unwrap();
    let (url, trust) = swarm.over_tls().unwrap();
    let (url, pin) = (url.as_str(), trust.pins.0[0].to_string());
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join(".config/swarmctl/config.toml");
    let token = swarm.state_dir().join("admin.token");
    let login = ["login", url, "--token-file", token.to_str().unwrap()];

    // Without a terminal nobody can be asked, and `--yes` is not a comparison.
    for more in [&[][..], &["--yes"]] {
        let (code, _, stderr) = swarmctl(home.path(), &[&login, more].concat()).await;
        assert_eq!(code, 2, "{stderr}");
        assert!(stderr.contains(&format!("--fingerprint {pin}")), "{stderr}");
    }
    let wrong = format!("sha256:{}", "0".repeat(64));
    let (code, _, stderr) = swarmctl(home.path(), &[&login[..], &["--fingerprint", &wrong]].concat()).await;
    assert_eq!(code, 78, "{stderr}");
    assert!(
        stderr.contains("does not match the pinned fingerprint")
            && stderr.contains("swarmctl login URL --fingerprint"),
        "{stderr}"
    );
    assert!(!config.exists(), "nothing was kept");
    let plain = format!("http://{}", swarm.address);
    let arguments = ["login", &plain, "--fingerprint", &pin, "--token-file", login[3]];
    let (code, _, stderr) = swarmctl(home.path(), &arguments).await;
    assert_eq!(code, 2, "a pin that would not be looked at: {stderr}");

    // A person at a terminal, who first answers no.
    for (answer, expected) in [("n", 1), ("y", 0)] {
        let typed = format!("'{}' {}", program("swarmctl").unwrap().display(), login.join(" "));
        let script = format!("echo {answer} | script --quiet --return --command \"{typed}\" /dev/null");
        let mut command = Command::new("sh");
        command.args(["-c", &script]);
        let (code, shown, stderr) = done(home.path(), command).await;
        assert_eq!(code, expected, "{shown}{stderr}");
        assert!(shown.contains(&pin) && shown.contains("Do they match?"), "{shown}{stderr}");
        assert_eq!(config.exists(), expected == 0);
    }
    assert_eq!(swarmctl(home.path(), &["drone", "list"]).await.0, 0);

    let (code, out, stderr) = swarmctl(home.path(), &["drone", "token"]).await;
    assert_eq!((code, out.lines().count()), (0, 1), "{out}{stderr}");
    let url = url.trim_end_matches('/');
    assert!(stderr.contains(&format!("orchestrators = [\"{url}\"]\n")), "{stderr}");
    assert!(stderr.contains(&format!("fingerprint = \"{pin}\"\n")), "{stderr}");
    swarm.stop().await.unwrap();
}

#[tokio::test]
async fn init_pins_what_the_state_directory_vouches_for() {
    let swarm = Swarm::start_with(tls).await.unwrap();
    let (url, trust) = swarm.over_tls().unwrap();
    let home = tempfile::tempdir().unwrap();
    let state = swarm.state_dir();
    let arguments = ["init", "--state-dir", state.to_str().unwrap(), "--address", url.as_str()];
    let (code, _, stderr) = swarmctl(home.path(), &arguments).await;
    assert_eq!(code, 0, "{stderr}");
    let kept = std::fs::read_to_string(home.path().join(".config/swarmctl/config.toml")).unwrap();
    assert!(kept.contains(&trust.pins.0[0].to_string()), "{kept}");

    // Portage on a workstation pins no certificate; it needs the plain address.
    swarm.profile().await.unwrap();
    let (code, _, stderr) = swarmctl(home.path(), &["client", "setup", "desk"]).await;
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("--address http://"), "{stderr}");
    let plain = format!("http://{}", swarm.address);
    let (code, out, stderr) = swarmctl(home.path(), &["client", "setup", "desk", "--address", &plain]).await;
    assert_eq!(code, 0, "{stderr}");
    assert!(out.contains(&format!("sync-uri = {plain}/binhost/desk")), "{out}");
    swarm.stop().await.unwrap();
}

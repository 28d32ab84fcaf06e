//! Machines with Nix's daemon, as on NixOS: it fetches from the swarm's cache for users who cannot choose caches.

use super::{built, key, url};
use crate::advice::follow;
use serde_json::Value;
use std::{
    fs::{self, Permissions},
    os::unix::{
        fs::{PermissionsExt as _, chown},
        net::UnixStream,
        process::CommandExt as _,
    },
    path::PathBuf,
};
use swarm_tests::{
    api::{PROFILE, Swarm, nix::World, until},
    e2e::process::Process,
};

/// The user nobody.
const NOBODY: u32 = 65534;

/// A machine with the real `nix-daemon`, which has an empty store.
struct Machine<'w> {
    world: &'w World,
    folder: PathBuf,
    _daemon: Process,
}

impl<'w> Machine<'w> {
    /// Starts a machine whose `nix.conf` ends with these lines.
    async fn start(world: &'w World, name: &str, lines: &str) -> Self {
        let folder = world.path(name);
        fs::create_dir_all(folder.join("user")).unwrap();
        let settings = fs::read_to_string(world.path("nix.conf")).unwrap();
        let store = folder.join("store");
        fs::write(folder.join("nix.conf"), format!("{settings}store = {}\n{lines}", store.display()))
            .unwrap();
        // An ordinary user must reach the socket, and have a home.
        fs::set_permissions(world.path(""), Permissions::from_mode(0o755)).unwrap();
        if rustix::process::geteuid().is_root() {
            chown(folder.join("user"), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let mut daemon = world.program(name, "nix-daemon");
        daemon.env("NIX_CONF_DIR", &folder).env("NIX_DAEMON_SOCKET_PATH", folder.join("socket"));
        let daemon = Process::start(&mut daemon, &folder.join("log")).unwrap();
        let machine = Self { world, folder, _daemon: daemon };
        until("the daemon listens", async || UnixStream::connect(machine.folder.join("socket")).ok()).await;
        machine
    }

    /// Lets an ordinary user of the machine, who has no settings, run `nix-store`. Returns whether that succeeded,
    /// and all output.
    async fn user(&self, args: &[&str]) -> (bool, String) {
        let home = self.folder.join("user");
        let mut command = self.world.program("user", "nix-store");
        command.env("NIX_REMOTE", "daemon").env("NIX_DAEMON_SOCKET_PATH", self.folder.join("socket"));
        command.env("NIX_CONF_DIR", &home).env("HOME", &home).env("XDG_CACHE_HOME", &home).args(args);
        // Only root is trusted unless `trusted-users` says otherwise. Tests may run as an ordinary user, too.
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    /// Fetches a path with these options, without building.
    async fn realise(&self, path: &str, options: &[&str]) -> (bool, String) {
        self.user(&[&["--realise", path, "--max-jobs", "0"], options].concat()).await
    }

    async fn has(&self, path: &str) -> bool {
        self.user(&["--check-validity", path]).await.0
    }
}

/// The lines that `swarmctl client setup` prints.
async fn lines(swarm: &Swarm) -> String {
    let printed = follow(swarm, &format!("swarmctl client setup {PROFILE} --json")).await;
    // Advice follows on stderr.
    let mut values = serde_json::Deserializer::from_str(&printed).into_iter::<Value>();
    let setup = values.next().unwrap().unwrap();
    setup["nix_conf"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_with_the_printed_lines_installs_for_a_user_who_may_not_choose_caches() {
    let world = World::new().unwrap();
    let (swarm, top) = built(&world).await.unwrap();
    let machine = Machine::start(&world, "host", &lines(&swarm).await).await;
    let (good, output) = machine.realise(&top, &[]).await;
    assert!(good && !output.contains("building '"), "{output}");
    let (_, closure) = machine.user(&["-qR", &top]).await;
    assert_eq!(closure.trim(), world.ok("drone", "nix-store", &["-qR", &top]).await.unwrap());
    let listed = format!("{}{top}/all", machine.folder.join("store").display());
    assert_eq!(fs::read_to_string(listed).unwrap().lines().count(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_takes_nothing_that_a_key_it_does_not_trust_has_signed() {
    let world = World::new().unwrap();
    let (swarm, top) = built(&world).await.unwrap();
    let (lines, key) = (lines(&swarm).await, key(&swarm).await);
    let other = "swarm-other-1:fM2i9qGiocAwtR4qUr6MOqeoyQaLEK8g2jo84DCu9MU=";
    let wrong = lines.replace(&key, other);
    assert_ne!(lines, wrong);
    let machine = Machine::start(&world, "stranger", &wrong).await;
    // The user's own settings do not matter: the daemon decides whom to trust.
    for options in
        [&[][..], &["--option", "trusted-public-keys", &key], &["--option", "require-sigs", "false"]]
    {
        let (good, output) = machine.realise(&top, options).await;
        let says =
            ["signed by any of the keys", "lacks a valid signature", "lacks a signature by a trusted key"];
        assert!(!good && says.iter().any(|words| output.contains(words)), "{options:?}: {output}");
        assert!(!machine.has(&top).await, "{options:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_user_cannot_add_the_cache_and_a_trusted_one_can() {
    let world = World::new().unwrap();
    let (swarm, top) = built(&world).await.unwrap();
    let (url, key) = (url(&swarm), key(&swarm).await);
    let options = ["--option", "extra-substituters", &url, "--option", "extra-trusted-public-keys", &key];
    let machine = Machine::start(&world, "plain", "").await;
    let (good, output) = machine.realise(&top, &options).await;
    assert!(!good && output.contains("ignoring") && output.contains(&url), "{output}");
    assert!(!machine.has(&top).await);
    let machine = Machine::start(&world, "trusting", "trusted-users = *\n").await;
    let (good, output) = machine.realise(&top, &options).await;
    assert!(good && machine.has(&top).await, "{output}");
}

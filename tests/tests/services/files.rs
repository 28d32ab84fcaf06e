//! The service files and scripts, checked by the programs that will read them: systemd's own checker,
//! systemd-sysusers and -tmpfiles in an empty root, the shell and shellcheck.
//!
//! Any text on standard error is a failure, because systemd only warns about unknown settings. Without
//! systemd or shellcheck, the tests fail; `scripts/test` installs both.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on stops")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

pub(super) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn files(folder: &str, keep: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(repository().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file() && keep(path.file_name().unwrap().to_str().unwrap()))
        .collect();
    found.sort();
    assert!(!found.is_empty(), "nothing to check in {folder}");
    found
}

/// Runs a command that must succeed without printing to standard error.
fn quiet(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{command:?}: {}\n{text}{errors}", output.status);
    text
}

#[test]
fn systemd_accepts_every_unit_without_a_word() {
    let folder = tempfile::tempdir().unwrap();
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no"]);
    for unit in files("systemd", |name| name.ends_with(".service") || name.ends_with(".timer")) {
        // The programs are not installed on the test machine, but the checker requires them.
        let mut text = fs::read_to_string(&unit).unwrap();
        for program in ["swarm-orchestrator", "swarm-drone", "swarmctl"] {
            text = text.replace(&format!("/usr/bin/{program}"), "/bin/true");
        }
        let copy = folder.path().join(unit.file_name().unwrap());
        fs::write(&copy, text).unwrap();
        verify.arg(copy);
    }
    quiet(&mut verify);
}

/// The exposure of a unit according to `systemd-analyze security`, from 0 (safe) to 10 (exposed), times ten.
fn exposure(unit: &str, threshold: u32) {
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["security", "--offline=true", "--no-pager", &format!("--threshold={threshold}")]);
    let said = analyze.arg(repository().join("systemd").join(unit)).output().unwrap();
    let table = String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success(), "{unit} is more exposed than {threshold}/10:\n{table}");
}

#[test]
fn the_orchestrator_and_the_update_are_shut_in_and_the_drone_as_far_as_portage_allows() {
    exposure("swarm-orchestrator.service", 15);
    exposure("swarm-drone.service", 80);
    exposure("swarm-update@.service", 15);
}

#[test]
fn the_orchestrators_user_and_folders_come_to_be_on_an_empty_root() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    fs::create_dir(root.path().join("usr")).unwrap();
    let root_is = format!("--root={}", root.path().display());
    let made = Command::new("systemd-sysusers")
        .arg(&root_is)
        .arg(repository().join("systemd/build-swarm.sysusers"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let users = fs::read_to_string(root.path().join("etc/passwd")).unwrap();
    assert!(users.contains("build-swarm:"), "{users}");

    if !rustix::process::geteuid().is_root() {
        eprintln!("not checked: only root can give the folders away");
        return;
    }
    let tmpfiles = repository().join("systemd/build-swarm.tmpfiles");
    quiet(Command::new("systemd-tmpfiles").args([&root_is, "--create"]).arg(tmpfiles));
    for folder in [
        "etc/build-swarm",
        "var/lib/build-swarm",
        "var/lib/swarm-drone",
        "var/cache/swarm-drone",
        "var/log/build-swarm",
    ] {
        assert!(root.path().join(folder).is_dir(), "{folder} was not made");
    }
}

#[test]
fn each_service_has_a_unit_and_an_openrc_script_that_start_it_alike() {
    for program in ["swarm-orchestrator", "swarm-drone"] {
        let unit = fs::read_to_string(repository().join(format!("systemd/{program}.service"))).unwrap();
        let script = fs::read_to_string(repository().join(format!("openrc/{program}"))).unwrap();
        let config = format!("/etc/build-swarm/{}.toml", program.trim_start_matches("swarm-"));
        for text in [&unit, &script] {
            assert!(text.contains(&format!("/usr/bin/{program}")), "{program}: the program is missing");
            assert!(text.contains(&config), "{program}: {config} is missing");
            assert!(text.contains("--check-config"), "{program}: the configuration is not checked first");
        }
    }
}

// fault: 66
#[test]
fn neither_systemd_nor_openrc_gives_up_a_service_for_a_condition_that_passes() {
    for (program, finals) in [("swarm-orchestrator", "75 78"), ("swarm-drone", "75 77 78")] {
        let unit = fs::read_to_string(repository().join(format!("systemd/{program}.service"))).unwrap();
        let script = fs::read_to_string(repository().join(format!("openrc/{program}"))).unwrap();
        let has = |line: &str| assert!(unit.lines().any(|is| is == line), "{program}: {line} is missing");
        has("Restart=on-failure");
        has("StartLimitIntervalSec=0");
        has(&format!("RestartPreventExitStatus={finals}"));
        assert!(script.lines().any(|line| line == ": \"${respawn_max:=0}\""), "{program}");
    }
}

#[test]
fn the_shell_reads_every_script() {
    for script in files("openrc", |_| true) {
        quiet(Command::new("sh").arg("-n").arg(script));
    }
    for script in files("scripts", |_| true) {
        quiet(Command::new("bash").arg("-n").arg(script));
    }
}

#[test]
fn shellcheck_finds_nothing_in_any_script() {
    let mut check = Command::new("shellcheck");
    check.args(files("openrc", |name| !name.ends_with(".confd")));
    check.args(files("scripts", |_| true));
    check.args([".ci/run", "fuzz/rustc"].map(|script| repository().join(script)));
    quiet(&mut check);
}

/// All files below a folder, with their paths from there.
fn below(folder: &Path) -> Vec<String> {
    let listed =
        Command::new("find").args([".", "-type", "f", "-printf", "%P\\n"]).current_dir(folder).output();
    let mut names: Vec<_> =
        String::from_utf8(listed.unwrap().stdout).unwrap().lines().map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
fn what_is_installed_below_another_root_works_there_and_is_removed_again() {
    let root = tempfile::tempdir().unwrap();
    let programs = swarm_tests::e2e::programs::program("swarmctl").unwrap().parent().unwrap().to_owned();
    let install = |arguments: &[&str]| {
        let mut command = Command::new(repository().join("scripts/install"));
        command.env("DESTDIR", root.path()).env("PROGRAMS", &programs).env("OPENRC", "yes");
        quiet(command.args(arguments));
    };
    let at = |path: &str| root.path().join(path);
    install(&[]);
    for unit in files("systemd", |name| name.ends_with(".service") || name.ends_with(".timer")) {
        let name = unit.file_name().unwrap();
        assert!(at("usr/lib/systemd/system").join(name).exists(), "{unit:?}");
    }
    for script in ["etc/init.d/swarm-drone", "etc/conf.d/swarm-drone", "etc/init.d/swarm-orchestrator"] {
        assert!(at(script).exists(), "{script}");
    }
    let root_is = format!("--root={}", root.path().display());
    let made = Command::new("systemd-sysusers").arg(&root_is).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    assert!(fs::read_to_string(at("etc/passwd")).unwrap().contains("build-swarm:"));

    let completion = at("usr/share/bash-completion/completions/swarmctl");
    let load = format!("source {}; complete -p swarmctl", completion.display());
    assert!(quiet(Command::new("bash").args(["-c", &load])).contains("swarmctl"));
    let zsh = fs::read_to_string(at("usr/share/zsh/site-functions/_swarmctl")).unwrap();
    assert!(zsh.starts_with("#compdef swarmctl"), "{zsh}");
    assert!(at("usr/share/fish/vendor_completions.d/swarmctl.fish").exists());
    for page in ["man1/swarmctl-run-start.1", "man5/drone.toml.5", "man8/swarm-orchestrator.8"] {
        assert!(at("usr/share/man").join(page).exists(), "{page}");
    }
    let version = quiet(Command::new(at("usr/bin/swarmctl")).arg("--version"));
    assert!(version.starts_with("swarmctl "), "{version}");

    // What an admin changed stays.
    fs::write(at("etc/conf.d/swarm-drone"), "log_dir=/x\n").unwrap();
    install(&[]);
    assert_eq!(fs::read_to_string(at("etc/conf.d/swarm-drone")).unwrap(), "log_dir=/x\n");
    install(&["--remove"]);
    let left = below(root.path());
    let of_ours =
        |name: &&String| ["usr/", "etc/init.d/", "etc/conf.d/"].iter().any(|top| name.starts_with(top));
    assert_eq!(left.iter().filter(of_ours).collect::<Vec<_>>(), ["etc/conf.d/swarm-drone"]);
}

#[test]
fn the_ebuild_names_only_files_that_exist_and_installs_all_services() {
    let overlay = repository().join("gentoo");
    let ebuilds: Vec<_> = below(&overlay).into_iter().filter(|name| name.ends_with(".ebuild")).collect();
    assert_eq!(ebuilds.len(), 3, "{ebuilds:?}");
    for ebuild in &ebuilds {
        quiet(Command::new("bash").arg("-n").arg(overlay.join(ebuild)));
        assert!(overlay.join(ebuild).parent().unwrap().join("metadata.xml").exists(), "{ebuild}");
    }
    let ebuild = fs::read_to_string(overlay.join("app-portage/build-swarm/build-swarm-9999.ebuild")).unwrap();
    let install = ebuild.split("\nsrc_install() {").nth(1).unwrap().split("\n}").next().unwrap();
    let mut named = Vec::new();
    for service in ["swarm-orchestrator", "swarm-drone"] {
        let words = install.replace("${service}", service).replace('"', "");
        let of_ours = |word: &&str| {
            let folders =
                ["openrc/", "systemd/", "scripts/", "docs/", "examples/", "orchestrator/", "drone/"];
            folders.iter().any(|folder| word.starts_with(folder))
        };
        named.extend(words.split_whitespace().filter(of_ours).map(str::to_owned));
    }
    for name in &named {
        assert!(repository().join(name).exists(), "{name}");
    }
    for service in
        files("systemd", |name| !name.ends_with(".sysusers")).iter().chain(&files("openrc", |_| true))
    {
        let name = service.strip_prefix(repository()).unwrap().to_str().unwrap();
        assert!(named.iter().any(|known| known == name), "{name} is not installed");
    }
    // What a package writes for the user does not differ from what systemd-sysusers makes.
    let user = fs::read_to_string(overlay.join("acct-user/build-swarm/build-swarm-0.ebuild")).unwrap();
    let sysusers = fs::read_to_string(repository().join("systemd/build-swarm.sysusers")).unwrap();
    let home = user.lines().find_map(|line| line.strip_prefix("ACCT_USER_HOME=")).unwrap();
    assert!(sysusers.contains(home), "{home}");
}

//! The installation in the handbook, followed literally: its commands are read from the page and run on three
//! machines that have the programs and nothing else of the project.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on stops")]

use super::files::repository;
use std::fs;
use swarm_tests::{
    e2e::{base::install_portage, programs::portage, wait},
    services::{
        machine::{Init, Machine},
        swarm::SOON,
    },
};

/// A section of the handbook.
struct Section(String);

impl Section {
    fn of(page: &str, heading: &str) -> Self {
        let after = page.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading:?}")).1;
        Self(after.split("\n#").next().unwrap_or_default().to_owned())
    }

    /// The lines of its command blocks.
    fn commands(&self) -> Vec<&str> {
        let commands: Vec<_> = self.0.lines().filter_map(|line| line.strip_prefix("    ")).collect();
        assert!(!commands.is_empty(), "{}", self.0);
        commands
    }

    /// A command that is quoted in a sentence.
    fn inline<'c>(&self, command: &'c str) -> &'c str {
        let sentence = self.0.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(sentence.contains(&format!("`{command}`")), "the page no longer says `{command}`");
        command
    }
}

/// A new machine with this name.
fn machine(name: &str) -> Machine {
    let machine = Machine::bare(Init::Systemd).unwrap();
    machine.must(&["hostname", name]).unwrap();
    machine
}

/// Runs a line as root in the project's folder, and returns its output. `edits` are the lines of a file that
/// a person replaces when the command opens an editor.
fn follow(on: &Machine, line: &str, edits: &[(&str, &str)]) -> String {
    let mut editor = "set -e\n".to_owned();
    for (old, new) in edits {
        // A setting that is missing in the file, or has another name there, must not go unnoticed.
        editor += &format!("grep -q '^{old}' \"$1\"\nsed -i 's|^{old}.*|{new}|' \"$1\"\n");
    }
    on.write("/root/editor", &editor).unwrap();
    // Otherwise a Portage installed by pip would use its own prefix as Gentoo's.
    let environment = "export EDITOR='sh /root/editor' PORTAGE_OVERRIDE_EPREFIX=";
    let shell = format!("cd /srv/build-swarm && {environment}\n{line}");
    on.must(&["bash", "-e", "-c", &shell]).unwrap()
}

#[test]
fn its_installation_leads_from_three_bare_machines_to_an_installed_package() {
    let page = fs::read_to_string(repository().join("docs/handbook.md")).unwrap();
    let (nas, oak, desk) = (machine("nas"), machine("oak"), machine("desk"));
    for (n, other) in [(1, &oak), (2, &desk)] {
        let [here, there] = [1, 2].map(|host| format!("10.99.{n}.{host}"));
        nas.link(&here, other, &there).unwrap();
        other.write("/etc/hosts", &format!("127.0.0.1 localhost\n{here} nas\n")).unwrap();
    }
    nas.write("/etc/hosts", "127.0.0.1 localhost nas\n").unwrap();

    let orchestrator = Section::of(&page, "### 1. Orchestrator");
    for line in orchestrator.commands() {
        let edits = [
            ("listen = ", r#"listen = "0.0.0.0:8100""#),
            (r"#listen = .0\.0\.0\.0:8143", r#"listen = "0.0.0.0:8143""#),
        ];
        if line.starts_with("$EDITOR") {
            assert!(edits.iter().all(|(_, typed)| line.contains(typed)), "{line}");
        }
        follow(&nas, line, &edits);
    }

    // A Gentoo workstation: Portage with its user, its configuration, a world set and a repository. The only
    // part that this machine lacks is the sandbox program.
    install_portage(&desk.path("/")).unwrap();
    let gentoo = "mkdir -p /var/db/repos /var/lib/portage && cp -r examples/repository /var/db/repos/gentoo\n\
        cd /var/db/repos/gentoo && echo gentoo > profiles/repo_name\n\
        sed -i 's/^repo-name = .*/repo-name = gentoo/' metadata/layout.conf\n\
        cp -r /srv/build-swarm/examples/desktop/etc/portage /etc/ && echo app-text/banner > /var/lib/portage/world\n\
        ln -s $PWD/profiles/example/amd64 /etc/portage/make.profile\n\
        echo 'FEATURES=\"-sandbox -usersandbox -news\"' >> /etc/portage/make.conf\n\
        groupadd --system portage && useradd --system --gid portage --home-dir /var/tmp/portage portage";
    follow(&desk, gentoo, &[]);
    let token = nas.read("/var/lib/build-swarm/admin.token");
    desk.write("/root/admin.token", &token).unwrap();
    desk.must(&["chmod", "600", "/root/admin.token"]).unwrap();
    let log = nas.must(&["journalctl", "--no-pager", "--output=cat", "-u", "swarm-orchestrator"]).unwrap();
    let login = log.lines().find_map(|line| line.split_once("log in with: ")).unwrap().1;
    follow(&desk, &login.replace("/var/lib/build-swarm/admin.token", "/root/admin.token"), &[]);
    for line in Section::of(&page, "### 2. Profile").commands() {
        follow(&desk, line, &[]);
    }

    let drone = Section::of(&page, "### 3. Drone");
    let token = drone.inline("swarmctl drone token > token");
    let output = follow(&nas, &format!("cd /root\n{{ {token}; }} 2>&1"), &[]);
    let setting = |name: &str| {
        let line = output.lines().map(str::trim).find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("no {name} in {output}")).to_owned()
    };
    let (orchestrators, fingerprint) = (setting("orchestrators = "), setting("fingerprint = "));
    // It builds in its own `/`, which is a Debian, and so needs Portage: see the handbook's table.
    let prefix = format!("portage_prefix = \"{}\"", portage().unwrap().display());
    oak.write("/root/token", &nas.read("/root/token")).unwrap();
    oak.must(&["cp", "-r", "/srv/build-swarm/systemd", "/srv/build-swarm/drone", "/root/"]).unwrap();
    for line in drone.commands() {
        let edits = [
            ("orchestrators = ", &*orchestrators),
            ("#fingerprint = ", &*fingerprint),
            ("#token_file = ", r#"token_file = "/etc/build-swarm/enrol-token""#),
            ("#portage_prefix = ", &*prefix),
        ];
        follow(&oak, &format!("cd /root && {line}"), &edits);
    }
    let approve = drone.inline("swarmctl drone approve oak");
    wait::until("the drone asks to be approved", SOON, || {
        Ok(nas.run(&["sh", "-c", approve])?.status.success().then_some(()))
    })
    .unwrap();

    let first = Section::of(&page, "### 4. First run");
    let wait = first.inline("swarmctl run start desk --wait");
    let output = follow(&desk, &format!("{{ {wait}; }} 2>&1"), &[]);
    assert!(output.contains("succeeded"), "{output}");

    let workstation = Section::of(&page, "### 5. Workstation");
    let pasted =
        follow(&desk, workstation.inline("swarmctl client setup desk --address http://nas:8100"), &[]);
    follow(&desk, &pasted, &[]);
    for line in workstation.commands() {
        follow(&desk, line, &[]);
    }
    // Debian's linker does not search this directory by default.
    follow(&desk, "LD_LIBRARY_PATH=/usr/lib64 banner 42", &[]);

    let schedule = Section::of(&page, "### 6. Schedule");
    follow(&nas, schedule.inline(r#"swarmctl schedule set desk "30 3 * * *" --zone Europe/Berlin"#), &[]);
    let listed = follow(&nas, schedule.inline("swarmctl schedule list"), &[]);
    assert!(listed.contains("desk") && listed.contains("Europe/Berlin"), "{listed}");
}

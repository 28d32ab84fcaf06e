//! Prepares a control group that was delegated to the drone (version 2, `Delegate=` of systemd).
//!
//! A group can only limit its child groups while it has no processes itself (cgroup-v2, "no internal
//! processes"). So the drone moves itself to a child group, and the groups of its builds become siblings of
//! that group. With OpenRC, the service script has already done this for the drone and for the
//! supervise-daemon that started it.

use super::cgroup::{OWN, unified};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Controllers enabled for the groups of builds, if available.
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];
/// Maximum number of rounds of moving processes, because a process may fork meanwhile.
const ROUNDS: u32 = 16;

/// Prepares the group of this process for limits, if it was delegated to the drone. Otherwise builds run
/// without limits, which [`super::group`] logs.
pub fn take_over() {
    for group in unified() {
        if !is_ours(&group, std::process::id()) {
            continue;
        }
        if let Err(error) = hand_on(&group) {
            tracing::warn!(group = %group.display(), %error, "cannot limit builds with this control group");
        }
    }
}

/// Whether the group belongs exclusively to the drone, whose process is `drone`: the group is marked as
/// delegated, or the drone is its only member, or it has no members and the drone is already in the child
/// group.
fn is_ours(group: &Path, drone: u32) -> bool {
    let delegated = ["user.delegate", "trusted.delegate"].iter().any(|name| {
        let mut value = [0; 8];
        rustix::fs::getxattr(group, *name, &mut value[..]).is_ok_and(|n| value[..n] == *b"1")
    });
    let drone = drone.to_string();
    let is_inside = || members(&group.join(OWN)).is_ok_and(|members| members.contains(&drone));
    delegated
        || members(group)
            .is_ok_and(|members| if members.is_empty() { is_inside() } else { members == [drone.as_str()] })
}

/// Moves the members of a group to a child group and enables the controllers for child groups.
fn hand_on(group: &Path) -> io::Result<PathBuf> {
    let own = group.join(OWN);
    match fs::create_dir(&own) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    for _ in 0..ROUNDS {
        let members = members(group)?;
        if members.is_empty() {
            break;
        }
        for member in members {
            match fs::write(own.join("cgroup.procs"), member) {
                // The process ended meanwhile.
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {}
                other => other?,
            }
        }
    }
    let available = fs::read_to_string(group.join("cgroup.controllers"))?;
    for controller in available.split_whitespace().filter(|c| CONTROLLERS.contains(c)) {
        fs::write(group.join("cgroup.subtree_control"), format!("+{controller}"))?;
    }
    Ok(own)
}

fn members(group: &Path) -> io::Result<Vec<String>> {
    Ok(fs::read_to_string(group.join("cgroup.procs"))?.lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
    use std::process::{Child, Command};

    /// A mounted version 2 hierarchy with a group for the test, and processes to move.
    struct Tree {
        root: tempfile::TempDir,
        name: &'static str,
        children: Vec<Child>,
    }

    impl Tree {
        fn new(name: &'static str, children: usize) -> Self {
            let root = tempfile::tempdir().unwrap();
            mount("none", root.path(), "cgroup2", MountFlags::empty(), None).expect("needs root and cgroup2");
            let children = (0..children).map(|_| Command::new("sleep").arg("600").spawn().unwrap());
            let tree = Self { root, name, children: children.collect() };
            fs::create_dir(tree.group()).unwrap();
            tree
        }

        fn group(&self) -> PathBuf {
            self.root.path().join(format!("swarm-test-{}-{}", std::process::id(), self.name))
        }

        /// Moves a process to a group.
        fn put(&self, child: usize, group: &Path) {
            fs::write(group.join("cgroup.procs"), self.children[child].id().to_string()).unwrap();
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            for child in &mut self.children {
                let _ = child.kill();
                let _ = child.wait();
            }
            for below in ["build", OWN, ""] {
                let _ = fs::remove_dir(self.group().join(below));
            }
            let _ = unmount(self.root.path(), UnmountFlags::DETACH);
        }
    }

    #[test]
    fn a_group_is_taken_only_if_nobody_else_is_in_it() {
        let tree = Tree::new("taken", 2);
        let (group, drone) = (tree.group(), tree.children[0].id());
        assert!(!is_ours(&group, drone), "the drone is elsewhere");
        tree.put(0, &group);
        assert!(is_ours(&group, drone));
        tree.put(1, &group);
        assert!(!is_ours(&group, drone), "a second member");
        // As OpenRC's service script does for supervise-daemon and the drone.
        let own = group.join(OWN);
        fs::create_dir(&own).unwrap();
        tree.put(0, &own);
        assert!(!is_ours(&group, drone), "the second member is still there");
        tree.put(1, &own);
        assert!(is_ours(&group, drone));
        assert!(!is_ours(&group, std::process::id()), "of another drone");
        hand_on(&group).unwrap();
        assert_eq!(members(&own).unwrap().len(), 2);
    }

    #[test]
    fn a_group_that_was_given_hands_all_it_has_on_to_groups_of_builds() {
        let tree = Tree::new("given", 1);
        let group = tree.group();
        let pid = tree.children[0].id().to_string();
        tree.put(0, &group);

        let own = hand_on(&group).unwrap();

        assert_eq!(members(&own).unwrap().join(" "), pid);
        let read = |file: &str| fs::read_to_string(group.join(file)).unwrap();
        let controllers = |text: String| -> Vec<String> {
            let words = text.split_whitespace().map(str::to_owned);
            words.filter(|c| CONTROLLERS.contains(&c.as_str())).collect()
        };
        assert_eq!(controllers(read("cgroup.subtree_control")), controllers(read("cgroup.controllers")));
        // As the first process of a build does.
        fs::create_dir(group.join("build")).unwrap();
        fs::write(group.join("build/cgroup.procs"), &pid).unwrap();
        assert_eq!(members(&group.join("build")).unwrap().join(" "), pid);
        let limits = read("cgroup.controllers").contains("memory");
        assert_eq!(group.join("build/memory.max").exists(), limits);
    }
}

//! Reads the process table from `/proc`, as far as needed to find and account for the processes of a
//! build. A process that vanishes while it is read is skipped.

use rustix::process::Pid;
use std::{collections::HashSet, fs, path::Path};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub pid: i32,
    pub parent: i32,
    pub group: i32,
    pub session: i32,
    /// The process is dead but was not reaped yet.
    pub zombie: bool,
    /// User and system time of the process and of children that it waited for, in clock ticks.
    pub ticks: u64,
    pub pages: u64,
}

impl Entry {
    /// The process ID as a signal target. Never 0, 1 or negative, because 0 and negative IDs mean groups.
    pub fn id(&self) -> Option<Pid> {
        Pid::from_raw(self.pid).filter(|_| self.pid > 1)
    }
}

pub(super) fn all() -> Vec<Entry> {
    let Ok(dir) = fs::read_dir("/proc") else { return Vec::new() };
    dir.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).filter_map(one).collect()
}

pub(super) fn one(pid: i32) -> Option<Entry> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Parses `/proc/PID/stat` (see proc_pid_stat(5)). The command name may contain brackets, so fields are
/// counted from the last closing bracket.
fn parse(pid: i32, stat: &str) -> Option<Entry> {
    let fields: Vec<&str> = stat.get(stat.rfind(')')? + 1..)?.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let id = |at: usize| fields.get(at)?.parse::<i32>().ok();
    Some(Entry {
        pid,
        zombie: matches!(*fields.first()?, "Z" | "X"),
        parent: id(1)?,
        group: id(2)?,
        session: id(3)?,
        ticks: number(11)? + number(12)? + number(13)? + number(14)?,
        pages: number(21)?,
    })
}

/// Whether the initial environment of a process contains exactly this entry.
pub(super) fn has_mark(pid: i32, mark: &[u8]) -> bool {
    fs::read(Path::new("/proc").join(pid.to_string()).join("environ"))
        .is_ok_and(|bytes| bytes.split(|b| *b == 0).any(|entry| entry == mark))
}

/// Finds the processes of a job: members of the process group and session of `leader`, processes with
/// `mark` in their environment, and all descendants of these.
pub(super) fn family(leader: i32, mark: &[u8]) -> Vec<Entry> {
    let all = all();
    let mut pids: HashSet<i32> = all
        .iter()
        .filter(|e| leader > 1 && (e.group == leader || e.session == leader))
        .map(|e| e.pid)
        .collect();
    pids.extend(all.iter().filter(|e| has_mark(e.pid, mark)).map(|e| e.pid));
    loop {
        let before = pids.len();
        let children: Vec<i32> = all.iter().filter(|e| pids.contains(&e.parent)).map(|e| e.pid).collect();
        pids.extend(children);
        if pids.len() == before {
            break;
        }
    }
    // Never include this process itself.
    let own = std::process::id();
    all.into_iter().filter(|e| pids.contains(&e.pid) && u32::try_from(e.pid) != Ok(own)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let stat = "42 (a) b (c)) S 7 40 39 0 -1 4194304 1 2 3 4 10 20 30 40 20 0 1 0 99 1000 5 0";
        let entry = parse(42, stat).unwrap();
        assert_eq!((entry.parent, entry.group, entry.session), (7, 40, 39));
        assert_eq!((entry.ticks, entry.pages, entry.zombie), (100, 5, false));
    }

    #[test]
    fn this_process_is_in_the_table() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(all().iter().any(|e| e.pid == own && !e.zombie && e.pages > 0));
    }
}

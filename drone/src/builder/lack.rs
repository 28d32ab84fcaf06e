//! What a machine lacked when a build failed: memory, room on the disk, or a tool.
//!
//! These are told apart from every other failure, because another machine, or the same
//! one later, builds the same package. The kernel's word on memory comes from the control
//! group; everything else is read from what programs print, in the words of the C library,
//! the shell and the common build tools. Only what no healthy build prints is taken: a
//! configure script may well look for a compiler that is not there.

use swarm_common::state::FailureCause;

/// What programs say when the kernel gives them no more memory or kills their children.
const MEMORY: [&str; 9] = [
    "Cannot allocate memory",
    "virtual memory exhausted",
    "memory exhausted",
    "out of memory allocating",
    "LLVM ERROR: out of memory",
    "std::bad_alloc",
    "Killed signal terminated program",
    "signal: 9, SIGKILL",
    "] Killed",
];
const DISK: [&str; 3] = ["No space left on device", "Disk quota exceeded", "StorageFull"];
/// What build systems say that found no compiler at all.
const COMPILER: [&str; 6] = [
    "no acceptable C compiler",
    "C compiler cannot create executables",
    "No CMAKE_C_COMPILER could be found",
    "No CMAKE_CXX_COMPILER could be found",
    "Unknown compiler(s)",
    "the compiler cannot be run",
];
/// Programs without which nothing builds.
const TOOLS: [&str; 15] = [
    "cc", "c++", "gcc", "g++", "clang", "clang++", "ld", "as", "ar", "ranlib", "make", "patch", "tar",
    "zstd", "gtar",
];
/// How a shell, `make` and the C library say that a program is not there.
const ABSENT: [&str; 3] = [": command not found", ": not found", ": No such file or directory"];

/// What was lacking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lack {
    /// Of which kind.
    pub cause: FailureCause,
    detail: String,
}

impl Lack {
    /// A lack of memory. `certain` says that the kernel's own count of it shows it, not
    /// only that a process was killed.
    pub fn of_memory(certain: bool) -> Self {
        let detail = if certain { "the kernel killed" } else { "something, most likely the kernel, killed" };
        Self { cause: FailureCause::OutOfMemory, detail: format!("{detail} a process of the build") }
    }

    /// What this line of a failed build tells of.
    pub fn in_line(line: &str) -> Option<Self> {
        let has = |any: &[&str]| any.iter().any(|text| line.contains(text));
        let lack = |cause, detail: &str| Some(Self { cause, detail: detail.to_owned() });
        if has(&DISK) {
            return lack(FailureCause::DiskFull, "");
        }
        if has(&MEMORY) {
            return lack(FailureCause::OutOfMemory, "a process of the build got no more");
        }
        if let Some(tool) = absent_tool(line) {
            return lack(FailureCause::MissingToolchain, tool);
        }
        if has(&COMPILER) {
            return lack(FailureCause::MissingToolchain, "compiler");
        }
        None
    }

    /// A line for people, the same on every machine but for the numbers.
    pub fn words(&self, peak_memory_bytes: Option<u64>) -> String {
        match self.cause {
            FailureCause::OutOfMemory => {
                let peak = peak_memory_bytes.map(|bytes| format!(" (peak {} MiB)", bytes >> 20));
                format!("out of memory: {}{}", self.detail, peak.unwrap_or_default())
            }
            FailureCause::DiskFull => "disk full: no space is left where the drone builds".into(),
            FailureCause::MissingToolchain => {
                format!("missing toolchain: the drone has no working {}", self.detail)
            }
            // Told by what Portage says of the file ([`super::fetch`]), and by the orchestrator.
            FailureCause::SourceMissing | FailureCause::SourceMismatch | FailureCause::SonameMissing => {
                self.detail.clone()
            }
        }
    }
}

/// The tool that the line says is not there. A cross prefix is not part of its name.
fn absent_tool(line: &str) -> Option<&str> {
    let before = ABSENT.iter().find_map(|end| line.trim_end().strip_suffix(end))?;
    let name = before.rsplit([':', ' ']).next()?.trim_matches(['\'', '"', '‘', '’', '`']);
    let name = name.rsplit('/').next()?;
    let tool = name.rsplit_once("linux-gnu-").or(name.rsplit_once("linux-musl-")).map_or(name, |(_, t)| t);
    TOOLS.contains(&tool).then_some(tool)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lack_is_told_from_the_words_of_the_tools_that_meet_it() {
        for (line, expected) in [
            ("/usr/bin/ld: final link failed: No space left on device", Some(FailureCause::DiskFull)),
            ("OSError: [Errno 28] No space left on device: '/x'", Some(FailureCause::DiskFull)),
            ("gcc: fatal error: Killed signal terminated program cc1", Some(FailureCause::OutOfMemory)),
            ("cc1: out of memory allocating 65536 bytes", Some(FailureCause::OutOfMemory)),
            ("/x/environment: line 4: cc: command not found", Some(FailureCause::MissingToolchain)),
            ("make: gcc: No such file or directory", Some(FailureCause::MissingToolchain)),
            ("env: ‘make’: No such file or directory", Some(FailureCause::MissingToolchain)),
            ("sh: 1: x86_64-pc-linux-gnu-g++: not found", Some(FailureCause::MissingToolchain)),
            ("configure: error: no acceptable C compiler found", Some(FailureCause::MissingToolchain)),
            ("/x/environment: line 4: frobnicate: command not found", None),
            ("x.c:1:10: fatal error: as.h: No such file or directory", None),
            ("checking for gcc... no", None),
            ("x.c:1:1: error: no", None),
        ] {
            assert_eq!(Lack::in_line(line).map(|l| l.cause), expected, "{line}");
        }
    }

    #[test]
    fn the_tool_is_named_without_its_prefix_and_path() {
        let words = |line| Lack::in_line(line).unwrap().words(None);
        let plain = words("environment: line 9: gcc: command not found");
        assert_eq!(plain, "missing toolchain: the drone has no working gcc");
        assert_eq!(words("make: /usr/bin/x86_64-pc-linux-gnu-gcc: No such file or directory"), plain);
    }
}

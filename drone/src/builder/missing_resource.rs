//! Recognises a resource that was missing when a build failed: memory, disk space or a tool.
//!
//! These failures are reported separately because another machine, or the same one later, can build the same
//! package. Out-of-memory kills are reported by the control group; everything else is read from the messages
//! of the C library, the shell and common build tools. Only messages that no successful build prints count: a
//! configure script may look for a compiler that does not exist and continue.

use crate::process::Excess;
use swarm_common::state::FailureCause;

/// Messages about failed allocations and killed child processes.
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
/// Used for errors in the build's output and for the drone's own measurement, because it depends on chance
/// which comes first.
const DISK_FULL: &str = "too little space is left where the drone builds";
/// Messages of build systems that found no working compiler.
const COMPILER: [&str; 6] = [
    "no acceptable C compiler",
    "C compiler cannot create executables",
    "No CMAKE_C_COMPILER could be found",
    "No CMAKE_CXX_COMPILER could be found",
    "Unknown compiler(s)",
    "the compiler cannot be run",
];
/// Tools that every build needs.
const TOOLS: [&str; 15] = [
    "cc", "c++", "gcc", "g++", "clang", "clang++", "ld", "as", "ar", "ranlib", "make", "patch", "tar",
    "zstd", "gtar",
];
/// How a shell, `make` and the C library report a missing program.
const ABSENT: [&str; 3] = [": command not found", ": not found", ": No such file or directory"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MissingResource {
    pub cause: FailureCause,
    detail: String,
}

impl MissingResource {
    /// Out of memory. If `certain`, the control group's counter shows it; otherwise it is only known that a
    /// process was killed.
    pub fn of_memory(certain: bool) -> Self {
        let detail = if certain { "the kernel killed" } else { "something, most likely the kernel, killed" };
        Self { cause: FailureCause::OutOfMemory, detail: format!("{detail} a process of the build") }
    }

    /// Disk full, as measured by the drone.
    pub fn of_disk(excess: Excess) -> Self {
        let detail = match excess {
            Excess::Taken(bytes) => {
                format!("the build used {} MiB, more than builder.disk_max", bytes >> 20)
            }
            Excess::Left(_) => DISK_FULL.to_owned(),
        };
        Self { cause: FailureCause::DiskFull, detail }
    }

    /// The missing resource that this line of a failed build reports, if any.
    pub fn in_line(line: &str) -> Option<Self> {
        let has = |any: &[&str]| any.iter().any(|text| line.contains(text));
        let missing = |cause, detail: &str| Some(Self { cause, detail: detail.to_owned() });
        if has(&DISK) {
            return missing(FailureCause::DiskFull, DISK_FULL);
        }
        // Counts only as a whole line, the last one of a Python traceback: test output also contains the
        // word.
        if has(&MEMORY) || line.trim_end() == "MemoryError" {
            return missing(FailureCause::OutOfMemory, "a process of the build could not allocate memory");
        }
        if let Some(tool) = absent_tool(line) {
            return missing(FailureCause::MissingToolchain, tool);
        }
        if has(&COMPILER) {
            return missing(FailureCause::MissingToolchain, "compiler");
        }
        None
    }

    /// Describes the failure in one line, the same on every machine except for the numbers.
    pub fn describe(&self, peak_memory_bytes: Option<u64>) -> String {
        match self.cause {
            FailureCause::OutOfMemory => {
                let peak = peak_memory_bytes.map(|bytes| format!(" (peak {} MiB)", bytes >> 20));
                format!("out of memory: {}{}", self.detail, peak.unwrap_or_default())
            }
            FailureCause::DiskFull => format!("disk full: {}", self.detail),
            FailureCause::MissingToolchain => {
                format!("missing toolchain: the drone has no working {}", self.detail)
            }
            // These are derived from messages about downloads, or found by the orchestrator.
            FailureCause::SourceMissing | FailureCause::SourceMismatch | FailureCause::SonameMissing => {
                self.detail.clone()
            }
        }
    }
}

/// The tool that the line reports as missing, without a cross-compilation prefix.
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
            ("MemoryError", Some(FailureCause::OutOfMemory)),
            ("test_memory.py::test_MemoryError PASSED", None),
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
            assert_eq!(MissingResource::in_line(line).map(|l| l.cause), expected, "{line}");
        }
    }

    #[test]
    fn a_full_disk_has_the_same_words_whoever_notices_it() {
        let in_log = MissingResource::in_line("cp: error writing 'x': No space left on device");
        assert_eq!(Some(MissingResource::of_disk(Excess::Left(9 << 20))), in_log);
        assert_ne!(Some(MissingResource::of_disk(Excess::Taken(9 << 20))), in_log);
    }

    #[test]
    fn the_tool_is_named_without_its_prefix_and_path() {
        let describe = |line| MissingResource::in_line(line).unwrap().describe(None);
        let plain = describe("environment: line 9: gcc: command not found");
        assert_eq!(plain, "missing toolchain: the drone has no working gcc");
        assert_eq!(describe("make: /usr/bin/x86_64-pc-linux-gnu-gcc: No such file or directory"), plain);
    }
}

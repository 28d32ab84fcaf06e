//! Load from wrk, and the figures that wrk and the kernel report.

use super::servers::Served;
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Duration of a measurement in seconds.
const SECONDS: &str = "3";

/// Clock ticks per second in `/proc/ID/stat`, the same on every Linux.
const TICKS: f64 = 100.0;

/// Makes wrk request the paths given after `--` in turn, and print its counters in a machine-readable form.
const SCRIPT: &str = r#"
init = function(args)
	local asks = {}
	for n = 1, #args do asks[n] = wrk.format("GET", args[n]) end
	local n = 0
	if #asks > 0 then
		request = function()
			n = n % #asks + 1
			return asks[n]
		end
	end
end
done = function(summary, latency)
	local e = summary.errors
	local errors = e.connect + e.read + e.write + e.status + e.timeout
	print("counted", summary.requests, summary.bytes, summary.duration, latency:percentile(99), errors)
end
"#;

pub(in crate::bench) struct Load {
    script: PathBuf,
}

pub(in crate::bench) struct Measured {
    pub(in crate::bench) requests: f64,
    /// MB (10^6 bytes) per second.
    pub(in crate::bench) megabytes: f64,
    /// 99th percentile of the response time in milliseconds.
    pub(in crate::bench) p99_ms: f64,
    /// The server's CPU microseconds per request.
    pub(in crate::bench) cpu_per_request: f64,
    /// The server's CPU seconds per 10^9 bytes.
    pub(in crate::bench) cpu_per_gb: f64,
}

impl Load {
    /// Writes the script for wrk to a folder.
    ///
    /// # Errors
    /// The disk fails.
    pub(in crate::bench) fn new(folder: &Path) -> Result<Self> {
        let script = folder.join("count.lua");
        fs::write(&script, SCRIPT)?;
        Ok(Self { script })
    }

    /// Requests one file from a server repeatedly.
    ///
    /// # Errors
    /// wrk is missing, or a response was wrong.
    pub(in crate::bench) fn on(&self, server: &Served, url: &str, connections: u16) -> Result<Measured> {
        self.on_each(server, url, &[], connections)
    }

    /// Requests files from a server in turn, given by their paths in its URLs; without any, `url`.
    ///
    /// # Errors
    /// wrk is missing, or a response was wrong.
    pub(in crate::bench) fn on_each(
        &self,
        server: &Served,
        url: &str,
        paths: &[String],
        connections: u16,
    ) -> Result<Measured> {
        let cores = std::thread::available_parallelism()?.get();
        let mut command = Command::new("taskset");
        // Runs on other cores than the server, which has the first one.
        command.args([
            "-c",
            &(cores - 1).to_string(),
            "wrk",
            "-t1",
            "-d",
            SECONDS,
            "-c",
            &connections.to_string(),
        ]);
        let before = cpu_seconds(server.id)?;
        let done = command.arg("-s").arg(&self.script).arg(url).arg("--").args(paths).output();
        let done = done.context("taskset is missing: install util-linux")?;
        let cpu = cpu_seconds(server.id)? - before;
        let stdout = String::from_utf8_lossy(&done.stdout);
        let why = || {
            format!("wrk (apt-get install wrk) on {url}: {stdout}{}", String::from_utf8_lossy(&done.stderr))
        };
        ensure!(done.status.success(), why());
        let line = stdout.lines().find_map(|line| line.strip_prefix("counted\t")).with_context(why)?;
        let counted: Vec<f64> =
            line.split('\t').map(str::parse).collect::<Result<_, _>>().with_context(why)?;
        let [requests, bytes, micros, p99_micros, errors] = counted[..] else { anyhow::bail!(why()) };
        ensure!(errors == 0.0 && requests > 0.0, why());
        let seconds = micros / 1e6;
        Ok(Measured {
            requests: requests / seconds,
            megabytes: bytes / 1e6 / seconds,
            p99_ms: p99_micros / 1e3,
            cpu_per_request: cpu * 1e6 / requests,
            cpu_per_gb: cpu / (bytes / 1e9),
        })
    }
}

/// User and system time of a process so far, in seconds.
fn cpu_seconds(id: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).context("the server is gone")?;
    // The process name may contain spaces; the fields after it do not. utime and stime are fields 14 and 15.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| -> Result<f64> { Ok(fields.get(at).context("a short stat")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) / TICKS)
}

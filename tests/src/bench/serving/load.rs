//! Asking with wrk, and what it and the kernel say about it.

use super::servers::Served;
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Seconds of one measurement.
const SECONDS: &str = "3";

/// Ticks of a second in `/proc/ID/stat`: the same on every Linux, whatever its timer.
const TICKS: f64 = 100.0;

/// Has wrk ask for what is named behind `--`, one after the other, and print what it counted, for a program.
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

/// wrk.
pub(in crate::bench) struct Load {
    script: PathBuf,
}

/// What a server did.
pub(in crate::bench) struct Measured {
    /// Requests in a second.
    pub(in crate::bench) requests: f64,
    /// MB (10^6 bytes) in a second.
    pub(in crate::bench) megabytes: f64,
    /// 99 of 100 answers came within this.
    pub(in crate::bench) p99_ms: f64,
    /// CPU microseconds of the server for a request.
    pub(in crate::bench) cpu_per_request: f64,
    /// CPU seconds of the server for 10^9 bytes.
    pub(in crate::bench) cpu_per_gb: f64,
}

impl Load {
    /// Keeps its script in a folder.
    ///
    /// # Errors
    /// The disk.
    pub(in crate::bench) fn new(folder: &Path) -> Result<Self> {
        let script = folder.join("count.lua");
        fs::write(&script, SCRIPT)?;
        Ok(Self { script })
    }

    /// Asks a server again and again for one file.
    ///
    /// # Errors
    /// wrk is missing, or an answer was wrong.
    pub(in crate::bench) fn on(&self, server: &Served, url: &str, connections: u16) -> Result<Measured> {
        self.on_each(server, url, &[], connections)
    }

    /// Asks a server for these files in turn, by their paths in its URLs; without any, for `url`.
    ///
    /// # Errors
    /// wrk is missing, or an answer was wrong.
    pub(in crate::bench) fn on_each(
        &self,
        server: &Served,
        url: &str,
        paths: &[String],
        connections: u16,
    ) -> Result<Measured> {
        let cores = std::thread::available_parallelism()?.get();
        let mut command = Command::new("taskset");
        // Away from the server, which has the first.
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
        let said = String::from_utf8_lossy(&done.stdout);
        let why =
            || format!("wrk (apt-get install wrk) on {url}: {said}{}", String::from_utf8_lossy(&done.stderr));
        ensure!(done.status.success(), why());
        let line = said.lines().find_map(|line| line.strip_prefix("counted\t")).with_context(why)?;
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

/// User and system time of a process so far.
fn cpu_seconds(id: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).context("the server is gone")?;
    // The name may hold spaces; what follows it does not. utime and stime are fields 14 and 15.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| -> Result<f64> { Ok(fields.get(at).context("a short stat")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) / TICKS)
}

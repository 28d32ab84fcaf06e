//! Sets of derivations that do next to nothing, built by a swarm with one drone and by Nix alone.

use crate::{
    bench::shape::Shape,
    e2e::{
        nix::{NixMachine, seed},
        swarm::Swarm,
        workstation::text,
    },
};
use anyhow::{Result, ensure};
use std::{fmt::Write as _, fs, path::Path, time::Instant};

const PROFILE: &str = "parts";

/// Seconds from `run start` until everything is received.
pub(super) fn farm(shape: &Shape, busy_ms: u32) -> Result<f64> {
    let mut swarm = Swarm::bare()?;
    let source = swarm.path("world");
    write(shape, busy_ms, &source)?;
    let from = source.display().to_string();
    swarm.ctl(&["profile", "add", PROFILE, "--nix", "--from", &from, "--attr", "all"])?;
    swarm.enrol("ada", "")?;
    let began = Instant::now();
    swarm.ctl(&["run", "start", PROFILE, "--wait"])?;
    Ok(began.elapsed().as_secs_f64())
}

/// Seconds that Nix alone takes, building one derivation at a time, also in a sandbox.
pub(super) fn plain(shape: &Shape, busy_ms: u32) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    write(shape, busy_ms, folder.path())?;
    let machine = NixMachine::new("sandbox = true\n")?;
    let began = Instant::now();
    let mut command = machine.command("nix-build");
    command.arg(folder.path()).args(["-A", "all", "--no-out-link", "-j1"]);
    let output = command.output()?;
    let seconds = began.elapsed().as_secs_f64();
    ensure!(output.status.success(), "nix-build failed: {}", text(&output));
    Ok(seconds)
}

/// Writes the expression: each derivation reads its inputs, sleeps for a while and writes one file.
fn write(shape: &Shape, busy_ms: u32, folder: &Path) -> Result<()> {
    seed(folder)?;
    let mut nix = format!(
        "let\n  seed = builtins.path {{ path = ./seed; name = \"seed\"; }};\n  \
         part = name: needs: derivation {{ inherit name needs; system = \"x86_64-linux\"; \
         builder = \"${{seed}}/bin/busybox\";\n    args = [ \"sh\" \"-ec\" \"${{seed}}/bin/busybox usleep {}; \
         for need in $needs; do read -r line < $need; echo $line; done > $out; echo $name >> $out\" ]; }};\n\
         in rec {{\n",
        u64::from(busy_ms) * 1000
    );
    for (n, needs) in shape.needs().iter().enumerate() {
        let needs: String = needs.iter().map(|need| format!(" part{need}")).collect();
        writeln!(nix, "  part{n} = part \"part{n}-1\" [{needs} ];")?;
    }
    let all: String = (0..shape.packages()).map(|n| format!(" part{n}")).collect();
    writeln!(nix, "  all = part \"all-1\" [{all} ];\n}}")?;
    Ok(fs::write(folder.join("default.nix"), nix)?)
}

//! `diff`: shows what changed in the system of a NixOS machine between two generations, by package names, as
//! nvd shows it on the machine itself.

use crate::{
    cache::{Cache, Closure},
    cmd::channel::Channel,
    failure::Failure,
    output::{
        Paint, Tone,
        text::{clean, count, size},
    },
    session::Session,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use swarm_common::{
    name::Name,
    wire::{nix::NixTarget, ready::Ready},
};

/// Output names that can end the name of a store path. The default output has no such suffix.
const OUTPUTS: [&str; 14] = [
    "bin", "data", "debug", "dev", "devdoc", "dist", "doc", "info", "lib", "man", "modules", "out", "static",
    "terminfo",
];

/// Arguments of `diff`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  swarmctl diff home desk
  swarmctl diff home desk --from 12
  swarmctl diff home desk --from 12 --to 15 --json
  swarmctl diff home desk --channel staging        for a machine that tries updates first")]
pub struct Args {
    /// Name of the profile
    profile: Name,
    /// Name of the host
    host: String,
    /// Old generation [default: the last one with another system]
    #[arg(long, value_name = "GENERATION")]
    from: Option<u64>,
    /// New generation [default: the newest]
    #[arg(long, value_name = "GENERATION")]
    to: Option<u64>,
    /// Channel whose generations are compared
    #[arg(long, value_name = "CHANNEL", default_value = "stable")]
    channel: Channel,
}

/// The difference between two systems.
#[derive(Debug, Serialize)]
struct Difference {
    host: String,
    from: System,
    to: System,
    /// Packages that only the newer system has.
    added: Vec<Package>,
    /// Packages that only the older system has.
    removed: Vec<Package>,
    /// Packages with other versions.
    changed: Vec<Change>,
    /// Packages of the same version that were built again.
    rebuilt: Vec<String>,
}

#[derive(Debug, Serialize)]
struct System {
    generation: u64,
    path: String,
    paths: usize,
    bytes: u64,
    /// Number of paths that other caches have. Their own references are not compared.
    from_other_caches: usize,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Package {
    name: String,
    versions: Vec<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Change {
    name: String,
    from: Vec<String>,
    to: Vec<String>,
}

/// Shows the difference.
///
/// # Errors
/// A generation is not kept, the profile is not one of Nix, or the orchestrator did not answer.
pub async fn run(session: &Session, args: Args) -> Result<(), Failure> {
    let cache = Cache::open(session.client()?, &args.profile, args.channel.into()).await?;
    let to = match args.to {
        Some(number) => at(&cache, &args.host, number).await?,
        None => cache.ready(&args.host).await?.ok_or_else(|| super::ready::none(&cache, &args.host))?,
    };
    let from = match args.from {
        Some(number) => at(&cache, &args.host, number).await?,
        None => before(&cache, &to).await?,
    };
    let old = cache.closure(&from.path).await?;
    let new = if from.path == to.path { None } else { Some(cache.closure(&to.path).await?) };
    let difference = compare((&from, &old), (&to, new.as_ref().unwrap_or(&old)));
    session.output.show(&difference, |paint| render(&difference, paint))
}

async fn at(cache: &Cache, host: &str, generation: u64) -> Result<Ready, Failure> {
    cache.ready_at(host, generation).await?.ok_or_else(|| {
        Failure::Failed(format!(
            "generation {generation}{} has no system of {host} or is no longer kept; see `swarmctl channel show {}`",
            cache.within(),
            cache.profile.name
        ))
    })
}

/// The newest earlier system that differs from `newer`.
async fn before(cache: &Cache, newer: &Ready) -> Result<Ready, Failure> {
    // A system keeps the number of the generation in which it was first published.
    for number in cache.generations().await?.into_iter().filter(|number| *number < newer.generation) {
        let older = cache.ready_at(&newer.host, number).await?;
        if let Some(older) = older.filter(|older| older.path != newer.path) {
            return Ok(older);
        }
    }
    Err(Failure::Failed(format!(
        "no earlier generation than {} with another system of {} is kept; pass --from GENERATION",
        newer.generation, newer.host
    )))
}

/// Versions of each package by name, each with its paths.
type Packages = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

fn packages(closure: &Closure) -> Packages {
    let mut all = Packages::new();
    for path in closure.paths.keys() {
        let (name, version) = split(path.name());
        all.entry(name).or_default().entry(version).or_default().insert(path.to_string());
    }
    all
}

/// The name and version of a package. The suffix of an output is removed.
fn split(name: &str) -> (String, String) {
    let stem = name.rsplit_once('-').filter(|(_, end)| OUTPUTS.contains(end)).map_or(name, |(stem, _)| stem);
    let target = NixTarget {
        name: stem.to_owned(),
        drv: None,
        output: String::new(),
        path: String::new(),
        content_hash: None,
    };
    (target.family().to_owned(), target.version().to_owned())
}

fn compare((from, old): (&Ready, &Closure), (to, new): (&Ready, &Closure)) -> Difference {
    let (before, after) = (packages(old), packages(new));
    let mut difference = Difference {
        host: to.host.clone(),
        from: System::new(from, old),
        to: System::new(to, new),
        added: vec![],
        removed: vec![],
        changed: vec![],
        rebuilt: vec![],
    };
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        let versions = |packages: &Packages| packages.get(name).map(|all| all.keys().cloned().collect());
        let name = name.clone();
        match (versions(&before), versions(&after)) {
            (None, Some(versions)) => difference.added.push(Package { name, versions }),
            (Some(versions), None) => difference.removed.push(Package { name, versions }),
            (Some(from), Some(to)) if from != to => difference.changed.push(Change { name, from, to }),
            _ if before.get(&name) != after.get(&name) => difference.rebuilt.push(name),
            _ => {}
        }
    }
    difference
}

impl System {
    fn new(ready: &Ready, closure: &Closure) -> Self {
        Self {
            generation: ready.generation,
            path: ready.path.clone(),
            paths: closure.paths.len(),
            bytes: closure.size(),
            from_other_caches: closure.unknown(),
        }
    }
}

fn render(difference: &Difference, paint: Paint) -> String {
    let Difference { host, from, to, added, removed, changed, rebuilt } = difference;
    let mut text = format!("{}: generation {} -> {}\n", clean(host), from.generation, to.generation);
    if from.path == to.path {
        return format!("{text}No changes; the system is {}\n", clean(&to.path));
    }
    let versions = |versions: &[String]| {
        let shown = versions.iter().map(|v| if v.is_empty() { "(no version)".to_owned() } else { clean(v) });
        shown.collect::<Vec<_>>().join(", ")
    };
    let mut section = |title: &str, tone: Tone, lines: Vec<String>| {
        if !lines.is_empty() {
            text.push_str(&format!("{}\n", paint.tone(tone, title)));
            text.extend(lines.iter().map(|line| format!("  {line}\n")));
        }
    };
    let change = |c: &Change| format!("{}: {} -> {}", clean(&c.name), versions(&c.from), versions(&c.to));
    section("Changed", Tone::Warn, changed.iter().map(change).collect());
    let package = |p: &Package| format!("{} {}", clean(&p.name), versions(&p.versions));
    section("Added", Tone::Good, added.iter().map(package).collect());
    section("Removed", Tone::Bad, removed.iter().map(package).collect());
    text.push_str(&format!(
        "{} rebuilt with the same version. Closure: {} -> {} paths, {} -> {}.\n",
        count(rebuilt.len() as u64, "package"),
        from.paths,
        to.paths,
        size(from.bytes),
        size(to.bytes)
    ));
    let elsewhere = from.from_other_caches.max(to.from_other_caches);
    if elsewhere > 0 {
        text.push_str(&format!(
            "{} from other caches; their dependencies are not compared.\n",
            count(elsewhere as u64, "path")
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_common::{id::RunId, time::TimeMs, wire::channel::ChannelName};

    fn closure(names: &[(&str, char)]) -> Closure {
        let path = |&(name, digit): &(&str, char)| {
            let size = (digit != 'z').then_some(1 << 20);
            (format!("{}-{name}", digit.to_string().repeat(32)).parse().unwrap(), size)
        };
        Closure { paths: names.iter().map(path).collect() }
    }

    fn ready(generation: u64, path: &str) -> Ready {
        Ready {
            profile: "home".parse().unwrap(),
            channel: ChannelName::Stable,
            host: "desk".into(),
            path: path.into(),
            generation,
            run: RunId(1),
            built_at: TimeMs(0),
            commit: None,
            lock: None,
            closure_paths: 0,
            closure_size: 0,
            missing: vec![],
            boot: BTreeMap::new(),
            signatures: Vec::new(),
        }
    }

    #[test]
    fn packages_are_compared_by_name_and_version_whatever_their_outputs() {
        let old = closure(&[
            ("nixos-system-desk-26.05", '0'),
            ("glibc-2.39", '1'),
            ("glibc-2.39-dev", '2'),
            ("vim-9.0", '3'),
            ("tree-2.1", '4'),
            ("etc", '5'),
        ]);
        let new = closure(&[
            ("nixos-system-desk-26.05", '6'),
            ("glibc-2.40", '7'),
            ("glibc-2.40-bin", '8'),
            ("vim-9.0", '3'),
            ("htop-3.3", 'z'),
            ("etc", '9'),
        ]);
        let found = compare((&ready(3, "/nix/store/a"), &old), (&ready(5, "/nix/store/b"), &new));
        let one = |name: &str, version: &str| Package { name: name.into(), versions: vec![version.into()] };
        assert_eq!(found.added, [one("htop", "3.3")]);
        assert_eq!(found.removed, [one("tree", "2.1")]);
        let glibc = Change { name: "glibc".into(), from: vec!["2.39".into()], to: vec!["2.40".into()] };
        assert_eq!(found.changed, [glibc]);
        assert_eq!(found.rebuilt, ["etc", "nixos-system-desk"]);
        let text = render(&found, Paint::new(false));
        let want = "desk: generation 3 -> 5\nChanged\n  glibc: 2.39 -> 2.40\nAdded\n  htop 3.3\nRemoved\n  tree 2.1\n\
            2 packages rebuilt with the same version. Closure: 6 -> 6 paths, 6.0 MiB -> 5.0 MiB.\n\
            1 path from other caches; their dependencies are not compared.\n";
        assert_eq!(text, want);
    }

    #[test]
    fn the_same_system_is_told_in_one_line() {
        let all = closure(&[("etc", '5')]);
        let found = compare((&ready(3, "/nix/store/a"), &all), (&ready(4, "/nix/store/a"), &all));
        assert_eq!(
            render(&found, Paint::new(false)),
            "desk: generation 3 -> 4\nNo changes; the system is /nix/store/a\n"
        );
    }
}

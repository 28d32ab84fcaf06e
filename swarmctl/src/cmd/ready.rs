//! `ready`: shows the systems that the NixOS machines of a profile can switch to without building anything.

use crate::{
    cache::Cache,
    cmd::channel::Channel,
    failure::Failure,
    output::{
        Paint, Table,
        text::{ago, clean, moment, now, size},
    },
    session::Session,
    snapshot::nix::{Pushed, push_lock},
};
use std::path::PathBuf;
use swarm_common::{name::Name, time::TimeMs, wire::ready::Ready};

/// Arguments of `ready`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A machine is ready when everything that its newest system needs is served and signed. Until
then the machine keeps its previous system.

Examples:
  swarmctl ready home
  swarmctl ready home desk
  swarmctl ready home --channel staging
  swarmctl ready home desk --lock > flake.lock      the inputs for which everything is built
  swarmctl ready home desk --push-lock \"git+ssh://git@git.example/config?ref=locks\"
  swarmctl ready home desk --json | jq -r .path"
)]
pub struct Args {
    /// Name of the profile
    profile: Name,
    /// Name of the host [default: all]
    host: Option<String>,
    /// Channel that the machines follow
    #[arg(long, value_name = "CHANNEL", default_value = "stable")]
    channel: Channel,
    /// Print the flake.lock that the host's system was evaluated with
    #[arg(long, requires = "host")]
    lock: bool,
    /// Push the flake.lock of the host's system as a new commit to a branch of the Git repository:
    /// git+https://HOST/PATH?ref=BRANCH&dir=FOLDER
    #[arg(long, value_name = "REPOSITORY", requires = "host", conflicts_with = "lock")]
    push_lock: Option<PathBuf>,
}

///
/// # Errors
/// The host has no system yet, the profile is not one of Nix, or the orchestrator did not answer.
pub async fn run(session: &Session, args: Args) -> Result<(), Failure> {
    let cache = Cache::open(session.client()?, &args.profile, args.channel.into()).await?;
    if let Some(host) = &args.host {
        let ready = cache.ready(host).await?.ok_or_else(|| none(&cache, host))?;
        if args.lock || args.push_lock.is_some() {
            let none = || Failure::Failed(format!("the system of {host} was evaluated without a flake.lock"));
            let text = cache.lock(ready.lock.ok_or_else(none)?).await?;
            if let Some(to) = args.push_lock {
                return push(session, to, ready, text).await;
            }
            let lock: serde_json::Value = serde_json::from_str(&text)
                .map_err(|e| Failure::Failed(format!("the flake.lock of {host} is not JSON: {e}")))?;
            return session.output.show(&lock, |_| text);
        }
        return session.output.show(&ready, |_| show(&ready, now()));
    }
    let mut all = Vec::new();
    for root in cache.profile.roots.iter().filter(|root| root.host) {
        all.extend(cache.ready(&root.attribute).await?);
    }
    session.output.show(&all, |paint| match all.is_empty() {
        true => format!("No host of {} has a system{} yet.\n", args.profile, cache.within()),
        false => list(&all, now(), paint),
    })
}

async fn push(session: &Session, to: PathBuf, ready: Ready, lock: String) -> Result<(), Failure> {
    let pushing = tokio::task::spawn_blocking(move || push_lock(&to, &ready, &lock));
    let pushed =
        pushing.await.map_err(|e| Failure::Failed(format!("the task that pushes panicked: {e}")))??;
    let commit = match &pushed {
        Pushed::Commit(commit) => Some(commit),
        Pushed::Already => None,
    };
    session.output.show(&serde_json::json!({ "commit": commit }), |_| match commit {
        Some(commit) => format!("Pushed {commit}\n"),
        None => "Nothing to push: the branch has this lock\n".to_owned(),
    })
}

/// The failure for a host that has no system yet.
pub(super) fn none(cache: &Cache, host: &str) -> Failure {
    let (profile, within) = (&cache.profile.name, cache.within());
    Failure::Failed(format!(
        "{host} has no system{within} yet; start a run of {profile}: swarmctl run start {profile} --wait"
    ))
}

fn list(all: &[Ready], now: TimeMs, paint: Paint) -> String {
    let mut table = Table::new(&["HOST", "GENERATION", "COMPLETE", "SIZE", "COMMIT", "SYSTEM"]);
    for ready in all {
        table.row([
            clean(&ready.host).into(),
            ready.generation.to_string().into(),
            ago(now, ready.built_at).into(),
            size(ready.closure_size).into(),
            commit(ready).into(),
            clean(&ready.path).into(),
        ]);
    }
    table.render(paint)
}

fn show(ready: &Ready, now: TimeMs) -> String {
    let mut text = format!(
        "{}\n  system      {}\n  generation  {} from run {}\n  complete    {} ({})\n  closure     {} paths, {}\n  commit      {}\n",
        clean(&ready.host),
        clean(&ready.path),
        ready.generation,
        ready.run,
        moment(ready.built_at),
        ago(now, ready.built_at),
        ready.closure_paths,
        size(ready.closure_size),
        commit(ready)
    );
    if let Some(lock) = &ready.lock {
        text.push_str(&format!("  flake.lock  {}\n", lock.short()));
    }
    for (name, path) in &ready.boot {
        text.push_str(&format!("  {:<10}  {}\n", clean(name), clean(path)));
    }
    text
}

fn commit(ready: &Ready) -> String {
    ready.commit.as_deref().map_or("-".to_owned(), |commit| clean(commit).chars().take(12).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_common::{id::RunId, wire::channel::ChannelName};

    fn ready() -> Ready {
        Ready {
            profile: "home".parse().unwrap(),
            channel: ChannelName::Stable,
            host: "desk".into(),
            path: "/nix/store/00000000000000000000000000000000-nixos-system-desk-26.05".into(),
            generation: 7,
            run: RunId(12),
            built_at: TimeMs(1_795_250_000_000),
            commit: Some("0123456789abcdef0123".into()),
            lock: None,
            closure_paths: 3,
            closure_size: 3 << 20,
            missing: vec![],
            boot: [("kernel".to_owned(), "/nix/store/x\x1b[2J".to_owned())].into(),
            signatures: Vec::new(),
        }
    }

    #[test]
    fn a_hosts_system_is_shown_with_its_age_and_origin() {
        let ready = ready();
        let now = ready.built_at + 3_600_000;
        let text = show(&ready, now);
        for part in ["desk\n", "7 from run r12", "1 h ago", "3 paths, 3.0 MiB", "commit      0123456789ab\n"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains('\x1b'), "{text}");
        let line = list(&[ready], now, Paint::new(false));
        assert!(line.lines().nth(1).unwrap().starts_with("desk  7           1 h ago   3.0 MiB"), "{line}");
    }
}

//! Determines which derivations must be built because no allowed cache has their outputs.

use super::{
    failure,
    graph::{self, MOST_PACKAGES},
    session::{Call, Output, Session, drone},
    store::Store,
};
use crate::builder::Stop;
use std::{collections::BTreeSet, ffi::OsString};
use swarm_common::state::{FailureClass, Phase};
use swarm_formats::{nix::store_path::StoreDir, snapshot::NixUpstream};

/// Options for using binary caches and their keys.
pub(super) fn substituters(local: Option<String>, upstreams: &[NixUpstream]) -> Vec<OsString> {
    let urls: Vec<&str> =
        local.as_deref().into_iter().chain(upstreams.iter().map(|u| u.url.as_str())).collect();
    let keys: Vec<&str> = upstreams.iter().flat_map(|u| &u.keys).map(String::as_str).collect();
    let options = [
        ("substitute", (!urls.is_empty()).to_string()),
        ("substituters", urls.join(" ")),
        ("trusted-public-keys", keys.join(" ")),
    ];
    options.into_iter().flat_map(|(name, value)| ["--option".into(), name.into(), value.into()]).collect()
}

/// The derivations that must be built to build `derivations` with the help of these caches. `store` must
/// contain the derivations and none of their outputs. A cache that does not answer counts as empty.
pub(super) async fn missing(
    session: &mut Session<'_>,
    store: &Store,
    derivations: &[String],
    upstreams: &[NixUpstream],
) -> Result<BTreeSet<String>, Stop> {
    if derivations.is_empty() {
        return Ok(BTreeSet::new());
    }
    if upstreams.is_empty() {
        let (store, roots) = (store.clone(), derivations.to_vec());
        let all = tokio::task::spawn_blocking(move || without_caches(&store, roots)).await;
        if let Some(all) = all.map_err(|error| drone(error.to_string()))? {
            return Ok(all);
        }
    }
    let mut args: Vec<OsString> = vec!["--realise".into(), "--dry-run".into()];
    args.extend(derivations.iter().map(OsString::from));
    args.extend(substituters(None, upstreams));
    let call = Call { program: "nix-store", args, store, output: Output::AllTaken };
    let ended = session.run(call).await?;
    if ended.code() != Some(0) {
        let message = format!("what must be built cannot be decided: {}", ended.error());
        return Err(failure::stop(FailureClass::Drone, Phase::Building, message));
    }
    for line in ended.output.lines().filter(|line| line.starts_with("warning:")) {
        session.steps.log.say(line).await;
    }
    Ok(to_build(&ended.output))
}

/// Everything that the derivations need, or more than a plan may have: without caches, all of it must be built.
/// `None` if Nix has to decide, because an output is in the store or a derivation cannot be read.
fn without_caches(store: &Store, derivations: Vec<String>) -> Option<BTreeSet<String>> {
    let dir = StoreDir::default();
    let (mut found, mut next) = (BTreeSet::new(), derivations);
    while let Some(path) = next.pop()
        && found.len() <= MOST_PACKAGES
    {
        if found.contains(&path) {
            continue;
        }
        let derivation = graph::read(store, &path).ok()?;
        if derivation.outputs.values().any(|output| store.has(&dir.absolute(&output.path))) {
            return None;
        }
        next.extend(derivation.input_derivations.keys().map(|input| dir.absolute(input)));
        found.insert(path);
    }
    Some(found)
}

/// Parses the list after `these 2 derivations will be built:`.
fn to_build(output: &str) -> BTreeSet<String> {
    let mut is_listed = false;
    let mut found = BTreeSet::new();
    for line in output.lines() {
        match line.strip_prefix("  ") {
            Some(path) if is_listed => _ = found.insert(path.trim().to_owned()),
            Some(_) => {}
            None => is_listed = line.ends_with("will be built:"),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_will_be_built_is_listed() {
        let output = "warning: unable to download 'http://x'\n\
            these 2 derivations will be built:\n  /nix/store/a.drv\n  /nix/store/b.drv\n\
            these 1 paths will be fetched (0.10 MiB download, 0.50 MiB unpacked):\n  /nix/store/c\n";
        assert_eq!(to_build(output), ["/nix/store/a.drv", "/nix/store/b.drv"].map(String::from).into());
        assert_eq!(to_build("this derivation will be built:\n  /nix/store/a.drv\n").len(), 1);
        assert!(to_build("").is_empty());
    }
}

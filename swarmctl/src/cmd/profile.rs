//! `profile`: manages what is built. Adding a profile makes a snapshot of a configuration bundle and
//! repositories, or of a source for Nix, uploads it if the orchestrator does not have it, and pins the
//! profile to it.

mod candidate;
mod nix;
mod timer;

use super::{channel::Channel, effects, effects::DryRun};
use crate::{
    failure::Failure,
    output::{
        Paint, Table, progress,
        text::{ago, clean, now, size, span},
    },
    session::Session,
    snapshot::{self, Builder, Made, Sources},
};
use nix::NixArgs;
use std::path::PathBuf;
use swarm_client::Client;
use swarm_common::{
    name::Name,
    state::DroneState,
    wire::{
        admin::{BuilderKind, CandidateRequest, ProfileRequest, Rebuild},
        base::HOST,
        view::{DroneView, ProfileView},
    },
};
use timer::Every;

/// Where the content of a profile comes from.
#[derive(Debug, clap::Args)]
pub struct From {
    /// Configuration bundle: a directory with etc/portage, world, profile.toml and optionally distfiles; with --nix,
    /// a directory with flake.nix or default.nix, or git+URL
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// Package repository: a directory or Git checkout; may be repeated [default: those in the bundle's
    /// repos.conf]
    #[arg(long, value_name = "DIR")]
    repository: Vec<PathBuf>,
    /// Accept a Git checkout with uncommitted changes
    #[arg(long)]
    allow_dirty: bool,
    /// Base to build in (see `swarmctl base`); `host` is each drone's own / [default: unchanged, or `host`
    /// for a new profile]
    #[arg(long, value_name = "NAME")]
    base: Option<Name>,
    /// When packages are rebuilt [default: unchanged, or `gentoo` for a new profile]
    #[arg(long, value_name = "RULE")]
    rebuild: Option<Rule>,
    /// Channel that follows the runs; with `staging`, the stable channel waits for `swarmctl channel promote`
    /// [default: unchanged, or `stable` for a new profile]
    #[arg(long, value_name = "CHANNEL")]
    publish: Option<Channel>,
    /// What Nix builds
    #[command(flatten)]
    nix: NixArgs,
}

/// How an update is made.
#[derive(Debug, Default, clap::Args)]
pub struct How {
    /// Let the next run try the content. The profile switches to it if the run can serve everything that is served now;
    /// otherwise the profile stays as it is
    #[arg(long, requires = "nix", conflicts_with = "publish")]
    candidate: bool,
    /// Interval at which a timer runs this command, such as `1d`. `swarmctl status` warns after two missed
    /// intervals; `never` ends this
    #[arg(long, value_name = "TIME")]
    every: Option<Every>,
}

/// When a package is rebuilt.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Rule {
    /// When the version, USE, dependencies, sources, patches or build settings change
    Gentoo,
    /// When any input changes, including eclasses and all dependencies
    Strict,
}

impl std::convert::From<Rule> for Rebuild {
    fn from(rule: Rule) -> Self {
        match rule {
            Rule::Gentoo => Self::Gentoo,
            Rule::Strict => Self::Strict,
        }
    }
}

/// Verbs of `profile`.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "A bundle is a directory with
  etc/portage/    make.conf, package.use, make.profile, repos.conf, ... as on a workstation
  world           one package per line; or var/lib/portage/world, as on a workstation
  profile.toml    portage_profile = \"default/linux/amd64/23.0\", or \"REPOSITORY:PATH\",
                  if there is no make.profile
                  main_repository = \"gentoo\", if repos.conf does not name it
  distfiles/      sources that cannot be fetched, if any

The / of a workstation is a bundle as well; its keys (etc/portage/gnupg) are left out.

With --nix, the source is a flake or a directory with default.nix. The inputs that flake.lock names are part of
the snapshot; `nix flake archive` puts them into this machine's Nix store, where swarmctl finds them.

Examples:
  swarmctl profile add desk --from / --repository /var/db/repos/gentoo
  swarmctl profile add desk --from ./desk --repository /var/db/repos/gentoo
  swarmctl profile add home --nix --from /etc/nixos --host desk --host nas
  swarmctl profile add tools --nix --from ./tools --attr hello --attr lib.x --arg channel=stable
  swarmctl profile update home --nix --from /etc/nixos --host desk --host nas && swarmctl run start home
  swarmctl profile update home --nix --from git+https://git.example/x --host desk --update-input nixpkgs --candidate
  swarmctl profile update desk --from ./desk --repository /var/db/repos/gentoo && swarmctl run start desk
  swarmctl profile list
  swarmctl profile show desk
  swarmctl profile remove desk --dry-run
  swarmctl profile remove desk")]
pub enum Verb {
    /// Create a profile
    Add {
        /// Name of the profile
        name: Name,
        /// Its content
        #[command(flatten)]
        from: From,
    },
    /// Update a profile to the current content of its sources
    Update {
        /// Name of the profile
        name: Name,
        /// Its content
        #[command(flatten)]
        from: From,
        /// How
        #[command(flatten)]
        how: How,
    },
    /// List all profiles
    List,
    /// Show a profile
    Show {
        /// Name of the profile
        name: Name,
    },
    /// Remove a profile; workstations that use it get no more updates
    Remove {
        /// Name of the profile
        name: Name,
        /// Whether to only show what would change
        #[command(flatten)]
        dry: DryRun,
    },
}

/// Lists or changes profiles.
///
/// # Errors
/// The sources cannot be used, or the orchestrator refused or did not answer.
pub async fn run(session: &Session, verb: Verb) -> Result<(), Failure> {
    let client = session.client()?;
    match verb {
        Verb::List => {
            let profiles = client.profiles().await?;
            session.output.show(&profiles, |paint| match profiles.is_empty() {
                true => "No profiles; see `swarmctl profile add --help`.\n".to_owned(),
                false => list(&profiles, paint),
            })
        }
        Verb::Show { name } => {
            let profile = client.profile(&name).await?;
            session.output.show(&profile, |_| show(&profile))
        }
        Verb::Remove { name, dry } => {
            let profile = client.profile(&name).await?;
            if dry.dry_run {
                return session.would(&effects::profile_removed(&profile, &client.runs().await?)?);
            }
            session.confirm(&format!("Remove the profile {name} and its binary package host?"))?;
            session.change(async |key| client.remove_profile(&name, key).await).await?;
            session.output.show(&profile, |_| format!("Removed {name}\n"))
        }
        Verb::Add { name, from } => {
            if known(&client, &name).await?.is_some() {
                return Err(Failure::Failed(format!(
                    "profile {name} already exists; update it with `swarmctl profile update {name}`"
                )));
            }
            pin(session, &client, &name, from, None, How::default()).await
        }
        Verb::Update { name, from, how } => {
            let Some(profile) = known(&client, &name).await? else {
                return Err(Failure::Failed(format!(
                    "no profile {name}; create it with `swarmctl profile add {name}`, or see `swarmctl \
                     profile list`"
                )));
            };
            pin(session, &client, &name, from, Some(profile), how).await
        }
    }
}

async fn known(client: &Client, name: &Name) -> Result<Option<ProfileView>, Failure> {
    match client.profile(name).await {
        Ok(profile) => Ok(Some(profile)),
        Err(e) if e.status() == Some(404) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Pins a profile, or offers it a candidate. Settings that are not given keep their value in `present`.
async fn pin(
    session: &Session,
    client: &Client,
    name: &Name,
    from: From,
    present: Option<ProfileView>,
    how: How,
) -> Result<(), Failure> {
    let builder = if from.nix.nix { BuilderKind::Nix } else { BuilderKind::Portage };
    if let Some(present) = present.as_ref().filter(|present| present.builder != builder) {
        let (is, add) = match present.builder {
            BuilderKind::Nix => ("Nix", "pass --nix"),
            BuilderKind::Portage => ("Portage", "omit --nix"),
        };
        return Err(Failure::Usage(format!(
            "{name} is built with {is}; {add}, or choose another name for the new profile"
        )));
    }
    let (present_base, present_rule, present_channel) =
        present.map(|p| (p.base, p.rebuild, p.publish)).unwrap_or_default();
    let rebuild = from.rebuild.map_or(present_rule, Into::into);
    let publish = from.publish.map_or(present_channel, Into::into);
    let base = from.base.or(present_base).filter(|base| base.as_str() != HOST);
    if let Some(base) = &base {
        // Fail early, before a whole repository is read and uploaded.
        client.base(base).await?;
    }
    let bar = progress::packing(session.output.live);
    let moving = bar.clone();
    let progress = move |total, done| {
        moving.set_length(total);
        moving.set_position(done);
    };
    let origin = from.from.display().to_string();
    // Reading and compressing a whole repository would block the client.
    let making = match builder {
        BuilderKind::Nix => {
            let sources = from.nix.sources(from.from, from.allow_dirty);
            tokio::task::spawn_blocking(move || snapshot::nix::make(&sources, progress))
        }
        BuilderKind::Portage => {
            let drones = drones_of(client, name).await?;
            if base.is_none()
                && let Some(note) = without_packages(&drones)
            {
                session.output.say(&format!("note: {}", clean(&note)));
            }
            let builder = |drone: DroneView| Builder { name: drone.name.to_string(), cpu: drone.facts.cpu };
            let sources = Sources {
                bundle: from.from,
                repositories: from.repository,
                allow_dirty: from.allow_dirty,
                drones: drones.into_iter().map(builder).collect(),
            };
            tokio::task::spawn_blocking(move || snapshot::make(&sources, progress))
        }
    };
    let made: Result<Made, Failure> =
        making.await.map_err(|e| Failure::Failed(format!("the snapshot task panicked: {e}")))?;
    bar.finish_and_clear();
    if let (Err(Failure::Failed(why)), true) = (&made, how.candidate) {
        candidate::report(session, client, name, (&origin, why), how.every).await;
    }
    let made = made?;
    for note in &made.notes {
        session.output.say(&format!("note: {}", clean(note)));
    }
    let sent = !client.has_snapshot(made.digest).await?;
    if sent {
        session.output.say(&format!(
            "sending snapshot {} ({} entries, {})",
            made.digest.short(),
            made.entries,
            size(made.archive.as_file().metadata().map_or(0, |meta| meta.len()))
        ));
        client.put_snapshot(made.digest, made.archive.path()).await?;
    }
    let Made { digest: snapshot, source, cpu, .. } = made;
    if how.candidate {
        candidate::offer(session, client, name, CandidateRequest { snapshot, source }).await?;
        return timer::tell(session, client, name, how.every).await;
    }
    let request = ProfileRequest { builder, snapshot, source, base, rebuild, publish, cpu };
    let profile = session.change(async |key| client.put_profile(name, &request, key).await).await?;
    session.output.show(&profile, |_| {
        let already = if sent { "" } else { ", already on the orchestrator" };
        format!(
            "Profile {name} is pinned to snapshot {}{already}\nNext: swarmctl run start {name} --wait\n",
            profile.snapshot.short()
        )
    })?;
    timer::tell(session, client, name, how.every).await
}

/// The drones that may build a profile: all approved drones that accept it.
async fn drones_of(client: &Client, name: &Name) -> Result<Vec<DroneView>, Failure> {
    let may = |drone: &DroneView| {
        let profiles = &drone.facts.profiles;
        drone.state != DroneState::Pending && (profiles.is_empty() || profiles.contains(name))
    };
    Ok(client.drones().await?.into_iter().filter(may).collect())
}

/// A note that names the drones that do not run Gentoo, for a profile that is built in the drones' own
/// systems.
fn without_packages(drones: &[DroneView]) -> Option<String> {
    let foreign = drones.iter().filter(|drone| drone.facts.has_packages == Some(false));
    let names: Vec<&str> = foreign.map(|drone| drone.name.as_str()).collect();
    (!names.is_empty()).then(|| {
        format!(
            "drones without a package database (/var/db/pkg) in their own system: {}; `@system` and circular dependencies \
             cannot be planned there, and packages do not require the C library that they are built with; build \
             real packages in a base (`swarmctl base add --help`)",
            names.join(", ")
        )
    })
}

fn list(profiles: &[ProfileView], paint: Paint) -> String {
    let mut table =
        Table::new(&["PROFILE", "BUILDER", "BASE", "SNAPSHOT", "GENERATION", "PACKAGES", "SOURCE"]);
    for profile in profiles {
        table.row([
            profile.name.as_str().into(),
            builder(profile).into(),
            base(profile).into(),
            profile.snapshot.short().into(),
            profile.generation.to_string().into(),
            profile.published_packages.to_string().into(),
            clean(&profile.source).into(),
        ]);
    }
    table.render(paint)
}

fn builder(profile: &ProfileView) -> &'static str {
    match profile.builder {
        BuilderKind::Portage => "portage",
        BuilderKind::Nix => "nix",
    }
}

fn base(profile: &ProfileView) -> &str {
    match profile.builder {
        BuilderKind::Portage => profile.base.as_ref().map_or(HOST, Name::as_str),
        BuilderKind::Nix => "-",
    }
}

fn show(profile: &ProfileView) -> String {
    let mut text = format!("{}\n  builder     {}\n", profile.name, builder(profile));
    if profile.builder == BuilderKind::Portage {
        let rebuild = match profile.rebuild {
            Rebuild::Gentoo => "gentoo",
            Rebuild::Strict => "strict",
        };
        text.push_str(&format!("  base        {}\n  rebuild     {rebuild}\n", base(profile)));
    }
    text.push_str(&format!(
        "  publish     {}\n  snapshot    {}\n  source      {}\n  generation  {} with {} packages\n  binhost     {}\n",
        profile.publish,
        profile.snapshot,
        clean(&profile.source),
        profile.generation,
        profile.published_packages,
        clean(&profile.binhost),
    ));
    for candidate in &profile.candidates {
        let run = candidate
            .run
            .map_or_else(|| "waits for the next run".to_owned(), |run| format!("tried by {run}"));
        let source = clean(&candidate.source);
        text.push_str(&format!("  candidate   {} {run}: {source}\n", candidate.snapshot.short()));
    }
    if let Some(timer) = &profile.timer {
        let (every, ago) = (span(timer.every_ms), ago(now(), timer.ran_at));
        text.push_str(&format!("  timer       every {every} on {}, last {ago}\n", timer.machine));
    }
    for root in &profile.roots {
        let kind = if root.host { "host" } else { "attribute" };
        text.push_str(&format!("  {kind:<10}  {} {}\n", clean(&root.attribute), clean(&root.path)));
    }
    text.push_str(&format!("For workstations: swarmctl client setup {}\n", profile.name));
    text
}

//! `base`: manages the root file systems that packages are built in. Adding a base makes an image
//! of a directory or an archive, uploads it if the orchestrator does not have it, and gives it a
//! name.

use super::effects::{self, DryRun};
use crate::{
    failure::Failure,
    image::{self, Made},
    output::{
        Paint, Table, progress,
        text::{ago, clean, count, now, size},
    },
    session::Session,
};
use std::path::PathBuf;
use swarm_client::Client;
use swarm_common::{
    name::Name,
    time::TimeMs,
    wire::base::{BaseFollowing, BaseRequest, BaseView, FollowRequest},
};

/// The maximum length of the description of a base's source, in characters. The orchestrator refuses longer
/// ones.
const LONGEST_SOURCE: usize = 500;

/// Where a base comes from.
#[derive(Debug, clap::Args)]
pub struct From {
    /// Root file system: a directory, or an archive (.tar, .tar.xz, .tar.zst, .tar.gz, .tar.bz2)
    #[arg(long, value_name = "PATH", required_unless_present_any = ["follow", "no_follow"])]
    from: Option<PathBuf>,
    /// Detached OpenPGP signature of the archive [default: PATH.asc]
    #[arg(long, value_name = "FILE", requires = "key")]
    signature: Option<PathBuf>,
    /// OpenPGP public key that must have signed the archive
    #[arg(long, value_name = "FILE", requires = "from")]
    key: Option<PathBuf>,
}

/// Whether a base follows the tree.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Follow {
    /// Update the base's own packages to those that runs build (the default for a new base); retries a failed update
    #[arg(long, conflicts_with = "no_follow")]
    follow: bool,
    /// Do not update the base from what runs build
    #[arg(long)]
    no_follow: bool,
}

impl Follow {
    fn choice(self) -> Option<bool> {
        (self.follow || self.no_follow).then_some(self.follow)
    }
}

/// Verbs of `base`.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "Without a base, a profile is built in each drone's own /, which is called `host`.

Examples:
  swarmctl base add gentoo --from stage3-amd64-openrc-*.tar.xz --key gentoo-release.asc
  swarmctl base update gentoo --from stage3-amd64-openrc-*.tar.xz --key gentoo-release.asc
  swarmctl base list
  swarmctl base show gentoo
  swarmctl base rollback gentoo
  swarmctl base remove gentoo --dry-run
  swarmctl base remove gentoo
  swarmctl profile add desk --base gentoo --from ./desk --repository /var/db/repos/gentoo")]
pub enum Verb {
    /// Create a base
    Add {
        /// Name of the base
        name: Name,
        /// Its content
        #[command(flatten)]
        from: From,
        /// Whether it follows the tree
        #[command(flatten)]
        follow: Follow,
    },
    /// Create a new generation of a base, or change whether it follows the tree; active runs keep theirs
    Update {
        /// Name of the base
        name: Name,
        /// Its content
        #[command(flatten)]
        from: From,
        /// Whether it follows the tree
        #[command(flatten)]
        follow: Follow,
    },
    /// List all bases
    List,
    /// Show a base and its generations
    Show {
        /// Name of the base
        name: Name,
    },
    /// Return to the previous generation
    Rollback {
        /// Name of the base
        name: Name,
    },
    /// Remove a base that no profile uses
    Remove {
        /// Name of the base
        name: Name,
        /// Whether to only show what would change
        #[command(flatten)]
        dry: DryRun,
    },
}

/// Lists or changes bases.
///
/// # Errors
/// The source cannot be used, or the orchestrator refused or did not answer.
pub async fn run(session: &Session, verb: Verb) -> Result<(), Failure> {
    let client = session.client()?;
    match verb {
        Verb::List => {
            let bases = client.bases().await?;
            session.output.show(&bases, |paint| match bases.is_empty() {
                true => "No bases; packages are built in each drone's own /. See `swarmctl base --help`.\n"
                    .to_owned(),
                false => list(&bases, paint),
            })
        }
        Verb::Show { name } => {
            let base = client.base(&name).await?;
            session.output.show(&base, |paint| show(&base, paint))
        }
        Verb::Rollback { name } => {
            let base = session.change(async |key| client.roll_back_base(&name, key).await).await?;
            session.output.show(&base, |paint| show(&base, paint))
        }
        Verb::Remove { name, dry } => {
            let base = client.base(&name).await?;
            if dry.dry_run {
                return session.would(&effects::base_removed(&base)?);
            }
            session.confirm(&format!("Remove the base {name} and its images?"))?;
            session.change(async |key| client.remove_base(&name, key).await).await?;
            session.output.show(&base, |_| format!("Removed {name}\n"))
        }
        Verb::Add { name, from, follow } => {
            if known(&client, &name).await? {
                return Err(Failure::Failed(format!(
                    "base {name} already exists; `swarmctl base update {name}` creates a new generation"
                )));
            }
            put(session, &client, &name, from, follow).await
        }
        Verb::Update { name, from, follow } if from.from.is_some() => {
            client.base(&name).await?;
            put(session, &client, &name, from, follow).await
        }
        Verb::Update { name, follow, .. } => {
            let request = FollowRequest { follow: follow.follow };
            let base = session.change(async |key| client.follow_base(&name, request, key).await).await?;
            session.output.show(&base, |paint| show(&base, paint))
        }
    }
}

async fn known(client: &Client, name: &Name) -> Result<bool, Failure> {
    match client.base(name).await {
        Ok(_) => Ok(true),
        Err(e) if e.status() == Some(404) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

async fn put(
    session: &Session,
    client: &Client,
    name: &Name,
    from: From,
    follow: Follow,
) -> Result<(), Failure> {
    let Some(path) = from.from else {
        return Err(Failure::Usage("the source of the base is missing; pass --from PATH".to_owned()));
    };
    if from.key.is_some() && path.is_dir() {
        return Err(Failure::Usage("a directory has no signature; --key is for archives".to_owned()));
    }
    let bar = progress::packing(session.output.live);
    let moving = bar.clone();
    let source = path.display().to_string().chars().take(LONGEST_SOURCE).collect();
    // Reading and compressing a whole root file system would block the client.
    let made = tokio::task::spawn_blocking(move || {
        let signer = from.key.as_ref().map(|key| image::signer(&path, from.signature.as_deref(), key));
        let signed_by = signer.transpose()?;
        let made = image::make(&path, |total, done| {
            moving.set_length(total);
            moving.set_position(done);
        })?;
        Ok::<_, Failure>((made, signed_by))
    });
    let made = made.await.map_err(|e| Failure::Failed(format!("the image task panicked: {e}")))?;
    bar.finish_and_clear();
    let (Made { digest, summary, archive, notes }, signed_by) = made?;
    for note in &notes {
        session.output.say(&format!("note: {}", clean(note)));
    }
    if !client.has_image(digest).await? {
        session.output.say(&format!(
            "sending image {} ({} entries for {}, {})",
            digest.short(),
            summary.entries,
            summary.machine,
            size(archive.as_file().metadata().map_or(0, |meta| meta.len()))
        ));
        client.put_image(digest, archive.path()).await?;
    }
    let request = BaseRequest { image: digest, source, signed_by, follow: follow.choice() };
    let base = session.change(async |key| client.put_base(name, &request, key).await).await?;
    session.output.show(&base, |_| {
        let number = base.generations.first().map_or(0, |generation| generation.number);
        format!("Base {name} is at generation {number}, image {}\n", digest.short())
    })
}

fn list(bases: &[BaseView], paint: Paint) -> String {
    let mut table = Table::new(&["BASE", "GENERATION", "IMAGE", "FOR", "SIZE", "PROFILES", "SOURCE"]);
    for base in bases {
        let Some(current) = base.generations.first() else { continue };
        table.row([
            base.name.as_str().into(),
            current.number.to_string().into(),
            current.image.digest.short().into(),
            clean(&current.image.machine).into(),
            size(current.image.size).into(),
            names(&base.profiles).into(),
            clean(&current.source).into(),
        ]);
    }
    table.render(paint)
}

fn show(base: &BaseView, paint: Paint) -> String {
    let mut table =
        Table::new(&["GENERATION", "IMAGE", "INSTALLED", "UNPACKED", "MADE", "SIGNED BY", "SOURCE"]);
    for generation in &base.generations {
        table.row([
            generation.number.to_string().into(),
            generation.image.digest.short().into(),
            generation.installed.len().to_string().into(),
            size(generation.image.unpacked_bytes).into(),
            ago(now(), generation.made_at).into(),
            clean(generation.signed_by.as_deref().unwrap_or("-")).into(),
            clean(&generation.source).into(),
        ]);
    }
    format!(
        "{}\n  profiles  {}\n  follows   {}\n{}",
        base.name,
        names(&base.profiles),
        follows(base),
        table.render(paint)
    )
}

/// Whether a base follows the ebuild tree, and the progress of the current update.
fn follows(base: &BaseView) -> String {
    if !base.follow {
        return "no".to_owned();
    }
    match (&base.following, &base.failed) {
        (Some(following), _) => format!("the tree; {}", under_way(following, now())),
        (None, Some(failed)) => {
            format!(
                "the tree; not {}: {}; `swarmctl base update {} --follow` tries again",
                failed.run,
                clean(&failed.reason),
                base.name
            )
        }
        (None, None) => "the tree".to_owned(),
    }
}

/// Describes the generation that is being made.
pub(super) fn under_way(following: &BaseFollowing, now: TimeMs) -> String {
    let next =
        format!("next generation, with {} of {}", count(following.packages, "new package"), following.run);
    match (&following.drone, following.reason.as_str()) {
        (Some(drone), _) => format!("{next}, is being made on {drone}"),
        (None, "") => format!("{next}, queued {}", ago(now, following.since)),
        (None, reason) => format!("{next}, will be retried: {}", clean(reason)),
    }
}

fn names(profiles: &[Name]) -> String {
    match profiles.is_empty() {
        true => "none".to_owned(),
        false => profiles.iter().map(Name::as_str).collect::<Vec<_>>().join(", "),
    }
}

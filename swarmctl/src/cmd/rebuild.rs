//! `rebuild`: makes the next run rebuild packages.

use crate::{failure::Failure, output::text::clean, session::Session};
use swarm_common::{
    name::Name,
    wire::admin::{RebuildReply, RebuildRequest},
};

/// The maximum number of packages that are listed by name.
const LISTED: usize = 20;

/// Arguments of `rebuild`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  swarmctl rebuild dev-libs/openssl --reason \"miscompiled on d3\"\n  swarmctl rebuild dev-lang/rust --dependants"
)]
pub struct Args {
    /// Packages: id, name, category/name or category/name-version
    #[arg(required = true)]
    packages: Vec<String>,
    /// Search only the runs of this profile
    #[arg(long, value_name = "NAME")]
    profile: Option<Name>,
    /// Also rebuild packages that were built with the given ones
    #[arg(long)]
    dependants: bool,
    /// Reason, shown by `swarmctl why`
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

/// Requests the rebuild.
///
/// # Errors
/// There is no such package, or it has not been built yet.
pub async fn run(session: &Session, args: Args) -> Result<(), Failure> {
    let client = session.client()?;
    let request = RebuildRequest { dependants: args.dependants, reason: args.reason };
    let mut all = RebuildReply { packages: Vec::new(), titles: Vec::new() };
    for text in &args.packages {
        let package = session.package(&client, text, args.profile.as_ref()).await?;
        let request = &request;
        let reply = session.change(async |key| client.rebuild(package, request, key).await).await?;
        for (package, title) in reply.packages.into_iter().zip(reply.titles) {
            if !all.packages.contains(&package) {
                all.packages.push(package);
                all.titles.push(title);
            }
        }
    }
    session.output.show(&all, |_| describe(&all))
}

fn describe(all: &RebuildReply) -> String {
    let mut text = match all.packages.len() {
        1 => "The next run rebuilds this package:\n".to_owned(),
        n => format!("The next run rebuilds these {n} packages:\n"),
    };
    for (package, title) in all.packages.iter().zip(&all.titles).take(LISTED) {
        text.push_str(&format!("  {} ({package})\n", clean(title)));
    }
    if all.packages.len() > LISTED {
        text.push_str(&format!("  and {} more\n", all.packages.len() - LISTED));
    }
    text
}

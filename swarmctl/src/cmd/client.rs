//! `client setup`: the configuration that a workstation needs to install the swarm's packages and
//! to reject all others.
//!
//! Portage verifies signatures as the user nobody with the keys in one directory
//! (`BINPKG_GPG_VERIFY_GPG_HOME`, by default /etc/portage/gnupg). The key needs full trust, which
//! gpg recognises only after `--check-trustdb`. For Nix see [`nix`].

mod nix;

use super::channel::Channel;
use crate::{
    failure::Failure,
    output::{Paint, Tone},
    session::Session,
};
use nix::NixSetup;
use serde::Serialize;
use std::{
    fs,
    path::{Path, PathBuf},
};
use swarm_client::{Client, Trust, Url, parse_address};
use swarm_common::{
    name::Name,
    wire::{admin::BuilderKind, channel::ChannelName, nix::ALL_PROFILES, view::KeyView},
};

/// Verbs of `client`.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "Examples:
  swarmctl client setup desk
  swarmctl client setup home > swarm.txt
  swarmctl client setup desk --channel staging     for a machine that tries updates first
  swarmctl client setup desk --address http://nas:8100 --out /mnt/workstation
  swarmctl client setup desk --json | jq -r .emerge
  swarmctl client setup --all                      with Nix: for a machine that uses packages of all profiles")]
pub enum Verb {
    /// Print the configuration of a workstation
    Setup {
        /// Name of the profile
        #[arg(required_unless_present = "all")]
        profile: Option<Name>,
        /// Set up the cache with the packages of all Nix profiles
        #[arg(long, conflicts_with_all = ["profile", "channel"])]
        all: bool,
        /// The orchestrator's address as seen from workstations [default: the one that swarmctl uses, or port 8100
        /// of the same host if swarmctl pins its certificate]
        #[arg(long, value_name = "URL", value_parser = parse_address)]
        address: Option<Url>,
        /// Channel to install from; `staging` has what has not been promoted yet
        #[arg(long, value_name = "CHANNEL", default_value = "stable")]
        channel: Channel,
        /// Write the files below this directory instead of printing them
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

/// The files of a workstation's setup.
#[derive(Debug, Serialize)]
struct Setup {
    /// Name of the repository in binrepos.conf.
    name: String,
    sync_uri: String,
    binrepos_conf: String,
    fingerprint: String,
    public_key: String,
    /// A script that imports and trusts the key, which is next to it as `key.asc`.
    trust_script: String,
    make_conf: String,
    emerge: String,
}

/// Prints or writes the setup.
///
/// # Errors
/// There is no such profile, or the orchestrator did not answer.
pub async fn run(session: &Session, verb: Verb) -> Result<(), Failure> {
    let Verb::Setup { profile, address, channel, out, .. } = verb;
    let client = session.client()?;
    let view = match &profile {
        Some(profile) => Some(client.profile(profile).await?),
        None => None,
    };
    let key = client.key().await?;
    let address = match address {
        Some(address) => address,
        None => reachable(session, client.address(), &key).await?,
    };
    if is_local(&address) {
        session.output.say(&format!(
            "note: {address} is only reachable from this machine; for others pass --address \
             http://NAME:PORT"
        ));
    }
    let channel = ChannelName::from(channel);
    let Some(view) = view else {
        let url = binhost(&address, &format!("binhost/{ALL_PROFILES}"));
        return for_nix(session, nix::setup("swarm", &url, channel, &key, &[], &[])?, out);
    };
    let profile = &view.name;
    if channel != ChannelName::Stable && view.publish != channel {
        session.output.say(&format!(
            "note: {profile} publishes to {}; to use this channel: swarmctl profile update {profile} --publish \
             {channel} --from DIR",
            view.publish
        ));
    } else if view.generation == 0 && channel == ChannelName::Stable {
        session
            .output
            .say(&format!("note: nothing is published yet; run first: swarmctl run start {profile} --wait"));
    }
    if view.builder == BuilderKind::Nix {
        let hosts = view.roots.iter().filter(|root| root.host).map(|root| root.attribute.as_str());
        let (url, hosts) = (binhost(&address, &view.binhost), hosts.collect::<Vec<_>>());
        let name = format!("swarm-{profile}");
        let setup = nix::setup(&name, &url, channel, &key, &view.upstreams, &hosts)?;
        return for_nix(session, setup, out);
    }
    let setup = setup(profile, &channel.within(&binhost(&address, &view.binhost)), channel, &key)?;
    match out {
        None => session.output.show(&setup, |paint| render(&setup, paint)),
        Some(root) => {
            let written = write(&setup, &root)?;
            session.output.show(&setup, |_| {
                let mut text: String =
                    written.iter().map(|path| format!("wrote {}\n", path.display())).collect();
                text.push_str(&format!(
                    "Next, once: sh {}\nand append {} to the workstation's /etc/portage/make.conf\nThen: {}\n",
                    written[2].display(),
                    written[3].display(),
                    setup.emerge
                ));
                text
            })
        }
    }
}

/// Prints or writes the setup of a machine with Nix.
fn for_nix(session: &Session, setup: NixSetup, out: Option<PathBuf>) -> Result<(), Failure> {
    match out {
        None => session.output.show(&setup, |paint| nix::render(&setup, paint)),
        Some(root) => {
            let written = nix::write(&setup, &root)?;
            session.output.show(&setup, |_| {
                let wrote: String =
                    written.iter().map(|path| format!("wrote {}\n", path.display())).collect();
                wrote + &nix::next(&setup, &written)
            })
        }
    }
}

/// The address of a profile's binary package host or cache.
fn binhost(address: &Url, path: &str) -> String {
    format!("{}/{}", address.as_str().trim_end_matches('/'), path.trim_matches('/'))
}

/// The address from which a workstation fetches packages. Portage and Nix cannot pin a certificate, and need
/// not, since every package is signed. If swarmctl pins a certificate, workstations therefore use plain HTTP.
async fn reachable(session: &Session, address: &Url, key: &KeyView) -> Result<Url, Failure> {
    if session.connection.connection()?.trust == Trust::default() {
        return Ok(address.clone());
    }
    let plain = parse_address(&format!("http://{}:8100", address.host_str().unwrap_or_default()));
    let plain = plain.map_err(Failure::Failed)?;
    // The same signing key proves that it is the same swarm.
    match Client::new(std::slice::from_ref(&plain), None)?.key().await {
        Ok(there) if there == *key => Ok(plain),
        _ => Err(Failure::Usage(format!(
            "workstations cannot verify the certificate of {address}, and {plain} does not respond; pass \
             the plain HTTP address that workstations can reach: --address http://NAME:PORT"
        ))),
    }
}

/// Whether an address refers to the machine that uses it.
pub(super) fn is_local(address: &Url) -> bool {
    let host = address.host_str().unwrap_or_default();
    host == "localhost" || host.starts_with("127.") || host == "[::1]"
}

fn setup(profile: &Name, sync_uri: &str, channel: ChannelName, key: &KeyView) -> Result<Setup, Failure> {
    let hexadecimal =
        (40..=64).contains(&key.fingerprint.len()) && key.fingerprint.bytes().all(|b| b.is_ascii_hexdigit());
    // The key is written into a script that root runs.
    if !hexadecimal || !is_armor(&key.public_key) {
        return Err(Failure::Failed("the orchestrator's key is not an armored OpenPGP key".to_owned()));
    }
    let name = format!("swarm-{profile}");
    // A machine that switches to the other channel must not reuse the index of this one.
    let cache = if channel.is_stable() { name.clone() } else { format!("{name}-{channel}") };
    if sync_uri.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(Failure::Failed("the binary package host's address contains white space".to_owned()));
    }
    Ok(Setup {
        binrepos_conf: format!(
            "[{name}]\nsync-uri = {sync_uri}\npriority = 10\nlocation = /var/cache/binhost/{cache}\nverify-signature = true\n"
        ),
        fingerprint: key.fingerprint.clone(),
        public_key: key.public_key.trim_end().to_owned() + "\n",
        trust_script: trust_script(&key.fingerprint),
        make_conf: "FEATURES=\"${FEATURES} getbinpkg\"\n".to_owned(),
        emerge: "emerge --usepkg --usepkgonly --getbinpkg --update --deep @world".to_owned(),
        name,
        sync_uri: sync_uri.to_owned(),
    })
}

/// Whether the text is exactly one armored public key, with nothing that could end a here-document.
fn is_armor(text: &str) -> bool {
    let text = text.trim();
    text.starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----")
        && text.ends_with("-----END PGP PUBLIC KEY BLOCK-----")
        && text.chars().all(|c| c == '\n' || c == '\r' || c.is_ascii_graphic() || c == ' ')
}

fn trust_script(fingerprint: &str) -> String {
    format!(
        "\
#!/bin/sh
# Trusts the swarm's signing key. It may run again.
set -eu
here=$(cd \"$(dirname \"$0\")\" && pwd)
home=${{1:-${{here%/*}}/gnupg}}
mkdir -p \"$home\"
chmod 755 \"$home\"
# The home is world-readable on purpose, which gpg would warn about.
trust() {{
\tgpg --homedir \"$home\" --batch --quiet --no-permission-warning \"$@\"
}}
trust --import \"$here/key.asc\"
echo '{fingerprint}:6:' | trust --import-ownertrust
trust --check-trustdb
# Portage verifies as the user nobody, who must be able to read the public parts.
for file in pubring.kbx pubring.gpg trustdb.gpg; do
\tif [ -e \"$home/$file\" ]; then chmod 644 \"$home/$file\"; fi
done
gpgconf --homedir \"$home\" --kill all 2>/dev/null || true
"
    )
}

fn render(setup: &Setup, paint: Paint) -> String {
    let step = |text: &str| paint.tone(Tone::Bold, text);
    let name = &setup.name;
    format!(
        "\
{}

mkdir -p /etc/portage/binrepos.conf /etc/portage/{name}
cat > /etc/portage/binrepos.conf/{name}.conf <<'END'
{}END

{}

cat > /etc/portage/{name}/key.asc <<'END'
{}END
cat > /etc/portage/{name}/trust <<'END'
{}END
sh /etc/portage/{name}/trust

{}

cat >> /etc/portage/make.conf <<'END'
{}END

{}

{}
",
        step("# 1. As root on the workstation: add the binary package host"),
        setup.binrepos_conf,
        step(&format!("# 2. Trust the signing key {}", setup.fingerprint)),
        setup.public_key,
        setup.trust_script,
        step("# 3. Fetch binary packages; USE and CHOST in make.conf must be those of the profile"),
        setup.make_conf,
        step("# 4. From now on, update without compiling:"),
        setup.emerge
    )
}

/// Writes the setup below `root`: the binrepos.conf entry, the key, the script and the make.conf lines.
fn write(setup: &Setup, root: &Path) -> Result<[PathBuf; 4], Failure> {
    let portage = root.join("etc/portage");
    let binrepos = portage.join("binrepos.conf");
    if binrepos.is_file() {
        return Err(Failure::Failed(format!(
            "{0} is a file; turn it into a directory first: mv {0} {0}.old && mkdir {0} && mv {0}.old \
             {0}/old.conf",
            binrepos.display()
        )));
    }
    let own = portage.join(&setup.name);
    let files = [
        (binrepos.join(format!("{}.conf", setup.name)), &setup.binrepos_conf),
        (own.join("key.asc"), &setup.public_key),
        (own.join("trust"), &setup.trust_script),
        (own.join("make.conf"), &setup.make_conf),
    ];
    for (path, text) in &files {
        let dir = path.parent().unwrap_or(root);
        fs::create_dir_all(dir)
            .and_then(|()| fs::write(path, text))
            .map_err(|e| Failure::Failed(format!("{}: {e}", path.display())))?;
    }
    Ok(files.map(|(path, _)| path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> KeyView {
        KeyView {
            fingerprint: "0123456789ABCDEF0123456789ABCDEF01234567".into(),
            public_key: "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nxyz=\n-----END PGP PUBLIC KEY BLOCK-----\n"
                .into(),
            nix: vec![],
        }
    }

    fn desk(key: &KeyView) -> Result<Setup, Failure> {
        of(ChannelName::Stable, key)
    }

    fn of(channel: ChannelName, key: &KeyView) -> Result<Setup, Failure> {
        let stable = binhost(&parse_address("http://nas:8100").unwrap(), "/binhost/desk/");
        setup(&"desk".parse().unwrap(), &channel.within(&stable), channel, key)
    }

    #[test]
    fn a_workstation_is_told_to_verify_and_whom_to_trust() {
        let setup = desk(&key()).unwrap();
        assert_eq!(setup.sync_uri, "http://nas:8100/binhost/desk");
        assert!(setup.binrepos_conf.contains("verify-signature = true\n"));
        let text = render(&setup, Paint::new(false));
        for part in ["0123456789ABCDEF0123456789ABCDEF01234567:6:", "--check-trustdb", "--usepkgonly", "xyz="]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn a_machine_on_staging_has_another_address_and_another_copy_of_the_index() {
        let setup = of(ChannelName::Staging, &key()).unwrap();
        assert_eq!(
            setup.binrepos_conf,
            "[swarm-desk]\nsync-uri = http://nas:8100/binhost/desk/staging\npriority = 10\n\
             location = /var/cache/binhost/swarm-desk-staging\nverify-signature = true\n"
        );
    }

    #[test]
    fn what_is_pasted_makes_its_directories_and_leaves_variables_to_portage() {
        let dir = tempfile::tempdir().unwrap();
        let portage = dir.path().join("portage");
        let text = render(&desk(&key()).unwrap(), Paint::new(false));
        // Without the steps that need a real key and a real Portage.
        let steps = text.lines().filter(|line| !line.starts_with("sh ") && !line.starts_with("emerge "));
        let steps = steps.collect::<Vec<_>>().join("\n").replace("/etc/portage", portage.to_str().unwrap());
        let pasted = std::process::Command::new("sh").args(["-euc", &steps]).output().unwrap();
        assert!(pasted.status.success() && pasted.stderr.is_empty(), "{pasted:?}");
        let read = |file: &str| fs::read_to_string(portage.join(file)).unwrap();
        assert!(read("binrepos.conf/swarm-desk.conf").starts_with("[swarm-desk]\n"));
        assert!(read("swarm-desk/trust").starts_with("#!/bin/sh\n"));
        assert_eq!(read("make.conf"), "FEATURES=\"${FEATURES} getbinpkg\"\n");
    }

    #[test]
    fn a_key_that_would_steer_a_root_shell_is_refused() {
        for fingerprint in ["", "x'; rm -rf / #", "0123"] {
            assert!(desk(&KeyView { fingerprint: fingerprint.into(), ..key() }).is_err());
        }
        for public_key in ["END\nrm -rf /\n", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\x1b"] {
            assert!(desk(&KeyView { public_key: public_key.into(), ..key() }).is_err());
        }
    }

    #[test]
    fn files_go_below_the_root_and_never_over_a_file_that_is_a_persons() {
        let dir = tempfile::tempdir().unwrap();
        let setup = desk(&key()).unwrap();
        for path in write(&setup, dir.path()).unwrap() {
            assert!(path.starts_with(dir.path()) && path.is_file());
        }
        let other = tempfile::tempdir().unwrap();
        fs::create_dir_all(other.path().join("etc/portage")).unwrap();
        fs::write(other.path().join("etc/portage/binrepos.conf"), "mine").unwrap();
        assert!(write(&setup, other.path()).unwrap_err().to_string().contains("is a file"));
        assert_eq!(fs::read_to_string(other.path().join("etc/portage/binrepos.conf")).unwrap(), "mine");
    }
}

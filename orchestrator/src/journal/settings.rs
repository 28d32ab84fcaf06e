//! The `[journal]` section of the configuration: where the journal is stored. A section with Redis settings
//! that does not select Redis, or the reverse, is an error, because the author expects something else.

use super::redis::{LOCK, RedisSettings, ServerLocation, check_url};
use serde::Deserialize;
use std::path::PathBuf;
use swarm_daemon::config::Span;

/// Minimum lifetime of the lock. A third of it must be enough on a slow network.
const SHORTEST_LOCK: Span = Span::from_millis(500);

/// Maximum lifetime of the lock. After a power failure, nobody leads for this long.
const LONGEST_LOCK: Span = Span::from_secs(600);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A file in the state directory.
    #[default]
    Sqlite,
    /// A Redis, for several orchestrators.
    Redis,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(try_from = "RawSettings")]
pub struct JournalSettings {
    /// The Redis settings; `None` if the journal is a file in the state directory.
    pub redis: Option<RedisSettings>,
}

/// The section as written in the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawSettings {
    kind: Kind,
    url: Option<String>,
    sentinels: Vec<String>,
    sentinel_master: Option<String>,
    username: Option<String>,
    password_file: Option<PathBuf>,
    swarm: Option<String>,
    address: Option<String>,
    lock_timeout: Option<Span>,
    wait_replicas: Option<u32>,
}

impl Default for RawSettings {
    fn default() -> Self {
        Self {
            kind: Kind::Sqlite,
            url: None,
            sentinels: Vec::new(),
            sentinel_master: None,
            username: None,
            password_file: None,
            swarm: None,
            address: None,
            lock_timeout: None,
            wait_replicas: None,
        }
    }
}

impl TryFrom<RawSettings> for JournalSettings {
    type Error = String;

    fn try_from(raw: RawSettings) -> Result<Self, String> {
        match raw.kind {
            Kind::Sqlite => raw.unused().map(|()| Self { redis: None }),
            Kind::Redis => raw.redis().map(|redis| Self { redis: Some(redis) }),
        }
    }
}

impl RawSettings {
    fn unused(&self) -> Result<(), String> {
        let set = [
            ("url", self.url.is_some()),
            ("sentinels", !self.sentinels.is_empty()),
            ("sentinel_master", self.sentinel_master.is_some()),
            ("username", self.username.is_some()),
            ("password_file", self.password_file.is_some()),
            ("swarm", self.swarm.is_some()),
            ("address", self.address.is_some()),
            ("lock_timeout", self.lock_timeout.is_some()),
            ("wait_replicas", self.wait_replicas.is_some()),
        ];
        match set.iter().find(|(_, set)| *set) {
            Some((name, _)) => Err(format!(
                "`{name}` of `[journal]` is for Redis, but its kind is sqlite; add `kind = \"redis\"` or remove `{name}`"
            )),
            None => Ok(()),
        }
    }

    fn redis(self) -> Result<RedisSettings, String> {
        let location = match (self.url, self.sentinels, self.sentinel_master) {
            (Some(url), sentinels, None) if sentinels.is_empty() => ServerLocation::Url(plain(url)?),
            (None, addresses, Some(master)) if !addresses.is_empty() => {
                for address in &addresses {
                    let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
                    port.ok_or(format!("`{address}` of `sentinels` is not HOST:PORT, such as nas:26379"))?;
                }
                ServerLocation::Sentinels { addresses, master }
            }
            _ => {
                return Err("a `[journal]` on Redis needs either `url = \"redis://HOST:6379\"`, or \
                            `sentinels = [\"HOST:26379\", …]` with `sentinel_master = \"NAME\"`"
                    .into());
            }
        };
        let swarm = self.swarm.unwrap_or_else(|| "swarm".to_owned());
        let sound = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
        if swarm.is_empty() || swarm.len() > 64 || !swarm.chars().all(sound) {
            return Err("`swarm` of `[journal]` is 1 to 64 letters, digits, `-`, `_` or `.`".into());
        }
        let lock = self.lock_timeout.unwrap_or(LOCK);
        if !(SHORTEST_LOCK..=LONGEST_LOCK).contains(&lock) {
            return Err(format!(
                "`lock_timeout` of `[journal]` must be from \"{SHORTEST_LOCK}\" to \"{LONGEST_LOCK}\""
            ));
        }
        if self.address.as_ref().is_some_and(|a| !a.starts_with("http://") && !a.starts_with("https://")) {
            return Err("`address` of `[journal]` is how others reach this orchestrator, such as \
                        \"http://nas:8100\""
                .into());
        }
        Ok(RedisSettings {
            location,
            username: self.username,
            password_file: self.password_file,
            swarm,
            address: self.address,
            lock_ms: lock.millis(),
            wait_replicas: self.wait_replicas.unwrap_or(0),
        })
    }
}

/// Checks that an address contains no secret.
fn plain(url: String) -> Result<String, String> {
    if url.contains('@') {
        return Err("`url` of `[journal]` must not hold a user or password: use `username` and \
                    `password_file`"
            .into());
    }
    match check_url(&url) {
        Ok(()) => Ok(url),
        Err(why) => Err(format!("`url` of `[journal]`: {why}; expected redis://HOST:6379 or unix:///PATH")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[derive(Debug, Deserialize)]
    struct File {
        journal: JournalSettings,
    }

    fn parse(section: &str) -> Result<JournalSettings, String> {
        let text = format!("# A comment.\n\n[journal]\n{section}\n");
        let parsed = swarm_daemon::config::parse::<File>(Path::new("o.toml"), &text);
        parsed.map(|file| file.journal).map_err(|e| e.to_string())
    }

    #[test]
    fn a_redis_is_found_by_its_address_or_by_its_sentinels() {
        let redis = parse("kind = \"redis\"\nurl = \"redis://nas:6379/2\"").unwrap().redis.unwrap();
        assert_eq!(redis.location, ServerLocation::Url("redis://nas:6379/2".into()));
        let text = "kind = \"redis\"\nsentinels = [\"a:26379\"]\nsentinel_master = \"m\"\nswarm = \"home\"";
        let redis = parse(text).unwrap().redis.unwrap();
        assert!(matches!(&redis.location, ServerLocation::Sentinels { master, .. } if master == "m"));
        assert_eq!((redis.swarm.as_str(), redis.lock_ms), ("home", 10_000));
        assert!(parse("").unwrap().redis.is_none());
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_line() {
        for (section, want) in [
            ("url = \"redis://nas\"", "kind is sqlite"),
            ("kind = \"redis\"", "needs either `url"),
            ("kind = \"redis\"\nurl = \"redis://nas\"\nsentinels = [\"a:1\"]", "needs either `url"),
            ("kind = \"redis\"\nurl = \"nas:6379\"", "expected redis://"),
            ("kind = \"redis\"\nurl = \"rediss://nas:6379\"", "TLS"),
            ("kind = \"redis\"\nurl = \"redis://:hunter2@nas\"", "password_file"),
            ("kind = \"redis\"\nurl = \"redis://nas\"\nlock_timeout = \"5ms\"", "from \"500ms\" to \"10m\""),
            ("kind = \"redis\"\nurl = \"redis://nas\"\nswarm = \"a b\"", "letters"),
            ("kind = \"redis\"\nurl = \"redis://nas\"\naddress = \"nas\"", "http://nas:8100"),
            ("kind = \"redis\"\nsentinels = [\"a\"]\nsentinel_master = \"m\"", "HOST:PORT"),
            ("kind = \"postgres\"", "redis"),
            ("kind = \"redis\"\nurll = \"redis://nas\"", "did you mean `url`"),
        ] {
            let error = parse(section).unwrap_err();
            assert!(error.contains(want), "{section}: {error}");
            let line: usize =
                error.strip_prefix("o.toml:").unwrap().split(':').next().unwrap().parse().unwrap();
            assert!(line >= 3, "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}

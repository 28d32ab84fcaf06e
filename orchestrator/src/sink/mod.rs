//! Where notifications are sent: a sink has an address, a secret file and a minimum severity.
//!
//! [`message`] defines the messages; [`ntfy`], [`webhook`] and [`mail`] send them.
//!
//! Only the scheme and host of an address are displayed. Its path and query may be secret, such as
//! a public ntfy topic or a chat webhook.

mod http;
mod mail;
pub mod message;
mod ntfy;
mod webhook;

use mail::Smtp;
use message::Message;
use ntfy::Ntfy;
use reqwest::Url;
use serde::Deserialize;
use std::{fmt, path::PathBuf, str::FromStr};
use swarm_common::{secret::Secret, state::Severity};
use swarm_daemon::config::{ConfigError, secret::read_secret};
use webhook::Webhook;

/// `[[notify.sink]]`: one sink.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "RawSink")]
pub struct Sink {
    pub address: Address,
    /// Minimum severity; less severe messages are not sent.
    pub minimum: Severity,
    /// File with the token or password, if one is needed.
    pub secret_file: Option<PathBuf>,
}

/// A sink as written in the configuration file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSink {
    /// `ntfy://`, `ntfys://`, `http://`, `https://`, `smtp://` or `smtps://`.
    url: Address,
    /// `info`, `warning` or `critical`. Default: `info`.
    minimum: Option<Severity>,
    /// An ntfy access token, or a webhook's bearer token.
    token_file: Option<PathBuf>,
    /// The password of the SMTP user.
    password_file: Option<PathBuf>,
}

/// An address with its protocol.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Address {
    shown: String,
    kind: Kind,
}

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    Ntfy(Ntfy),
    Webhook(Webhook),
    Mail(Smtp),
}

/// Why a delivery failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryError {
    /// One line without secrets.
    pub why: String,
    /// The delay that the sink requested, in milliseconds.
    pub after_ms: Option<u64>,
}

impl From<String> for DeliveryError {
    fn from(why: String) -> Self {
        Self { why, after_ms: None }
    }
}

impl TryFrom<RawSink> for Sink {
    type Error = String;
    fn try_from(raw: RawSink) -> Result<Self, String> {
        let RawSink { url: address, minimum, token_file, password_file } = raw;
        let secret_file = match (&address.kind, token_file, password_file) {
            (Kind::Mail(_), Some(_), _) => {
                return Err("`token_file` is not for mail; set `password_file`".into());
            }
            (Kind::Mail(smtp), None, None) if smtp.has_user() => {
                return Err("`url` has a user, so `password_file` is required".into());
            }
            (Kind::Mail(smtp), None, Some(_)) if !smtp.has_user() => {
                return Err("`password_file` needs a user in `url`, as in smtp://user@host".into());
            }
            (Kind::Ntfy(_) | Kind::Webhook(_), _, Some(_)) => {
                return Err("`password_file` is only for mail; set `token_file`".into());
            }
            (_, token, password) => token.or(password),
        };
        Ok(Self { address, minimum: minimum.unwrap_or(Severity::Info), secret_file })
    }
}

impl FromStr for Address {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = "expected ntfy://, ntfys://, http://, https://, smtp:// or smtps://";
        // The error must not contain the text, because parts of it may be secret.
        let url = Url::parse(text).map_err(|e| format!("invalid URL ({e}); {known}"))?;
        let kind = match url.scheme() {
            "ntfy" | "ntfys" => Kind::Ntfy(Ntfy::parse(&url)?),
            "http" | "https" => Kind::Webhook(Webhook::parse(&url)?),
            "smtp" | "smtps" => Kind::Mail(Smtp::parse(&url)?),
            other => return Err(format!("unknown scheme `{other}://`; {known}")),
        };
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        Ok(Self { shown: format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default()), kind })
    }
}

impl TryFrom<String> for Address {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.shown)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/…", self.shown)
    }
}

impl Sink {
    /// Reads the secret from its file. It is read each time, so that it can be replaced at runtime.
    ///
    /// # Errors
    /// The file cannot be read or is accessible to others.
    pub fn secret(&self) -> Result<Option<Secret>, ConfigError> {
        self.secret_file.as_deref().map(read_secret).transpose()
    }

    /// Makes one attempt to send a message.
    ///
    /// # Errors
    /// The delivery failed; the error says why in one line without secrets.
    pub async fn send(&self, message: &Message) -> Result<(), DeliveryError> {
        let secret = self.secret().map_err(|e| e.to_string())?;
        match &self.address.kind {
            Kind::Ntfy(ntfy) => ntfy.send(secret.as_ref(), message).await,
            Kind::Webhook(webhook) => webhook.send(secret.as_ref(), message).await,
            Kind::Mail(smtp) => Ok(Box::pin(smtp.send(secret.as_ref(), message)).await?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_of_an_address_is_no_secret() {
        for (text, shown) in [
            ("ntfys://ntfy.sh/hidden-topic", "ntfys://ntfy.sh"),
            ("ntfy://nas:8080/base/hidden-topic", "ntfy://nas:8080"),
            ("https://hooks.example.org/T0/hidden?hidden=1", "https://hooks.example.org"),
            ("smtp://hidden@mail:25?from=a@b.org&to=hidden@b.org", "smtp://mail:25"),
            ("smtps://mail?from=a@b.org&to=c@d.org,me+swarm@b.org", "smtps://mail"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), shown);
            assert!(!format!("{address:?}").contains("hidden"));
        }
    }

    #[test]
    fn a_wrong_address_is_refused_with_what_is_right_and_without_its_secrets() {
        for (text, want) in [
            ("nonsense", "expected ntfy://"),
            ("gopher://x/hidden", "unknown scheme `gopher://`"),
            ("ntfy://host", "topic"),
            ("ntfy://host/a%20b", "topic"),
            ("ntfy:///topic", "host is missing"),
            ("ntfy://me:hidden@host/topic", "token_file"),
            ("https://me:hidden@host/x", "token_file"),
            ("smtp://me:hidden@host?from=a@b&to=c@d", "password_file"),
            ("smtp://host?to=c@d.org", "`from` is missing"),
            ("smtp://host?from=c@d.org", "`to` is missing"),
            ("smtp://host?from=c@d.org&to=nobody", "invalid mail address"),
            ("smtp://host?from=c@d.org&to=c@d.org&cc=x", "unknown parameter `cc`"),
            ("smtp://me@host?from=c@d.org&to=c@d.org&tls=none", "without TLS"),
            ("smtps://host?from=c@d.org&to=c@d.org&tls=none", "only accepts `none`"),
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.contains(want), "{text}: {error}");
            assert!(!error.contains("hidden"), "{error}");
        }
    }

    #[test]
    fn the_secret_must_fit_the_kind_of_sink() {
        let parse = |text: &str| swarm_daemon::config::parse::<Sink>("s.toml".as_ref(), text);
        for (text, want) in [
            ("url = \"ntfy://h/t\"\npassword_file = \"/x\"", "set `token_file`"),
            ("url = \"smtp://u@h?from=a@b.org&to=c@d.org\"", "`password_file` is required"),
            ("url = \"smtp://h?from=a@b.org&to=c@d.org\"\npassword_file = \"/x\"", "needs a user"),
            ("url = \"ntfy://h/t\"\nminimum = \"loud\"", "s.toml:2:"),
            ("url = \"ntfy://h/t\"\ntokenfile = \"/x\"", "`token_file`"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(want), "{text}: {error}");
        }
        assert_eq!(parse("url = \"ntfy://h/t\"").unwrap().minimum, Severity::Info);
    }
}

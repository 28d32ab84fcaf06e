//! Mail by SMTP. This is the only file that depends on lettre.

use super::{http::causes, message::Message};
use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message as Mail, Tokio1Executor,
    message::{Mailbox, header::ContentType},
    transport::smtp::{
        authentication::Credentials,
        client::{Tls, TlsParameters},
    },
};
use reqwest::Url;
use std::time::Duration;
use swarm_common::secret::Secret;

/// Time limit for one step of the SMTP session.
const STEP: Duration = Duration::from_secs(10);

/// Time limit for the whole session.
const WHOLE: Duration = Duration::from_secs(25);

const LIKE: &str =
    "expected something like smtp://user@mail.example.org?from=swarm@example.org&to=me@example.org";

#[derive(Clone, PartialEq, Eq)]
pub struct Smtp {
    host: String,
    port: u16,
    security: Security,
    user: Option<String>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Security {
    /// TLS from the first byte.
    Tls,
    /// STARTTLS: switches to TLS before sending anything else. If the server refuses, nothing is sent.
    StartTls,
    /// No encryption, for a relay on the local network.
    None,
}

impl Smtp {
    /// Parses `smtps://`, `smtp://` (STARTTLS) or, for a relay on the local network, `smtp://…&tls=none`.
    /// Each needs `from=` and `to=`, which may list several addresses separated by commas.
    pub(super) fn parse(url: &Url) -> Result<Self, String> {
        if url.password().is_some() {
            return Err(
                "no password allowed in the URL; put it into a file and set `password_file`".to_owned()
            );
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| {
            format!(
                "the host is missing; \
                 {LIKE}"
            )
        })?;
        let host = host.trim_matches(['[', ']']).to_owned();
        let (mut from, mut to, mut plain) = (None, Vec::new(), false);
        // A plus in a mail address is literal, not an encoded space.
        let query = url.query().unwrap_or_default().replace('+', "%2B");
        let mut escaped = url.clone();
        escaped.set_query(Some(&query));
        for (name, value) in escaped.query_pairs() {
            match &*name {
                "from" => from = Some(address(&value)?),
                "to" => to.extend(value.split(',').map(address).collect::<Result<Vec<_>, _>>()?),
                "tls" if value == "none" && url.scheme() == "smtp" => plain = true,
                "tls" => return Err("`tls` only accepts `none`, and only with smtp://".to_owned()),
                other => return Err(format!("unknown parameter `{other}`, expected from, to or tls")),
            }
        }
        let user = Some(unescaped(url.username())?).filter(|user| !user.is_empty());
        if plain && user.is_some() {
            return Err("a password is never sent without TLS; remove the user or `tls=none`".to_owned());
        }
        let (security, port) = match (url.scheme(), plain) {
            ("smtps", _) => (Security::Tls, 465),
            (_, false) => (Security::StartTls, 587),
            (_, true) => (Security::None, 25),
        };
        let from = from.ok_or_else(|| format!("`from` is missing; {LIKE}"))?;
        if to.is_empty() {
            return Err(format!("`to` is missing; {LIKE}"));
        }
        Ok(Self { host, port: url.port().unwrap_or(port), security, user, from, to })
    }

    /// Whether a password is needed.
    pub(super) fn has_user(&self) -> bool {
        self.user.is_some()
    }

    pub(super) async fn send(&self, secret: Option<&Secret>, message: &Message) -> Result<(), String> {
        let mail = self.mail(message)?;
        let parameters = || TlsParameters::new(self.host.clone()).map_err(causes);
        let tls = match self.security {
            Security::Tls => Tls::Wrapper(parameters()?),
            Security::StartTls => Tls::Required(parameters()?),
            Security::None => Tls::None,
        };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&self.host)
            .port(self.port)
            .tls(tls)
            .timeout(Some(STEP));
        if let (Some(user), Some(password)) = (&self.user, secret) {
            transport = transport.credentials(Credentials::new(user.clone(), password.expose().to_owned()));
        }
        match tokio::time::timeout(WHOLE, transport.build().send(mail)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(causes(error)),
            Err(_) => Err(format!("no result after {} s", WHOLE.as_secs())),
        }
    }

    fn mail(&self, message: &Message) -> Result<Mail, String> {
        let at = std::time::UNIX_EPOCH + Duration::from_millis(message.at.0);
        let domain = self.from.email.domain();
        let mut mail = Mail::builder()
            .from(self.from.clone())
            .subject(format!("[build-swarm] {}", message.title))
            .date(at)
            // A retry has the same message id.
            .message_id(Some(format!("<{}.{}.build-swarm@{domain}>", message.at.0, message.id)))
            .header(ContentType::TEXT_PLAIN);
        for to in &self.to {
            mail = mail.to(to.clone());
        }
        mail.body(format!("{}\n\n{}\n", message.title, message.text)).map_err(causes)
    }
}

fn address(text: &str) -> Result<Mailbox, String> {
    text.trim().parse().map_err(|e| format!("invalid mail address `{text}`: {e}"))
}

/// Percent-decodes the user part of the address.
fn unescaped(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'%', [high, low, left @ ..]) => {
                let digits = [*high, *low];
                let byte = std::str::from_utf8(&digits).ok().and_then(|d| u8::from_str_radix(d, 16).ok());
                bytes.push(byte.ok_or("the user has an invalid % escape")?);
                rest = left;
            }
            _ => bytes.push(*first),
        }
    }
    String::from_utf8(bytes).map_err(|_| "the user is not UTF-8".to_owned())
}

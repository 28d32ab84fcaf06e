//! ntfy: publishes a message to a topic as JSON (docs.ntfy.sh/publish, "Publish as JSON"). Unlike ntfy's
//! headers, JSON allows any text.

use super::{DeliveryError, http, message::Message};
use reqwest::Url;
use serde_json::json;
use swarm_common::{secret::Secret, state::Severity};

/// A topic on a server.
#[derive(Clone, PartialEq, Eq)]
pub struct Ntfy {
    server: Url,
    topic: String,
}

impl Ntfy {
    /// Parses `ntfy://host/topic` or, with TLS, `ntfys://host/topic`.
    pub(super) fn parse(url: &Url) -> Result<Self, String> {
        let like = "expected something like ntfys://ntfy.example.org/topic";
        let scheme = if url.scheme() == "ntfys" { "https" } else { "http" };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "no user or password allowed in the URL; create an access token, put it into a file \
                        and set `token_file`"
                    .to_owned(),
            );
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(format!("no query allowed in the URL; {like}"));
        }
        let (prefix, topic) = url.path().trim_end_matches('/').rsplit_once('/').unwrap_or_default();
        // The rule that the ntfy server enforces (topicRegex in its server.go).
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if topic.is_empty() || topic.len() > 64 || !topic.chars().all(fits) {
            return Err(format!("invalid topic, expected 1 to 64 letters, digits, - and _; {like}"));
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| {
            format!(
                "the host is missing; \
                 {like}"
            )
        })?;
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let server = Url::parse(&format!("{scheme}://{host}{port}{prefix}/"));
        Ok(Self { server: server.map_err(|e| format!("{e}; {like}"))?, topic: topic.to_owned() })
    }

    pub(super) async fn send(&self, secret: Option<&Secret>, message: &Message) -> Result<(), DeliveryError> {
        let (priority, tag) = match message.severity {
            Severity::Info => (3, "package"),
            Severity::Warning => (4, "warning"),
            Severity::Critical => (5, "rotating_light"),
        };
        let document = json!({
            "topic": self.topic,
            "title": message.title,
            // ntfy would show an empty message as "triggered".
            "message": if message.text.is_empty() { &message.title } else { &message.text },
            "priority": priority,
            "tags": [tag],
        });
        http::post(&self.server, secret, &document).await
    }
}

//! A webhook: posts the message as one JSON document. The field `text`, which chat servers show for
//! plain incoming webhooks, contains title and text.

use super::{DeliveryError, http, message::Message};
use reqwest::Url;
use serde_json::json;
use swarm_common::secret::Secret;

/// The URL that receives the messages.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    url: Url,
}

impl Webhook {
    pub(super) fn parse(url: &Url) -> Result<Self, String> {
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "no user or password allowed in a webhook's URL; put a bearer token into a file and \
                        set `token_file`"
                    .to_owned(),
            );
        }
        Ok(Self { url: url.clone() })
    }

    pub(super) async fn send(&self, secret: Option<&Secret>, message: &Message) -> Result<(), DeliveryError> {
        let text = format!("{}\n{}", message.title, message.text);
        let document = json!({
            "id": message.id,
            "at": message.at,
            "kind": message.kind,
            "severity": message.severity,
            "title": message.title,
            "text": text.trim_end(),
        });
        http::post(&self.url, secret, &document).await
    }
}

//! Notifiers over HTTP (feature `http`): PagerDuty Events v2, Slack-compatible webhooks, and a signed
//! webhook for anything else.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aiops_core::Severity;
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::{Message, Notifier, SendError};
use crate::canonical::Digest;
use crate::executor::BoxFuture;
use crate::http::{HttpAnswer, HttpClient, HttpError, HttpRequest};
use crate::machine::NoticeKind;
use crate::secret::Secret;

/// How long one delivery may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Most characters of a title that receivers are sent.
const MAX_TITLE: usize = 1_000;

/// What a receiver's answer means: 2xx is delivered; 408, 425, 429 and 5xx are later, after what
/// `Retry-After` says; anything else will not change by trying again.
pub(crate) fn judge(answer: Result<HttpAnswer, HttpError>) -> Result<(), SendError> {
    let later = |reason: String, after| Err(SendError::Later { reason, after });
    match answer {
        Ok(HttpAnswer { status: 200..=299, .. }) => Ok(()),
        Ok(HttpAnswer { status: status @ (408 | 425 | 429 | 500..), retry_after, .. }) => {
            later(format!("answered {status}"), retry_after.map(Duration::from_secs))
        }
        Ok(HttpAnswer { status, .. }) => {
            Err(SendError::Never { reason: format!("answered {status}") })
        }
        Err(error) => later(error.to_string(), None),
    }
}

pub(crate) fn post(url: &str, headers: Vec<(String, String)>, body: &Value) -> HttpRequest {
    let mut headers = headers;
    headers.push(("Content-Type".to_owned(), "application/json".to_owned()));
    HttpRequest {
        method: "POST".to_owned(),
        url: url.to_owned(),
        headers,
        body: body.to_string().into_bytes(),
        timeout: TIMEOUT,
    }
}

fn short(text: &str) -> String {
    match text.char_indices().nth(MAX_TITLE) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

fn reasons(message: &Message) -> String {
    let sentences: Vec<String> = message.because.iter().map(|r| short(&r.sentence)).collect();
    sentences.join("; ")
}

/// PagerDuty, Events API v2: what needs a person triggers, what ended well resolves.
pub struct PagerDuty {
    name: String,
    url: String,
    key: Secret,
    client: Arc<dyn HttpClient>,
}

impl fmt::Debug for PagerDuty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PagerDuty").field("url", &self.url).finish_non_exhaustive()
    }
}

impl PagerDuty {
    /// A route with the integration key of a PagerDuty service.
    #[must_use]
    pub fn new(name: &str, key: Secret, client: Arc<dyn HttpClient>) -> PagerDuty {
        let url = "https://events.pagerduty.com/v2/enqueue".to_owned();
        PagerDuty { name: name.to_owned(), url, key, client }
    }

    /// Another address, for a proxy or a test.
    #[must_use]
    pub fn at(mut self, url: &str) -> PagerDuty {
        self.url = url.to_owned();
        self
    }

    fn body(&self, message: &Message) -> Value {
        // One PagerDuty alert for a run: what comes later adds to it or resolves it.
        let run = format!("{}:{}", message.incident, message.run);
        let action = match message.kind {
            NoticeKind::Succeeded => "resolve",
            _ => "trigger",
        };
        let severity = match message.severity {
            Severity::Critical => "critical",
            Severity::Warning => "warning",
            Severity::Info => "info",
        };
        json!({
            "routing_key": self.key.expose(),
            "event_action": action,
            "dedup_key": run,
            "payload": {
                "summary": short(&message.title),
                "source": "aiops-act",
                "severity": severity,
                "custom_details": {"because": reasons(message), "key": message.key},
            },
        })
    }
}

impl Notifier for PagerDuty {
    fn name(&self) -> &str {
        &self.name
    }

    fn send<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, Result<(), SendError>> {
        let request = post(&self.url, Vec::new(), &self.body(message));
        Box::pin(async move { judge(self.client.send(request).await) })
    }
}

/// A chat webhook that takes Slack's `{"text": ...}`.
pub struct SlackWebhook {
    name: String,
    url: Secret,
    client: Arc<dyn HttpClient>,
}

impl fmt::Debug for SlackWebhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlackWebhook").field("name", &self.name).finish_non_exhaustive()
    }
}

impl SlackWebhook {
    /// A route to an incoming webhook. Its address is a secret: whoever has it may post.
    #[must_use]
    pub fn new(name: &str, url: Secret, client: Arc<dyn HttpClient>) -> SlackWebhook {
        SlackWebhook { name: name.to_owned(), url, client }
    }
}

/// Escapes what Slack's markup would read: a title must not call the whole channel.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

impl Notifier for SlackWebhook {
    fn name(&self) -> &str {
        &self.name
    }

    fn send<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, Result<(), SendError>> {
        let text = format!(
            "*{}*\n{}\nincident {} run {}",
            escape(&short(&message.title)),
            escape(&reasons(message)),
            message.incident,
            message.run,
        );
        let request = post(self.url.expose(), Vec::new(), &json!({"text": text}));
        Box::pin(async move { judge(self.client.send(request).await) })
    }
}

/// A webhook whose receiver can check who sent it and that it is fresh.
///
/// Headers: `X-Aiops-Key` (deduplication), `X-Aiops-Timestamp` (seconds), `X-Aiops-Signature`:
/// `v1=` and the HMAC-SHA256 of `timestamp.key.body` in hexadecimal digits.
pub struct SignedWebhook {
    name: String,
    url: String,
    secret: Secret,
    client: Arc<dyn HttpClient>,
}

impl fmt::Debug for SignedWebhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedWebhook").field("url", &self.url).finish_non_exhaustive()
    }
}

impl SignedWebhook {
    /// A route to `url`, signed with `secret`.
    #[must_use]
    pub fn new(
        name: &str,
        url: &str,
        secret: Secret,
        client: Arc<dyn HttpClient>,
    ) -> SignedWebhook {
        SignedWebhook { name: name.to_owned(), url: url.to_owned(), secret, client }
    }
}

impl Notifier for SignedWebhook {
    fn name(&self) -> &str {
        &self.name
    }

    fn send<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, Result<(), SendError>> {
        let body = json!(message);
        let at = message.at.as_secs().to_string();
        let signature = sign(&self.secret, &[&at, &message.key, &body.to_string()]);
        let headers = vec![
            ("X-Aiops-Key".to_owned(), message.key.clone()),
            ("X-Aiops-Timestamp".to_owned(), at),
            ("X-Aiops-Signature".to_owned(), format!("v1={signature}")),
        ];
        let request = post(&self.url, headers, &body);
        Box::pin(async move { judge(self.client.send(request).await) })
    }
}

/// HMAC-SHA256 of the parts, joined by dots, in hexadecimal digits.
#[must_use]
pub fn sign(secret: &Secret, parts: &[&str]) -> String {
    // HMAC takes keys of any length.
    let mut mac = <Hmac<Sha256>>::new_from_slice(secret.expose().as_bytes())
        .expect("HMAC takes keys of any length");
    mac.update(parts.join(".").as_bytes());
    Digest::from_bytes(mac.finalize().into_bytes().into()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_rfc_4231() {
        // Source: RFC 4231, test case 2.
        let secret = Secret::new("Jefe".to_owned());
        assert_eq!(
            sign(&secret, &["what do ya want for nothing?"]),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}

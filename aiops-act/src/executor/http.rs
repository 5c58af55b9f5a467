//! Requests to other services (feature `http`), to an allow-list of addresses.
//!
//! ```yaml
//! uses: http
//! with:
//!   method: POST
//!   url: http://127.0.0.1:21001/admin/pool?max=24
//!   headers: {authorization: "secret://api-token"}   # optional
//!   body: {limit: 24}          # optional: a text as it is, anything else as JSON
//!   look: {url: ...}           # optional: GET before the step; the answer becomes `before`
//!   probe: {url: ..., done_when: body.limit == 24}   # optional: how to tell whether it happened
//! ```
//!
//! The value of the step is the answer's JSON, or `{"status": ..., "text": ...}`. The idempotency key
//! goes along as `Idempotency-Key`, the fencing token as `X-Fencing-Token`.
//!
//! | answer | means |
//! | --- | --- |
//! | 2xx | done |
//! | 429, nobody listens | not started |
//! | other 4xx, 3xx | failed |
//! | 5xx, timeout, broken connection | unknown: it may be under way |
//!
//! A `GET` or `HEAD` changes nothing, so whatever goes wrong with it counts as not started.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{BoxFuture, Call, Clip, Output, Permit, Preview, Probe, StepError, StepExecutor};
use crate::canonical::Digest;
use crate::http::{HttpAnswer, HttpClient, HttpError, HttpRequest};
use crate::runbook::Risk;
use crate::runbook::expr::{Expr, Scope};
use crate::secret::{SCHEME, SecretSource, StaticSecrets, is_reference};

/// Sends requests to allowed addresses.
pub struct HttpExecutor {
    name: String,
    client: Arc<dyn HttpClient>,
    allowed: Vec<Address>,
    secrets: Arc<dyn SecretSource>,
}

impl fmt::Debug for HttpExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpExecutor")
            .field("name", &self.name)
            .field("allowed", &self.allowed)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct With {
    #[serde(default = "get")]
    method: String,
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: Option<Value>,
    #[serde(default)]
    look: Option<Look>,
    #[serde(default)]
    probe: Option<ProbeWith>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Look {
    url: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProbeWith {
    url: String,
    done_when: Expr,
}

fn get() -> String {
    "GET".to_owned()
}

/// Scheme, host with port, and path of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    origin: String,
    path: String,
}

impl Address {
    /// Takes an address apart, and refuses what could look like another one to somebody else: user
    /// information, backslashes, dots that climb, escaped slashes and dots, control characters.
    fn parse(url: &str) -> Result<Address, String> {
        let lower = url.to_ascii_lowercase();
        let scheme = ["http://", "https://"].into_iter().find(|s| lower.starts_with(s));
        let scheme = scheme.ok_or_else(|| format!("`{url}` is neither http nor https"))?;
        let rest = &url[scheme.len()..];
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (host, rest) = rest.split_at(end);
        let path = rest.split(['?', '#']).next().unwrap_or("");
        let climbs = path.split('/').any(|part| part == ".." || part == ".");
        let escaped = ["%2e", "%2f", "%5c"].iter().any(|e| path.to_ascii_lowercase().contains(e));
        let odd = |c: char| c.is_control() || c.is_whitespace() || c == '\\';
        if host.is_empty() || host.contains('@') || climbs || escaped || url.contains(odd) {
            return Err(format!("`{url}` is not a plain address"));
        }
        let host = host.to_ascii_lowercase();
        let path = if path.is_empty() { "/" } else { path };
        Ok(Address { origin: format!("{scheme}{host}"), path: path.to_owned() })
    }

    /// Whether `other` is this address or below it.
    fn covers(&self, other: &Address) -> bool {
        let below = other.path.strip_prefix(self.path.as_str());
        let whole =
            |rest: &str| rest.is_empty() || rest.starts_with('/') || self.path.ends_with('/');
        self.origin == other.origin && below.is_some_and(whole)
    }
}

impl HttpExecutor {
    /// An executor that may send nothing yet. Its floor is tier 1 for what changes something.
    #[must_use]
    pub fn new(client: Arc<dyn HttpClient>) -> HttpExecutor {
        HttpExecutor {
            name: "http".to_owned(),
            client,
            allowed: Vec::new(),
            secrets: Arc::new(StaticSecrets::new()),
        }
    }

    /// Allows an address and everything below its path.
    ///
    /// # Errors
    /// Not a plain `http` or `https` address.
    pub fn allowing(mut self, url: &str) -> crate::Result<HttpExecutor> {
        let address =
            Address::parse(url).map_err(|reason| crate::Error::config("allowing", reason))?;
        self.allowed.push(address);
        Ok(self)
    }

    /// Where header values and text bodies that are references get their secrets. Give the engine
    /// the same source.
    #[must_use]
    pub fn secrets(mut self, secrets: Arc<dyn SecretSource>) -> HttpExecutor {
        self.secrets = secrets;
        self
    }

    fn read(&self, call: &Call) -> Result<With, StepError> {
        let with: With = serde_json::from_value(Value::Object(call.with.clone()))
            .map_err(|e| StepError::not_started(format!("`with`: {e}")))?;
        let urls = [
            Some(&with.url),
            with.look.as_ref().map(|l| &l.url),
            with.probe.as_ref().map(|p| &p.url),
        ];
        for url in urls.into_iter().flatten() {
            let address = Address::parse(url).map_err(StepError::not_started)?;
            if !self.allowed.iter().any(|allowed| allowed.covers(&address)) {
                return Err(StepError::not_started(format!(
                    "`{url}` is not on the list of allowed addresses"
                )));
            }
            if url.contains(SCHEME) {
                return Err(StepError::not_started(
                    "secrets go into headers or the body, not into an address",
                ));
            }
        }
        if !with.method.chars().all(|c| c.is_ascii_uppercase()) || with.method.is_empty() {
            return Err(StepError::not_started(format!("`{}` is not a method", with.method)));
        }
        Ok(with)
    }

    fn resolve(&self, text: &str) -> Result<String, StepError> {
        if !is_reference(text) {
            return Ok(text.to_owned());
        }
        let name = &text[SCHEME.len()..];
        let secret = self.secrets.secret(name);
        let secret =
            secret.ok_or_else(|| StepError::not_started(format!("no secret is called {name}")))?;
        Ok(secret.expose().to_owned())
    }

    fn request(
        &self,
        with: &With,
        url: &str,
        method: &str,
        call: &Call,
    ) -> Result<HttpRequest, StepError> {
        let mut headers = Vec::new();
        for (name, value) in &with.headers {
            headers.push((name.clone(), self.resolve(value)?));
        }
        Ok(HttpRequest {
            method: method.to_owned(),
            url: url.to_owned(),
            headers,
            body: Vec::new(),
            timeout: call.timeout,
        })
    }

    async fn send(&self, call: &Call, permit: &Permit) -> Result<Output, StepError> {
        let with = self.read(call)?;
        let mut request = self.request(&with, &with.url, &with.method, call)?;
        request.headers.push(("Idempotency-Key".to_owned(), permit.key().to_string()));
        request.headers.push(("X-Fencing-Token".to_owned(), permit.fence().to_string()));
        match &with.body {
            Some(Value::String(text)) => request.body = self.resolve(text)?.into_bytes(),
            Some(value) => {
                request.headers.push(("Content-Type".to_owned(), "application/json".to_owned()));
                request.body = value.to_string().into_bytes();
            }
            None => {}
        }
        let reads = is_read(&with.method);
        match self.client.send(request).await {
            Ok(answer) => outcome(answer, reads),
            Err(HttpError::NotSent { reason }) => Err(StepError::not_started(reason)),
            Err(HttpError::Lost { reason }) if reads => Err(StepError::not_started(reason)),
            Err(HttpError::Lost { reason }) => Err(StepError::unknown(reason)),
        }
    }

    async fn look(&self, call: &Call) -> Result<Preview, StepError> {
        let with = self.read(call)?;
        let summary = format!("{} {}", with.method, with.url);
        let Some(look) = &with.look else {
            return Ok(Preview { summary, before: Value::Null });
        };
        let request = self.request(&with, &look.url, "GET", call)?;
        let answer = self.client.send(request).await;
        let answer = answer.map_err(|e| StepError::not_started(e.to_string()))?;
        if !(200..300).contains(&answer.status) {
            return Err(StepError::not_started(format!("the look was answered {}", answer.status)));
        }
        Ok(Preview { summary, before: value_of(&answer) })
    }

    async fn ask(&self, call: &Call) -> Probe {
        let cannot = |reason: String| Probe::CannotTell { reason };
        let with = match self.read(call) {
            Ok(with) => with,
            Err(error) => return cannot(error.to_string()),
        };
        let Some(probe) = &with.probe else {
            return cannot("the step does not say how to probe it".to_owned());
        };
        let request = match self.request(&with, &probe.url, "GET", call) {
            Ok(request) => request,
            Err(error) => return cannot(error.to_string()),
        };
        let answer = match self.client.send(request).await {
            Ok(answer) => answer,
            Err(error) => return cannot(error.to_string()),
        };
        let body = value_of(&answer);
        let scope = Scope::new().with("status", answer.status.into()).with("body", body.clone());
        match probe.done_when.holds(&scope) {
            Ok(true) => Probe::Done { output: Output::of(body) },
            Ok(false) => Probe::NotDone,
            Err(error) => cannot(error.to_string()),
        }
    }
}

fn is_read(method: &str) -> bool {
    method == "GET" || method == "HEAD"
}

fn value_of(answer: &HttpAnswer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(
        |_| json!({"status": answer.status, "text": String::from_utf8_lossy(&answer.body)}),
    )
}

fn outcome(answer: HttpAnswer, reads: bool) -> Result<Output, StepError> {
    let status = answer.status;
    if (200..300).contains(&status) {
        return Ok(Output { value: value_of(&answer), log: Some(Clip::of(&answer.body)) });
    }
    let text: String = String::from_utf8_lossy(&answer.body).chars().take(400).collect();
    let reason = format!("answered {status}: {}", text.trim());
    Err(match status {
        _ if reads => StepError::not_started(reason),
        429 => StepError::not_started(reason),
        500.. => StepError::unknown(reason),
        _ => StepError::failed(reason),
    })
}

impl StepExecutor for HttpExecutor {
    fn name(&self) -> &str {
        &self.name
    }

    fn version(&self) -> &str {
        "1"
    }

    fn risk_floor(&self, call: &Call) -> Risk {
        match call.with.get("method").and_then(Value::as_str) {
            None | Some("GET" | "HEAD") => Risk::ReadOnly,
            Some("DELETE") => Risk::Stateful,
            Some(_) => Risk::Reversible,
        }
    }

    fn plan<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Preview, StepError>> {
        Box::pin(self.look(call))
    }

    fn run<'a>(
        &'a self,
        call: &'a Call,
        permit: &'a Permit,
    ) -> BoxFuture<'a, Result<Output, StepError>> {
        Box::pin(self.send(call, permit))
    }

    fn probe<'a>(&'a self, call: &'a Call, _: Digest) -> BoxFuture<'a, Probe> {
        Box::pin(self.ask(call))
    }

    fn undo<'a>(
        &'a self,
        _: &'a Call,
        _: &'a Value,
        _: &'a Permit,
    ) -> BoxFuture<'a, Result<Output, StepError>> {
        let error = StepError::not_started("a request has no undo of its own; name one");
        Box::pin(std::future::ready(Err(error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_at_or_below_an_allowed_one_are_covered() {
        let allowed = Address::parse("http://127.0.0.1:80/admin").unwrap();
        for (url, covered) in [
            ("http://127.0.0.1:80/admin", true),
            ("HTTP://127.0.0.1:80/admin/pool?max=3", true),
            ("http://127.0.0.1:80/administrator", false),
            ("http://127.0.0.1:80/", false),
            ("https://127.0.0.1:80/admin", false),
            ("http://127.0.0.1:81/admin", false),
            ("http://127.0.0.1:80.example.org/admin", false),
        ] {
            assert_eq!(allowed.covers(&Address::parse(url).unwrap()), covered, "{url}");
        }
        for url in [
            "http://127.0.0.1:80/admin/../secret",
            "http://127.0.0.1:80/admin/%2e%2e/secret",
            "http://127.0.0.1:80/admin%2fsecret",
            "http://127.0.0.1:80@example.org/admin",
            "http://127.0.0.1:80\\admin",
            "http:///admin",
            "ftp://127.0.0.1/admin",
            "http://127.0.0.1:80/admin\r\nx: y",
        ] {
            assert!(Address::parse(url).is_err(), "{url}");
        }
    }
}

//! Where answers come in over HTTP (feature `http`), without a web framework: the parts of a request
//! in, an answer for the engine and a reply for the browser out.
//!
//! | request | means |
//! | --- | --- |
//! | `GET  BASE/answer/TOKEN` | shows what would be said, with a button. Mail scanners and chat previews follow links: a look must never approve |
//! | `POST BASE/answer/TOKEN` | says it |
//! | `POST BASE/slack` | a button in a chat message, signed as Slack signs |
//!
//! A token is signed, bound to what its person was shown, expires, and works once: the policy counts a
//! person's answer to a question once, and a settled question takes none.
//!
//! ```
//! use aiops_act::approver::desk::{Desk, Inbound};
//! use aiops_act::secret::Secret;
//! use aiops_core::Timestamp;
//!
//! let desk = Desk::new(Secret::new("an example of 32 bytes or more...".into()), "https://ops.example")?;
//! let request = Inbound { method: "GET", path: "/answer/nonsense", headers: &[], body: b"" };
//! let (reply, answer) = desk.read(&request, Timestamp::EPOCH);
//! assert_eq!((reply.status, answer), (400, None));
//! # Ok::<(), aiops_act::Error>(())
//! ```
//! With a framework, hand the parts of the request to [`Desk::serve`] and send back what it returns.

use std::collections::BTreeMap;

use aiops_core::Timestamp;
use serde::Deserialize;

use crate::approve::{Answer, Says};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::machine::State;
use crate::plan::Binding;
use crate::secret::Secret;
use crate::token::{TokenError, Tokens, check_slack_signature};

/// Most bytes of a body that are read.
pub const MAX_BODY: usize = 64 * 1024;

/// The parts of a request.
#[derive(Debug, Clone, Copy)]
pub struct Inbound<'a> {
    /// `GET`, `POST`, ...
    pub method: &'a str,
    /// The path below the desk's address, without a query.
    pub path: &'a str,
    /// Names, in any case, and values.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
}

impl Inbound<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }
}

/// What goes back. Send it with `Cache-Control: no-store` and `Referrer-Policy: no-referrer`: the
/// address holds a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// `text/html; charset=utf-8` or `text/plain; charset=utf-8`.
    pub content_type: &'static str,
    /// The page.
    pub body: String,
}

impl Reply {
    fn text(status: u16, text: &str) -> Reply {
        Reply { status, content_type: "text/plain; charset=utf-8", body: text.to_owned() }
    }
}

/// Takes answers.
#[derive(Debug, Clone)]
pub struct Desk {
    tokens: Tokens,
    base: String,
    slack: Option<Slack>,
}

#[derive(Debug, Clone)]
struct Slack {
    signing: Secret,
    /// People by their ids in the chat.
    people: BTreeMap<String, String>,
}

impl Desk {
    /// A desk whose tokens are signed with `secret` (at least 32 random bytes) and that people reach
    /// at `base`.
    ///
    /// # Errors
    /// The secret is shorter.
    pub fn new(secret: Secret, base: &str) -> Result<Desk> {
        let base = base.trim_end_matches('/').to_owned();
        Ok(Desk { tokens: Tokens::new(secret)?, base, slack: None })
    }

    /// Also takes buttons of a chat that signs its requests with `signing`. `people` maps its ids of
    /// users to the names that the policy knows; nobody else's click counts.
    #[must_use]
    pub fn with_slack(mut self, signing: Secret, people: BTreeMap<String, String>) -> Desk {
        self.slack = Some(Slack { signing, people });
        self
    }

    /// The link with which `by`, and nobody else, says this about this plan, until then.
    #[must_use]
    pub fn link(&self, by: &str, says: Says, to: &Binding, until: Timestamp) -> String {
        format!("{}/answer/{}", self.base, self.tokens.issue(by, says, to, until))
    }

    /// The value of a chat button: what is said, by whoever the signed callback says pressed it.
    #[must_use]
    pub fn button(&self, says: Says, to: &Binding, until: Timestamp) -> String {
        self.tokens.issue("", says, to, until)
    }

    /// Reads a request at `now`: what goes back, and the answer that it carries, if it carries one. The
    /// answer is not recorded yet; [`Desk::serve`] does both.
    #[must_use]
    pub fn read(&self, request: &Inbound<'_>, now: Timestamp) -> (Reply, Option<Answer>) {
        if request.body.len() > MAX_BODY {
            return (Reply::text(413, "too large\n"), None);
        }
        let path = request.path.split('?').next().unwrap_or_default();
        let read = match (request.method, path.strip_prefix("/answer/"), path) {
            ("GET", Some(token), _) => {
                self.tokens.answer(token, "link", now).map(|answer| (confirmation(&answer), None))
            }
            ("POST", Some(token), _) => self
                .tokens
                .answer(token, "link", now)
                .map(|answer| (Reply::text(200, "recorded\n"), Some(answer))),
            ("POST", None, "/slack") => self.pressed(request, now),
            (_, Some(_), _) | (_, None, "/slack") => {
                return (Reply::text(405, "not this way\n"), None);
            }
            _ => return (Reply::text(404, "nothing here\n"), None),
        };
        read.unwrap_or_else(|error| {
            let status = match error {
                TokenError::Malformed => 400,
                TokenError::Forged => 403,
                TokenError::Expired => 410,
            };
            (Reply::text(status, &format!("{error}\n")), None)
        })
    }

    /// Reads a request and records its answer with the engine.
    ///
    /// A link that was used, or whose question is settled, says so (409, 410) and records nothing.
    pub async fn serve(&self, engine: &Engine, request: &Inbound<'_>) -> Reply {
        let already = || Reply::text(409, "you have answered already\n");
        let (reply, answer) = self.read(request, engine.clock().now());
        let Some(answer) = answer else { return reply };
        let id = answer.to.run;
        let (by, says) = (answer.by.clone(), answer.says);
        let recorded = async {
            let run = engine.run(id).await?;
            if run.answers.iter().any(|given| given.by == by) {
                return Ok(already());
            }
            if run.state != State::Asking {
                return Err(Error::TooLate { reason: "the question is settled".to_owned() });
            }
            let run = engine.answer(id, answer).await?;
            // Of two that were pressed in the same instant the first counts, and the other is told.
            Ok(match run.answers.iter().find(|given| given.by == by) {
                Some(given) if given.says == says => reply,
                Some(_) => already(),
                None => Reply::text(403, "it does not count; the audit says why\n"),
            })
        };
        recorded.await.unwrap_or_else(|error| match error {
            Error::TooLate { .. } => Reply::text(410, "too late: the question is settled\n"),
            Error::UnknownRun(_) => Reply::text(404, "no such run\n"),
            _ => Reply::text(503, "not recorded; try again\n"),
        })
    }

    fn pressed(
        &self,
        request: &Inbound<'_>,
        now: Timestamp,
    ) -> Result<(Reply, Option<Answer>), TokenError> {
        let slack = self.slack.as_ref().ok_or(TokenError::Forged)?;
        let body = std::str::from_utf8(request.body).map_err(|_| TokenError::Malformed)?;
        let header = |name| request.header(name).ok_or(TokenError::Malformed);
        let (at, signature) = (header("x-slack-request-timestamp")?, header("x-slack-signature")?);
        check_slack_signature(&slack.signing, at, signature, body, now)?;
        let payload = body.split('&').find_map(|pair| pair.strip_prefix("payload="));
        let payload = payload.and_then(unescape).ok_or(TokenError::Malformed)?;
        let pressed: Pressed = serde_json::from_str(&payload).map_err(|_| TokenError::Malformed)?;
        let [action] = pressed.actions.as_slice() else { return Err(TokenError::Malformed) };
        let Some(by) = slack.people.get(&pressed.user.id) else {
            return Ok((Reply::text(200, "you are not known here\n"), None));
        };
        let answer = self.tokens.answer_of(&action.value, by, "slack", now)?;
        Ok((Reply::text(200, "recorded\n"), Some(answer)))
    }
}

/// What a chat sends when a button is pressed; the rest of it is of no use here.
#[derive(Deserialize)]
struct Pressed {
    user: PressedBy,
    actions: Vec<PressedAction>,
}

#[derive(Deserialize)]
struct PressedBy {
    id: String,
}

#[derive(Deserialize)]
struct PressedAction {
    value: String,
}

fn confirmation(answer: &Answer) -> Reply {
    let says = match answer.says {
        Says::Approve => "approve",
        Says::Reject => "reject",
    };
    let by = escape(&answer.by);
    let run = answer.to.run;
    let body = format!(
        "<!doctype html><title>{says} run {run}</title>\
         <p>{by}, you are about to <strong>{says}</strong> run {run}.\
         <form method=post><button>{says}</button></form>\n"
    );
    Reply { status: 200, content_type: "text/html; charset=utf-8", body }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Decodes a value of a form; `None` when it is not one.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |b: u8| char::from(b).to_digit(16);
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_decoded_or_refused() {
        assert_eq!(unescape("a%7Bb+c%7d").as_deref(), Some("a{b c}"));
        for bad in ["%", "%4", "%zz", "%ff"] {
            assert_eq!(unescape(bad), None, "{bad}");
        }
        assert_eq!(escape("<a href=\"x\">&"), "&lt;a href=&quot;x&quot;&gt;&amp;");
    }
}

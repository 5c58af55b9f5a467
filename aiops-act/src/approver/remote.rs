//! Approvers over HTTP (feature `http`): a link for each person, or buttons in a chat. The answers come
//! in at the [`Desk`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::desk::Desk;
use super::{Approver, CannotAsk, Request};
use crate::approve::{Answer, ApprovalPolicy, Says};
use crate::executor::BoxFuture;
use crate::http::HttpClient;
use crate::notify::SendError;
use crate::notify::http::{judge, post};
use crate::secret::Secret;

/// What one person is sent.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Letter {
    /// Who.
    pub to: String,
    /// One line: what is asked.
    pub title: String,
    /// What would be done, a line each.
    pub plan: Vec<String>,
    /// The link that approves. Whoever has it can use it in this person's name.
    pub approve: String,
    /// The link that rejects.
    pub reject: String,
}

/// Brings letters to people, each to its own.
///
/// # For implementers
/// A letter is a credential: it must reach its person and nobody else. A channel that many read is
/// [`ChatApprover`]'s.
pub trait Post: Send + Sync {
    /// Delivers one letter.
    ///
    /// # Errors
    /// It was not delivered.
    fn deliver<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Result<(), SendError>>;
}

/// Hands letters as JSON to one address that knows how to reach people.
pub struct WebhookPost {
    url: Secret,
    client: Arc<dyn HttpClient>,
}

impl fmt::Debug for WebhookPost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookPost")
    }
}

impl WebhookPost {
    /// Posts to `url`.
    #[must_use]
    pub fn new(url: Secret, client: Arc<dyn HttpClient>) -> WebhookPost {
        WebhookPost { url, client }
    }
}

impl Post for WebhookPost {
    fn deliver<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Result<(), SendError>> {
        let request = post(self.url.expose(), Vec::new(), &json!(letter));
        Box::pin(async move { judge(self.client.send(request).await) })
    }
}

/// Sends each person who may answer a letter with two links of their own.
pub struct LinkApprover {
    desk: Desk,
    policy: ApprovalPolicy,
    post: Arc<dyn Post>,
}

impl fmt::Debug for LinkApprover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkApprover").field("desk", &self.desk).finish_non_exhaustive()
    }
}

impl LinkApprover {
    /// Asks those whom the policy would let answer. Links lead to the desk.
    #[must_use]
    pub fn new(desk: Desk, policy: ApprovalPolicy, post: Arc<dyn Post>) -> LinkApprover {
        LinkApprover { desk, policy, post }
    }

    fn letters(&self, request: &Request) -> Vec<Letter> {
        let question = &request.question;
        let may = |(name, roles): &(&String, &std::collections::BTreeSet<String>)| {
            **name != question.proposer
                && (question.roles.is_empty() || question.roles.iter().any(|r| roles.contains(r)))
        };
        let people = self.policy.people.iter().filter(may);
        people
            .map(|(name, _)| {
                let link =
                    |says| self.desk.link(name, says, &question.binding, question.expires_at);
                Letter {
                    to: name.clone(),
                    title: title(request),
                    plan: lines(request),
                    approve: link(Says::Approve),
                    reject: link(Says::Reject),
                }
            })
            .collect()
    }
}

impl Approver for LinkApprover {
    fn name(&self) -> &str {
        "link"
    }

    fn ask<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Option<Answer>, CannotAsk>> {
        Box::pin(async move {
            let (mut delivered, mut why) = (0, "nobody may answer".to_owned());
            for letter in self.letters(request) {
                match with_patience(|| self.post.deliver(&letter)).await {
                    Ok(()) => delivered += 1,
                    Err(error) => why = format!("{}: {error}", letter.to),
                }
            }
            if delivered == 0 {
                return Err(CannotAsk { channel: self.name().to_owned(), reason: why });
            }
            Ok(None)
        })
    }
}

/// Posts the question with two buttons to a chat that takes Slack's blocks. Who pressed is what the
/// chat's signed callback says.
pub struct ChatApprover {
    desk: Desk,
    url: Secret,
    client: Arc<dyn HttpClient>,
}

impl fmt::Debug for ChatApprover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatApprover").field("desk", &self.desk).finish_non_exhaustive()
    }
}

impl ChatApprover {
    /// Posts to an incoming webhook; its address is a secret. The desk must know the chat
    /// ([`Desk::with_slack`]).
    #[must_use]
    pub fn new(desk: Desk, url: Secret, client: Arc<dyn HttpClient>) -> ChatApprover {
        ChatApprover { desk, url, client }
    }

    fn body(&self, request: &Request) -> Value {
        let question = &request.question;
        let button = |says, label: &str, style: &str| {
            json!({
                "type": "button", "style": style,
                "text": {"type": "plain_text", "text": label},
                "action_id": label.to_lowercase(),
                "value": self.desk.button(says, &question.binding, question.expires_at),
            })
        };
        let plain = |text: String| json!({"type": "plain_text", "text": text});
        json!({
            "text": title(request),
            "blocks": [
                {"type": "section", "text": plain(title(request))},
                {"type": "section", "text": plain(lines(request).join("\n"))},
                {"type": "actions", "elements": [
                    button(Says::Approve, "Approve", "primary"),
                    button(Says::Reject, "Reject", "danger"),
                ]},
            ],
        })
    }
}

impl Approver for ChatApprover {
    fn name(&self) -> &str {
        "slack"
    }

    fn ask<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Option<Answer>, CannotAsk>> {
        Box::pin(async move {
            let send = || async {
                let request = post(self.url.expose(), Vec::new(), &self.body(request));
                judge(self.client.send(request).await)
            };
            with_patience(send).await.map(|()| None).map_err(|error| CannotAsk {
                channel: self.name().to_owned(),
                reason: error.to_string(),
            })
        })
    }
}

/// Tries a few times: a question that is not brought to anybody expires.
async fn with_patience<F: Future<Output = Result<(), SendError>>>(
    mut send: impl FnMut() -> F,
) -> Result<(), SendError> {
    const TRIES: u32 = 4;
    let mut pause = Duration::from_secs(1);
    for _ in 1..TRIES {
        match send().await {
            Err(SendError::Later { after, .. }) => {
                tokio::time::sleep(after.unwrap_or(pause).min(Duration::from_secs(60))).await;
                pause *= 2;
            }
            done => return done,
        }
    }
    send().await
}

fn title(request: &Request) -> String {
    let targets: Vec<&str> = request.plan.targets.iter().collect();
    let document = request.plan.runbook.document();
    let tier = request.plan.risk.tier();
    format!("{} on {} (tier {tier})", document.title, targets.join(", "))
}

/// What would be done: the steps, and what the gates say that is not open.
fn lines(request: &Request) -> Vec<String> {
    let steps = request.plan.runbook.document().steps.iter().map(|step| {
        let with = Value::Object(step.with.clone()).to_string();
        format!("{}: {} {}", step.id, step.uses, clipped(&with))
    });
    let gates = request.gates.decisive().map(|check| check.reason.sentence.clone());
    steps.chain(gates).collect()
}

fn clipped(text: &str) -> String {
    match text.char_indices().nth(300) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

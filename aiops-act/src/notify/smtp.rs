//! Mail (feature `smtp`): messages to a list of addresses, and letters with links to one person each.
//!
//! Without the feature `smtps` the connection is plain: use a relay on this machine.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message as Mail, Tokio1Executor};
use serde::{Deserialize, Serialize};

use super::{Message, Notifier, SendError};
use crate::canonical::Digest;
use crate::error::{Error, Result};
use crate::executor::BoxFuture;
use crate::secret::Secret;

type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// Most characters of a subject.
const MAX_SUBJECT: usize = 200;
/// Most characters of a text.
const MAX_TEXT: usize = 20_000;

/// Where mail goes and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SmtpConfig {
    /// The route's name. Default `mail`.
    pub name: String,
    /// The relay. Default `127.0.0.1`.
    pub host: String,
    /// Its port. Default 25.
    pub port: u16,
    /// The sender's address. No default.
    pub from: String,
    /// The receivers of messages.
    pub to: Vec<String>,
    /// Addresses by person, for letters with links.
    pub people: BTreeMap<String, String>,
    /// How long one delivery may take. Default 10 s.
    #[serde(with = "crate::runbook::duration")]
    pub timeout: Duration,
}

impl Default for SmtpConfig {
    fn default() -> SmtpConfig {
        SmtpConfig {
            name: "mail".to_owned(),
            host: "127.0.0.1".to_owned(),
            port: 25,
            from: String::new(),
            to: Vec::new(),
            people: BTreeMap::new(),
            timeout: Duration::from_secs(10),
        }
    }
}

impl SmtpConfig {
    /// Checks the addresses. Nothing is connected yet.
    ///
    /// # Errors
    /// An address that is none, or nobody to write to.
    pub fn build(self) -> Result<Smtp> {
        let transport = Transport::builder_dangerous(&self.host);
        self.over(transport)
    }

    /// The same over TLS (feature `smtps`), with credentials if the relay wants them.
    ///
    /// # Errors
    /// As [`SmtpConfig::build`], or the name of the host is not one that a certificate can carry.
    #[cfg(feature = "smtps")]
    #[cfg_attr(docsrs, doc(cfg(feature = "smtps")))]
    pub fn build_tls(self, user: Option<(&str, Secret)>) -> Result<Smtp> {
        let relay = Transport::relay(&self.host)
            .map_err(|error| Error::config("host", error.to_string()))?;
        self.over(with_user(relay, user))
    }

    /// As [`SmtpConfig::build`], with credentials. They go over a plain connection: for a relay on
    /// this machine only.
    ///
    /// # Errors
    /// As [`SmtpConfig::build`].
    pub fn build_with(self, user: &str, password: Secret) -> Result<Smtp> {
        let transport = Transport::builder_dangerous(&self.host);
        self.over(with_user(transport, Some((user, password))))
    }

    fn over(self, builder: lettre::transport::smtp::AsyncSmtpTransportBuilder) -> Result<Smtp> {
        let mailbox = |field: &'static str, text: &str| {
            text.parse::<Mailbox>()
                .map_err(|error| Error::config(field, format!("{text:?} is no address: {error}")))
        };
        if self.to.is_empty() && self.people.is_empty() {
            return Err(Error::config("to", "nobody to write to"));
        }
        let from = mailbox("from", &self.from)?;
        let to = self.to.iter().map(|to| mailbox("to", to)).collect::<Result<_>>()?;
        let people = self
            .people
            .iter()
            .map(|(name, to)| Ok((name.clone(), mailbox("people", to)?)))
            .collect::<Result<_>>()?;
        let transport = builder.port(self.port).timeout(Some(self.timeout)).build();
        let (name, timeout) = (self.name, self.timeout);
        Ok(Smtp { name, transport, from, to, people, timeout })
    }
}

fn with_user(
    builder: lettre::transport::smtp::AsyncSmtpTransportBuilder,
    user: Option<(&str, Secret)>,
) -> lettre::transport::smtp::AsyncSmtpTransportBuilder {
    match user {
        Some((user, password)) => {
            let password = password.expose().to_owned();
            builder.credentials(Credentials::new(user.to_owned(), password))
        }
        None => builder,
    }
}

/// Sends mail. Made by [`SmtpConfig::build`].
pub struct Smtp {
    name: String,
    transport: Transport,
    from: Mailbox,
    to: Vec<Mailbox>,
    people: BTreeMap<String, Mailbox>,
    timeout: Duration,
}

impl fmt::Debug for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Smtp").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Smtp {
    async fn mail(
        &self,
        to: &[Mailbox],
        key: &str,
        subject: &str,
        text: String,
    ) -> Result<(), SendError> {
        let never = |reason: String| SendError::Never { reason };
        // Receivers drop a second copy by its id, as they do with any mail that came twice.
        let id = format!("<{}@aiops-act>", &Digest::of_bytes(key.as_bytes()).to_string()[..32]);
        let mut mail = Mail::builder()
            .from(self.from.clone())
            .subject(one_line(subject))
            .message_id(Some(id))
            .header(ContentType::TEXT_PLAIN);
        for to in to {
            mail = mail.to(to.clone());
        }
        let text: String = text.chars().take(MAX_TEXT).collect();
        let mail = mail.body(text).map_err(|error| never(error.to_string()))?;
        // A relay that accepts the connection and then says nothing is not caught by its own limit.
        let later = |reason: String| Err(SendError::Later { reason, after: None });
        match tokio::time::timeout(self.timeout, self.transport.send(mail)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if error.is_permanent() => Err(never(error.to_string())),
            Ok(Err(error)) => later(error.to_string()),
            Err(_) => later("no answer in time".to_owned()),
        }
    }
}

/// A subject is one line: what would begin another header is shown as a space.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_SUBJECT).collect()
}

impl Notifier for Smtp {
    fn name(&self) -> &str {
        &self.name
    }

    fn send<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, Result<(), SendError>> {
        Box::pin(async move {
            if self.to.is_empty() {
                return Err(SendError::Never { reason: "no receivers are named".to_owned() });
            }
            let mut text = format!("{}\n\n", message.title);
            for reason in &message.because {
                text.push_str(&format!("- {}\n", reason.sentence));
            }
            text.push_str(&format!(
                "\nincident {}\nrun {}\n{}\n",
                message.incident, message.run, message.at
            ));
            self.mail(&self.to, &message.key, &message.title, text).await
        })
    }
}

#[cfg(feature = "http")]
impl crate::approver::remote::Post for Smtp {
    fn deliver<'a>(
        &'a self,
        letter: &'a crate::approver::remote::Letter,
    ) -> BoxFuture<'a, Result<(), SendError>> {
        Box::pin(async move {
            let Some(to) = self.people.get(&letter.to) else {
                let reason = format!("no address of {} is known", letter.to);
                return Err(SendError::Never { reason });
            };
            let text = format!(
                "{}\n\n{}\n\nApprove: {}\n\nReject: {}\n\nThe links are yours alone and work once.\n",
                letter.title,
                letter.plan.join("\n"),
                letter.approve,
                letter.reject
            );
            self.mail(std::slice::from_ref(to), &letter.approve, &letter.title, text).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_and_a_subject_stays_one_line() {
        let config = |from: &str, to: &[&str]| SmtpConfig {
            from: from.to_owned(),
            to: to.iter().map(|t| (*t).to_owned()).collect(),
            ..SmtpConfig::default()
        };
        assert!(config("engine@example.org", &["Ops <ops@example.org>"]).build().is_ok());
        assert!(config("engine", &["ops@example.org"]).build().is_err());
        assert!(
            config("engine@example.org", &["ops@example.org\r\nRCPT TO:<x@y>"]).build().is_err()
        );
        assert!(config("engine@example.org", &[]).build().is_err());
        assert_eq!(one_line("a\r\nBcc: x"), "a  Bcc: x");
    }
}

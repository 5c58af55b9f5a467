//! Who asks, and what they may do.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use aiops_core::Timestamp;
use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};

use crate::{Role, Token};

/// The cookie that holds the token of a person who has signed in.
pub(super) const COOKIE: &str = "aiops_token";

/// Wrong tokens within a minute after which nobody may sign in for the rest of it.
const PATIENCE: usize = 20;

/// Whoever asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Who {
    pub(super) name: String,
    pub(super) role: Role,
}

/// Tokens, as hashes: comparing those says nothing about how much of a guess was right.
pub(super) struct Auth {
    known: Vec<([u8; 32], Who)>,
    secret: [u8; 32],
    wrong: Mutex<VecDeque<Timestamp>>,
}

impl Auth {
    pub(super) fn new(tokens: &[Token]) -> std::io::Result<Self> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| std::io::Error::other(error.to_string()))?;
        Ok(Auth { known: Vec::new(), secret, wrong: Mutex::default() }.with_tokens(tokens))
    }

    /// The same with other tokens: forms that are open stay good for those who may still send them, and wrong
    /// guesses stay counted.
    pub(super) fn with_tokens(&self, tokens: &[Token]) -> Self {
        let known = tokens.iter().map(|token| {
            (hash(&[token.token.as_bytes()]), Who { name: token.name.clone(), role: token.role })
        });
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Auth { known: known.collect(), secret: self.secret, wrong: Mutex::new(wrong) }
    }

    /// Whether everybody on this machine may do everything.
    pub(super) fn is_open(&self) -> bool {
        self.known.is_empty()
    }

    /// Who asks, by `Authorization: Bearer` or by the cookie; nobody when neither is known. Without
    /// tokens it is anybody who asks for a loopback name: a page elsewhere that has its own name
    /// point here does not.
    pub(super) fn who(&self, headers: &HeaderMap) -> Option<Who> {
        if self.is_open() {
            let local = Who { name: "local".into(), role: Role::Admin };
            return is_loopback(text(headers, header::HOST)?).then_some(local);
        }
        let bearer = text(headers, header::AUTHORIZATION).and_then(|v| v.strip_prefix("Bearer "));
        self.of_token(bearer.or_else(|| cookie(headers))?.trim())
    }

    /// Whose token it is.
    pub(super) fn of_token(&self, token: &str) -> Option<Who> {
        let given = hash(&[token.as_bytes()]);
        self.known.iter().find(|(known, _)| *known == given).map(|(_, who)| who.clone())
    }

    /// Whether somebody may try to sign in at `now`.
    pub(super) fn may_try(&self, now: Timestamp) -> bool {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        while wrong.front().is_some_and(|at| now.since(*at).as_secs() >= 60) {
            wrong.pop_front();
        }
        wrong.len() < PATIENCE
    }

    /// Counts a token that nobody has.
    pub(super) fn was_wrong(&self, now: Timestamp) {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).push_back(now);
    }

    /// What a form of ours holds and a page elsewhere cannot know.
    pub(super) fn form_key(&self, who: &Who) -> String {
        let key = hash(&[&self.secret, who.name.as_bytes()]);
        key.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|line| line.split(';')).find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE).then_some(value)
    })
}

fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn without_tokens_only_loopback_names_are_answered() {
        let open = Auth::new(&[]).unwrap();
        for (host, answered) in [
            ("127.0.0.1:9480", true),
            ("[::1]:9480", true),
            ("localhost", true),
            ("evil.example:9480", false),
            ("192.168.0.7", false),
        ] {
            assert_eq!(open.who(&headers(&[(header::HOST, host)])).is_some(), answered, "{host}");
        }
    }

    #[test]
    fn a_token_is_known_as_bearer_and_as_cookie() {
        let token =
            Token { name: "ada".into(), role: Role::Viewer, token: "0123456789abcdef".into() };
        let auth = Auth::new(&[token]).unwrap();
        let who = Who { name: "ada".into(), role: Role::Viewer };
        let ada = Some(who.clone());
        let bearer = [(header::AUTHORIZATION, "Bearer 0123456789abcdef")];
        assert_eq!(auth.who(&headers(&bearer)), ada);
        let cookie = [(header::COOKIE, "a=b; aiops_token=0123456789abcdef")];
        assert_eq!(auth.who(&headers(&cookie)), ada);
        assert_eq!(auth.who(&headers(&[(header::AUTHORIZATION, "Bearer 0123")])), None);
        assert_eq!(auth.who(&headers(&[(header::HOST, "localhost")])), None);
        assert_eq!(auth.form_key(&who), auth.form_key(&who));
        assert_ne!(auth.form_key(&who), Auth::new(&[]).unwrap().form_key(&who));
    }

    #[test]
    fn guessing_is_slow() {
        let auth = Auth::new(&[]).unwrap();
        let at = Timestamp::from_secs(100);
        (0..PATIENCE).for_each(|_| auth.was_wrong(at));
        assert!(!auth.may_try(Timestamp::from_secs(159)));
        assert!(auth.may_try(Timestamp::from_secs(160)));
    }
}

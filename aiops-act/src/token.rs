//! Signed answers: links and chat buttons that carry an answer which nobody can forge, change or use
//! twice (feature `http`).
//!
//! A token names who may use it, what it says, and the binding of the plan that was shown. Its
//! signature covers all of that and its expiry. One use: the policy counts a person's answer to a
//! question once, and a question that is settled takes no more answers.

use aiops_core::Timestamp;
use serde::{Deserialize, Serialize};

use crate::approve::{Answer, Says};
use crate::notify::http::sign;
use crate::plan::Binding;
use crate::secret::Secret;

/// Longest token, in bytes.
pub const MAX_TOKEN: usize = 4_096;
/// How far the clock of a chat service may be from ours, in seconds.
pub const MAX_SKEW_S: i64 = 300;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    by: String,
    says: Says,
    to: Binding,
    until: Timestamp,
}

/// Why a token or callback does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Not a token at all.
    #[error("not a token")]
    Malformed,
    /// Nobody with the secret signed this.
    #[error("the signature does not match")]
    Forged,
    /// Its time is over, or not yet come.
    #[error("not valid at this time")]
    Expired,
}

/// Issues and checks tokens with one secret.
#[derive(Debug, Clone)]
pub struct Tokens {
    secret: Secret,
}

impl Tokens {
    /// Tokens signed with `secret`; at least 32 random bytes.
    ///
    /// # Errors
    /// The secret is shorter.
    pub fn new(secret: Secret) -> crate::Result<Tokens> {
        if secret.expose().len() < 32 {
            return Err(crate::Error::config("secret", "needs at least 32 bytes"));
        }
        Ok(Tokens { secret })
    }

    /// A token with which `by`, and nobody else, says this about this plan, until then. One issued to
    /// `""` is for [`Tokens::answer_of`].
    #[must_use]
    pub fn issue(&self, by: &str, says: Says, to: &Binding, until: Timestamp) -> String {
        let claims = Claims { by: by.to_owned(), says, to: to.clone(), until };
        let text = serde_json::to_string(&claims).expect("claims are JSON");
        let body: String = text.bytes().map(|b| format!("{b:02x}")).collect();
        let signature = sign(&self.secret, &["token", &body]);
        format!("{body}.{signature}")
    }

    /// The answer that a token carries, as of `now`, through channel `via`.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn answer(&self, token: &str, via: &str, now: Timestamp) -> Result<Answer, TokenError> {
        let claims = self.claims(token, now)?;
        if claims.by.is_empty() {
            return Err(TokenError::Forged); // somebody else has to vouch for who it is
        }
        Ok(claims.answer(via, now))
    }

    /// The answer that a token issued to nobody (`""`) carries, from `by`, for whom the channel
    /// vouches: a button that everybody in a chat sees, and a signed callback that says who pressed it.
    ///
    /// # Errors
    /// See [`TokenError`]; a token that was issued to somebody is not for a button.
    pub fn answer_of(
        &self,
        token: &str,
        by: &str,
        via: &str,
        now: Timestamp,
    ) -> Result<Answer, TokenError> {
        let claims = self.claims(token, now)?;
        if !claims.by.is_empty() {
            return Err(TokenError::Forged);
        }
        Ok(Claims { by: by.to_owned(), ..claims }.answer(via, now))
    }

    fn claims(&self, token: &str, now: Timestamp) -> Result<Claims, TokenError> {
        if token.len() > MAX_TOKEN {
            return Err(TokenError::Malformed);
        }
        let (body, signature) = token.split_once('.').ok_or(TokenError::Malformed)?;
        if !same(signature, &sign(&self.secret, &["token", body])) {
            return Err(TokenError::Forged);
        }
        let bytes = unhex(body).ok_or(TokenError::Malformed)?;
        let claims: Claims = serde_json::from_slice(&bytes).map_err(|_| TokenError::Malformed)?;
        if now >= claims.until {
            return Err(TokenError::Expired);
        }
        Ok(claims)
    }
}

impl Claims {
    fn answer(self, via: &str, now: Timestamp) -> Answer {
        let Claims { by, says, to, .. } = self;
        Answer { by, says, to, at: now, via: via.to_owned(), comment: String::new() }
    }
}

/// Checks a callback signed as Slack signs its requests: `v0=` and the HMAC-SHA256 of
/// `v0:timestamp:body`, with a timestamp that is at most five minutes off.
///
/// # Errors
/// See [`TokenError`].
pub fn check_slack_signature(
    secret: &Secret,
    timestamp: &str,
    signature: &str,
    body: &str,
    now: Timestamp,
) -> Result<(), TokenError> {
    let sent: i64 = timestamp.parse().map_err(|_| TokenError::Malformed)?;
    let text = format!("v0:{timestamp}:{body}");
    let given = signature.strip_prefix("v0=").ok_or(TokenError::Malformed)?;
    if !same(given, &sign(secret, &[&text])) {
        return Err(TokenError::Forged);
    }
    if now.as_secs().abs_diff(sent) > MAX_SKEW_S.unsigned_abs() {
        return Err(TokenError::Expired);
    }
    Ok(())
}

/// Compares in a time that does not depend on where two texts differ.
fn same(a: &str, b: &str) -> bool {
    let differ = a.bytes().zip(b.bytes()).fold(0, |differ, (a, b)| differ | (a ^ b));
    a.len() == b.len() && differ == 0
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    let byte = |i: usize| u8::from_str_radix(text.get(i..i + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::Digest;
    use crate::runbook::Risk;

    fn binding() -> Binding {
        Binding {
            run: "0000000000000001".parse().unwrap(),
            document: Digest::of_bytes(b"document"),
            params: Digest::ZERO,
            targets: Digest::ZERO,
            risk: Risk::Reversible,
        }
    }

    #[test]
    fn a_token_says_what_was_signed_and_nothing_else() {
        let tokens =
            Tokens::new(Secret::new("0123456789abcdef0123456789abcdef".to_owned())).unwrap();
        let until = Timestamp::from_secs(1_000);
        let token = tokens.issue("ada", Says::Approve, &binding(), until);
        let now = Timestamp::from_secs(999);
        let answer = tokens.answer(&token, "link", now).unwrap();
        assert_eq!(
            (answer.by.as_str(), answer.says, &answer.to),
            ("ada", Says::Approve, &binding())
        );
        assert_eq!(tokens.answer(&token, "link", until), Err(TokenError::Expired));
        // Any change of any character.
        for i in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            forged[i] = if forged[i] == b'0' { b'1' } else { b'0' };
            let forged = String::from_utf8(forged).unwrap();
            assert!(tokens.answer(&forged, "link", now).is_err(), "{i}");
        }
        let others = Tokens::new(Secret::new("x".repeat(32))).unwrap();
        assert_eq!(others.answer(&token, "link", now), Err(TokenError::Forged));
        for nonsense in ["", ".", "a.b", &"a".repeat(10_000)] {
            assert!(tokens.answer(nonsense, "link", now).is_err());
        }
        assert!(Tokens::new(Secret::new("short".to_owned())).is_err());
    }

    #[test]
    fn a_slack_callback_is_checked_as_slack_documents_it() {
        // Source: the example in Slack's documentation "Verifying requests from Slack".
        let secret = Secret::new("8f742231b10e8888abcd99yyyzzz85a5".to_owned());
        let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow\
                    &channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner\
                    &command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2F\
                    commands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=\
                    398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
        let signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
        let at = "1531420618";
        let now = Timestamp::from_secs(1_531_420_618 + 200);
        assert_eq!(check_slack_signature(&secret, at, signature, body, now), Ok(()));
        let late = Timestamp::from_secs(1_531_420_618 + 301);
        let check =
            |at: &str, body: &str, now| check_slack_signature(&secret, at, signature, body, now);
        assert_eq!(check(at, body, late), Err(TokenError::Expired));
        assert_eq!(check(at, "text=other", now), Err(TokenError::Forged));
        assert_eq!(check("1531420619", body, now), Err(TokenError::Forged));
    }
}

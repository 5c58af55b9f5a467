//! Conformance functions for the traits of this crate, and a store that crashes on demand.
//!
//! Call them in the tests of your own implementation (feature `testing`).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use aiops_core::{
    Batch, Candidate, Cause, Edge, EdgeKind, Entry, Fingerprint, Incident, IncidentId,
    IncidentState, NodeKind, Ranking, Record, Severity, Store, StoreError, Timestamp, Topology,
    Version, Versioned,
};
use serde_json::Value;

use crate::approver::{Approver, Request};
use crate::canonical::Digest;
use crate::executor::{Call, Permit, Probe, StepError, StepExecutor};
use crate::machine::NoticeKind;
use crate::notify::{Message, Notifier, SendError};
use crate::plan::RunId;
use crate::situation::Situation;

/// When a [`CrashingStore`] stops in relation to the write that kills it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashPoint {
    /// The write is lost.
    Before,
    /// The write is durable, and nobody hears of it.
    After,
}

/// A store whose process dies at a chosen write: from then on every call fails, until
/// [`CrashingStore::revive`]. What was written before stays.
pub struct CrashingStore {
    inner: Arc<dyn Store>,
    /// Writes left; negative once it has crashed, `i64::MAX` for never.
    left: AtomicI64,
    writes: AtomicI64,
    point: CrashPoint,
}

impl fmt::Debug for CrashingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CrashingStore")
            .field("left", &self.left.load(Ordering::SeqCst))
            .field("point", &self.point)
            .finish_non_exhaustive()
    }
}

impl CrashingStore {
    /// Dies at the write with number `at`, counted from 0.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, at: u32, point: CrashPoint) -> CrashingStore {
        let left = AtomicI64::new(i64::from(at));
        CrashingStore { inner, left, writes: AtomicI64::new(0), point }
    }

    /// Never dies, but counts.
    #[must_use]
    pub fn counting(inner: Arc<dyn Store>) -> CrashingStore {
        let left = AtomicI64::new(i64::MAX);
        CrashingStore { inner, left, writes: AtomicI64::new(0), point: CrashPoint::Before }
    }

    /// Writes that were tried so far.
    #[must_use]
    pub fn writes(&self) -> u32 {
        u32::try_from(self.writes.load(Ordering::SeqCst)).unwrap_or(u32::MAX)
    }

    /// Whether it has died.
    #[must_use]
    pub fn has_crashed(&self) -> bool {
        self.left.load(Ordering::SeqCst) < 0
    }

    /// The process is started again and opens the same store; it never dies again.
    pub fn revive(&self) {
        self.left.store(i64::MAX, Ordering::SeqCst);
    }

    fn alive(&self, operation: &'static str) -> Result<(), StoreError> {
        if self.has_crashed() { Err(crashed(operation)) } else { Ok(()) }
    }
}

fn crashed(operation: &'static str) -> StoreError {
    StoreError::Failed { operation, applied: None, source: "the process has crashed".into() }
}

impl Store for CrashingStore {
    fn commit(&self, batch: Batch) -> Result<Version, StoreError> {
        self.alive("commit")?;
        self.writes.fetch_add(1, Ordering::SeqCst);
        if self.left.fetch_sub(1, Ordering::SeqCst) > 0 {
            return self.inner.commit(batch);
        }
        self.left.store(-1, Ordering::SeqCst);
        if self.point == CrashPoint::After {
            self.inner.commit(batch)?;
        }
        Err(crashed("commit"))
    }

    fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        self.alive("get")?;
        self.inner.get(key)
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        self.alive("scan")?;
        self.inner.scan(prefix, after, limit)
    }

    fn read_log(&self, log: &[u8], from: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.alive("read_log")?;
        self.inner.read_log(log, from, limit)
    }

    fn now(&self) -> Result<Timestamp, StoreError> {
        self.alive("now")?;
        self.inner.now()
    }
}

/// A permit for a conformance test: the only one that no approved plan stands behind.
#[must_use]
pub fn permit(key: Digest, fence: u64) -> Permit {
    Permit::for_tests(RunId::for_tests(1), key, fence)
}

/// Judges an executor with a call that succeeds in its test environment.
///
/// - looking and probing change nothing: `state` gives the same before and after;
/// - a probe for a key that never ran does not claim that it did;
/// - the call succeeds; afterwards a probe does not claim that it did not happen;
/// - with `idempotent`, running it again with the same key leaves the same state;
/// - a call that makes no sense is refused by `plan`, as not started.
///
/// # Panics
/// When one of these does not hold.
pub async fn check_executor(
    executor: &dyn StepExecutor,
    call: &Call,
    idempotent: bool,
    state: impl Fn() -> String,
) {
    assert!(!executor.name().is_empty() && !executor.version().is_empty(), "it has a name");
    let before = state();
    executor.plan(call).await.expect("the call makes sense to it");
    let key = Digest::of_bytes(b"conformance");
    let probe = executor.probe(call, key).await;
    assert!(!matches!(probe, Probe::Done { .. }), "a call that never ran did not happen");
    assert_eq!(state(), before, "looking and probing change nothing");

    let permit = permit(key, 1);
    executor.run(call, &permit).await.expect("the call succeeds");
    let after = state();
    let probe = executor.probe(call, key).await;
    assert!(!matches!(probe, Probe::NotDone), "a call that ran is not reported as not done");
    assert_eq!(state(), after, "probing changes nothing");
    if idempotent {
        executor.run(call, &permit).await.expect("the call succeeds again");
        assert_eq!(state(), after, "twice is as once");
    }

    let mut nonsense = call.clone();
    nonsense.with.clear();
    nonsense.with.insert("no_such_field".to_owned(), Value::Bool(true));
    match executor.plan(&nonsense).await {
        Err(StepError::NotStarted { .. }) => {}
        other => panic!("a call that makes no sense is not started, got {other:?}"),
    }
    assert_eq!(state(), after, "a refused call changes nothing");
}

/// Judges an approver that answers by itself: its answer is bound to what it was shown, and carries
/// its name.
///
/// # Panics
/// When that does not hold, or it could not ask.
pub async fn check_approver(approver: &dyn Approver, request: &Request) {
    let answer = approver.ask(request).await.expect("it could ask");
    if let Some(answer) = answer {
        assert_eq!(answer.to, request.question.binding, "bound to what was shown");
        assert_eq!(answer.via, approver.name(), "it says which channel it came through");
        assert!(!answer.by.trim().is_empty(), "somebody answered");
    }
}

/// Judges a notifier against a receiver that takes everything: the message arrives, twice the same
/// one is taken twice (the receiver drops it by its key), and texts of any content are delivered.
///
/// # Panics
/// When that does not hold.
pub async fn check_notifier(notifier: &dyn Notifier) {
    assert!(!notifier.name().is_empty(), "it has a name");
    let mut message = message("the title");
    for _ in 0..2 {
        notifier.send(&message).await.expect("the receiver takes it");
    }
    message.title = "quotes \" newlines \n controls \u{1} \u{1f600} <@channel> &amp;".to_owned();
    notifier.send(&message).await.expect("texts of any content are delivered");
    message.title = "x".repeat(100_000);
    let sent = tokio::time::timeout(Duration::from_secs(30), notifier.send(&message)).await;
    match sent.expect("a long text ends too") {
        Ok(()) | Err(SendError::Never { .. }) => {}
        Err(later) => panic!("a text that is too long will not get shorter: {later}"),
    }
}

/// Hands outside bytes to the decoder of that name: `runbook`, `journal` or, with the feature `http`,
/// `token` or `callback`. Whatever they are, nothing panics, and what was read is read again the same.
///
/// # Panics
/// When that does not hold, or no decoder has that name.
pub fn check_bytes(decoder: &str, bytes: &[u8]) {
    match decoder {
        "runbook" => {
            if let Ok(runbook) = crate::Runbook::parse(bytes) {
                let json = serde_json::to_vec(&runbook).expect("a runbook is JSON");
                let again = crate::Runbook::parse(&json).expect("what was written is read");
                assert_eq!(again.hash(), runbook.hash(), "one document, one hash");
                let _ = runbook.is_valid_at(Timestamp::EPOCH);
            }
        }
        "journal" => {
            if let Ok(record) = crate::journal::decode::<crate::JournalRecord>("record", bytes) {
                let text = crate::journal::encode(&record);
                let again = crate::journal::decode("record", &text).expect("it is read again");
                assert_eq!(record, again);
            }
        }
        #[cfg(feature = "http")]
        "token" => {
            let secret = crate::secret::Secret::new("0".repeat(32));
            let tokens = crate::token::Tokens::new(secret).expect("the secret is long enough");
            let text = String::from_utf8_lossy(bytes);
            assert!(tokens.answer(&text, "fuzz", Timestamp::EPOCH).is_err(), "nobody signed it");
        }
        // A callback whose signature holds: the sender is known, its content is not.
        #[cfg(feature = "http")]
        "callback" => {
            use crate::approver::desk::{Desk, Inbound};
            let secret = crate::secret::Secret::new("0".repeat(32));
            let people = [("U1".to_owned(), "ada".to_owned())].into();
            let desk = Desk::new(secret.clone(), "http://127.0.0.1").expect("it is long enough");
            let desk = desk.with_slack(secret.clone(), people);
            let text = String::from_utf8_lossy(bytes);
            let signature = crate::notify::http::sign(&secret, &[&format!("v0:0:{text}")]);
            let signature = format!("v0={signature}");
            let headers =
                [("X-Slack-Request-Timestamp", "0"), ("X-Slack-Signature", signature.as_str())];
            let token = format!("/answer/{text}");
            for (method, path) in [("POST", "/slack"), ("GET", token.as_str()), ("POST", &token)] {
                let request = Inbound { method, path, headers: &headers, body: text.as_bytes() };
                let (_, answer) = desk.read(&request, Timestamp::EPOCH);
                assert!(answer.is_none(), "no token of ours is in it");
            }
        }
        other => panic!("no decoder is called {other:?}"),
    }
}

/// An incident of a small shop in which `service` is the cause with this probability, and the topology
/// of the shop: gateway -> api -> postgres, redis. The rest of the probability is unknown.
///
/// # Panics
/// When the probability is not between 0 and 1.
#[must_use]
pub fn shop_incident(
    service: &str,
    probability: f64,
    now: Timestamp,
) -> (Situation, Arc<Topology>) {
    let mut topology = Topology::new();
    let mut node = |name| topology.upsert_node(name, NodeKind::Service, now);
    let [gateway, api, postgres, redis] = ["gateway", "api", "postgres", "redis"].map(&mut node);
    for (from, to) in [(gateway, api), (api, postgres), (api, redis)] {
        let edge = Edge::new(EdgeKind::Calls, "shop", now);
        topology.upsert_edge(from, to, edge).expect("both ends were just made");
    }
    let incident = Incident {
        id: IncidentId::of("", Fingerprint::from_u64(1), now),
        tenant: String::new(),
        state: IncidentState::Open,
        onset: now,
        shown_at: Some(now),
        resolved_at: None,
        severity: Severity::Critical,
        title: format!("{service} is in trouble"),
        alerts: Vec::new(),
        services: [service.to_owned()].into(),
        events: Vec::new(),
        timeline: Vec::new(),
    };
    let cause = Cause::Service { service: service.to_owned() };
    let candidate = Candidate { cause, probability: 0.0, score: probability, evidence: Vec::new() };
    let ranking = Ranking::from_weights("shop", vec![candidate], 1.0 - probability)
        .expect("a probability is between 0 and 1");
    (Situation::new(incident, ranking), Arc::new(topology))
}

/// A message for tests of notifiers.
#[must_use]
pub fn message(title: &str) -> Message {
    Message {
        key: "0000000000000001:0000000000000002:needs_human".to_owned(),
        kind: NoticeKind::NeedsHuman,
        severity: Severity::Critical,
        run: RunId::for_tests(2),
        incident: IncidentId::from_u64(1),
        title: title.to_owned(),
        because: vec![aiops_core::Reason::new("test", "because of a test").with("count", 3_u32)],
        at: Timestamp::from_secs(1_800_000_000),
    }
}

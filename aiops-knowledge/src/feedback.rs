//! [`FeedbackBook`]: what people said, kept, counted and undoable.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aiops_core::{Batch, Feedback, FeedbackId, Said, Store, Subject, Timestamp, standing};
use serde::{Deserialize, Serialize};

use crate::document::{decode, encode, whole_log};
use crate::{Error, Result};

const LOG: &str = "feedback";

/// What people said about decisions, in a [`Store`]: remarks are only ever added, and an undo is a
/// remark too, so that everything learnt from them can be made again without one of them.
///
/// What learns from feedback is a function of what [stands](FeedbackBook::standing): priors of
/// causes, the trust in a runbook, the [rates](RateConfig::rates) of a detector. To see what a remark
/// changed, compute with and without it.
///
/// ```
/// use std::sync::Arc;
/// use aiops_core::{Feedback, IncidentId, MemoryStore, Said, Subject, Timestamp};
/// use aiops_knowledge::FeedbackBook;
///
/// let book = FeedbackBook::new(Arc::new(MemoryStore::default()));
/// let incident = Subject::Incident(IncidentId::from_u64(7));
/// let noise = Feedback::new(incident, Said::Noise, "ada", Timestamp::from_secs(10));
/// assert!(book.record(&noise)?);
/// assert!(!book.record(&noise)?, "a page that is sent twice says it once");
///
/// book.undo(noise.id, "ada", Timestamp::from_secs(20))?;
/// assert!(book.standing()?.is_empty());
/// assert_eq!(book.all()?.len(), 2, "and nothing was erased");
/// # Ok::<(), aiops_knowledge::Error>(())
/// ```
#[derive(Clone)]
pub struct FeedbackBook {
    store: Arc<dyn Store>,
}

impl std::fmt::Debug for FeedbackBook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FeedbackBook").finish_non_exhaustive()
    }
}

impl FeedbackBook {
    /// A book in this store; books on the same store are the same book.
    pub fn new(store: Arc<dyn Store>) -> Self {
        FeedbackBook { store }
    }

    /// Keeps a remark; whether it is new. Durable when this returns.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn record(&self, feedback: &Feedback) -> Result<bool> {
        let bytes = encode(feedback);
        let key = key_of(feedback.id);
        let batch = Batch::new().expect(key.clone(), 0).put(key, "").append(LOG, bytes);
        match self.store.commit(batch) {
            Ok(_) => Ok(true),
            Err(error) if error.is_conflict() => Ok(false),
            Err(source) => Err(Error::Store { operation: "recording feedback", source }),
        }
    }

    /// Takes a remark back, and returns the remark that does so; undoing that restores the first.
    ///
    /// # Errors
    /// [`Error::Unknown`] when there is no such remark; [`Error::Store`].
    pub fn undo(&self, id: FeedbackId, by: &str, at: Timestamp) -> Result<Feedback> {
        let known = self.all()?.into_iter().find(|feedback| feedback.id == id);
        let Some(known) = known else {
            return Err(Error::Unknown { what: "feedback", name: id.to_string() });
        };
        let undo = Feedback::new(known.subject, Said::Undo { feedback: id }, by, at);
        self.record(&undo)?;
        Ok(undo)
    }

    /// Every remark, in the order in which they were recorded.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Damaged`].
    pub fn all(&self) -> Result<Vec<Feedback>> {
        let records = whole_log(&*self.store, LOG)?;
        records.iter().map(|bytes| decode("feedback", LOG, bytes)).collect()
    }

    /// The remarks that stand: neither undone nor an undo.
    ///
    /// # Errors
    /// As [`all`](Self::all).
    pub fn standing(&self) -> Result<Vec<Feedback>> {
        Ok(standing(&self.all()?).into_iter().cloned().collect())
    }

    /// The remarks that stand about one incident or alert.
    ///
    /// # Errors
    /// As [`all`](Self::all).
    pub fn about(&self, subject: Subject) -> Result<Vec<Feedback>> {
        let mut remarks = self.standing()?;
        remarks.retain(|feedback| feedback.subject == subject);
        Ok(remarks)
    }
}

fn key_of(id: FeedbackId) -> String {
    format!("feedback/{id}")
}

/// How remarks become rates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RateConfig {
    /// How far back remarks count. Default 30 days (a guess).
    pub window: Duration,
    /// How many judgements of one person count in full; a person with more of them counts as much
    /// as this in all, so that nobody's labels drown those of the others. Default 20: as many as
    /// are needed before anything is concluded.
    pub per_person: f64,
}

impl Default for RateConfig {
    fn default() -> Self {
        RateConfig { window: Duration::from_secs(30 * 86_400), per_person: 20.0 }
    }
}

/// How often something was wrong by what people said.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Rate {
    /// Judgements, each person's capped.
    pub judged: f64,
    /// Those that said that nothing was wrong.
    pub false_positives: f64,
}

impl Rate {
    /// The share of false positives; `None` without a judgement.
    pub fn false_positive_rate(&self) -> Option<f64> {
        (self.judged > 0.0).then(|| self.false_positives / self.judged)
    }

    /// One minus that.
    pub fn precision(&self) -> Option<f64> {
        self.false_positive_rate().map(|rate| 1.0 - rate)
    }

    /// The interval in which the false-positive rate lies with 95 % confidence; everything without
    /// a judgement.
    ///
    /// Source: Wilson (1927), "Probable inference, the law of succession, and statistical
    /// inference", the interval of inverting the score test. Deviation: capped judgements count as
    /// fractions of a trial.
    pub fn interval(&self) -> (f64, f64) {
        const Z: f64 = 1.959_963_984_540_054;
        let Some(p) = self.false_positive_rate() else { return (0.0, 1.0) };
        let n = self.judged;
        let scale = 1.0 + Z * Z / n;
        let middle = p + Z * Z / (2.0 * n);
        let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        (((middle - half) / scale).max(0.0), ((middle + half) / scale).min(1.0))
    }
}

impl RateConfig {
    /// Rates by whatever `key` makes of a remark, such as its model version; remarks without a key
    /// are left out.
    ///
    /// An incident or alert is judged once, by the latest remark about it: nothing was wrong
    /// ([`Said::Noise`]), or something was (every other remark about something that was shown).
    /// [`Said::Missed`] judges nothing that was shown and is not counted here.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] when a setting is out of range.
    pub fn rates<K: Ord>(
        &self,
        feedback: &[Feedback],
        now: Timestamp,
        key: impl Fn(&Feedback) -> Option<K>,
    ) -> Result<BTreeMap<K, Rate>> {
        if !(self.per_person > 0.0 && self.per_person.is_finite()) {
            let reason = format!("must be finite and > 0, got {}", self.per_person);
            return Err(Error::config("per_person", reason));
        }
        let mut latest: BTreeMap<Subject, &Feedback> = BTreeMap::new();
        for remark in standing(feedback) {
            let age = now.since(remark.at);
            let judges = !matches!(remark.said, Said::Missed { .. });
            if judges && remark.at <= now && age <= self.window {
                let known = latest.entry(remark.subject).or_insert(remark);
                if remark.at >= known.at {
                    *known = remark;
                }
            }
        }
        let mut by_person: BTreeMap<(K, &str), (f64, f64)> = BTreeMap::new();
        for remark in latest.into_values() {
            let Some(key) = key(remark) else { continue };
            let (judged, wrong) = by_person.entry((key, remark.by.as_str())).or_default();
            *judged += 1.0;
            *wrong += f64::from(u8::from(remark.said == Said::Noise));
        }
        let mut rates: BTreeMap<K, Rate> = BTreeMap::new();
        for ((key, _), (judged, wrong)) in by_person {
            let weight = (self.per_person / judged).min(1.0);
            let rate = rates.entry(key).or_default();
            rate.judged += weight * judged;
            rate.false_positives += weight * wrong;
        }
        Ok(rates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aiops_core::{AlertId, MemoryStore};

    fn remark(alert: u64, said: Said, by: &str, at: i64) -> Feedback {
        let subject = Subject::Alert(AlertId::from_u64(alert));
        Feedback::new(subject, said, by, Timestamp::from_secs(at))
    }

    fn rate(remarks: &[Feedback], now: i64) -> Rate {
        let all = |_: &Feedback| Some(());
        let rates = RateConfig::default().rates(remarks, Timestamp::from_secs(now), all);
        rates.unwrap().remove(&()).unwrap_or_default()
    }

    #[test]
    fn three_of_twenty_say_little() {
        let remarks: Vec<_> = (0..20)
            .map(|n| remark(n, if n < 3 { Said::Noise } else { Said::NotNoise }, "ada", 1))
            .collect();
        let rate = rate(&remarks, 2);
        assert_eq!((rate.judged, rate.false_positives), (20.0, 3.0));
        // Wilson's interval of 3 in 20, from the formula by hand: 5.2 % to 36.0 %.
        let (low, high) = rate.interval();
        assert!((low - 0.0524).abs() < 1e-4 && (high - 0.3604).abs() < 1e-4, "{low} {high}");
    }

    #[test]
    fn a_change_of_mind_is_one_judgement_and_an_undo_is_none() {
        let noise = remark(1, Said::Noise, "ada", 1);
        let after = remark(1, Said::NotNoise, "ada", 5);
        assert_eq!(rate(&[noise.clone(), after.clone()], 9).false_positive_rate(), Some(0.0));
        let undo = remark(1, Said::Undo { feedback: after.id }, "ada", 6);
        assert_eq!(rate(&[noise, after, undo], 9).false_positive_rate(), Some(1.0));
    }

    #[test]
    fn one_person_does_not_drown_the_others() {
        let mut remarks: Vec<_> = (0..200).map(|n| remark(n, Said::Noise, "ada", 1)).collect();
        remarks.extend((200..220).map(|n| remark(n, Said::NotNoise, "kim", 1)));
        let rate = rate(&remarks, 2);
        assert_eq!((rate.judged, rate.false_positive_rate()), (40.0, Some(0.5)));
    }

    #[test]
    fn what_is_old_in_the_future_or_missed_does_not_count() {
        let now = 100 * 86_400;
        let remarks = [
            remark(1, Said::Noise, "ada", 1),
            remark(2, Said::Noise, "ada", now + 1),
            remark(3, Said::Missed { what: "the disk".into() }, "ada", now),
        ];
        assert_eq!(rate(&remarks, now), Rate::default());
        assert_eq!(Rate::default().interval(), (0.0, 1.0));
    }

    #[test]
    fn an_undo_needs_something_to_undo_and_books_share_their_store() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let (one, two) = (FeedbackBook::new(store.clone()), FeedbackBook::new(store));
        let said = remark(1, Said::Noise, "ada", 1);
        let undo = || one.undo(said.id, "kim", Timestamp::from_secs(2));
        assert!(matches!(undo(), Err(Error::Unknown { .. })));
        one.record(&said).unwrap();
        assert_eq!(two.about(said.subject).unwrap(), std::slice::from_ref(&said));
        undo().unwrap();
        assert_eq!(two.about(said.subject).unwrap(), []);
    }
}

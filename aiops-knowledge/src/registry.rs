//! [`ModelRegistry`]: immutable versions of models, names that point at them, and the gate between.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use aiops_core::{Batch, Store, Timestamp, Version as StoreVersion};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::document::{decode, encode, whole_log};
use crate::{Error, Result};

/// What a version is known by beside its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alias {
    /// The version that decides.
    Champion,
    /// The version that may replace it.
    Challenger,
    /// A version that runs beside the champion and decides nothing.
    Shadow,
    /// The champion before this one: what a rollback returns to.
    Previous,
}

impl Alias {
    /// The alias in one word, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Alias::Champion => "champion",
            Alias::Challenger => "challenger",
            Alias::Shadow => "shadow",
            Alias::Previous => "previous",
        }
    }
}

/// The SHA-256 of a blob, under which it is kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobHash([u8; 32]);

impl BlobHash {
    /// The hash of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        BlobHash(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobHash({self})")
    }
}

/// Where a version comes from, so that it can be made again and judged.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Lineage {
    /// What made it: crate and version, or a commit.
    pub code_version: String,
    /// The settings that it was made with, as text of the maker's choice.
    pub params: String,
    /// A hash of the names and order of its inputs.
    pub feature_schema: String,
    /// A hash of the data that it was trained on.
    pub data: String,
    /// The first and last time of that data.
    pub trained_on: Option<(Timestamp, Timestamp)>,
    /// The seed.
    pub seed: Option<u64>,
    /// The version that it was made from.
    pub parent: Option<u64>,
    /// What was measured when it was made, by name, such as `precision`.
    pub metrics: BTreeMap<String, f64>,
}

/// An immutable version of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelVersion {
    /// Its number: 1 for the first version of its model, one more for each that follows.
    pub number: u64,
    /// The hash of its blob, in hexadecimal digits.
    pub blob: String,
    /// When it was registered.
    pub created: Timestamp,
    /// Where it comes from.
    pub lineage: Lineage,
}

/// A movement of an alias, as the registry remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// The model.
    pub model: String,
    /// Which alias.
    pub alias: Alias,
    /// The version that it points at from now on; `None` when it points at nothing.
    pub to: Option<u64>,
    /// The version that it pointed at.
    pub from: Option<u64>,
    /// Who moved it.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub why: String,
}

/// What [`ModelRegistry::load`] found, and what it had to pass over to find it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded<T> {
    /// The model.
    pub model: T,
    /// Its version; `None` for the one that is built in.
    pub version: Option<u64>,
    /// Why earlier choices were passed over, the first choice first.
    pub passed_over: Vec<String>,
}

/// Models by name, in a [`Store`]: numbered versions that never change, blobs by their hash, and
/// aliases that are moved by compare-and-swap and whose every movement is recorded.
///
/// Rolling back is moving an alias, so it takes no training and is as quick as a commit. A version
/// that cannot be read is never the end: [`load`](Self::load) goes from the champion to the version
/// before it and to the model that is built in, and says why.
///
/// ```
/// use std::sync::Arc;
/// use aiops_core::{MemoryStore, Timestamp};
/// use aiops_knowledge::{Alias, Lineage, ModelRegistry};
///
/// let registry = ModelRegistry::new(Arc::new(MemoryStore::default()));
/// let now = Timestamp::from_secs(1_000);
/// let parse = |bytes: &[u8]| std::str::from_utf8(bytes).map(str::to_owned).map_err(|e| e.to_string());
///
/// let first = registry.register("limits", b"0.5", Lineage::default(), now)?;
/// registry.point("limits", Alias::Champion, first.number, None, "ada", now, "the first")?;
/// let broken = registry.register("limits", &[0xff], Lineage::default(), now)?;
/// registry.point("limits", Alias::Champion, broken.number, Some(1), "ada", now, "a try")?;
///
/// let loaded = registry.load("limits", parse, || "built in".to_owned())?;
/// assert_eq!((loaded.model.as_str(), loaded.version), ("0.5", Some(1)), "the one before");
/// assert_eq!(loaded.passed_over.len(), 1);
/// # Ok::<(), aiops_knowledge::Error>(())
/// ```
#[derive(Clone)]
pub struct ModelRegistry {
    store: Arc<dyn Store>,
}

impl fmt::Debug for ModelRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelRegistry").finish_non_exhaustive()
    }
}

impl ModelRegistry {
    /// The registry in this store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        ModelRegistry { store }
    }

    /// Keeps a new version. Bytes that are kept already are not kept twice.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the name of the model is empty or has a slash;
    /// [`Error::Changed`] when somebody else registered a version meanwhile; [`Error::Store`].
    pub fn register(
        &self,
        model: &str,
        blob: &[u8],
        lineage: Lineage,
        now: Timestamp,
    ) -> Result<ModelVersion> {
        if model.is_empty() || model.contains('/') {
            return Err(Error::malformed("model name", format!("{model:?} is empty or has a /")));
        }
        let counter = format!("model/{model}/versions");
        let (last, seen) = self.number(&counter)?;
        let number = last.unwrap_or(0) + 1;
        let hash = BlobHash::of(blob);
        let version = ModelVersion { number, blob: hash.to_string(), created: now, lineage };
        let batch = Batch::new()
            .expect(counter.clone(), seen)
            .put(counter, encode(&number))
            .put(format!("blob/{hash}"), blob)
            .put(version_key(model, number), encode(&version));
        self.commit(batch, model, "registering a model")?;
        Ok(version)
    }

    /// A version by its number.
    ///
    /// # Errors
    /// [`Error::Unknown`] when there is none; [`Error::Store`], [`Error::Damaged`].
    pub fn version(&self, model: &str, number: u64) -> Result<ModelVersion> {
        let key = version_key(model, number);
        let found = self.get(&key)?;
        let Some((bytes, _)) = found else {
            return Err(Error::Unknown {
                what: "model version",
                name: format!("{model} {number}"),
            });
        };
        decode("model version", &key, &bytes)
    }

    /// The bytes of a version.
    ///
    /// # Errors
    /// As [`version`](Self::version); [`Error::Damaged`] when the bytes are not those that were kept.
    pub fn blob(&self, version: &ModelVersion) -> Result<Vec<u8>> {
        let key = format!("blob/{}", version.blob);
        let damaged = |reason: &str| Error::Damaged {
            what: "model blob",
            name: version.blob.clone(),
            reason: reason.to_owned(),
        };
        let (bytes, _) = self.get(&key)?.ok_or_else(|| damaged("it is gone"))?;
        if BlobHash::of(&bytes).to_string() != version.blob {
            return Err(damaged("its hash is another one"));
        }
        Ok(bytes)
    }

    /// What an alias points at.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Damaged`].
    pub fn alias(&self, model: &str, alias: Alias) -> Result<Option<u64>> {
        Ok(self.number(&alias_key(model, alias))?.0)
    }

    /// Points an alias at a version, if it still points where `expected` says. A champion that is
    /// replaced becomes the previous one, in the same commit.
    ///
    /// # Errors
    /// [`Error::Unknown`] when there is no such version; [`Error::Changed`] when the alias points
    /// elsewhere by now; [`Error::Store`].
    #[allow(clippy::too_many_arguments, reason = "each is a different fact of the record")]
    pub fn point(
        &self,
        model: &str,
        alias: Alias,
        number: u64,
        expected: Option<u64>,
        by: &str,
        at: Timestamp,
        why: &str,
    ) -> Result<()> {
        self.version(model, number)?;
        let key = alias_key(model, alias);
        let (from, seen) = self.number(&key)?;
        if from != expected {
            return Err(Error::Changed { what: "alias", name: key });
        }
        let moved = |alias, to, from| Moved {
            model: model.to_owned(),
            alias,
            to,
            from,
            by: by.to_owned(),
            at,
            why: why.to_owned(),
        };
        let mut batch = Batch::new()
            .expect(key.clone(), seen)
            .put(key, encode(&number))
            .append(moves_log(model), encode(&moved(alias, Some(number), from)));
        if alias == Alias::Champion
            && let Some(replaced) = from.filter(|from| *from != number)
        {
            let previous = alias_key(model, Alias::Previous);
            let (before, seen) = self.number(&previous)?;
            batch = batch
                .expect(previous.clone(), seen)
                .put(previous, encode(&replaced))
                .append(moves_log(model), encode(&moved(Alias::Previous, Some(replaced), before)));
        }
        self.commit(batch, model, "moving an alias")
    }

    /// Makes the previous champion the champion again.
    ///
    /// # Errors
    /// [`Error::Unknown`] when there is no previous one; as [`point`](Self::point).
    pub fn roll_back(&self, model: &str, by: &str, at: Timestamp, why: &str) -> Result<u64> {
        let champion = self.alias(model, Alias::Champion)?;
        let Some(previous) = self.alias(model, Alias::Previous)? else {
            return Err(Error::Unknown { what: "previous champion", name: model.to_owned() });
        };
        self.point(model, Alias::Champion, previous, champion, by, at, why)?;
        Ok(previous)
    }

    /// Makes the challenger the champion, when the gate let it through and it ran in shadow before.
    ///
    /// # Errors
    /// [`Error::Refused`] says what is missing; [`Error::Unknown`] without a challenger; as
    /// [`point`](Self::point).
    pub fn promote(
        &self,
        model: &str,
        judgement: &Judgement,
        by: &str,
        at: Timestamp,
    ) -> Result<u64> {
        let refused = |reason: String| Error::Refused { what: "promotion", reason };
        let Some(challenger) = self.alias(model, Alias::Challenger)? else {
            return Err(Error::Unknown { what: "challenger", name: model.to_owned() });
        };
        if !judgement.promote {
            return Err(refused(judgement.to_string()));
        }
        let was_shadow =
            |moved: &Moved| moved.alias == Alias::Shadow && moved.to == Some(challenger);
        if !self.moves(model)?.iter().any(was_shadow) {
            return Err(refused(format!("version {challenger} never ran in shadow")));
        }
        let champion = self.alias(model, Alias::Champion)?;
        let why = judgement.to_string();
        self.point(model, Alias::Champion, challenger, champion, by, at, &why)?;
        Ok(challenger)
    }

    /// Every movement of the aliases of a model, oldest first.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Damaged`].
    pub fn moves(&self, model: &str) -> Result<Vec<Moved>> {
        let log = moves_log(model);
        let records = whole_log(&*self.store, &log)?;
        records.iter().map(|bytes| decode("movement of an alias", &log, bytes)).collect()
    }

    /// The champion as `parse` reads it; where it cannot be read, the previous one, and where that
    /// cannot be read either, or there is none, the one that is built in. Reasons are in the answer:
    /// report them.
    ///
    /// # Errors
    /// [`Error::Store`] only: a store that cannot be reached is no reason to go back a version.
    pub fn load<T>(
        &self,
        model: &str,
        mut parse: impl FnMut(&[u8]) -> Result<T, String>,
        built_in: impl FnOnce() -> T,
    ) -> Result<Loaded<T>> {
        let mut passed_over = Vec::new();
        for alias in [Alias::Champion, Alias::Previous] {
            let Some(number) = self.alias(model, alias)? else { continue };
            let bytes = match self.version(model, number).and_then(|v| self.blob(&v)) {
                Ok(bytes) => bytes,
                Err(error @ Error::Store { .. }) => return Err(error),
                Err(error) => {
                    passed_over.push(format!("{} {number}: {error}", alias.name()));
                    continue;
                }
            };
            match parse(&bytes) {
                Ok(model) => return Ok(Loaded { model, version: Some(number), passed_over }),
                Err(reason) => passed_over.push(format!("{} {number}: {reason}", alias.name())),
            }
        }
        Ok(Loaded { model: built_in(), version: None, passed_over })
    }

    fn get(&self, key: &str) -> Result<Option<(Vec<u8>, StoreVersion)>> {
        let found = self.store.get(key.as_bytes()).map_err(Error::store("reading the registry"))?;
        Ok(found.map(|found| (found.value, found.version)))
    }

    fn number(&self, key: &str) -> Result<(Option<u64>, StoreVersion)> {
        let Some((bytes, version)) = self.get(key)? else { return Ok((None, 0)) };
        Ok((Some(decode("number", key, &bytes)?), version))
    }

    fn commit(&self, batch: Batch, model: &str, operation: &'static str) -> Result<()> {
        match self.store.commit(batch) {
            Ok(_) => Ok(()),
            Err(error) if error.is_conflict() => {
                Err(Error::Changed { what: "model", name: model.to_owned() })
            }
            Err(source) => Err(Error::Store { operation, source }),
        }
    }
}

fn version_key(model: &str, number: u64) -> String {
    format!("model/{model}/version/{number:020}")
}

fn alias_key(model: &str, alias: Alias) -> String {
    format!("model/{model}/alias/{}", alias.name())
}

fn moves_log(model: &str) -> String {
    format!("model/{model}/moves")
}

/// When a challenger may take the place of a champion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PromotionGate {
    /// How much better it must be for sure, in the unit of the scores. Default 0.
    pub margin: f64,
    /// How sure, between 0.5 and 1. Default 0.95.
    pub confidence: f64,
    /// On at least so many held-out incidents. Default 20.
    pub at_least: usize,
}

impl Default for PromotionGate {
    fn default() -> Self {
        PromotionGate { margin: 0.0, confidence: 0.95, at_least: 20 }
    }
}

/// What the gate says, with what it was said on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// Whether the challenger may take over.
    pub promote: bool,
    /// Held-out incidents on which both were judged.
    pub incidents: usize,
    /// The mean of challenger minus champion.
    pub mean_difference: f64,
    /// The mean difference is above this with the asked confidence.
    pub at_least: f64,
}

impl PromotionGate {
    /// Compares two models on the same held-out incidents, `(champion, challenger)` scores of each,
    /// higher being better.
    ///
    /// The bound is one-sided and distribution-free for paired scores within 0..=1: with `n`
    /// differences of standard deviation `s`, `mean - s sqrt(2 ln(2/d) / n) - 7 · 2 ln(2/d) / (3 (n - 1))`
    /// for `d = 1 - confidence` (the differences span 2). It is careful with few incidents, where a
    /// bootstrap of twenty equal differences would be certain.
    ///
    /// Source: Maurer and Pontil (2009), "Empirical Bernstein bounds and sample variance
    /// penalization", theorem 4, scaled to a range of 2.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] when the gate or a score is out of range.
    pub fn judge(&self, paired: &[(f64, f64)]) -> Result<Judgement> {
        if !(0.5..1.0).contains(&self.confidence) {
            let reason = format!("must be at least 0.5 and below 1, got {}", self.confidence);
            return Err(Error::config("confidence", reason));
        }
        if !self.margin.is_finite() {
            return Err(Error::config("margin", format!("must be finite, got {}", self.margin)));
        }
        let within = |score: &f64| (0.0..=1.0).contains(score);
        if let Some(bad) = paired.iter().find(|(a, b)| !(within(a) && within(b))) {
            return Err(Error::config("score", format!("must be within 0 and 1, got {bad:?}")));
        }
        let n = paired.len() as f64;
        let differences = paired.iter().map(|(champion, challenger)| challenger - champion);
        let mean = differences.clone().sum::<f64>() / n.max(1.0);
        let variance = differences.map(|d| (d - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        let log = (2.0 / (1.0 - self.confidence)).ln();
        let bound = if paired.len() < 2 {
            -1.0
        } else {
            mean - (2.0 * variance * log / n).sqrt() - 14.0 * log / (3.0 * (n - 1.0))
        };
        let enough = paired.len() >= self.at_least.max(2);
        Ok(Judgement {
            promote: enough && bound > self.margin,
            incidents: paired.len(),
            mean_difference: mean,
            at_least: bound.max(-1.0),
        })
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.promote { "promote: " } else { "keep the champion: " })?;
        write!(
            f,
            "the challenger is {:+.3} better on average over {} incidents, and at least {:+.3} for sure",
            self.mean_difference, self.incidents, self.at_least
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aiops_core::MemoryStore;

    const NOW: Timestamp = Timestamp::from_secs(1_000);

    fn registry() -> (Arc<dyn Store>, ModelRegistry) {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        (store.clone(), ModelRegistry::new(store))
    }

    fn text(bytes: &[u8]) -> Result<String, String> {
        String::from_utf8(bytes.to_vec()).map_err(|error| error.to_string())
    }

    #[test]
    fn versions_are_numbered_and_equal_blobs_are_one() {
        let (store, registry) = registry();
        for number in 1..=3 {
            let lineage = Lineage { seed: Some(number), ..Lineage::default() };
            let version = registry.register("m", b"same", lineage, NOW).unwrap();
            assert_eq!(version.number, number);
            assert_eq!(registry.version("m", number).unwrap(), version);
            assert_eq!(registry.blob(&version).unwrap(), b"same");
        }
        assert_eq!(store.scan(b"blob/", None, 10).unwrap().len(), 1);
        assert!(matches!(registry.version("m", 4), Err(Error::Unknown { .. })));
        assert!(registry.register("a/b", b"", Lineage::default(), NOW).is_err());
    }

    #[test]
    fn an_alias_moves_only_from_where_it_was_expected() {
        let (_, registry) = registry();
        for blob in [b"one", b"two"] {
            registry.register("m", blob, Lineage::default(), NOW).unwrap();
        }
        let point = |n, from| {
            registry.point("m", Alias::Champion, n, from, "ada", NOW, "because it is better")
        };
        point(1, None).unwrap();
        assert!(matches!(point(2, None), Err(Error::Changed { .. })), "somebody was quicker");
        point(2, Some(1)).unwrap();
        assert!(matches!(point(3, Some(2)), Err(Error::Unknown { .. })));
        assert_eq!(registry.alias("m", Alias::Previous).unwrap(), Some(1));
        assert_eq!(registry.roll_back("m", "kim", NOW, "it pages too much").unwrap(), 1);
        let moves = registry.moves("m").unwrap();
        let told: Vec<_> = moves.iter().map(|m| (m.alias, m.from, m.to, m.by.as_str())).collect();
        use Alias::{Champion, Previous};
        assert_eq!(
            told,
            [
                (Champion, None, Some(1), "ada"),
                (Champion, Some(1), Some(2), "ada"),
                (Previous, None, Some(1), "ada"),
                (Champion, Some(2), Some(1), "kim"),
                (Previous, Some(1), Some(2), "kim"),
            ]
        );
    }

    #[test]
    fn promotion_needs_the_gate_and_a_shadow_run() {
        let (_, registry) = registry();
        let version = registry.register("m", b"one", Lineage::default(), NOW).unwrap().number;
        let gate = PromotionGate::default();
        let good = gate.judge(&[(0.0, 1.0); 40]).unwrap();
        let promote = |judgement| registry.promote("m", judgement, "ada", NOW);
        assert!(matches!(promote(&good), Err(Error::Unknown { .. })), "no challenger");
        registry.point("m", Alias::Challenger, version, None, "ada", NOW, "new").unwrap();
        assert!(matches!(promote(&good), Err(Error::Refused { .. })), "no shadow run");
        registry.point("m", Alias::Shadow, version, None, "ada", NOW, "watch it").unwrap();
        let poor = gate.judge(&[(1.0, 1.0); 40]).unwrap();
        assert!(matches!(promote(&poor), Err(Error::Refused { .. })), "not better");
        assert_eq!(promote(&good).unwrap(), version);
        assert_eq!(registry.alias("m", Alias::Champion).unwrap(), Some(version));
    }

    #[test]
    fn a_damaged_champion_falls_back_to_the_previous_one_and_then_to_the_built_in() {
        let (store, registry) = registry();
        let load = || registry.load("m", text, || "built in".into()).unwrap();
        assert_eq!(load(), Loaded { model: "built in".into(), version: None, passed_over: vec![] });
        let mut versions = Vec::new();
        for (blob, from) in [(b"one", None), (b"two", Some(1))] {
            let version = registry.register("m", blob, Lineage::default(), NOW).unwrap();
            registry.point("m", Alias::Champion, version.number, from, "ada", NOW, "").unwrap();
            versions.push(version);
        }
        assert_eq!((load().model.as_str(), load().version), ("two", Some(2)));
        let spoil = |n: usize| {
            let key = format!("blob/{}", versions[n].blob);
            store.commit(Batch::new().put(key, "something else")).unwrap();
        };
        spoil(1);
        let loaded = load();
        assert_eq!((loaded.model.as_str(), loaded.version), ("one", Some(1)));
        assert!(loaded.passed_over[0].starts_with("champion 2: damaged model blob"));
        spoil(0);
        let loaded = load();
        assert_eq!((loaded.version, loaded.passed_over.len()), (None, 2));
    }

    #[test]
    fn a_challenger_must_be_better_for_sure() {
        let gate = PromotionGate::default();
        let judge = |n: usize, champion: f64, challenger: f64| {
            gate.judge(&vec![(champion, challenger); n]).unwrap()
        };
        assert!(!judge(19, 0.0, 1.0).promote, "too few incidents, however good");
        assert!(judge(40, 0.0, 1.0).promote);
        assert!(!judge(40, 0.5, 0.6).promote, "a little better on 40 is not sure");
        assert!(judge(400, 0.5, 0.6).promote);
        assert!(!judge(400, 0.6, 0.5).promote);
        assert!(!judge(0, 0.0, 0.0).promote);
        // By hand, 40 equal differences of 1: 1 - 14 ln(40) / (3 · 39).
        let bound = judge(40, 0.0, 1.0).at_least;
        assert!((bound - (1.0 - 14.0 * 40.0_f64.ln() / 117.0)).abs() < 1e-12, "{bound}");
        assert!(gate.judge(&[(0.0, f64::NAN)]).is_err());
    }
}

//! [`Normaliser`]: series resolved, enriched, understood and interned.

use super::config::NormaliserConfig;
use super::counter::{Step, Track};
use super::declared::Tenant;
use super::kind::SeriesInfo;
use super::known::{Known, NONE};
use super::sender::{NormalisingSink, Sender};
use crate::identity::Identity;
use crate::{Declared, Form, Inbox, NAME, Rejection, Tally, WireSeries};
use aiops_core::{Interner, Sample, SeriesHash, SeriesId, SeriesKey, Timestamp};
use rustc_hash::FxHashMap;
use std::time::Duration;

/// What a normaliser did that is not visible in a [`Tally`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NormaliserCounts {
    /// Points of counters that gave no rate because nothing came before them.
    pub first_points: u64,
    /// Counters that were set back.
    pub resets: u64,
    /// Points without a value, handed on as gaps.
    pub gaps: u64,
    /// Series interned.
    pub series_added: u64,
    /// Series evicted.
    pub series_evicted: u64,
    /// Times the memory of wire names was full and forgotten.
    pub known_forgotten: u64,
}

/// Turns what decoders read into the one schema of all later stages.
///
/// For a series it has not met it reads the labels, adds what the mapping tables know, resolves the
/// tenant and the service (written to the label `service`), infers kind, unit, harm and class, and
/// interns the key to a dense id. For a series it has met it compares the bytes of its name on the
/// wire and is done. Counters become rates per second, units canonical (seconds, bytes, a share of
/// 1), missing values gaps. The name of the series stays what it was, so that results appear beside
/// the metric on any dashboard.
///
/// Cost per point of a known series: one comparison of the bytes that name it and one 40-byte
/// record. Memory per series: 40 + 40 bytes of state beside the interned key and the remembered
/// wire name; [`memory`](Self::memory) sums it up.
///
/// # When not to use it
/// Where series are already interned and clean, build a [`SampleBatch`](aiops_core::SampleBatch)
/// directly.
///
/// ```
/// use aiops_core::{MetricKind, Sample, SeriesKey, Timestamp, Unit};
/// use aiops_observe::{Declared, NormaliserConfig};
///
/// let mut normaliser = NormaliserConfig::default().build()?;
/// let key = SeriesKey::new("process_cpu_seconds_total", [("job", "api")]);
/// let mut at = |secs, value| {
///     let sample = Sample::new(Timestamp::from_secs(secs), value);
///     normaliser.sample(&key, Declared::default(), sample)
/// };
/// assert_eq!(at(0, 100.0), Ok(None), "a counter has no rate yet");
/// let (id, sample) = at(10, 105.0).unwrap().unwrap();
/// assert_eq!(sample.value, 0.5);
///
/// let info = normaliser.info(id).unwrap();
/// assert_eq!((info.kind, info.unit), (MetricKind::Cpu, Unit::Ratio));
/// assert_eq!(normaliser.key(id).unwrap().service(), Some("api"));
/// # Ok::<(), aiops_observe::Error>(())
/// ```
#[derive(Debug)]
pub struct Normaliser {
    pub(super) config: NormaliserConfig,
    pub(super) interner: Interner,
    known: Known,
    /// By dense id, as are `infos` and `owners`.
    pub(super) tracks: Vec<Track>,
    pub(super) infos: Vec<Option<SeriesInfo>>,
    /// Index into `tenants`.
    pub(super) owners: Vec<u32>,
    pub(super) tenants: Vec<Tenant>,
    pub(super) tenant_numbers: FxHashMap<String, usize>,
    /// Format and tenant of the sender, to the number that keeps their wire names apart.
    sources: FxHashMap<&'static str, FxHashMap<String, u32>>,
    next_source: u32,
    /// Whether a declaration changed since all series were understood.
    pub(super) changed: bool,
    default_sender: Sender,
    scratch: Identity,
    counts: NormaliserCounts,
}

impl Normaliser {
    /// The settings were checked.
    pub(super) fn with(config: NormaliserConfig) -> Self {
        Normaliser {
            interner: Interner::new(config.max_series),
            config,
            known: Known::default(),
            tracks: Vec::new(),
            infos: Vec::new(),
            owners: Vec::new(),
            tenants: Vec::new(),
            tenant_numbers: FxHashMap::default(),
            sources: FxHashMap::default(),
            next_source: 0,
            changed: false,
            default_sender: Sender::default(),
            scratch: Identity::default(),
            counts: NormaliserCounts::default(),
        }
    }

    /// A sink for bodies of the empty tenant, from one sender or many that are not told apart.
    pub fn sink<'a>(&'a mut self, inbox: &'a mut Inbox) -> NormalisingSink<'a> {
        NormalisingSink::of_default(self, inbox)
    }

    /// A sink for bodies of one [`Sender`]: it has its own tenant, and its repetitions are told
    /// from those of others.
    pub fn sink_from<'a>(
        &'a mut self,
        sender: &'a mut Sender,
        inbox: &'a mut Inbox,
    ) -> NormalisingSink<'a> {
        NormalisingSink::new(self, sender, inbox)
    }

    /// One sample of a series whose key is at hand. `Ok(None)` when it was taken but gives no value
    /// yet: the first point of a counter, or the first after a reset or a long silence.
    ///
    /// # Errors
    /// Why it was not taken.
    pub fn sample(
        &mut self,
        key: &SeriesKey,
        declared: Declared<'_>,
        sample: Sample,
    ) -> Result<Option<(SeriesId, Sample)>, Rejection> {
        let id = self.resolve_key(key, declared)?;
        match self.step(id, sample) {
            Step::Value(value) => Ok(Some((id, Sample::new(sample.time, value)))),
            Step::First | Step::Reset => Ok(None),
            Step::Late => Err(Rejection::Late),
        }
    }

    /// The id that the series of `key` has after normalisation.
    ///
    /// # Errors
    /// Why it has none.
    pub fn resolve_key(
        &mut self,
        key: &SeriesKey,
        declared: Declared<'_>,
    ) -> Result<SeriesId, Rejection> {
        let mut identity = std::mem::take(&mut self.scratch);
        identity.clear();
        identity.push(NAME, &key.name);
        key.labels.iter().for_each(|(name, value)| identity.push(name, value));
        let mut sender = Sender::new(key.tenant.clone());
        sender.source = self.source(&key.tenant, "key");
        let resolved = self.resolve(&identity.series(declared), &mut sender);
        self.scratch = identity;
        resolved
    }

    /// The ids and keys of all series, for stages that look keys up themselves.
    pub fn interner(&self) -> &Interner {
        &self.interner
    }

    /// The key of a series after normalisation, while it lives.
    pub fn key(&self, id: SeriesId) -> Option<&SeriesKey> {
        self.interner.key(id)
    }

    /// The stable identity of a series, while it lives.
    pub fn hash(&self, id: SeriesId) -> Option<SeriesHash> {
        self.interner.hash(id)
    }

    /// What is known of a series, while it lives.
    pub fn info(&self, id: SeriesId) -> Option<&SeriesInfo> {
        self.infos.get(id.index())?.as_ref()
    }

    /// Every live series with what is known of it, in the order of ids.
    pub fn series(&self) -> impl Iterator<Item = (SeriesId, &SeriesKey, &SeriesInfo)> {
        (0..self.infos.len() as u32)
            .map(SeriesId)
            .filter_map(|id| Some((id, self.interner.key(id)?, self.info(id)?)))
    }

    /// How many series live.
    pub fn len(&self) -> usize {
        self.interner.len()
    }

    /// Whether none lives.
    pub fn is_empty(&self) -> bool {
        self.interner.is_empty()
    }

    /// How many live series a tenant has.
    pub fn len_of(&self, tenant: &str) -> usize {
        self.tenant_numbers.get(tenant).map_or(0, |&number| self.tenants[number].live)
    }

    /// What it did beside what the tallies count.
    pub fn counts(&self) -> NormaliserCounts {
        self.counts
    }

    /// Bytes of memory held beside the interned keys.
    pub fn memory(&self) -> usize {
        self.known.memory()
            + self.tracks.capacity() * size_of::<Track>()
            + self.infos.capacity() * size_of::<Option<SeriesInfo>>()
            + self.owners.capacity() * size_of::<u32>()
    }

    /// Retires every series whose latest point is older than `ttl`. Hand the ids to every bank's
    /// `release` and then to [`reuse`](Self::reuse).
    ///
    /// Age is told by the times of points, so that a replay evicts what the live run evicted.
    pub fn evict_idle(&mut self, now: Timestamp, ttl: Duration) -> Vec<SeriesId> {
        for (index, track) in self.tracks.iter().enumerate() {
            self.interner.touch(SeriesId(index as u32), track.time);
        }
        let retired = self.interner.evict_idle(now, ttl);
        for id in &retired {
            self.infos[id.index()] = None;
            self.tenants[self.owners[id.index()] as usize].live -= 1;
        }
        self.counts.series_evicted += retired.len() as u64;
        if !retired.is_empty() {
            let infos = &self.infos;
            self.known.retain(|id| infos[id.index()].is_some());
            self.default_sender.last = NONE;
        }
        retired
    }

    /// Makes retired ids available again, after every bank has released them.
    pub fn reuse(&mut self, released: &[SeriesId]) {
        self.interner.reuse(released);
    }

    /// The number of a tenant and format, whose wire names are told from those of others.
    pub(crate) fn source(&mut self, tenant: &str, format: &'static str) -> u32 {
        let tenants = self.sources.entry(format).or_default();
        if let Some(&source) = tenants.get(tenant) {
            return source;
        }
        tenants.insert(tenant.to_owned(), self.next_source);
        self.next_source += 1;
        self.next_source - 1
    }

    pub(crate) fn take_default_sender(&mut self) -> Sender {
        std::mem::take(&mut self.default_sender)
    }

    pub(crate) fn put_default_sender(&mut self, sender: Sender) {
        self.default_sender = sender;
    }

    #[inline]
    pub(crate) fn guess(&self, sender: &Sender) -> &[u8] {
        self.known.guess(sender.last, sender.source)
    }

    /// The id of a series as it came: by the bytes of its name if they are known.
    #[inline]
    pub(crate) fn resolve(
        &mut self,
        series: &WireSeries<'_>,
        sender: &mut Sender,
    ) -> Result<SeriesId, Rejection> {
        let source = sender.source;
        if let Some((entry, id)) = self.known.follow(sender.last, source, series.identity) {
            sender.last = entry;
            return Ok(id);
        }
        let (entry, id) = match self.known.find(source, series.identity) {
            Ok(found) => found,
            Err(hash) => {
                let id = self.introduce(series, &sender.tenant)?;
                if self.known.used() + series.identity.len() > self.config.max_known_bytes {
                    self.known = Known::default();
                    self.counts.known_forgotten += 1;
                }
                (self.known.insert(hash, source, series.identity, id), id)
            }
        };
        self.known.link(sender.last, entry);
        sender.last = entry;
        Ok(id)
    }

    /// Reads the labels of a series and interns it.
    #[cold]
    fn introduce(&mut self, series: &WireSeries<'_>, tenant: &str) -> Result<SeriesId, Rejection> {
        let mut key = self.read(series)?;
        key.tenant = self.take_tenant(&mut key.labels).unwrap_or_else(|| tenant.to_owned());
        let owner = self.tenant(&key.tenant)?;
        let info = self.understand(&key, series.declared, owner);
        self.enrich(&key.name, &mut key.labels);
        let known = self.interner.get(key.hash()).is_some();
        if !known && self.tenants[owner].live >= self.config.max_series_per_tenant {
            return Err(Rejection::TenantLimit);
        }
        let interned = self.interner.intern(&key, Timestamp::MIN);
        let id = interned.map_err(|error| match error {
            aiops_core::Error::Duplicate { .. } => Rejection::HashCollision,
            _ => Rejection::SeriesLimit,
        })?;
        if !known {
            self.tenants[owner].live += 1;
            self.counts.series_added += 1;
            if self.tracks.len() < self.interner.columns() {
                self.tracks.resize(self.interner.columns(), Track::new(Form::Gauge, 1.0));
                self.infos.resize(self.interner.columns(), None);
                self.owners.resize(self.interner.columns(), 0);
            }
            self.tracks[id.index()] = Track::new(info.form, info.factor);
            self.infos[id.index()] = Some(info);
            self.owners[id.index()] = owner as u32;
        }
        Ok(id)
    }

    /// Name and labels as they came, without empty values and without what is to be dropped.
    fn read(&self, series: &WireSeries<'_>) -> Result<SeriesKey, Rejection> {
        let mut key = SeriesKey::default();
        let mut twice = false;
        series.labels.visit(&mut |name, value| {
            if name == NAME {
                twice |= !key.name.is_empty();
                value.clone_into(&mut key.name);
            } else if !value.is_empty() {
                twice |= key.labels.insert(name, value).is_some();
            }
        })?;
        for label in &self.config.drop_labels {
            key.labels.remove(label);
        }
        match key.name.is_empty() {
            _ if twice => Err(Rejection::DuplicateLabel),
            true => Err(Rejection::MissingField),
            false => Ok(key),
        }
    }

    /// Refuses what is further ahead of the clock than allowed.
    pub(crate) fn latest(&self, now: Timestamp) -> Timestamp {
        now + self.config.max_ahead
    }

    pub(crate) fn take_points(
        &mut self,
        id: SeriesId,
        points: &[Sample],
        latest: Timestamp,
        inbox: &mut Inbox,
        tally: &mut Tally,
    ) {
        for point in points {
            if point.time > latest {
                tally.reject(Rejection::TooFarAhead, 1);
                continue;
            }
            match self.step(id, *point) {
                Step::Value(value) => inbox.push(id, point.time, value),
                Step::First | Step::Reset => {}
                Step::Late => {
                    tally.reject(Rejection::Late, 1);
                    continue;
                }
            }
            tally.accept(1);
        }
    }

    #[inline]
    fn step(&mut self, id: SeriesId, point: Sample) -> Step {
        let step = self.tracks[id.index()].step(point.time, point.value, self.config.max_gap);
        match step {
            Step::Value(value) => self.counts.gaps += u64::from(value.is_nan()),
            Step::First => self.counts.first_points += 1,
            Step::Reset => self.counts.resets += 1,
            Step::Late => {}
        }
        step
    }
}

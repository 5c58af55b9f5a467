//! [`Normaliser`]: series resolved, enriched, understood and interned.

use super::MappingTable;
use super::counter::{Step, Track};
use super::kind::{self, KindRule, SeriesInfo};
use super::known::{Known, NONE};
use super::sender::{NormalisingSink, Sender};
use super::service::ServiceRule;
use crate::alert_identity::identify;
use crate::identity::Identity;
use crate::{Declared, Error, Form, Inbox, NAME, Rejection, Result, Tally, WireSeries};
use aiops_core::{
    Alert, Event, EventId, Interner, Labels, Sample, SeriesHash, SeriesId, SeriesKey, Timestamp,
};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How a [`Normaliser`] reads names, and how much it holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NormaliserConfig {
    /// The label that names the tenant, where one does; it is taken out of the labels. Without it,
    /// or where it is missing, the tenant is that of the [`Sender`]. Default none: a label is
    /// whatever the sender says, so trust it only behind a proxy that sets it.
    pub tenant_label: Option<String>,
    /// How the service is found. Default [`ServiceRule::defaults`].
    pub services: Vec<ServiceRule>,
    /// What is known of metrics beyond the conventions. Default none.
    pub kinds: Vec<KindRule>,
    /// Labels to add. Applied in order, before the service is resolved and again after it, so that
    /// a table may give a service and another may look one up. Default none.
    pub tables: Vec<MappingTable>,
    /// Labels to leave out of every series: those that tell senders apart rather than series, such
    /// as `prometheus_replica`. Default none.
    pub drop_labels: Vec<String>,
    /// Labels that do not count for the fingerprint of an alert, beside `drop_labels`. Default none.
    pub fingerprint_ignores: Vec<String>,
    /// Live series of all tenants together. Default 2,000,000.
    pub max_series: usize,
    /// Live series of one tenant. Default 2,000,000: no limit of its own until you set one.
    pub max_series_per_tenant: usize,
    /// Tenants that have or had series. Default 10,000.
    pub max_tenants: usize,
    /// Metric families of one tenant of which declarations are remembered. Default 100,000.
    pub max_families_per_tenant: usize,
    /// Memory for remembering how series are named on the wire. When it is full it is forgotten and
    /// learnt anew. Default 1 GiB.
    pub max_known_bytes: usize,
    /// After a longer silence a counter starts anew. Default 5 minutes, Prometheus' look-back.
    pub max_gap: Duration,
    /// Points further ahead of the clock than this are refused. Default 10 minutes (a guess).
    pub max_ahead: Duration,
}

impl Default for NormaliserConfig {
    fn default() -> Self {
        NormaliserConfig {
            tenant_label: None,
            services: ServiceRule::defaults(),
            kinds: Vec::new(),
            tables: Vec::new(),
            drop_labels: Vec::new(),
            fingerprint_ignores: Vec::new(),
            max_series: 2_000_000,
            max_series_per_tenant: 2_000_000,
            max_tenants: 10_000,
            max_families_per_tenant: 100_000,
            max_known_bytes: 1 << 30,
            max_gap: Duration::from_secs(300),
            max_ahead: Duration::from_secs(600),
        }
    }
}

impl NormaliserConfig {
    /// A normaliser that knows no series yet.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] when a limit is zero or a rule reads no label.
    pub fn build(self) -> Result<Normaliser> {
        for (field, limit) in [
            ("max_series", self.max_series),
            ("max_series_per_tenant", self.max_series_per_tenant),
            ("max_tenants", self.max_tenants),
            ("max_known_bytes", self.max_known_bytes),
        ] {
            if limit == 0 {
                return Err(Error::config(field, "must be above zero"));
            }
        }
        if self.max_gap.is_zero() {
            return Err(Error::config("max_gap", "must be longer than zero"));
        }
        if self.services.iter().any(|rule| rule.label.is_empty() && rule.service.is_none()) {
            return Err(Error::config("services", "a rule needs a label to read or a service"));
        }
        if self.tables.iter().any(|table| table.on.is_empty()) {
            return Err(Error::config("tables", "a table needs labels to look up in `on`"));
        }
        Ok(Normaliser {
            interner: Interner::new(self.max_series),
            config: self,
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
        })
    }
}

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
    config: NormaliserConfig,
    interner: Interner,
    known: Known,
    /// By dense id, as are `infos` and `owners`.
    tracks: Vec<Track>,
    infos: Vec<Option<SeriesInfo>>,
    /// Index into `tenants`.
    owners: Vec<u32>,
    tenants: Vec<Tenant>,
    tenant_numbers: FxHashMap<String, usize>,
    /// Format and tenant of the sender, to the number that keeps their wire names apart.
    sources: FxHashMap<&'static str, FxHashMap<String, u32>>,
    next_source: u32,
    /// Whether a declaration changed since all series were understood.
    changed: bool,
    default_sender: Sender,
    scratch: Identity,
    counts: NormaliserCounts,
}

#[derive(Debug, Default)]
struct Tenant {
    live: usize,
    families: FxHashMap<String, (Form, String)>,
}

impl Tenant {
    /// Histograms and OpenMetrics counters are declared under their base name.
    fn family(&self, name: &str) -> Option<Declared<'_>> {
        let suffixes = ["", "_bucket", "_sum", "_count", "_total"];
        let mut bases = suffixes.iter().filter_map(|suffix| name.strip_suffix(suffix));
        let (form, unit) = bases.find_map(|base| self.families.get(base))?;
        Some(Declared { form: *form, unit })
    }
}

impl Normaliser {
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

    /// Fills in what an alert does not say: tenant, service and the labels of the mapping tables.
    /// Fingerprint and id are those of the labels that came, with the tenant and without what is
    /// ignored: a table that learns a team tomorrow must not make a new alert of an old one.
    pub fn complete_alert(&self, tenant: &str, alert: &mut Alert) {
        let tenant = self.take_tenant(&mut alert.labels).unwrap_or_else(|| tenant.to_owned());
        let ignored: Vec<&str> = self.ignored().collect();
        identify(alert, tenant, &ignored);
        if let Some(service) = alert.service.take() {
            alert.labels.insert("service", service);
        }
        self.enrich(&alert.name, &mut alert.labels);
        alert.service = alert.labels.get("service").map(str::to_owned);
    }

    /// Fills in what an event does not say: tenant, service and the labels of the mapping tables.
    pub fn complete_event(&self, tenant: &str, event: &mut Event) {
        event.tenant = self.take_tenant(&mut event.labels).unwrap_or_else(|| tenant.to_owned());
        let service = event.service.as_deref();
        event.id = EventId::of(&event.tenant, event.kind, service, &event.title, event.starts_at);
        if let Some(service) = event.service.take() {
            event.labels.insert("service", service);
        }
        self.enrich("", &mut event.labels);
        event.service = event.labels.get("service").map(str::to_owned);
    }

    fn ignored(&self) -> impl Iterator<Item = &str> {
        self.config.fingerprint_ignores.iter().chain(&self.config.drop_labels).map(String::as_str)
    }

    fn take_tenant(&self, labels: &mut Labels) -> Option<String> {
        let label = self.config.tenant_label.as_deref()?;
        labels.remove(label).filter(|tenant| !tenant.is_empty())
    }

    fn enrich(&self, name: &str, labels: &mut Labels) {
        let tables = &self.config.tables;
        tables.iter().for_each(|table| table.enrich(labels));
        let found = self.config.services.iter().find_map(|rule| rule.resolve(name, labels));
        if let Some(service) = found.map(str::to_owned) {
            labels.insert("service", service);
            tables.iter().for_each(|table| table.enrich(labels));
        }
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

    fn tenant(&mut self, name: &str) -> Result<usize, Rejection> {
        if let Some(&number) = self.tenant_numbers.get(name) {
            return Ok(number);
        }
        if self.tenants.len() >= self.config.max_tenants {
            return Err(Rejection::TenantLimit);
        }
        self.tenants.push(Tenant::default());
        self.tenant_numbers.insert(name.to_owned(), self.tenants.len() - 1);
        Ok(self.tenants.len() - 1)
    }

    /// What the sender said with the series, else what it declared of the family.
    fn understand(&self, key: &SeriesKey, said: Declared<'_>, owner: usize) -> SeriesInfo {
        let mut declared = said;
        if let Some(family) = self.tenants[owner].family(&key.name) {
            if declared.form == Form::Unknown {
                declared.form = family.form;
            }
            if declared.unit.is_empty() {
                declared.unit = family.unit;
            }
        }
        kind::infer(&key.name, &key.labels, declared, &self.config.kinds)
    }

    pub(crate) fn declare(&mut self, tenant: &str, family: &str, declared: Declared<'_>) {
        let Ok(owner) = self.tenant(tenant) else { return };
        let limit = self.config.max_families_per_tenant;
        let families = &mut self.tenants[owner].families;
        let new = (declared.form, declared.unit);
        let known = families.get(family).map(|(form, unit)| (*form, unit.as_str()));
        if known == Some(new) || known.is_none() && families.len() >= limit {
            return;
        }
        families.insert(family.to_owned(), (declared.form, declared.unit.to_owned()));
        self.changed = true;
    }

    /// After declarations changed: what the series of declared families mean now. One pass over all
    /// series. A counter that was taken for a gauge, or the reverse, starts anew.
    pub(crate) fn settle_declarations(&mut self) {
        if !std::mem::take(&mut self.changed) {
            return;
        }
        for index in 0..self.infos.len() {
            let Some(old) = self.infos[index] else { continue };
            let Some(key) = self.interner.key(SeriesId(index as u32)) else { continue };
            let owner = self.owners[index] as usize;
            if self.tenants[owner].family(&key.name).is_none() {
                continue;
            }
            let new = self.understand(key, Declared::default(), owner);
            if (new.form, new.factor) != (old.form, old.factor) {
                self.tracks[index].reread(new.form, new.factor);
            }
            self.infos[index] = Some(new);
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

//! Every stage in a straight line, behind one door: bytes in, incidents out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use aiops_act::{MetricQuery, Situation};
use aiops_core::{
    Alert, AlertId, AlertRule, Anomaly, Cause, Depends, Event, EventId, Feedback, Frame, Hops,
    Incident, IncidentId, MetricKind, Outcome, Ranking, Said, Sample, SampleBatch, SeriesHash,
    SeriesId, SeriesKey, Store, Subject, Timestamp, Topology, telemetry,
};
use aiops_correlate::{Context as Now, Correlator, CorrelatorExt, Decision, Funnel, News, Update};
use aiops_detect::router::{Router, RouterConfig};
use aiops_detect::{Change, Noticed, Tier, Watcher};
use aiops_knowledge::topology::{
    ServiceGraph, Sighting, SourceKind, TopologyMerge, TopologyMergeConfig, from_csv,
    from_document, from_yaml,
};
use aiops_knowledge::{FeedbackBook, IncidentMemory, MemoryConfig, Remembered, Similar, Tried};
use aiops_observe::digest::{LogDigestConfig, TraceDigestConfig};
use aiops_observe::{
    Declared, Inbox, Intake, IntakeAnswer, IntakeRequest, Limits, Normaliser, NormaliserConfig,
};
use aiops_pipeline::Settings;
use aiops_pipeline::settings::correlate;
use aiops_rca::{
    Context, DefaultConfig, Experience, ExperienceConfig, MetricInfo, RootCauseAnalyzer,
};

use crate::journal::{Input, Journal, What};
use crate::points::{Kept, Points};
use crate::recent::Recent;
use crate::{Config, Error, Result, Seen};

/// How often logs and traces are summed up.
const SUM_UP: Duration = Duration::from_secs(10);

/// How much time before an incident counts as normal.
const NORMAL: Duration = Duration::from_secs(20 * 60);

/// The name of the topology file among the sources of the topology.
const FILE: &str = "file";

/// How many anomalies are kept for rankings.
const ANOMALIES: usize = 10_000;

/// How far the suspects of an incident may be from its services.
const HOPS: Hops = Hops::Within(3);

/// Nobody has ticked for so long: alerts are passed on as they are.
const SILENCE: Duration = Duration::from_secs(5);

/// Where alerts go that cannot be worked on.
pub type Fallback = Arc<dyn Fn(&Alert) + Send + Sync>;

/// A ranking and when it was made.
#[derive(Debug, Clone)]
pub struct Ranked {
    /// When.
    pub at: Timestamp,
    /// What it says.
    pub ranking: Ranking,
}

/// What a person says about an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The first of the ranked causes was it.
    RightCause,
    /// It was not.
    WrongCause,
    /// Nothing was wrong.
    Noise,
    /// The last of these was a mistake.
    TakeBack,
}

/// The stages with their state. Synchronous: whoever drives them says what time it is.
pub struct Stages {
    config: Config,
    journal: Journal,
    intake: Intake,
    normaliser: Normaliser,
    inbox: Inbox,
    kinds: Arc<RwLock<BTreeMap<SeriesHash, MetricKind>>>,
    known: BTreeSet<SeriesId>,
    recent: Recent,
    points: Points,
    router: Router,
    rule: AlertRule,
    funnel: Funnel,
    /// What happened to incidents since the last tick.
    updates: Vec<Update>,
    /// When time last moved on; when it stands still nothing is shown.
    ticked_at: Timestamp,
    fallback: Fallback,
    topology: Topology,
    merge: TopologyMerge,
    /// Calls between services that traces tell of.
    graph: ServiceGraph,
    summed_up_at: Timestamp,
    analyzer: Box<dyn RootCauseAnalyzer>,
    alerts: BTreeMap<AlertId, Alert>,
    events: BTreeMap<EventId, Event>,
    anomalies: VecDeque<Anomaly>,
    ranked: BTreeMap<IncidentId, Ranked>,
    forgot_at: Timestamp,
    feedback: FeedbackBook,
    experience: Experience,
    memory: IncidentMemory,
}

impl std::fmt::Debug for Stages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (series, incidents) = (self.known.len(), self.funnel.incidents().len());
        f.debug_struct("Stages").field("series", &series).field("incidents", &incidents).finish()
    }
}

impl Stages {
    /// Builds every stage and reads again what came in before.
    ///
    /// # Errors
    /// When a setting is out of range, or what was kept cannot be read.
    pub fn open(config: Config, store: Arc<dyn Store>, now: Timestamp) -> Result<Self> {
        let kinds = Arc::<RwLock<BTreeMap<SeriesHash, MetricKind>>>::default();
        let normaliser =
            NormaliserConfig { max_series: config.max_series, ..NormaliserConfig::default() };
        let (merge, topology) = topology(config.topology.as_deref(), now)?;
        let logs = LogDigestConfig::default().build().map_err(Error::stage("observe"))?;
        let traces = TraceDigestConfig::default().build().map_err(Error::stage("observe"))?;
        let feedback = FeedbackBook::new(store.clone());
        let memory = MemoryConfig::default().open(store.clone());
        let back = Duration::from_secs(config.keep_minutes * 60);
        let (points, kept) = Points::open(store.clone(), back, now)?;
        let mut stages = Stages {
            journal: Journal::new(store),
            intake: Intake::new(Limits::default()).with_logs(logs).with_traces(traces),
            normaliser: normaliser.build().map_err(Error::stage("observe"))?,
            inbox: Inbox::default(),
            recent: Recent::new(config.step(), config.slots()),
            points,
            router: router(&config, &kinds).map_err(Error::stage("detect"))?,
            kinds,
            known: BTreeSet::new(),
            rule: AlertRule::default(),
            funnel: correlate(config.prefer).build().map_err(Error::stage("correlate"))?,
            updates: Vec::new(),
            ticked_at: now,
            fallback: Arc::new(|alert| {
                telemetry::count("aiops_service_passed_on_total", "to", "stderr", 1);
                eprintln!("passed on: {}", serde_json::to_string(alert).expect("nouns are JSON"));
            }),
            topology,
            merge,
            graph: ServiceGraph::default(),
            summed_up_at: now,
            analyzer: Box::new(DefaultConfig::default().build().map_err(Error::stage("rank"))?),
            alerts: BTreeMap::new(),
            events: BTreeMap::new(),
            anomalies: VecDeque::new(),
            ranked: BTreeMap::new(),
            forgot_at: now,
            experience: experience(&feedback, now)?,
            feedback,
            memory: memory.map_err(Error::stage("remember"))?,
            config,
        };
        stages.warm_up(kept)?;
        let back = Duration::from_secs(stages.config.recover_hours * 3_600);
        let began = Input { at: now, what: What::Began {} };
        stages.journal.keep(std::slice::from_ref(&began))?;
        for input in stages.journal.since(now, back)? {
            stages.take(input);
        }
        stages.tick(now)?;
        Ok(stages)
    }

    /// Hands alerts to `fallback`, unchanged, when they cannot be kept or when nobody ticks. Default: a line of JSON
    /// on standard error.
    pub fn pass_on_to(&mut self, fallback: Fallback) {
        self.fallback = fallback;
    }

    /// Ranks causes by another analyzer from now on.
    pub fn rank_by(&mut self, analyzer: Box<dyn RootCauseAnalyzer>) {
        self.analyzer = analyzer;
    }

    /// Shows the detectors what was measured before the restart. What they notice of it was told then; only the
    /// anomalies are kept, for rankings. Points are further apart than the samples were, which calibrates on fewer.
    fn warm_up(&mut self, kept: Kept) -> Result<()> {
        let Some((&last, _)) = kept.steps.last_key_value() else { return Ok(()) };
        let ids = kept.series.iter().map(|key| {
            // A gap says when the series was last seen, and nothing else: the next point of a counter is a first one.
            let known =
                self.normaliser.sample(key, Declared::default(), Sample::new(last, f64::NAN));
            let id = known.ok().flatten()?.0;
            (self.normaliser.key(id) == Some(key)).then_some(id)
        });
        let ids: Vec<Option<SeriesId>> = ids.collect();
        self.learn_kinds(ids.iter().flatten());
        let (mut of_step, mut times, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (time, points) in kept.steps {
            of_step.clear();
            values.clear();
            for (number, value) in points {
                let Some(id) = ids[number] else { continue };
                of_step.push(id);
                values.push(value);
            }
            times.clear();
            times.resize(of_step.len(), time);
            let batch = SampleBatch::new(&of_step, &times, &values);
            let batch = batch.map_err(Error::stage("detect"))?;
            self.watch(&batch).map_err(Error::stage("detect"))?;
        }
        Ok(())
    }

    /// Goes on with another configuration: the topology file is read again, and how often is ranked and how far
    /// back is read changes. Gives the settings that changed and need a restart.
    ///
    /// # Errors
    /// When the topology file cannot be read; then everything stays as it was.
    pub fn reload(&mut self, config: Config, now: Timestamp) -> Result<Vec<&'static str>> {
        let sightings = declared(config.topology.as_deref())?;
        self.merge.saw(FILE, SourceKind::Declared, sightings, now);
        self.merge.apply(&mut self.topology, now);
        let old = &self.config;
        let fixed = [
            ("listen", old.listen != config.listen),
            ("data", old.data != config.data),
            ("postgres", old.postgres != config.postgres),
            ("prefer", old.prefer != config.prefer),
            ("max_series", old.max_series != config.max_series),
            ("step_seconds", old.step_seconds != config.step_seconds),
            ("keep_minutes", old.keep_minutes != config.keep_minutes),
        ];
        let (rank_every_seconds, recover_hours) = (config.rank_every_seconds, config.recover_hours);
        self.config = Config { rank_every_seconds, recover_hours, ..self.config.clone() };
        Ok(fixed.into_iter().filter(|(_, changed)| *changed).map(|(name, _)| name).collect())
    }

    /// Takes in a request of a sender. Alerts and changes are durable before it is answered;
    /// samples are not, the sender has them.
    pub fn receive(&mut self, request: &IntakeRequest<'_>, now: Timestamp) -> IntakeAnswer {
        self.inbox.clear();
        let answer = self.intake.handle(request, now, &mut self.normaliser.sink(&mut self.inbox));
        match self.take_inbox(now) {
            Ok(()) => answer,
            Err(error) => {
                // Not acknowledged, so it will be sent again.
                eprintln!("not acknowledged: {error}");
                IntakeAnswer::busy(5)
            }
        }
    }

    /// Judges what is in the inbox, and takes in alerts and changes once they are durable.
    fn take_inbox(&mut self, now: Timestamp) -> Result<()> {
        let detected = match self.detect(now) {
            Ok(detected) => detected,
            Err(error) => {
                eprintln!("detection failed and goes on without this body: {error}");
                Vec::new()
            }
        };
        let events = self.inbox.events.drain(..).map(|event| What::Event(Box::new(event)));
        let alerts = self.inbox.alerts.drain(..).chain(detected);
        let alerts = alerts.map(|alert| What::Alert(Box::new(alert)));
        let inputs: Vec<Input> = events.chain(alerts).map(|what| Input { at: now, what }).collect();
        let kept = self.journal.keep(&inputs);
        if kept.is_err() || now.since(self.ticked_at) > SILENCE {
            for input in &inputs {
                if let What::Alert(alert) = &input.what {
                    (self.fallback)(alert);
                }
            }
        }
        kept?;
        if inputs.is_empty() { Ok(()) } else { self.follow(now) }
    }

    /// Takes in what is in the journal and was not taken yet: what was just kept, and what other services on the
    /// same store kept. In the journal's order, so that all of them make the same incidents of it.
    fn follow(&mut self, now: Timestamp) -> Result<()> {
        self.journal.news(now)?.into_iter().for_each(|input| self.take(input));
        Ok(())
    }

    /// Logs and traces as series, and the calls in traces as dependencies.
    fn sum_up(&mut self, now: Timestamp) -> Result<()> {
        if now.since(self.summed_up_at) < SUM_UP {
            return Ok(());
        }
        self.summed_up_at = now;
        let edges = self.intake.traces().into_iter().flat_map(|traces| traces.edges());
        let used = self.graph.read_calls(edges.map(|edge| (edge.client, edge.server, edge.calls)));
        if !used.is_empty() {
            self.merge.saw("traces", SourceKind::Observed, used, now);
            self.merge.apply(&mut self.topology, now);
        }
        self.inbox.clear();
        self.intake.emit(now, &mut self.normaliser.sink(&mut self.inbox));
        self.take_inbox(now)
    }

    fn detect(&mut self, now: Timestamp) -> aiops_detect::Result<Vec<Alert>> {
        let inbox = std::mem::take(&mut self.inbox);
        let batch = inbox.batch();
        self.learn_kinds(batch.ids());
        let noticed = self.watch(&batch);
        self.inbox = inbox;
        let alerts = noticed?.into_iter().map(|(change, anomaly)| {
            let mut alert = self.rule.alert(&anomaly, now);
            alert.ends_at = (change == Change::Ended).then_some(anomaly.last_seen);
            alert
        });
        Ok(alerts.collect())
    }

    fn learn_kinds<'a>(&mut self, ids: impl IntoIterator<Item = &'a SeriesId>) {
        for &id in ids {
            if self.known.insert(id)
                && let (Some(hash), Some(info)) =
                    (self.normaliser.hash(id), self.normaliser.info(id))
            {
                let mut kinds = self.kinds.write().unwrap_or_else(PoisonError::into_inner);
                kinds.insert(hash, info.kind);
            }
        }
    }

    /// What the detectors notice in a batch. Their anomalies are kept for rankings.
    fn watch(&mut self, batch: &SampleBatch<'_>) -> aiops_detect::Result<Vec<(Change, Anomaly)>> {
        self.recent.push(batch);
        let mut noticed = Vec::new();
        self.router.process(batch, self.normaliser.interner(), &mut noticed)?;
        for Noticed { anomaly, .. } in &noticed {
            self.anomalies
                .retain(|known| known.series != anomaly.series || known.onset != anomaly.onset);
            self.anomalies.push_back(anomaly.clone());
            if self.anomalies.len() > ANOMALIES {
                self.anomalies.pop_front();
            }
        }
        Ok(noticed.into_iter().map(|noticed| (noticed.change, noticed.anomaly)).collect())
    }

    fn take(&mut self, input: Input) {
        self.funnel.advance(input.at, &self.topology, &mut self.updates);
        let context = Now::new(input.at, &self.topology);
        match input.what {
            What::Alert(alert) => {
                self.funnel.ingest(&alert, &context);
                self.alerts.insert(alert.id, *alert);
            }
            What::Event(event) => {
                self.funnel.observe(&event, &context);
                self.events.insert(event.id, *event);
            }
            What::Began {} => {}
        }
        // What needs no time is done at once: a critical alert of a new kind is shown now.
        self.funnel.advance(input.at, &self.topology, &mut self.updates);
    }

    /// Does what time alone brings about: holds that end, rankings that are due, incidents that
    /// are over and remembered, series that fell silent and are forgotten.
    ///
    /// # Errors
    /// When a ranking or the store fails; the next tick tries again. A ranking that fails holds up nothing else.
    pub fn tick(&mut self, now: Timestamp) -> Result<()> {
        self.ticked_at = now;
        self.sum_up(now)?;
        self.follow(now)?;
        self.funnel.advance(now, &self.topology, &mut self.updates);
        let every = Duration::from_secs(self.config.rank_every_seconds);
        let mut unranked = None;
        for incident in self.shown() {
            let live = incident.state.is_live() && incident.resolved_at.is_none();
            let due = self.ranked.get(&incident.id).is_none_or(|r| now.since(r.at) >= every);
            if live && due {
                match self.rank(&incident, now) {
                    Ok(ranking) => {
                        drop(self.ranked.insert(incident.id, Ranked { at: now, ranking }))
                    }
                    Err(error) => unranked = Some(error),
                }
            }
        }
        for update in std::mem::take(&mut self.updates) {
            if matches!(update.news, News::Resolved | News::Closed) {
                self.remember(update.incident)?;
            }
        }
        self.forget(now);
        let series = self.normaliser.series();
        let series = series.filter_map(|(id, key, _)| Some((id, key, self.normaliser.hash(id)?)));
        self.points.keep(series, &self.recent, now)?;
        let silent = self.normaliser.evict_idle(now, Duration::from_secs(3_600));
        if !silent.is_empty() {
            let interner = self.normaliser.interner();
            self.points.retain(|series| interner.get(series).is_some())?;
            self.router.release(&silent);
            self.recent.release(&silent);
            silent.iter().for_each(|id| {
                self.known.remove(id);
            });
            self.normaliser.reuse(&silent);
        }
        unranked.map_or(Ok(()), Err)
    }

    /// Forgets, once an hour, what correlation has forgotten: alerts, changes and rankings of
    /// incidents that ended long ago.
    fn forget(&mut self, now: Timestamp) {
        if now.since(self.forgot_at) < Duration::from_secs(3_600) {
            return;
        }
        self.forgot_at = now;
        let kept = Duration::from_secs(self.config.recover_hours * 3_600);
        self.alerts.retain(|id, _| self.funnel.decision(*id).is_some());
        self.ranked.retain(|id, _| self.funnel.incident(*id).is_some());
        match experience(&self.feedback, now) {
            Ok(experience) => self.experience = experience,
            Err(error) => eprintln!("what people said is as it was read an hour ago: {error}"),
        }
        self.events.retain(|_, event| now.since(event.starts_at) <= kept);
        self.anomalies.retain(|anomaly| now.since(anomaly.last_seen) <= kept);
    }

    fn rank(&self, incident: &Incident, now: Timestamp) -> Result<Ranking> {
        let suspects = self.suspects(incident);
        let rows: Vec<(SeriesId, SeriesKey)> = self
            .normaliser
            .series()
            .filter(|(_, key, _)| key.service().is_some_and(|s| suspects.contains(s)))
            .map(|(id, key, _)| (id, key.clone()))
            .collect();
        let of_ours = |anomaly: &&Anomaly| {
            anomaly.series.service().is_some_and(|s| incident.services.contains(s))
                && anomaly.onset >= incident.onset
        };
        let seen = self.anomalies.iter().filter(of_ours).map(|anomaly| anomaly.onset).min();
        let began = seen.unwrap_or(incident.onset);
        let failed = Error::stage("rank");
        let window = self.recent.frame(&rows, began - NORMAL, now);
        let window = window.map_err(Error::stage("rank"))?;
        let infos: Vec<MetricInfo> = rows
            .iter()
            .map(|(id, key)| match self.normaliser.info(*id) {
                Some(info) => MetricInfo { harm: info.harm, ..MetricInfo::of(key, info.kind) },
                None => MetricInfo::of(key, MetricKind::default()),
            })
            .collect();
        let slack = self.config.step() * 2;
        let near = |anomaly: &&Anomaly| anomaly.onset + slack >= began;
        let anomalies: Vec<Anomaly> = self.anomalies.iter().filter(near).cloned().collect();
        let changes: Vec<Event> =
            self.events.values().filter(|event| event.starts_at <= now).cloned().collect();
        let context = Context {
            anomalies: &anomalies,
            changes: &changes,
            experience: Some(&self.experience),
            incident: Some(incident.id),
            ..Context::new(&window, &infos, &self.topology, began).map_err(Error::stage("rank"))?
        };
        self.analyzer.rank(&context).map_err(failed)
    }

    /// The services of an incident and those near them; all that are known where the topology does
    /// not know them.
    fn suspects(&self, incident: &Incident) -> BTreeSet<String> {
        let mut suspects: BTreeSet<String> = incident.services.clone();
        for service in &incident.services {
            let Some(node) = self.topology.node_id(service) else { continue };
            for way in [Depends::Dependencies, Depends::Dependents] {
                let closure = self.topology.closure(node, way, HOPS);
                let names = closure.reached().iter().filter_map(|r| self.topology.name(r.node));
                suspects.extend(names.map(str::to_owned));
            }
        }
        suspects
    }

    fn remember(&mut self, id: IncidentId) -> Result<()> {
        let Some(remembered) = self.as_remembered(id) else { return Ok(()) };
        self.memory.remember(remembered).map_err(Error::stage("remember"))
    }

    fn as_remembered(&self, id: IncidentId) -> Option<Remembered> {
        let incident = self.funnel.incident(id)?;
        let alerts: Vec<Alert> = self.alerts_of(&incident);
        let events: Vec<Event> =
            incident.events.iter().filter_map(|id| self.events.get(id)).cloned().collect();
        let ranking = self.ranked.get(&id).map(|ranked| &ranked.ranking);
        let mut remembered = Remembered::of(&incident, &alerts, &events, ranking);
        if let Some(known) = self.memory.get(id) {
            remembered.tried.clone_from(&known.tried);
            if let Some(cause) = known.cause.as_ref().filter(|_| known.confirmed) {
                remembered.confirm(cause.clone());
            }
        }
        Some(remembered)
    }

    /// Remembers how a remedy ended, for incidents that will resemble this one.
    ///
    /// # Errors
    /// When the store fails.
    pub fn tried(&mut self, id: IncidentId, runbook: &str, outcome: Outcome) -> Result<()> {
        let known = self.as_remembered(id).or_else(|| self.memory.get(id).cloned());
        let Some(mut remembered) = known else { return Ok(()) };
        remembered.tried.push(Tried { runbook: runbook.to_owned(), outcome });
        self.memory.remember(remembered).map_err(Error::stage("remember"))
    }

    /// What acting has to know: incidents that are shown and not over, and the world around them. What is
    /// in the topology was declared, or seen within the last minutes, so it counts as confirmed at `now`.
    pub fn seen(&self, now: Timestamp) -> Seen {
        let situation = |incident: Incident| {
            let ranking = self.ranked.get(&incident.id)?.ranking.clone();
            let alerts = self.alerts_of(&incident);
            Some(Situation { alerts, ..Situation::new(incident, ranking) })
        };
        let live = |incident: &Incident| incident.state.is_live() && incident.resolved_at.is_none();
        let situations: Vec<_> =
            self.shown().into_iter().filter(live).filter_map(situation).collect();
        let mut topology = Topology::new();
        if !situations.is_empty() {
            topology = self.topology.clone();
            for (_, node) in self.topology.nodes() {
                topology.upsert_node(&node.name, node.kind, now);
            }
        }
        let changes = self.events.values().cloned().collect();
        Seen { situations, topology: Arc::new(topology), changes }
    }

    /// The mean, over the time that a query asks for, of all series that it selects; `None` without a sample.
    pub fn mean(&self, query: &MetricQuery, at: Timestamp) -> Option<f64> {
        let selected = |key: &SeriesKey| {
            let of_service =
                query.service.is_empty() || key.service() == Some(query.service.as_str());
            let mut labels = query.labels.iter();
            key.name == query.metric
                && of_service
                && labels.all(|(n, v)| key.labels.get(n) == Some(v))
        };
        let series = self.normaliser.series().filter(|(_, key, _)| selected(key));
        let rows: Vec<(SeriesId, SeriesKey)> =
            series.map(|(id, key, _)| (id, key.clone())).collect();
        let frame = self.recent.frame(&rows, at - query.over, at).ok()?;
        let values = (0..frame.n_series()).flat_map(|row| frame.row(row).to_vec());
        let (sum, count) = values
            .filter(|value| value.is_finite())
            .fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
        (count > 0).then(|| sum / f64::from(count))
    }

    /// Records what a person says about an incident. From then on rankings count it.
    ///
    /// # Errors
    /// [`Error::Unknown`] when there is no such incident or nothing to answer; when the store fails.
    pub fn answer(
        &mut self,
        id: IncidentId,
        verdict: Verdict,
        by: &str,
        now: Timestamp,
    ) -> Result<()> {
        let unknown = |reason: &str| Error::Unknown { reason: format!("incident {id} {reason}") };
        if self.funnel.incident(id).is_none() {
            return Err(unknown("is not known"));
        }
        let subject = Subject::Incident(id);
        let first = self.ranked.get(&id).and_then(|ranked| ranked.ranking.top());
        let first = first.map(|top| top.cause.clone());
        let cause = || first.clone().ok_or_else(|| unknown("has no ranked cause yet"));
        let said = match verdict {
            Verdict::RightCause => Said::TrueCause { cause: cause()? },
            Verdict::WrongCause => Said::WrongCause { cause: cause()? },
            Verdict::Noise => Said::Noise,
            Verdict::TakeBack => {
                let last = self.feedback.about(subject).map_err(Error::stage("feedback"))?.pop();
                let last = last.ok_or_else(|| unknown("has no answer to take back"))?;
                let undone = self.feedback.undo(last.id, by, now);
                undone.map_err(Error::stage("feedback"))?;
                self.experience = experience(&self.feedback, now)?;
                return Ok(());
            }
        };
        let confirmed: Option<Cause> = match &said {
            Said::TrueCause { cause } => Some(cause.clone()),
            _ => None,
        };
        let remark = Feedback::new(subject, said, by, now);
        self.feedback.record(&remark).map_err(Error::stage("feedback"))?;
        self.experience = experience(&self.feedback, now)?;
        if let (Some(cause), Some(mut remembered)) = (confirmed, self.as_remembered(id)) {
            remembered.confirm(cause);
            self.memory.remember(remembered).map_err(Error::stage("remember"))?;
        }
        Ok(())
    }

    /// Incidents that people can see, the latest first.
    pub fn shown(&self) -> Vec<Incident> {
        let mut shown = self.funnel.shown();
        shown.sort_by_key(|incident| std::cmp::Reverse((incident.shown_at, incident.id)));
        shown
    }

    /// Every incident that is known, held, discarded and merged ones too, the latest first.
    pub fn all(&self) -> Vec<Incident> {
        let ids = self.funnel.incidents().into_iter();
        let mut all: Vec<Incident> = ids.filter_map(|id| self.funnel.incident(id)).collect();
        all.sort_by_key(|incident| std::cmp::Reverse((incident.onset, incident.id)));
        all
    }

    /// An incident by its id, held and merged ones too.
    pub fn incident(&self, id: IncidentId) -> Option<Incident> {
        self.funnel.incident(id)
    }

    /// The last ranking of an incident.
    pub fn ranked(&self, id: IncidentId) -> Option<&Ranked> {
        self.ranked.get(&id)
    }

    /// The alerts of an incident, each once.
    pub fn alerts_of(&self, incident: &Incident) -> Vec<Alert> {
        incident.alerts.iter().filter_map(|id| self.alerts.get(id)).cloned().collect()
    }

    /// Every decision about the alerts of an incident, suppressed ones too, with the alert.
    pub fn decisions(&self, id: IncidentId) -> Vec<(Decision, Option<&Alert>)> {
        let decisions = self.funnel.decisions(id).into_iter();
        decisions
            .map(|decision| (self.alerts.get(&decision.alert), decision))
            .map(|(alert, decision)| (decision, alert))
            .collect()
    }

    /// A change by its id.
    pub fn event(&self, id: EventId) -> Option<&Event> {
        self.events.get(&id)
    }

    /// Past incidents that resemble one.
    pub fn similar(&self, id: IncidentId) -> Vec<Similar<'_>> {
        self.as_remembered(id).map(|asked| self.memory.similar(&asked, 3)).unwrap_or_default()
    }

    /// What people said of an incident.
    ///
    /// # Errors
    /// When the store fails.
    pub fn answers(&self, id: IncidentId) -> Result<Vec<Feedback>> {
        self.feedback.about(Subject::Incident(id)).map_err(Error::stage("feedback"))
    }

    /// The course of the series that were abnormal in an incident, the first `limit` of them.
    ///
    /// # Errors
    /// Never for an incident of this service; the frame says otherwise.
    pub fn charts(&self, incident: &Incident, now: Timestamp, limit: usize) -> Result<Frame> {
        let ours = |anomaly: &&Anomaly| {
            anomaly.series.service().is_some_and(|s| incident.services.contains(s))
                && anomaly.last_seen >= incident.onset
        };
        let mut rows: Vec<(SeriesId, SeriesKey)> = Vec::new();
        for anomaly in self.anomalies.iter().filter(ours) {
            let id = self.normaliser.interner().get(anomaly.series.hash());
            if let Some(id) = id.filter(|id| rows.iter().all(|(known, _)| known != id)) {
                rows.push((id, anomaly.series.clone()));
            }
        }
        rows.truncate(limit);
        let to = incident.resolved_at.map_or(now, |end| (end + NORMAL / 4).min(now));
        let frame = self.recent.frame(&rows, incident.onset - NORMAL / 2, to);
        frame.map_err(Error::stage("charts"))
    }

    /// How many series are watched.
    pub fn series(&self) -> usize {
        self.known.len()
    }

    /// Who depends on whom.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }
}

/// The detectors of the reference pipeline: two that fail in different ways, and both must see an anomaly begin. They
/// learn for two minutes of samples, and the more nervous one needs four of six.
fn router(
    config: &Config,
    kinds: &Arc<RwLock<BTreeMap<SeriesHash, MetricKind>>>,
) -> aiops_detect::Result<Router> {
    let kind_of = |kinds: Arc<RwLock<BTreeMap<SeriesHash, MetricKind>>>| {
        Box::new(move |key: &SeriesKey| {
            let kinds = kinds.read().unwrap_or_else(PoisonError::into_inner);
            kinds.get(&key.hash()).copied().unwrap_or_default()
        })
    };
    let settings = Settings::from(config.prefer);
    let robust = settings.robust.build_bank()?;
    let ewma = settings.ewma.build_bank()?;
    let agree_within = settings.router.agree_within.max(config.step() * 4);
    RouterConfig { agree_within, ..settings.router }
        .build(Watcher::new(
            Box::new(robust),
            settings.robust_policy.build()?,
            kind_of(kinds.clone()),
        ))?
        .with(
            Tier::Two,
            Watcher::new(Box::new(ewma), settings.ewma_policy.build()?, kind_of(kinds.clone())),
        )
}

fn experience(feedback: &FeedbackBook, now: Timestamp) -> Result<Experience> {
    let remarks = feedback.standing().map_err(Error::stage("feedback"))?;
    ExperienceConfig::default().learn(&remarks, now).map_err(Error::stage("rank"))
}

fn topology(file: Option<&Path>, now: Timestamp) -> Result<(TopologyMerge, Topology)> {
    let mut topology = Topology::new();
    let mut merge = TopologyMergeConfig::default().build().map_err(Error::stage("topology"))?;
    merge.saw(FILE, SourceKind::Declared, declared(file)?, now);
    merge.apply(&mut topology, now);
    Ok((merge, topology))
}

/// What a topology file says; nothing without one.
fn declared(file: Option<&Path>) -> Result<Vec<Sighting>> {
    let Some(file) = file else { return Ok(Vec::new()) };
    let failed = |reason: String| Error::Config { file: file.to_owned(), reason };
    let text = std::fs::read_to_string(file).map_err(|error| failed(error.to_string()))?;
    let kind = file.extension().and_then(|kind| kind.to_str()).unwrap_or_default();
    let sightings: aiops_knowledge::Result<Vec<Sighting>> = match kind {
        "csv" => from_csv(text.as_bytes()),
        "yaml" | "yml" => from_yaml(&text),
        "json" => {
            let document =
                serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
            from_document(&document)
        }
        _ => return Err(failed("expected a .csv, .yaml or .json file".to_owned())),
    };
    sightings.map_err(|error| failed(error.to_string()))
}

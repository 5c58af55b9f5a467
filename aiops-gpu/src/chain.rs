//! [`EngineChain`]: the best engine that works, and the next one when it does not.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use aiops_core::{SampleBatch, SeriesId};
use serde::{Deserialize, Serialize};

use crate::{
    Ask, BatchEngine, BreakerConfig, Capabilities, EngineKind, Error, MAX_WAITING, Model, Outcome,
    OwnedBatch, Result, Stats, Ticket,
    breaker::{Event, State},
    history::History,
};

/// Settings of an [`EngineChain`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChainConfig {
    /// When an engine that failed is asked again.
    pub breaker: BreakerConfig,
    /// Samples of each series that are kept here, 16 bytes each, so that another engine can catch up.
    /// Default 64, which is past the default warm-up.
    pub history: usize,
}

impl Default for ChainConfig {
    fn default() -> Self {
        ChainConfig { breaker: BreakerConfig::default(), history: 64 }
    }
}

/// Several engines as one: a batch goes to the first that works, and no batch is lost.
///
/// Put the fastest first and one that cannot fail last:
/// [`CpuConfig::build_statistics`](crate::CpuConfig::build_statistics). When an engine returns an error, misses
/// its deadline or panics, the batch, of which the chain has a copy, goes to the next one; the outcome
/// names the engine that made it. The engine that failed is left alone for a number of batches, then
/// tried with one.
///
/// The engine that takes over learns the last [`ChainConfig::history`] samples of each series when the
/// series first comes, so that it judges at once; what lies further back is lost to it. The same happens
/// when the better engine returns.
///
/// Needs panics to unwind, as they do unless a program is built with `panic = "abort"`.
///
/// ```
/// use aiops_gpu::{BatchEngine, ChainConfig, CpuConfig, EngineKind, LstmWeights, Model};
/// let model = Model::from(&LstmWeights::random(16, 1));
/// let cpu = CpuConfig::default();
/// let chain = ChainConfig::default()
///     .build(vec![Box::new(cpu.build(&model)?), Box::new(cpu.build_statistics(&model)?)])?;
/// assert_eq!(chain.kind(), EngineKind::Cpu);
/// # Ok::<(), aiops_gpu::Error>(())
/// ```
pub struct EngineChain {
    config: ChainConfig,
    links: Vec<Link>,
    registered: usize,
    history: History,
    in_flight: BTreeMap<u64, InFlight>,
    next_ticket: u64,
    stats: Stats,
}

struct Link {
    engine: Box<dyn BatchEngine>,
    state: State,
    /// Which series it is up to date with.
    knows: Vec<bool>,
    /// Whether it has room for all of them: an engine that was broken may have missed some.
    registered: usize,
}

struct InFlight {
    batch: OwnedBatch,
    ask: Ask,
    /// Where it is; `None` after an engine failed with it and before the next has it.
    at: Option<(usize, Ticket)>,
}

impl std::fmt::Debug for EngineChain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kinds: Vec<_> =
            self.links.iter().map(|link| (link.engine.kind(), link.state)).collect();
        f.debug_struct("EngineChain").field("links", &kinds).finish_non_exhaustive()
    }
}

impl ChainConfig {
    /// A chain of engines, best first. They must be fresh, with models loaded.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] when there is no engine, or a setting is out of range.
    pub fn build(self, engines: Vec<Box<dyn BatchEngine>>) -> Result<EngineChain> {
        if engines.is_empty() {
            return Err(Error::config("engines", "at least one is needed"));
        }
        if self.breaker.failures == 0 || self.breaker.back_off == 0 {
            return Err(Error::config("breaker", "counts must be at least 1"));
        }
        if self.history > 1 << 20 {
            return Err(Error::config("history", "at most 1,048,576 samples"));
        }
        let link = |engine| Link { engine, state: State::FRESH, knows: Vec::new(), registered: 0 };
        Ok(EngineChain {
            links: engines.into_iter().map(link).collect(),
            registered: 0,
            history: History::new(self.history),
            in_flight: BTreeMap::new(),
            next_ticket: 0,
            stats: Stats::default(),
            config: self,
        })
    }
}

/// Asks an engine for the outcome of a ticket.
type AskOf<'a> = &'a mut dyn FnMut(&mut dyn BatchEngine, Ticket) -> Result<Option<Outcome>>;

/// Longest that catching up may take, of a batch that learns history.
const CATCH_UP: Duration = Duration::from_secs(60);

impl EngineChain {
    /// Each engine, best first, with whether it is asked at present.
    pub fn engines(&self) -> impl Iterator<Item = (EngineKind, bool)> + '_ {
        self.links.iter().map(|link| (link.engine.kind(), link.state.asks()))
    }

    /// The first engine that is asked; the last one when none is.
    fn current(&self) -> usize {
        let asked = self.links.iter().position(|link| link.state.asks());
        asked.unwrap_or(self.links.len() - 1)
    }

    fn report(&mut self, link: usize, event: Event) {
        let link = &mut self.links[link];
        link.state = link.state.after(event, &self.config.breaker);
        if event == Event::Failed {
            self.stats.failures += 1;
            // What it knows may be gone or half learnt.
            link.knows.fill(false);
        }
    }

    /// Makes an engine know these series as well as the chain does.
    fn catch_up(&mut self, at: usize, ids: &[SeriesId]) -> Result<()> {
        let link = &mut self.links[at];
        if link.registered < self.registered {
            link.engine.register(self.registered)?;
            link.registered = self.registered;
            link.knows.resize(self.registered, false);
        }
        let unknown = |id: &SeriesId| link.knows.get(id.index()) == Some(&false);
        let mut strangers: Vec<SeriesId> = ids.iter().copied().filter(unknown).collect();
        strangers.sort_unstable();
        strangers.dedup();
        if !strangers.is_empty() {
            link.engine.release(&strangers)?;
            let past = self.history.replay(&strangers);
            if !past.ids.is_empty() {
                crate::run(&mut *link.engine, &past.view(), Ask::UPDATE, CATCH_UP)?;
            }
            strangers.iter().for_each(|id| link.knows[id.index()] = true);
        }
        Ok(())
    }

    /// Gives a batch to an engine that knows its series.
    fn give(&mut self, at: usize, batch: &SampleBatch<'_>, ask: Ask) -> Result<Ticket> {
        let kind = self.links[at].engine.kind();
        guarded(kind, || {
            self.catch_up(at, batch.ids())?;
            self.links[at].engine.submit(batch, ask)
        })
    }

    /// Gives a batch to the first engine that takes it.
    fn place(&mut self, ticket: u64) -> Result<()> {
        let Some(flight) = self.in_flight.remove(&ticket) else {
            return Err(Error::UnknownTicket(ticket));
        };
        let mut error = None;
        let mut placed = None;
        for at in self.current()..self.links.len() {
            if !self.links[at].state.asks() && at + 1 < self.links.len() {
                continue;
            }
            match self.give(at, &flight.batch.view(), flight.ask) {
                Ok(inner) => {
                    placed = Some((at, inner));
                    break;
                }
                Err(refused) => {
                    self.report(at, Event::Failed);
                    error = Some(refused);
                }
            }
        }
        self.in_flight.insert(ticket, InFlight { at: placed, ..flight });
        match (placed, error) {
            (None, Some(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Takes the answer of the engine that has a batch; on failure the next one gets it.
    fn answer(&mut self, ticket: u64, ask: AskOf<'_>) -> Result<Option<Outcome>> {
        let mut last = Error::UnknownTicket(ticket);
        for _ in 0..=self.links.len() {
            let flight = self.in_flight.get(&ticket).ok_or(Error::UnknownTicket(ticket))?;
            let Some((at, inner)) = flight.at else {
                self.place(ticket)?;
                continue;
            };
            let link = &mut self.links[at];
            match guarded(link.engine.kind(), || ask(&mut *link.engine, inner)) {
                Ok(None) => return Ok(None),
                Ok(Some(outcome)) => {
                    self.report(at, Event::Answered);
                    let flight = self.in_flight.remove(&ticket).expect("it was there above");
                    self.settle(at, &flight, &outcome);
                    return Ok(Some(outcome));
                }
                Err(error) => {
                    self.report(at, Event::Failed);
                    last = error;
                    self.in_flight.entry(ticket).and_modify(|flight| flight.at = None);
                }
            }
        }
        Err(last)
    }

    fn settle(&mut self, at: usize, flight: &InFlight, outcome: &Outcome) {
        self.stats.batches += 1;
        self.stats.rows += flight.batch.ids.len() as u64;
        self.stats.flagged += outcome.tally.flagged;
        if !flight.ask.learn {
            return;
        }
        self.history.record(&flight.batch.view());
        for (_, link) in self.links.iter_mut().enumerate().filter(|(other, _)| *other != at) {
            for id in &flight.batch.ids {
                if let Some(knows) = link.knows.get_mut(id.index()) {
                    *knows = false;
                }
            }
        }
    }
}

/// Runs something on an engine; a panic in there is an error out here. The engine is asked no more until
/// its trial then, and starts over with every series.
fn guarded<T>(engine: EngineKind, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
        let said = said.or_else(|| panic.downcast_ref::<String>().cloned());
        let reason = format!("it panicked: {}", said.as_deref().unwrap_or("without a word"));
        Err(Error::Device { engine, reason })
    })
}

#[deny(clippy::missing_trait_methods)]
impl BatchEngine for EngineChain {
    /// The engine that the next batch is given to.
    fn kind(&self) -> EngineKind {
        self.links[self.current()].engine.kind()
    }

    fn capabilities(&self) -> Capabilities {
        let mut own = self.links[self.current()].engine.capabilities();
        let all = self.links.iter().map(|link| link.engine.capabilities().max_series);
        own.max_series = all.min().unwrap_or(0);
        own.bytes_per_series += self.config.history * size_of::<aiops_core::Sample>();
        own
    }

    fn register(&mut self, series: usize) -> Result<()> {
        let limit = self.capabilities().max_series;
        if series > limit {
            return Err(Error::Full { limit, wanted: series });
        }
        self.registered = self.registered.max(series);
        self.history.grow(series);
        Ok(())
    }

    fn release(&mut self, ids: &[SeriesId]) -> Result<()> {
        for id in ids {
            self.history.forget(*id);
            for link in &mut self.links {
                // Forgotten when it comes again: an engine that is not asked cannot be told now.
                if let Some(knows) = link.knows.get_mut(id.index()) {
                    *knows = false;
                }
            }
        }
        Ok(())
    }

    /// Every engine gets it, the last with the statistics of the model only if that is what it runs.
    fn load_model(&mut self, model: &Model) -> Result<()> {
        for link in &mut self.links {
            let statistics = Model::statistics(model.rule.clone());
            let last_resort = link.engine.kind() == EngineKind::Statistics;
            let model = if last_resort { &statistics } else { model };
            guarded(link.engine.kind(), || link.engine.load_model(model))?;
        }
        self.history = History::new(self.config.history);
        self.history.grow(self.registered);
        self.links.iter_mut().for_each(|link| link.knows.fill(false));
        Ok(())
    }

    fn submit(&mut self, batch: &SampleBatch<'_>, ask: Ask) -> Result<Ticket> {
        let needed = batch.ids().iter().map(|id| id.index() + 1).max().unwrap_or(0);
        if needed > self.registered {
            let got = self.registered;
            return Err(Error::ShapeMismatch { what: "registered series", expected: needed, got });
        }
        for link in 0..self.links.len() {
            self.report(link, Event::Batch);
        }
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        self.in_flight.insert(ticket, InFlight { batch: OwnedBatch::of(batch), ask, at: None });
        if let Err(error) = self.place(ticket) {
            self.in_flight.remove(&ticket);
            return Err(error);
        }
        if self.in_flight.len() > MAX_WAITING {
            self.in_flight.pop_first();
        }
        Ok(Ticket(ticket))
    }

    fn poll(&mut self, ticket: Ticket) -> Result<Option<Outcome>> {
        self.answer(ticket.0, &mut |engine, inner| engine.poll(inner))
    }

    /// Each engine that is asked may take the whole deadline.
    fn wait(&mut self, ticket: Ticket, deadline: Duration) -> Result<Outcome> {
        let outcome =
            self.answer(ticket.0, &mut |engine, inner| engine.wait(inner, deadline).map(Some))?;
        outcome.ok_or(Error::UnknownTicket(ticket.0))
    }

    /// Of the engine that the next batch is given to, after it caught up.
    fn snapshot(&mut self, ids: &[SeriesId]) -> Result<Vec<u8>> {
        let at = self.current();
        guarded(self.links[at].engine.kind(), || {
            self.catch_up(at, ids)?;
            self.links[at].engine.snapshot(ids)
        })
    }

    /// Into the engine that the next batch is given to. The others start those series anew.
    fn restore(&mut self, ids: &[SeriesId], bytes: &[u8]) -> Result<()> {
        let at = self.current();
        guarded(self.links[at].engine.kind(), || {
            self.catch_up(at, &[])?;
            self.links[at].engine.restore(ids, bytes)
        })?;
        for id in ids {
            self.history.forget(*id);
            for (other, link) in self.links.iter_mut().enumerate() {
                if let Some(knows) = link.knows.get_mut(id.index()) {
                    *knows = other == at;
                }
            }
        }
        Ok(())
    }

    fn stats(&self) -> Stats {
        self.stats
    }
}

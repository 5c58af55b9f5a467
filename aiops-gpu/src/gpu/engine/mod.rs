//! [`DeviceEngine`]: every model on a device.

use std::{
    collections::BTreeMap,
    sync::mpsc::{RecvTimeoutError, TryRecvError, channel},
    time::Duration,
};

use aiops_core::{SampleBatch, SeriesId};

mod alone;
mod config;

pub use config::DeviceConfig;

use super::{
    DeviceInfo,
    kernels::word,
    resident::{Fault, Returned},
    staging::{self, Staged},
    tables::Tables,
    worker::{Answer, Command, Reply, Worker},
};
use crate::{
    Ask, BatchEngine, Capabilities, EngineKind, Error, MAX_WAITING, Model, Outcome, Result, Stats,
    Ticket, record::SeriesState,
};

/// Statistics, LSTM and forest on a device, with state that stays there.
///
/// Rows are copied to it as 20 bytes each, one fused kernel standardises, learns and runs the LSTM on, a
/// second walks the forest and lets the models vote, and what was flagged comes back. A thread of its own
/// talks to the device: up to three batches are under way at once, one computing while the next is copied.
/// Give it large batches, a hundred thousand rows and more, and take outcomes two or three batches later.
///
/// Scores are within 1e-4 of [`ReferenceDetector`](crate::ReferenceDetector), relative to one, but for
/// a few rows in a hundred thousand: where a deviation lies within the rounding of `f32` of a cut of the
/// forest, the walk may go the other way. Numbers there are single precision; the mean of a series is a sum
/// of two, so that offsets do not blind it. Values beyond 1e18 count as 1e18, scales below 1e-18 as that, and a
/// half-life of more than 100,000 samples is refused.
///
/// Which flags are kept when there are more than fit, the device decides; all are counted.
///
/// An error of the device ends its thread's work: the next batch opens it again, with all series new.
/// Under an [`EngineChain`](crate::EngineChain) the next engine takes over meanwhile. cubecl reports some
/// failures by panics; they are caught, and the panic hook prints them.
pub struct DeviceEngine {
    config: DeviceConfig,
    kind: EngineKind,
    worker: Option<Worker>,
    info: DeviceInfo,
    tables: Tables,
    /// What the paths of the forest are measured in.
    normal: Option<f64>,
    registered: usize,
    in_flight: BTreeMap<u64, (Staged, Answer<Vec<Returned>>)>,
    next_ticket: u64,
    stats: Stats,
}

impl std::fmt::Debug for DeviceEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let DeviceEngine { kind, info, registered, .. } = self;
        f.debug_struct("DeviceEngine")
            .field("kind", kind)
            .field("info", info)
            .field("registered", registered)
            .finish_non_exhaustive()
    }
}

impl DeviceEngine {
    /// The device it was opened on.
    pub fn device(&self) -> &DeviceInfo {
        &self.info
    }

    fn failed(&self, fault: Fault) -> Error {
        let engine = self.kind;
        match fault {
            Fault::Full => Error::Full { limit: self.registered, wanted: self.registered + 1 },
            Fault::Failed(reason) => Error::Device { engine, reason },
        }
    }

    /// After a failure nothing on the device is trusted.
    fn give_up(&mut self, fault: Fault) -> Error {
        self.worker = None;
        #[cfg(feature = "wgpu")]
        if self.kind == EngineKind::Wgpu {
            super::wgpu::forget();
        }
        self.failed(fault)
    }

    /// Opens the device again if it was given up; all series are new then.
    fn revive(&mut self) -> Result<()> {
        if self.worker.is_none() {
            self.worker = Some(self.config.open(self.kind)?);
            let (tables, series) = (Box::new(self.tables.clone()), self.registered as u32);
            self.told(|reply| Command::Load(tables, reply))?;
            self.told(|reply| Command::Register(series, reply))?;
        }
        Ok(())
    }

    /// Tells the device something and waits for the answer.
    fn told<T>(&mut self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T> {
        let Some(worker) = &self.worker else {
            return Err(self.failed(Fault::Failed("it was given up".to_owned())));
        };
        let (reply, answer) = channel();
        let answer = worker.tell(command(reply)).and_then(|()| {
            answer.recv_timeout(self.config.patience).map_err(|missing| match missing {
                RecvTimeoutError::Timeout => {
                    Fault::Failed(format!("no answer within {:?}", self.config.patience))
                }
                RecvTimeoutError::Disconnected => worker.ended(),
            })?
        });
        match answer {
            Ok(answer) => Ok(answer),
            // Too much was asked for; what is there is not harmed.
            Err(Fault::Full) => Err(self.failed(Fault::Full)),
            Err(fault) => Err(self.give_up(fault)),
        }
    }

    fn registered(&self, ids: &[SeriesId]) -> Result<()> {
        let needed = ids.iter().map(|id| id.index() + 1).max().unwrap_or(0);
        if needed > self.registered {
            let got = self.registered;
            return Err(Error::ShapeMismatch { what: "registered series", expected: needed, got });
        }
        Ok(())
    }

    /// Takes a batch off the list that is answered.
    fn settle(&mut self, ticket: u64, answer: Result<Vec<Returned>, Fault>) -> Result<Outcome> {
        let Some((staged, _)) = self.in_flight.remove(&ticket) else {
            return Err(Error::UnknownTicket(ticket));
        };
        match answer {
            Ok(returned) => {
                let outcome = staged.outcome(self.kind, &returned, self.config.max_flags);
                self.stats.batches += 1;
                self.stats.rows += outcome.tally.rows();
                self.stats.flagged += outcome.tally.flagged;
                Ok(outcome)
            }
            Err(fault) => {
                self.stats.failures += 1;
                Err(self.give_up(fault))
            }
        }
    }

    /// Drops the outcome that waits longest; one that is not there yet is waited for, so that no queue
    /// grows before a device that is slower than its callers.
    fn forget_oldest(&mut self) -> Result<()> {
        let Some((_, (_, answer))) = self.in_flight.pop_first() else { return Ok(()) };
        match answer.recv_timeout(self.config.patience) {
            Err(RecvTimeoutError::Timeout) => {
                self.stats.failures += 1;
                let reason = format!("no answer within {:?}", self.config.patience);
                Err(self.give_up(Fault::Failed(reason)))
            }
            Ok(_) | Err(RecvTimeoutError::Disconnected) => Ok(()),
        }
    }

    fn ended(&self) -> Fault {
        let gone = || Fault::Failed("it was given up with the batch before".to_owned());
        self.worker.as_ref().map_or_else(gone, Worker::ended)
    }

    fn hidden(&self) -> usize {
        self.tables.hidden as usize
    }
}

/// Each series once, in ascending order, with where it comes last in `ids`.
fn ascending(ids: &[SeriesId]) -> (Vec<u32>, Vec<usize>) {
    let mut at: Vec<usize> = (0..ids.len()).collect();
    at.sort_by_key(|i| ids[*i]);
    at.dedup_by(|next, kept| {
        let same = ids[*next] == ids[*kept];
        if same {
            *kept = *next;
        }
        same
    });
    (at.iter().map(|i| ids[*i].0).collect(), at)
}

#[deny(clippy::missing_trait_methods)]
impl BatchEngine for DeviceEngine {
    fn kind(&self) -> EngineKind {
        self.kind
    }

    fn capabilities(&self) -> Capabilities {
        let bytes_per_series = 4 * (word::COUNT as usize + 2 * self.hidden());
        // A tenth is left for batches.
        let fits = self.info.memory.map(|bytes| bytes as usize / 10 * 9 / bytes_per_series);
        let fits = fits.unwrap_or(usize::MAX).min(u32::MAX as usize - 1);
        Capabilities {
            device: self.info.name.clone(),
            max_series: self.config.max_series.min(fits),
            good_batch: 65_536,
            bytes_per_series,
            models: self.tables.models(),
        }
    }

    fn register(&mut self, series: usize) -> Result<()> {
        let limit = self.capabilities().max_series;
        if series > limit {
            return Err(Error::Full { limit, wanted: series });
        }
        if series > self.registered {
            self.revive()?;
            self.told(|reply| Command::Register(series as u32, reply)).map_err(
                |error| match error {
                    Error::Full { limit, .. } => Error::Full { limit, wanted: series },
                    other => other,
                },
            )?;
            self.registered = series;
        }
        Ok(())
    }

    fn release(&mut self, ids: &[SeriesId]) -> Result<()> {
        if self.worker.is_none() {
            return Ok(()); // all series are new when it is opened again
        }
        let known: Vec<SeriesId> =
            ids.iter().copied().filter(|id| id.index() < self.registered).collect();
        let (list, _) = ascending(&known);
        self.told(|reply| Command::Release(list, reply))
    }

    fn load_model(&mut self, model: &Model) -> Result<()> {
        let tables = Tables::of(model)?;
        self.revive()?;
        let sent = Box::new(tables.clone());
        self.told(|reply| Command::Load(sent, reply))?;
        self.tables = tables;
        self.normal = model.forest.as_ref().map(|forest| forest.packed().normal);
        Ok(())
    }

    fn submit(&mut self, batch: &SampleBatch<'_>, ask: Ask) -> Result<Ticket> {
        self.registered(batch.ids())?;
        self.revive()?;
        if self.in_flight.len() >= MAX_WAITING {
            self.forget_oldest()?;
        }
        let (staged, chunks) = staging::stage(batch, ask);
        let most_flags = u32::try_from(self.config.max_flags).unwrap_or(u32::MAX);
        let (reply, answer) = channel();
        let (learn, columns) = (ask.learn, ask.columns);
        let command = Command::Run { chunks, learn, columns, most_flags, reply };
        let told = self.worker.as_ref().map_or(Ok(()), |worker| worker.tell(command));
        if let Err(fault) = told {
            self.stats.failures += 1;
            return Err(self.give_up(fault));
        }
        self.next_ticket += 1;
        self.in_flight.insert(self.next_ticket, (staged, answer));
        Ok(Ticket(self.next_ticket))
    }

    fn poll(&mut self, ticket: Ticket) -> Result<Option<Outcome>> {
        let Some((_, answer)) = self.in_flight.get(&ticket.0) else {
            return Err(Error::UnknownTicket(ticket.0));
        };
        let answer = match answer.try_recv() {
            Ok(answer) => answer,
            Err(TryRecvError::Empty) => return Ok(None),
            Err(TryRecvError::Disconnected) => Err(self.ended()),
        };
        self.settle(ticket.0, answer).map(Some)
    }

    fn wait(&mut self, ticket: Ticket, deadline: Duration) -> Result<Outcome> {
        let Some((_, answer)) = self.in_flight.get(&ticket.0) else {
            return Err(Error::UnknownTicket(ticket.0));
        };
        let answer = match answer.recv_timeout(deadline) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => {
                return Err(Error::DeadlineMissed { engine: self.kind, waited: deadline });
            }
            Err(RecvTimeoutError::Disconnected) => Err(self.ended()),
        };
        self.settle(ticket.0, answer)
    }

    fn snapshot(&mut self, ids: &[SeriesId]) -> Result<Vec<u8>> {
        self.registered(ids)?;
        self.revive()?;
        let mut order: Vec<usize> = (0..ids.len()).collect();
        order.sort_by_key(|i| ids[*i]);
        let list: Vec<u32> = order.iter().map(|i| ids[*i].0).collect();
        let words = self.told(|reply| Command::Save(list, reply))?;
        let width = word::COUNT as usize + 2 * self.hidden();
        let mut place = vec![0; ids.len()];
        for (at, i) in order.into_iter().enumerate() {
            place[i] = at;
        }
        let lstm = self.hidden() > 0;
        let states = place.iter().map(|at| staging::read(&words[at * width..][..width], lstm));
        Ok(SeriesState::save(states, self.hidden()))
    }

    fn restore(&mut self, ids: &[SeriesId], bytes: &[u8]) -> Result<()> {
        self.registered(ids)?;
        let states = SeriesState::load(ids, self.hidden(), bytes)?;
        self.revive()?;
        let (list, order) = ascending(ids);
        let mut known = Vec::new();
        order.iter().for_each(|i| staging::write(&states[*i], self.hidden(), &mut known));
        self.told(|reply| Command::Restore { list, known, reply })
    }

    fn stats(&self) -> Stats {
        self.stats
    }
}

#[cfg(all(test, feature = "wgpu"))]
mod tests {
    use aiops_core::Timestamp;

    use super::*;
    use crate::testing::small_model;

    /// The thread of the device dies with a batch on it: an error, and the next batch finds it again.
    #[test]
    fn a_device_that_fails_is_opened_again() {
        let config = DeviceConfig { software: true, ..DeviceConfig::default() };
        let Ok(mut engine) = config.build(EngineKind::Wgpu, &small_model()) else {
            return; // no adapter here; `devices_agree_with_the_reference` says so
        };
        engine.register(3).unwrap();
        let row = |second| (Timestamp::from_secs(second), [SeriesId(2)]);
        let give = |engine: &mut DeviceEngine, second| {
            let (time, id) = row(second);
            let times = [time];
            let batch = SampleBatch::new(&id, &times, &[1.0]).unwrap();
            crate::run(engine, &batch, Ask::UPDATE, Duration::from_secs(60))
        };
        for second in 0..40 {
            give(&mut engine, second).unwrap();
        }
        assert_eq!(give(&mut engine, 40).unwrap().tally.scored, 1);
        engine.worker.as_ref().unwrap().tell(Command::Fail).unwrap();
        let error = give(&mut engine, 41).unwrap_err();
        assert!(matches!(&error, Error::Device { reason, .. } if reason.contains("driver failed")));
        assert_eq!(engine.stats().failures, 1);
        let outcome = give(&mut engine, 41).unwrap();
        assert_eq!(outcome.tally.warming_up, 1, "opened again, all series new");
    }
}

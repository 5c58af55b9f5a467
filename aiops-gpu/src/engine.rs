//! [`BatchEngine`]: what every engine is, and what it answers.

use std::time::Duration;

use aiops_core::{SampleBatch, SeriesId};
use aiops_detect::Tally;

use crate::{Model, Result};

/// Which engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum EngineKind {
    /// An NVIDIA device.
    Cuda,
    /// A device through Vulkan, Metal or DirectX 12.
    Wgpu,
    /// This processor.
    Cpu,
    /// This processor, statistics only: the last resort.
    Statistics,
}

impl std::fmt::Display for EngineKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            EngineKind::Cuda => "cuda",
            EngineKind::Wgpu => "wgpu",
            EngineKind::Cpu => "cpu",
            EngineKind::Statistics => "statistics",
        })
    }
}

/// What an engine is able to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// The device in words, as in `avx2+fma`.
    pub device: String,
    /// The most series it holds with the model that is loaded.
    pub max_series: usize,
    /// The batch size from which it is fast; smaller ones work.
    pub good_batch: usize,
    /// Bytes of state a series, with the model that is loaded.
    pub bytes_per_series: usize,
    /// The models it runs; a loaded model's others do not vote.
    pub models: Votes,
}

/// A set of models: those that voted for a flag, or that an engine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Votes(u8);

impl Votes {
    /// None.
    pub const NONE: Votes = Votes(0);
    /// Deviation from the running mean.
    pub const STATISTICS: Votes = Votes(1);
    /// Deviation from what the LSTM predicted.
    pub const LSTM: Votes = Votes(2);
    /// An unusual run of the last values.
    pub const FOREST: Votes = Votes(4);

    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    pub(crate) fn from_bits(bits: u32) -> Votes {
        Votes((bits & 7) as u8)
    }

    /// Whether all of `other` are in it.
    pub fn has(self, other: Votes) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Votes) -> Votes {
        Votes(self.0 | other.0)
    }

    /// The names of the models in it.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let all =
            [(Votes::STATISTICS, "statistics"), (Votes::LSTM, "lstm"), (Votes::FOREST, "forest")];
        all.into_iter().filter(move |(model, _)| self.has(*model)).map(|(_, name)| name)
    }
}

/// What is asked of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Take the rows in after judging them. Without, nothing changes.
    pub learn: bool,
    /// Give the columns of all rows, not only what was flagged.
    pub columns: bool,
}

impl Ask {
    /// Judge, then learn; only what was flagged comes back.
    pub const UPDATE: Ask = Ask { learn: true, columns: false };
    /// Judge and change nothing; only what was flagged comes back.
    pub const ASSESS: Ask = Ask { learn: false, columns: false };

    /// The same, with the columns of all rows.
    #[must_use]
    pub fn with_columns(self) -> Ask {
        Ask { columns: true, ..self }
    }
}

/// A batch in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// A row that was flagged.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Flag {
    /// Row of the batch.
    pub row: usize,
    /// The series.
    pub id: SeriesId,
    /// Mean surprise of the models, see [`Judgement`](crate::Judgement).
    pub score: f64,
    /// The models whose own p-value is at or below the rate.
    pub votes: Votes,
    /// What was expected.
    pub expected: f64,
    /// What came.
    pub actual: f64,
}

/// One value a row, in the order of the batch; rows that were not judged have score 0 and expectation
/// NaN.
/// Two are equal when they are so bit for bit, NaN included.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Columns {
    /// Mean surprise of the models.
    pub scores: Vec<f32>,
    /// What was expected.
    pub expected: Vec<f64>,
    /// Half the width of the usual band around it.
    pub margins: Vec<f64>,
}

impl PartialEq for Columns {
    fn eq(&self, other: &Self) -> bool {
        let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        self.scores.iter().map(|v| v.to_bits()).eq(other.scores.iter().map(|v| v.to_bits()))
            && bits(&self.expected) == bits(&other.expected)
            && bits(&self.margins) == bits(&other.margins)
    }
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Outcome {
    /// The engine that made it.
    pub engine: EngineKind,
    /// What became of the rows; the parts add up to the batch.
    pub tally: Tally,
    /// What was flagged, in the order of the batch.
    pub flags: Vec<Flag>,
    /// More was flagged than fits: `tally.flagged` says how much. The batch was learnt as a whole; which
    /// rows are missing from `flags`, asking for columns tells.
    pub overflow: bool,
    /// All rows, where they were asked for.
    pub columns: Option<Columns>,
}

/// What an engine did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Batches answered.
    pub batches: u64,
    /// Rows in them.
    pub rows: u64,
    /// Rows flagged.
    pub flagged: u64,
    /// Batches that failed.
    pub failures: u64,
}

/// Outcomes that an engine keeps for who asks for them.
pub const MAX_WAITING: usize = 64;

/// Judges and learns batches of samples of very many series, with state that stays where it computes.
///
/// The life of a batch: [`submit`](Self::submit) takes it and gives a ticket, [`poll`](Self::poll) or
/// [`wait`](Self::wait) give its [`Outcome`], once. An engine on this processor may compute in `submit`;
/// one on a device starts there, so that the next batch can be prepared meanwhile.
///
/// # For who implements it
/// - All engines give the same answers as [`ReferenceDetector`](crate::ReferenceDetector), within the
///   tolerance that they state; `check_engine` of the `testing` module judges it.
/// - Rows of one series are processed in their order, however often it comes in a batch.
/// - A row that is not newer than the last of its series is late, a value that is not finite is a gap:
///   both are counted and change no expectation.
/// - An error leaves the batch unprocessed: nothing was learnt from it, so that it can be given again,
///   here or elsewhere. After [`Error::Device`](crate::Error::Device) state may be lost.
/// - No call panics on what it is given, none waits longer than its deadline, and no file is written.
///
/// # For who calls it
/// Ids must be dense and below what was [`register`](Self::register)ed, as an
/// [`Interner`](aiops_core::Interner) makes them; [`release`](Self::release) an evicted series before its
/// id is given to another. Wrong: dropping a ticket. The batch was learnt, and its flags are lost with it.
pub trait BatchEngine: Send {
    /// Which engine it is.
    fn kind(&self) -> EngineKind;

    /// What it is able to do.
    fn capabilities(&self) -> Capabilities;

    /// Makes room for the ids below `series`. More room than before starts empty; it never shrinks.
    ///
    /// # Errors
    /// [`Error::Full`](crate::Error::Full) when there is not so much.
    fn register(&mut self, series: usize) -> Result<()>;

    /// Forgets these series. Ids that were never registered are ignored.
    ///
    /// # Errors
    /// When the device fails.
    fn release(&mut self, ids: &[SeriesId]) -> Result<()>;

    /// Uses this model from the next batch on. Series start anew: state of one model means nothing to
    /// another.
    ///
    /// # Errors
    /// [`Error::Weights`](crate::Error::Weights) or [`Error::InvalidConfig`](crate::Error::InvalidConfig);
    /// the model before stays.
    fn load_model(&mut self, model: &Model) -> Result<()>;

    /// Takes a batch. Outcomes of the last [`MAX_WAITING`] wait to be taken; what nobody took by then is
    /// forgotten, and with it the ticket.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`](crate::Error::ShapeMismatch) when an id was not registered; whatever the
    /// device says. Nothing was learnt then.
    fn submit(&mut self, batch: &SampleBatch<'_>, ask: Ask) -> Result<Ticket>;

    /// The outcome, if it is there.
    ///
    /// # Errors
    /// [`Error::UnknownTicket`](crate::Error::UnknownTicket); whatever the device says.
    fn poll(&mut self, ticket: Ticket) -> Result<Option<Outcome>>;

    /// The outcome, waiting for it at most so long.
    ///
    /// # Errors
    /// [`Error::DeadlineMissed`](crate::Error::DeadlineMissed), after which it can be asked again; as
    /// [`poll`](Self::poll).
    fn wait(&mut self, ticket: Ticket, deadline: Duration) -> Result<Outcome>;

    /// Everything that was learnt about these series, in this order: a shard, or one of them. A batch
    /// that was submitted before is in it, whether its outcome was taken or not.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    fn snapshot(&mut self, ids: &[SeriesId]) -> Result<Vec<u8>>;

    /// Replaces what is known about these series by what [`snapshot`](Self::snapshot) wrote, of whichever
    /// engine. They continue within the tolerance of the engines, bit for bit on the same one.
    ///
    /// # Errors
    /// [`Error::Snapshot`](crate::Error::Snapshot) when the bytes are damaged, of another model or of
    /// another number of series; nothing changed then.
    fn restore(&mut self, ids: &[SeriesId], bytes: &[u8]) -> Result<()>;

    /// What it did so far.
    fn stats(&self) -> Stats;
}

/// Submits a batch and waits for its outcome.
///
/// # Errors
/// As [`BatchEngine::submit`] and [`BatchEngine::wait`].
pub fn run(
    engine: &mut dyn BatchEngine,
    batch: &SampleBatch<'_>,
    ask: Ask,
    deadline: Duration,
) -> Result<Outcome> {
    let ticket = engine.submit(batch, ask)?;
    engine.wait(ticket, deadline)
}

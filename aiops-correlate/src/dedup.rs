//! Stage 1: records of one alert become firings with a beginning and an end.
//!
//! A producer's own word ends a firing (`ends_at`, a resolved record); silence ends it only after
//! the [gap](DedupConfig::gap). Resends break no firing, late and out-of-order records go where
//! their own time says, and a late end splits what it ends in the middle of. The firings that
//! result depend on the set of records, not on the order in which they came (as long as they come
//! before the record log forgets).

use aiops_core::{AlertId, Fingerprint, Severity, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

use crate::history::SeriesHistory;

/// No index.
pub(crate) const NONE: u32 = u32::MAX;

/// How records fold into firings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DedupConfig {
    /// Silence after which a firing of a kind that reports its end counts as over although no
    /// resolved record came. Default 2 hours: longer than any usual resend interval, because a
    /// broken firing is a second page.
    pub gap: Duration,
    /// The same for kinds that never report their end. Default 15 minutes.
    pub gap_without_end: Duration,
    /// Records this close are the same record delivered twice (HA pairs, retries). Default 2 s.
    pub fold: Duration,
}

impl Default for DedupConfig {
    fn default() -> Self {
        DedupConfig {
            gap: Duration::from_secs(7_200),
            gap_without_end: Duration::from_secs(900),
            fold: Duration::from_secs(2),
        }
    }
}

/// One series: everything with one fingerprint and one severity.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Series {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) severity: Severity,
    pub(crate) kind: u32,
    pub(crate) service: u32,
    /// The latest firing; older ones hang on its `prev`.
    pub(crate) current: u32,
    /// The latest end for which no firing is known yet.
    pub(crate) unseen_end: Timestamp,
    /// Number of the history that all severities of the fingerprint share.
    pub(crate) history: u32,
}

/// One firing of a series.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Episode {
    pub(crate) series: u32,
    pub(crate) prev: u32,
    pub(crate) onset: Timestamp,
    /// Latest time at which it is known to have fired.
    pub(crate) last: Timestamp,
    /// When it ended; `MAX` while it fires.
    pub(crate) ended: Timestamp,
    /// Whether its end was said rather than inferred from silence.
    pub(crate) said_end: bool,
    pub(crate) severity: Severity,
    pub(crate) firings: u32,
    pub(crate) first_alert: AlertId,
    /// Latest record; older ones hang on its `prev`.
    pub(crate) last_record: u32,
}

impl Episode {
    pub(crate) fn is_open(&self) -> bool {
        self.ended == Timestamp::MAX
    }

    pub(crate) fn life_s(&self) -> f64 {
        self.ended.seconds_after(self.onset).max(0.0)
    }

    /// Seconds between its records, if there were several.
    pub(crate) fn cadence_s(&self) -> Option<f64> {
        let known = self.last.seconds_after(self.onset);
        (self.firings > 1 && known > 1.0).then(|| known / f64::from(self.firings - 1))
    }
}

/// What a record says, on the corrected clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim {
    pub(crate) alert: AlertId,
    /// Fires since.
    pub(crate) from: Timestamp,
    /// Still fires at; equal to `from` unless the record says more.
    pub(crate) alive: Timestamp,
    /// Over since, for a resolved record.
    pub(crate) end: Option<Timestamp>,
    pub(crate) severity: Severity,
}

/// What a record did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Effect {
    /// It began a firing.
    New,
    /// It is a repetition.
    Repeat,
    /// It is the same record again.
    Duplicate,
    /// It ended its firing.
    End,
    /// It ended a firing that nobody has seen.
    EndUnseen,
}

/// The answer of [`Sessions::take`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) effect: Effect,
    /// The firing it belongs to; `NONE` only for an unseen end of a series that never fired.
    pub(crate) episode: u32,
    /// The onset of that firing moved to an earlier time.
    pub(crate) onset_moved: bool,
    /// A firing that was split off, because the record ended its earlier part.
    pub(crate) split: u32,
    /// An older firing that turned out to be over by silence.
    pub(crate) silent: u32,
    /// Seconds of silence before it, for a repetition or an end.
    pub(crate) gap_s: f64,
}

/// One line of the record log.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) alert: AlertId,
    /// Its own time.
    pub(crate) at: Timestamp,
    /// When it was decided, on the arrival clock.
    pub(crate) decided: Timestamp,
    pub(crate) episode: u32,
    pub(crate) prev: u32,
    pub(crate) severity: Severity,
    pub(crate) effect: Effect,
    /// Not displayed, because a storm was on.
    pub(crate) sampled: bool,
}

/// Series, their firings and the record log.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Sessions {
    #[serde(skip)]
    pub(crate) config: DedupConfig,
    pub(crate) series: Vec<Series>,
    pub(crate) histories: Vec<SeriesHistory>,
    pub(crate) episodes: Vec<Episode>,
    pub(crate) free: Vec<u32>,
    log: VecDeque<Record>,
    /// Number of the oldest record in the log; numbers wrap around.
    log_base: u32,
}

/// How many firings of a series a late record is compared with.
const LOOK_BACK: usize = 16;

impl Sessions {
    pub(crate) fn new(config: DedupConfig) -> Self {
        Sessions { config, ..Sessions::default() }
    }

    pub(crate) fn episode(&self, at: u32) -> &Episode {
        &self.episodes[at as usize]
    }

    pub(crate) fn series_of(&self, episode: u32) -> &Series {
        &self.series[self.episode(episode).series as usize]
    }

    pub(crate) fn history(&self, series: &Series) -> &SeriesHistory {
        &self.histories[series.history as usize]
    }

    /// Whether the latest firing of a series goes on; false for no series.
    pub(crate) fn fires(&self, series: u32) -> bool {
        let current = self.series.get(series as usize).map_or(NONE, |of| of.current);
        current != NONE && self.episode(current).is_open()
    }

    /// When a series was last heard of.
    pub(crate) fn latest(&self, series: u32) -> Timestamp {
        let current = self.series.get(series as usize).map_or(NONE, |of| of.current);
        if current == NONE { Timestamp::MIN } else { self.episode(current).last }
    }

    /// What puts firings with one onset in order.
    pub(crate) fn rank(&self, episode: u32) -> (u64, Severity) {
        let series = self.series_of(episode);
        (series.fingerprint.as_u64(), series.severity)
    }

    /// Takes one record of `series`. `gap` is the silence after which its firing is over.
    pub(crate) fn take(&mut self, series: u32, claim: Claim, gap: Duration) -> Taken {
        match claim.end {
            None => self.fire(series, claim, gap),
            Some(end) => self.end(series, claim, end, gap),
        }
    }

    fn fire(&mut self, series: u32, claim: Claim, gap: Duration) -> Taken {
        let mut newer = NONE;
        let mut at = self.series[series as usize].current;
        for _ in 0..LOOK_BACK {
            if at == NONE {
                break;
            }
            let fold = self.config.fold;
            let episode = &mut self.episodes[at as usize];
            if claim.from >= episode.onset {
                let until =
                    if episode.is_open() { episode.last + gap } else { episode.ended + fold };
                if claim.from <= until {
                    // The firing `claim` falls into.
                    let duplicate =
                        claim.from <= episode.last + fold && claim.alive <= episode.last + fold;
                    let gap_s = claim.alive.seconds_after(episode.last);
                    if episode.is_open() {
                        episode.last = episode.last.max(claim.alive);
                    }
                    episode.firings += u32::from(!duplicate);
                    episode.severity = episode.severity.max(claim.severity);
                    let effect = if duplicate { Effect::Duplicate } else { Effect::Repeat };
                    return Taken { gap_s, ..Taken::at(effect, at) };
                }
                let mut silent = NONE;
                if episode.is_open() {
                    episode.ended = episode.last;
                    silent = at;
                }
                if newer != NONE {
                    // Between an older firing and a newer one: the newer began earlier than known.
                    if let Some(taken) = self.extend_back(newer, claim, gap) {
                        return Taken { silent, ..taken };
                    }
                }
                return Taken { silent, ..self.begin(series, newer, at, claim) };
            }
            newer = at;
            at = episode.prev;
        }
        if newer != NONE
            && let Some(taken) = self.extend_back(newer, claim, gap)
        {
            return taken;
        }
        let prev = if newer == NONE { self.series[series as usize].current } else { at };
        self.begin(series, newer, prev, claim)
    }

    /// `newer` is the firing after the claim; it may have begun with it.
    fn extend_back(&mut self, newer: u32, claim: Claim, gap: Duration) -> Option<Taken> {
        let unseen = self.series[self.episode(newer).series as usize].unseen_end;
        let episode = &mut self.episodes[newer as usize];
        let ended_between = unseen >= claim.from && unseen < episode.onset;
        if ended_between || claim.from + gap < episode.onset {
            return None;
        }
        let duplicate = claim.from + self.config.fold >= episode.onset;
        episode.onset = claim.from;
        episode.firings += u32::from(!duplicate);
        episode.severity = episode.severity.max(claim.severity);
        let effect = if duplicate { Effect::Duplicate } else { Effect::Repeat };
        Some(Taken { onset_moved: true, ..Taken::at(effect, newer) })
    }

    /// A new firing between `prev` and `newer` (either may be `NONE`).
    fn begin(&mut self, series: u32, newer: u32, prev: u32, claim: Claim) -> Taken {
        let of = &mut self.series[series as usize];
        let mut episode = Episode {
            series,
            prev,
            onset: claim.from,
            last: claim.alive,
            ended: Timestamp::MAX,
            said_end: false,
            severity: claim.severity,
            firings: 1,
            first_alert: claim.alert,
            last_record: NONE,
        };
        // Its end may have overtaken it.
        if of.unseen_end >= claim.from {
            episode.ended = of.unseen_end;
            episode.said_end = true;
            of.unseen_end = Timestamp::MIN;
        }
        let at = self.place(episode);
        if newer == NONE {
            self.series[series as usize].current = at;
        } else {
            // An older firing that is newer than `prev` is over by definition.
            self.episodes[newer as usize].prev = at;
            let begun = &mut self.episodes[at as usize];
            if begun.is_open() {
                begun.ended = begun.last;
            }
        }
        Taken::at(Effect::New, at)
    }

    fn place(&mut self, episode: Episode) -> u32 {
        if let Some(at) = self.free.pop() {
            self.episodes[at as usize] = episode;
            return at;
        }
        self.episodes.push(episode);
        (self.episodes.len() - 1) as u32
    }

    fn end(&mut self, series: u32, claim: Claim, end: Timestamp, gap: Duration) -> Taken {
        let fold = self.config.fold;
        let mut at = self.series[series as usize].current;
        for _ in 0..LOOK_BACK {
            if at == NONE {
                break;
            }
            let episode = &self.episodes[at as usize];
            if end >= episode.onset {
                if episode.said_end {
                    if end <= episode.ended + fold && end + fold >= episode.ended {
                        return Taken::at(Effect::Duplicate, at);
                    }
                    if end > episode.ended {
                        return self.end_unseen(series, at, claim, end);
                    }
                }
                if episode.is_open() && end > episode.last + gap {
                    // It had fallen silent long before; this end is of something unseen.
                    let silent = at;
                    self.episodes[at as usize].ended = self.episodes[at as usize].last;
                    return Taken { silent, ..self.end_unseen(series, at, claim, end) };
                }
                return self.end_here(at, end);
            }
            at = episode.prev;
        }
        let current = self.series[series as usize].current;
        self.end_unseen(series, current, claim, end)
    }

    /// Ends `at` at `end`, splitting off what fired after that.
    fn end_here(&mut self, at: u32, end: Timestamp) -> Taken {
        let split = if self.episodes[at as usize].last > end + self.config.fold {
            self.split_after(at, end + self.config.fold)
        } else {
            NONE
        };
        let episode = &mut self.episodes[at as usize];
        let gap_s = end.seconds_after(episode.last);
        episode.ended = end;
        episode.last = episode.last.min(end);
        episode.said_end = true;
        Taken { split, gap_s, ..Taken::at(Effect::End, at) }
    }

    /// An end without a firing to end. It is remembered, because its beginning may be late.
    fn end_unseen(&mut self, series: u32, at: u32, claim: Claim, end: Timestamp) -> Taken {
        if claim.from < end {
            // The record names its beginning itself, so the firing is known after all.
            let begun = Claim { end: None, alive: claim.from, ..claim };
            let clash = at != NONE && self.episodes[at as usize].ended > claim.from;
            if !clash {
                let taken = self.begin(series, NONE, at, begun);
                let episode = &mut self.episodes[taken.episode as usize];
                episode.ended = end;
                episode.said_end = true;
                return taken;
            }
        }
        let of = &mut self.series[series as usize];
        of.unseen_end = of.unseen_end.max(end);
        Taken::at(Effect::EndUnseen, at)
    }

    /// Moves the records of `at` that lie after `time` into a firing of their own.
    pub(crate) fn split_after(&mut self, at: u32, time: Timestamp) -> u32 {
        let mut moved = Vec::new();
        let mut kept = NONE;
        let mut record = self.episodes[at as usize].last_record;
        // The chain runs newest first; rebuild it for the part that stays.
        let mut chain = Vec::new();
        while let Some(known) = self.logged(record) {
            chain.push((record, *known));
            record = known.prev;
        }
        for &(number, record) in chain.iter().rev() {
            if record.at > time && record.effect != Effect::End {
                moved.push((number, record));
            } else if let Some(record) = self.logged_mut(number) {
                record.prev = kept;
                kept = number;
            }
        }
        if moved.is_empty() {
            return NONE;
        }
        self.episodes[at as usize].last_record = kept;
        let first = moved.iter().min_by_key(|(number, record)| (record.at, *number));
        let first = first.unwrap_or(&moved[0]).1;
        let old = self.episodes[at as usize].clone();
        let late = Episode {
            series: old.series,
            prev: at,
            onset: first.at,
            last: old.last,
            ended: old.ended,
            said_end: old.said_end,
            severity: moved.iter().map(|(_, r)| r.severity).max().unwrap_or_default(),
            firings: moved.len() as u32,
            first_alert: first.alert,
            last_record: NONE,
        };
        let split = self.place(late);
        let mut prev = NONE;
        for &(number, _) in &moved {
            if let Some(record) = self.logged_mut(number) {
                record.prev = prev;
                record.episode = split;
                prev = number;
            }
        }
        self.episodes[split as usize].last_record = prev;
        let kept_last = self.chain(at).map(|r| r.at).max();
        let episode = &mut self.episodes[at as usize];
        episode.last = kept_last.unwrap_or(episode.onset).max(episode.onset);
        episode.firings = episode.firings.saturating_sub(moved.len() as u32).max(1);
        // Whatever came after `at` now comes after the part that was split off.
        let series = old.series as usize;
        if self.series[series].current == at {
            self.series[series].current = split;
        } else {
            let mut newer = self.series[series].current;
            while newer != NONE && self.episodes[newer as usize].prev != at {
                newer = self.episodes[newer as usize].prev;
            }
            if newer != NONE && newer != split {
                self.episodes[newer as usize].prev = split;
            }
        }
        split
    }

    /// The records of a firing, newest first.
    pub(crate) fn chain(&self, episode: u32) -> impl Iterator<Item = &Record> {
        let mut at = self.episodes[episode as usize].last_record;
        std::iter::from_fn(move || {
            let record = self.logged(at)?;
            at = record.prev;
            Some(record)
        })
    }

    /// A record by its number, unless it was forgotten.
    pub(crate) fn logged(&self, number: u32) -> Option<&Record> {
        if number == NONE {
            return None;
        }
        self.log.get(number.wrapping_sub(self.log_base) as usize)
    }

    pub(crate) fn logged_mut(&mut self, number: u32) -> Option<&mut Record> {
        if number == NONE {
            return None;
        }
        self.log.get_mut(number.wrapping_sub(self.log_base) as usize)
    }

    /// Writes a record into the log and onto the chain of its firing; returns its number.
    pub(crate) fn record(&mut self, mut record: Record) -> u32 {
        let mut number = self.log_base.wrapping_add(self.log.len() as u32);
        if number == NONE {
            // The one number that means "none" is left out.
            self.log.push_back(Record { episode: NONE, prev: NONE, ..record });
            number = 0;
        }
        if record.episode != NONE {
            let episode = &mut self.episodes[record.episode as usize];
            record.prev = episode.last_record;
            episode.last_record = number;
        }
        self.log.push_back(record);
        number
    }

    /// The records of a firing lose their firing; they are forgotten when they are the oldest.
    pub(crate) fn forget_records_of(&mut self, episode: u32) {
        let mut number = self.episode(episode).last_record;
        while let Some(record) = self.logged_mut(number) {
            record.episode = NONE;
            number = std::mem::replace(&mut record.prev, NONE);
        }
    }

    /// The oldest record and its number.
    pub(crate) fn oldest(&self) -> Option<(u32, &Record)> {
        self.log.front().map(|record| (self.log_base, record))
    }

    /// Forgets the oldest record.
    pub(crate) fn forget_oldest(&mut self) {
        if self.log.pop_front().is_some() {
            self.log_base = self.log_base.wrapping_add(1);
        }
    }

    pub(crate) fn records(&self) -> usize {
        self.log.len()
    }

    /// Frees a firing that nothing refers to any more, taking it out of its series' list.
    pub(crate) fn free(&mut self, at: u32) {
        let series = self.episode(at).series as usize;
        let prev = self.episode(at).prev;
        if self.series[series].current == at {
            self.series[series].current = prev;
        } else {
            let mut newer = self.series[series].current;
            while newer != NONE && self.episodes[newer as usize].prev != at {
                newer = self.episodes[newer as usize].prev;
            }
            if newer != NONE {
                self.episodes[newer as usize].prev = prev;
            }
        }
        self.free.push(at);
    }
}

impl Taken {
    fn at(effect: Effect, episode: u32) -> Self {
        Taken { effect, episode, onset_moved: false, split: NONE, silent: NONE, gap_s: 0.0 }
    }
}

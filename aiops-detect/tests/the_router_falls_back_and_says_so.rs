//! The router on a few series: who serves whom, what happens when a tier fails, and that a shard moves.

#![allow(clippy::unwrap_used, reason = "a test")]
use std::time::Duration;

use aiops_core::{
    Interner, MetricClass, MetricKind, SampleBatch, SeriesId, SeriesKey, SnapshotReader,
    SnapshotWriter, Timestamp,
};
use aiops_detect::{
    Change, DetectorBank, Error, Flagged, Noticed, PolicyConfig, Result, State, Tally, Tier,
    Watcher,
    router::{Budget, Cause, Fallback, Router, RouterConfig},
    testing::Noise,
    tier1::{EwmaConfig, RobustConfig},
};

/// Robust, but it fails for every batch with a time in its bad hour.
struct Breaks(aiops_detect::tier1::RobustBank);

impl DetectorBank for Breaks {
    fn name(&self) -> &'static str {
        "breaks"
    }
    fn tier(&self) -> Tier {
        Tier::Three
    }
    fn update(
        &mut self,
        batch: &SampleBatch<'_>,
        scores: &mut [f64],
        flagged: &mut Vec<Flagged>,
    ) -> Result<Tally> {
        let bad = Timestamp::from_secs(300)..Timestamp::from_secs(301);
        if batch.times().iter().any(|time| bad.contains(time)) {
            return Err(Error::NotEnoughData { needed: 1, got: 0 });
        }
        self.0.update(batch, scores, flagged)
    }
    fn assess(
        &self,
        batch: &SampleBatch<'_>,
        scores: &mut [f64],
        flagged: &mut Vec<Flagged>,
    ) -> Result<Tally> {
        self.0.assess(batch, scores, flagged)
    }
    fn p_value(&self, id: SeriesId, score: f64) -> f64 {
        self.0.p_value(id, score)
    }
    fn release(&mut self, ids: &[SeriesId]) {
        self.0.release(ids);
    }
    fn bytes_per_series(&self) -> usize {
        self.0.bytes_per_series()
    }
    fn save(&self, id: SeriesId, out: &mut SnapshotWriter) {
        self.0.save(id, out);
    }
    fn load(&mut self, id: SeriesId, from: &mut SnapshotReader<'_>) -> Result<()> {
        self.0.load(id, from)
    }
}

fn watcher(bank: impl DetectorBank + 'static) -> Watcher {
    let policy = PolicyConfig::default().build().unwrap();
    Watcher::new(Box::new(bank), policy, Box::new(|_| MetricKind::Latency))
}

fn router(budget: Budget) -> Router {
    let config = RouterConfig { budget, hold: Duration::from_secs(60), ..Default::default() };
    config
        .build(watcher(RobustConfig::default().build_bank().unwrap()))
        .unwrap()
        .with(Tier::Two, watcher(EwmaConfig::default().build_bank().unwrap()))
        .unwrap()
        .with(Tier::Three, watcher(Breaks(RobustConfig::default().build_bank().unwrap())))
        .unwrap()
}

/// Ten series, the last two critical.
fn keys() -> Vec<SeriesKey> {
    let class = |i: usize| if i < 8 { "infrastructure" } else { "critical" };
    (0..10)
        .map(|i| {
            SeriesKey::new("latency", [("host", format!("h{i}").as_str()), ("class", class(i))])
        })
        .collect()
}

fn play(
    router: &mut Router,
    interner: &mut Interner,
    seconds: std::ops::Range<i64>,
    trouble: std::ops::Range<i64>,
) -> Vec<Noticed> {
    let mut noticed = Vec::new();
    for second in seconds {
        let now = Timestamp::from_secs(second);
        let mut noise = Noise::new(second as u64);
        let keys = keys();
        let ids: Vec<_> = keys.iter().map(|key| interner.intern(key, now).unwrap()).collect();
        let height = if trouble.contains(&second) { 30.0 } else { 0.0 };
        let values: Vec<_> = ids.iter().map(|_| 10.0 + 0.3 * noise.normal() + height).collect();
        let times = vec![now; ids.len()];
        let batch = SampleBatch::new(&ids, &times, &values).unwrap();
        router.process(&batch, interner, &mut noticed).unwrap();
    }
    noticed
}

fn fallback(wanted: Tier, served: Tier, cause: Cause) -> (Tier, Option<Fallback>) {
    (served, Some(Fallback { wanted, served, cause }))
}

#[test]
fn a_tier_that_fails_hands_over_and_comes_back() {
    let (mut router, mut interner) = (router(Budget::UNLIMITED), Interner::new(100));
    let at = Timestamp::from_secs;
    play(&mut router, &mut interner, 0..1, 0..0);
    let (low, critical) = (SeriesId(0), SeriesId(9));
    assert_eq!(router.class(critical).unwrap().class, MetricClass::Critical);
    let early = router.serves(critical, at(0));
    assert_eq!(early, fallback(Tier::Three, Tier::One, Cause::Untrained));

    play(&mut router, &mut interner, 1..200, 0..0);
    assert_eq!(router.serves(critical, at(199)), (Tier::Three, None));
    assert_eq!(router.serves(low, at(199)), (Tier::Two, None));
    router.timed_out(critical, Tier::Three, at(200));
    let late = fallback(Tier::Three, Tier::Two, Cause::TimedOut);
    assert_eq!(router.serves(critical, at(259)), late);
    assert_eq!(router.serves(critical, at(260)), (Tier::Three, None), "after the hold");

    let noticed = play(&mut router, &mut interner, 200..330, 310..330);
    let errors = router.take_errors();
    assert!(matches!(errors[..], [(Tier::Three, Error::NotEnoughData { .. })]), "{errors:?}");
    let failed = fallback(Tier::Three, Tier::Two, Cause::Failed);
    assert_eq!(router.serves(critical, at(329)), failed);
    let raised: Vec<_> = noticed.iter().filter(|n| n.change == Change::Raised).collect();
    assert_eq!(raised.len(), 10, "each series once");
    for told in raised {
        assert_eq!(told.anomaly.detector, "robust+ewma");
        let says = told.anomaly.reasons.iter().any(|reason| reason.code == "fallback");
        assert_eq!(says, told.id.0 >= 8, "the two that wanted tier three say so");
    }
}

#[test]
fn the_budget_seats_the_critical_and_an_overload_takes_the_rest_first() {
    let budget = Budget { two: 0.5, three: 0.2, ..Budget::default() };
    let (mut router, mut interner) = (router(budget), Interner::new(100));
    play(&mut router, &mut interner, 0..200, 0..0);
    let tiers = |router: &mut Router| -> Vec<Tier> {
        (0..10).map(|i| router.serves(SeriesId(i), Timestamp::from_secs(199)).0).collect()
    };
    use Tier::{One, Three, Two};
    assert_eq!(tiers(&mut router), [Two, Two, Two, One, One, One, One, One, Three, Three]);
    router.set_load(1.5);
    assert_eq!(tiers(&mut router), [Two, Two, Two, One, One, One, One, One, Three, Two]);
    let overloaded = router.serves(SeriesId(9), Timestamp::from_secs(199));
    assert_eq!(overloaded, fallback(Three, Two, Cause::Overloaded));
    (0..20).for_each(|_| router.set_load(1.5));
    assert_eq!(tiers(&mut router), [One; 10], "tier one never stops");
    (0..20).for_each(|_| router.set_load(0.1));
    assert_eq!(tiers(&mut router), [Two, Two, Two, One, One, One, One, One, Three, Three]);

    // Tier one speaks alone where nobody else may, and marks what it flags.
    let noticed = play(&mut router, &mut interner, 200..210, 205..210);
    let of = |id: u32| noticed.iter().find(|n| n.id == SeriesId(id)).unwrap();
    assert_eq!(of(7).anomaly.detector, "robust");
    assert!(of(7).anomaly.reasons.iter().any(|reason| reason.code == "fallback"));
    assert_eq!(of(0).anomaly.detector, "robust+ewma");
    let state = |id: u32| router.flagged().iter().find(|f| f.id.0 == id).map(|f| f.verdict.state);
    assert_eq!((state(7), state(0)), (Some(State::Fallback), Some(State::Scored)));
}

#[test]
fn a_moved_shard_continues_with_its_open_anomalies() {
    let mut interner = Interner::new(100);
    let mut original = router(Budget::UNLIMITED);
    play(&mut original, &mut interner, 0..320, 310..320);
    let mut elsewhere = Interner::new(100);
    let mut moved = router(Budget::UNLIMITED);
    let mut shards: Vec<_> = keys().iter().map(|key| key.hash().shard()).collect();
    shards.sort_unstable();
    shards.dedup();
    let mut came = 0;
    for shard in shards.into_iter().rev() {
        let bytes = original.snapshot_shard(&interner, shard);
        came +=
            moved.restore_shard(&mut elsewhere, shard, &bytes, Timestamp::from_secs(320)).unwrap();
    }
    assert_eq!(came, 10);
    let by_name = |noticed: Vec<Noticed>| {
        let mut told: Vec<_> = noticed
            .into_iter()
            .map(|n| (n.anomaly.series.to_string(), n.change, format!("{:?}", n.anomaly)))
            .collect();
        told.sort_by(|a, b| (&a.0, &a.2).cmp(&(&b.0, &b.2)));
        told
    };
    let a = by_name(play(&mut original, &mut interner, 320..450, 400..420));
    let b = by_name(play(&mut moved, &mut elsewhere, 320..450, 400..420));
    assert!(a.iter().any(|(_, change, _)| *change == Change::Ended), "{a:?}");
    assert_eq!(a, b);
    assert_eq!(original.open().count(), moved.open().count());
}

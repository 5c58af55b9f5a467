//! A router over banks that flag what is above a line: nothing is learnt, so every rule shows at once.

use std::time::Duration;

use aiops_core::{
    Direction, Interner, MetricClass, MetricKind, Prefer, SampleBatch, SeriesId, SeriesKey,
    SnapshotReader, SnapshotWriter, Timestamp,
};

use super::{Budget, Cause, ClassConfig, ClassedBy, Router, RouterConfig};
use crate::{
    Calendar, Change, DetectorBank, Flagged, Noticed, PolicyConfig, Result, State, Tally, Tier,
    Verdict, Watcher,
};

/// Flags what is above `limit`, the further the less probable; trusts itself as far as it is told.
#[derive(Clone, Copy)]
struct Line {
    name: &'static str,
    limit: f64,
    confidence: f64,
}

impl DetectorBank for Line {
    fn name(&self) -> &'static str {
        self.name
    }
    fn tier(&self) -> Tier {
        Tier::One
    }
    fn update(
        &mut self,
        batch: &SampleBatch<'_>,
        scores: &mut [f64],
        flagged: &mut Vec<Flagged>,
    ) -> Result<Tally> {
        self.assess(batch, scores, flagged)
    }
    fn assess(
        &self,
        batch: &SampleBatch<'_>,
        _: &mut [f64],
        flagged: &mut Vec<Flagged>,
    ) -> Result<Tally> {
        let mut tally = Tally::default();
        for (row, (id, sample)) in batch.iter().enumerate() {
            let verdict = Verdict {
                flagged: sample.value > self.limit,
                direction: Direction::Above,
                score: sample.value,
                p_value: self.p_value(id, sample.value),
                expected: 1.0,
                ..Verdict::unjudged(State::Scored, Tier::One)
            };
            tally.count(&verdict);
            if verdict.flagged {
                flagged.push(Flagged { row, id, verdict });
            }
        }
        Ok(tally)
    }
    fn p_value(&self, _: SeriesId, score: f64) -> f64 {
        (-score).exp().min(1.0)
    }
    fn confidence(&self, _: SeriesId) -> f64 {
        self.confidence
    }
    fn release(&mut self, _: &[SeriesId]) {}
    fn bytes_per_series(&self) -> usize {
        0
    }
    fn save(&self, _: SeriesId, _: &mut SnapshotWriter) {}
    fn load(&mut self, _: SeriesId, _: &mut SnapshotReader<'_>) -> Result<()> {
        Ok(())
    }
}

const LOW: Line = Line { name: "low", limit: 5.0, confidence: 1.0 };
const HIGH: Line = Line { name: "high", limit: 8.0, confidence: 1.0 };

fn watcher(line: Line) -> Watcher {
    let policy = PolicyConfig { recover_after: 3, ..PolicyConfig::default() };
    Watcher::new(Box::new(line), policy.build().unwrap(), Box::new(|_| MetricKind::Latency))
}

/// Tier one flags above 5, tier two above 8.
fn router(config: RouterConfig) -> Router {
    config.build(watcher(LOW)).unwrap().with(Tier::Two, watcher(HIGH)).unwrap()
}

fn unlimited() -> RouterConfig {
    RouterConfig { budget: Budget::UNLIMITED, ..RouterConfig::default() }
}

/// `n` series of a class.
struct World {
    interner: Interner,
    ids: Vec<SeriesId>,
}

impl World {
    fn new(n: usize, class: &str) -> Self {
        let mut interner = Interner::new(100);
        let key = |i: usize| {
            SeriesKey::new("latency", [("host", format!("h{i}").as_str()), ("class", class)])
        };
        let ids = (0..n).map(|i| interner.intern(&key(i), Timestamp::EPOCH).unwrap()).collect();
        World { interner, ids }
    }

    /// Plays values a second apart to each series, one batch a second.
    fn play(&self, router: &mut Router, from: i64, values: &[f64]) -> Vec<(i64, Noticed)> {
        let mut all = Vec::new();
        for (second, value) in (from..).zip(values) {
            let (times, values) = (vec![at(second); self.ids.len()], vec![*value; self.ids.len()]);
            let batch = SampleBatch::new(&self.ids, &times, &values).unwrap();
            let mut noticed = Vec::new();
            router.process(&batch, &self.interner, &mut noticed).unwrap();
            all.extend(noticed.into_iter().map(|told| (second, told)));
        }
        all
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_secs(second)
}

fn changes(noticed: &[(i64, Noticed)]) -> Vec<(i64, Change)> {
    noticed.iter().map(|(second, told)| (*second, told.change)).collect()
}

#[test]
fn two_tiers_that_change_at_one_step_are_one_message() {
    use Change::{Ended, Raised, Worsened};
    let (world, mut router) = (World::new(1, "infrastructure"), router(unlimited()));
    let told = world.play(&mut router, 0, &[1.0, 9.0, 9.0, 9.0, 20.0, 1.0, 1.0, 1.0, 1.0]);
    assert_eq!(changes(&told), [(2, Raised), (4, Worsened), (7, Ended)]);
    assert_eq!(told[1].1.anomaly.observed, 20.0);
    assert_eq!(told[0].1.anomaly.detector, "low+high");
    assert_eq!(router.stretches(), (2, 1), "each tier saw one, and one was told");
    let told = world.play(&mut router, 2000, &[6.0, 6.0, 6.0, 1.0, 1.0, 1.0]);
    assert!(told.is_empty(), "tier two does not see it: {told:?}");
    assert_eq!(router.stretches(), (3, 1));
}

#[test]
fn a_batch_of_many_steps_tells_each_change_as_it_was() {
    let (world, mut router) =
        (World::new(1, "infrastructure"), unlimited().build(watcher(LOW)).unwrap());
    let values = [1.0, 9.0, 9.0, 9.0, 9.0, 1.0, 1.0, 1.0];
    let (ids, times) = ([world.ids[0]; 8], std::array::from_fn::<_, 8, _>(|i| at(i as i64)));
    let batch = SampleBatch::new(&ids, &times, &values).unwrap();
    let mut noticed = Vec::new();
    router.process(&batch, &world.interner, &mut noticed).unwrap();
    let seen: Vec<_> = noticed.iter().map(|n| (n.change, n.anomaly.last_seen)).collect();
    assert_eq!(seen, [(Change::Raised, at(2)), (Change::Ended, at(4))]);
}

#[test]
fn a_preference_says_how_many_samples_and_how_much() {
    let first = |prefer: Prefer, value: f64, row: &str| {
        let mut policy = PolicyConfig::from(prefer).build().unwrap();
        let scored = Verdict::unjudged(State::Scored, Tier::One);
        let verdict =
            Verdict { flagged: true, direction: Direction::Above, expected: 100.0, ..scored };
        row.chars().zip(0..).find_map(|(c, second)| {
            let sample = aiops_core::Sample::new(at(second), value);
            let change = match c {
                'x' => policy.observe_flagged(SeriesId(0), sample, &verdict, aiops_core::Harm::Up),
                _ => policy.observe_normal(SeriesId(0), sample),
            };
            change.map(|_| second)
        })
    };
    use Prefer::{Balanced, FewerMisses, FewerPages};
    for (prefer, value, row, raised) in [
        (FewerMisses, 105.0, "x.x", Some(2)),
        (FewerMisses, 104.0, "xxxxxxxx", None),
        (Balanced, 110.0, "x.x.x", Some(4)),
        (Balanced, 109.0, "xxxxxxxx", None),
        (FewerPages, 120.0, "x.x.xx.x", Some(7)),
        (FewerPages, 120.0, "x.x.x..x.x", None),
        (FewerPages, 119.0, "xxxxxxxx", None),
    ] {
        assert_eq!(first(prefer, value, row), raised, "{prefer:?} {value} {row}");
    }
}

#[test]
fn load_between_low_and_high_changes_nothing() {
    let (world, mut router) = (World::new(4, "infrastructure"), router(unlimited()));
    world.play(&mut router, 0, &[1.0]);
    let mut seated = |load: f64| {
        router.set_load(load);
        world.ids.iter().filter(|id| router.serves(**id, at(0)).0 == Tier::Two).count()
    };
    let loads = [1.0, 1.1, 0.7, 0.8, 1.0, 0.6, 0.6];
    assert_eq!(loads.map(&mut seated), [4, 2, 2, 2, 2, 4, 4]);
    assert_eq!(router.config(), &unlimited());
}

#[test]
fn excluded_time_raises_nothing_in_any_tier() {
    let excluded = |router: &mut Router| {
        let world = World::new(1, "infrastructure");
        let told = world.play(router, 0, &[1.0, 9.0, 9.0, 9.0, 1.0]);
        assert!(told.is_empty(), "{told:?}");
        for (tier, _, tally) in router.tiers() {
            assert_eq!((tally.scored, tally.excluded), (2, 3), "{tier:?}");
        }
        assert_eq!(changes(&world.play(router, 5, &[9.0, 9.0])), [(6, Change::Raised)]);
    };
    let mut by_span = router(unlimited());
    by_span.exclude(at(1), at(4));
    excluded(&mut by_span);
    let mut by_calendar = router(unlimited());
    by_calendar
        .set_calendar(&Calendar { spans: vec![(at(1), at(4))], ..Calendar::default() })
        .unwrap();
    excluded(&mut by_calendar);
    let weekly = vec![crate::Weekly { weekday: 7, from_s: 0, until_s: 60 }];
    let no_day = Calendar { weekly, ..Calendar::default() };
    assert!(by_calendar.set_calendar(&no_day).is_err());
}

#[test]
fn only_what_is_late_rests_and_the_others_are_fed() {
    let (world, mut router) = (World::new(3, "infrastructure"), router(unlimited()));
    world.play(&mut router, 0, &[1.0]);
    router.timed_out(world.ids[0], Tier::Two, at(0));
    world.play(&mut router, 1, &[1.0]);
    let rows: Vec<u64> = router.tiers().map(|(_, _, tally)| tally.rows()).collect();
    assert_eq!(rows, [6, 5], "tier two misses one row of one series");
}

#[test]
fn a_tier_that_trusts_itself_too_little_hands_over() {
    for (confidence, cause) in
        [(0.0, Some(Cause::Untrained)), (0.4, Some(Cause::NotConfident)), (0.5, None), (1.0, None)]
    {
        let world = World::new(1, "infrastructure");
        let mut router = unlimited()
            .build(watcher(LOW))
            .unwrap()
            .with(Tier::Two, watcher(Line { confidence, ..HIGH }))
            .unwrap();
        world.play(&mut router, 0, &[1.0]);
        let fallback = router.serves(world.ids[0], at(1)).1;
        assert_eq!(fallback.map(|fallback| fallback.cause), cause, "{confidence}");
        let told = world.play(&mut router, 2, &[6.0, 6.0]);
        assert_eq!(told.len(), usize::from(cause.is_some()), "tier one speaks alone: {confidence}");
    }
}

#[test]
fn a_released_series_is_new_and_its_seat_free() {
    let config = RouterConfig {
        budget: Budget { two: 0.5, ..Budget::UNLIMITED },
        ..RouterConfig::default()
    };
    let (world, mut router) = (World::new(4, "infrastructure"), router(config));
    world.play(&mut router, 0, &[1.0, 9.0, 9.0]);
    let seated = |router: &mut Router| -> Vec<u32> {
        let two = |id: &SeriesId| router.serves(*id, at(3)).0 == Tier::Two;
        world.ids.iter().copied().filter(two).map(|id| id.0).collect()
    };
    assert_eq!(seated(&mut router), [0, 1]);
    assert_eq!(router.open().count(), 4);
    router.release(&world.ids[..2]);
    assert_eq!(router.class(world.ids[0]), None);
    assert_eq!(seated(&mut router), [2], "half of the two that are left");
    assert_eq!(router.open().collect::<Vec<_>>(), world.ids[2..]);
    let told = world.play(&mut router, 3, &[9.0, 9.0]);
    let raised: Vec<_> = told.iter().filter(|(_, n)| n.change == Change::Raised).collect();
    assert_eq!(raised.len(), 2, "the two are told of anew");
}

/// Two days of a value that follows the hour, or none.
fn two_days(world: &World, router: &mut Router, height: f64) {
    for step in 0..=2 * 288 {
        let hour = (step / 12 % 24) as f64;
        world.play(router, 300 * step, &[1.0 + height * hour + (step % 7) as f64]);
    }
}

#[test]
fn the_shape_of_a_series_without_a_rule_decides_its_class() {
    for (height, class) in [(0.0, MetricClass::Infrastructure), (10.0, MetricClass::Business)] {
        let (world, mut router) = (World::new(1, "none"), router(unlimited()));
        two_days(&world, &mut router, height);
        let decided = router.class(world.ids[0]).unwrap();
        assert_eq!(decided.class, class);
        assert!(matches!(decided.because, ClassedBy::Shape(_)), "{decided:?}");
    }
}

#[test]
fn as_many_shapes_are_watched_at_once_as_allowed() {
    let classes = ClassConfig { max_watched: 2, ..ClassConfig::default() };
    let (world, mut router) =
        (World::new(3, "none"), router(RouterConfig { classes, ..unlimited() }));
    two_days(&world, &mut router, 0.0);
    let shaped = |router: &Router| {
        let by_shape = |id: &&SeriesId| {
            matches!(router.class(**id).map(|c| c.because), Some(ClassedBy::Shape(_)))
        };
        world.ids.iter().filter(by_shape).count()
    };
    assert_eq!(shaped(&router), 2, "the third waits for a place");
    let ruled = World::new(3, "critical");
    assert!(router.shapes.len() <= 1);
    let mut other = self::router(unlimited());
    ruled.play(&mut other, 0, &[1.0, 1.0]);
    assert!(other.shapes.is_empty(), "what a rule decided is not watched");
}

#[test]
fn classes_move_with_their_shard_and_come_once() {
    let shards = |world: &World| {
        let of = |id: &SeriesId| world.interner.key(*id).unwrap().hash().shard();
        let mut shards: Vec<_> = world.ids.iter().map(of).collect();
        shards.sort_unstable();
        shards.dedup();
        shards
    };
    let config = || RouterConfig {
        budget: Budget { two: 0.5, ..Budget::UNLIMITED },
        ..RouterConfig::default()
    };
    for class in ["infrastructure", "business", "critical", "none", "seasonal"] {
        let (mut world, mut original) = (World::new(4, class), router(config()));
        world.play(&mut original, 0, &[1.0]);
        if class == "seasonal" {
            two_days(&world, &mut original, 10.0);
        }
        let mut moved = router(config());
        for _ in 0..2 {
            for shard in shards(&world) {
                let bytes = original.snapshot_shard(&world.interner, shard);
                moved.restore_shard(&mut world.interner, shard, &bytes, at(9)).unwrap();
                let low = Line { name: "other", ..LOW };
                let other = config().build(watcher(low)).unwrap();
                let mut other = other.with(Tier::Two, watcher(HIGH)).unwrap();
                let other = other.restore_shard(&mut world.interner, shard, &bytes, at(9));
                assert!(other.is_err(), "a router of other tiers");
            }
        }
        assert_eq!(moved.shapes, original.shapes);
        for id in &world.ids {
            assert_eq!(moved.class(*id), original.class(*id), "{class}");
        }
        // Who came first sits, and shards come in another order; but there are as many seats.
        let seated = |router: &mut Router| {
            world.ids.iter().filter(|id| router.serves(**id, at(9)).0 == Tier::Two).count()
        };
        assert_eq!((seated(&mut moved), seated(&mut original)), (2, 2), "{class}");
        // A shard of series that nobody has played yet replaces what was known.
        let none = router(config()).snapshot_shard(&world.interner, shards(&world)[0]);
        let gone = shards(&world)[0];
        moved.restore_shard(&mut world.interner, gone, &none, at(9)).unwrap();
        for id in &world.ids {
            let here = world.interner.key(*id).unwrap().hash().shard() != gone;
            assert_eq!(moved.class(*id).is_some(), here);
        }
    }
}

#[test]
fn a_hold_is_as_long_as_it_is_set() {
    let config = RouterConfig { hold: Duration::from_secs(60), ..unlimited() };
    let (world, mut router) = (World::new(1, "infrastructure"), router(config));
    world.play(&mut router, 0, &[1.0]);
    router.timed_out(world.ids[0], Tier::Two, at(0));
    assert_eq!(router.serves(world.ids[0], at(59)).0, Tier::One);
    assert_eq!(router.serves(world.ids[0], at(60)).0, Tier::Two);
}

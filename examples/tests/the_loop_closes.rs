//! The loop over knowledge, closed: people call alerts of a replay false, the rate rises above what is
//! tolerated, a model is trained without what they marked, it is better on spans that nobody trained on, takes the
//! champion's place, and on the next replay the rate has fallen while nothing is missed.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aiops_core::{
    AlertId, Feedback, Frame, MemoryStore, MetricClass, Said, SeriesKey, SnapshotReader,
    SnapshotWriter, Subject, Timestamp,
};
use aiops_detect::router::{Advice, HealthConfig, Origin, Retrain, Retrained, Span, retrain};
use aiops_detect::testing::Noise;
use aiops_detect::tier3::{Pca, PcaConfig};
use aiops_detect::{BatchDetector, Fit};
use aiops_knowledge::{Alias, FeedbackBook, Lineage, ModelRegistry, PromotionGate, RateConfig};

const MODEL: &str = "pca-checkout";
const TOLERATED: f64 = 0.001;
/// Flags closer than this are one alert.
const APART: usize = 20;

/// A service whose requests, errors a minute and memory follow its load. From a release on, it needs twice the
/// memory; during trouble the errors follow nothing.
fn replay(steps: usize, released: bool, trouble: &[Range<usize>], seed: u64) -> Frame {
    let mut noise = Noise::new(seed);
    let mut values = vec![0.0; 3 * steps];
    for step in 0..steps {
        let load = 10.0 + noise.normal();
        let wild = trouble.iter().any(|span| span.contains(&step));
        values[step] = load + 0.1 * noise.normal();
        values[steps + step] =
            0.5 * load + 0.1 * noise.normal() + if wild { 20.0 * noise.normal() } else { 0.0 };
        // The release shows under high load only: now and then, as false alerts do.
        let more = if released && load > 12.5 { 1.3 } else { 1.0 };
        values[2 * steps + step] = more * load + 0.1 * noise.normal();
    }
    let keys = (0..3).map(|i| SeriesKey::new(format!("v{i}"), [("service", "checkout")])).collect();
    let start = Timestamp::from_secs(1_000_000 * seed as i64);
    Frame::new(keys, start, Duration::from_secs(15), values).unwrap()
}

/// Stretches of what is flagged, one for each alert.
fn alerts(model: &dyn BatchDetector, frame: &Frame) -> Vec<Range<usize>> {
    let mut scores = vec![0.0; frame.n_steps()];
    model.score(frame, &mut scores).unwrap();
    let mut raised: Vec<Range<usize>> = Vec::new();
    for step in (0..scores.len()).filter(|step| model.p_value(scores[*step]) <= TOLERATED) {
        match raised.last_mut() {
            Some(last) if step - last.end < APART => last.end = step + 1,
            _ => raised.push(step..step + 1),
        }
    }
    raised
}

fn is_real(alert: &Range<usize>, trouble: &[Range<usize>]) -> bool {
    trouble.iter().any(|span| alert.start < span.end && span.start < alert.end)
}

fn bytes(model: &Pca) -> Vec<u8> {
    let mut out = SnapshotWriter::new();
    model.save(&mut out);
    out.finish()
}

fn parse(bytes: &[u8]) -> Result<Pca, String> {
    Pca::load(&mut SnapshotReader::new(bytes)).map_err(|error| error.to_string())
}

fn subject(version: u64, alert: &Range<usize>) -> Subject {
    Subject::Alert(AlertId::from_u64(version * 10_000 + alert.start as u64))
}

/// Judges what a replay raised, two people in turn, and gives the false-positive rate of that model version.
fn judge(
    book: &FeedbackBook,
    version: u64,
    raised: &[Range<usize>],
    frame: &Frame,
    trouble: &[Range<usize>],
) -> f64 {
    for (nth, alert) in raised.iter().enumerate() {
        let said = if is_real(alert, trouble) { Said::NotNoise } else { Said::Noise };
        let by = ["ada", "kim"][nth % 2];
        let remark = Feedback {
            model_version: format!("{MODEL} {version}"),
            ..Feedback::new(subject(version, alert), said, by, frame.time(alert.start))
        };
        assert!(book.record(&remark).unwrap());
    }
    let now = frame.time(frame.n_steps() - 1);
    let rates = RateConfig::default()
        .rates(&book.standing().unwrap(), now, |remark| Some(remark.model_version.clone()))
        .unwrap();
    rates[&format!("{MODEL} {version}")].false_positive_rate().unwrap()
}

#[test]
fn false_alerts_that_people_mark_lead_to_a_better_model() {
    let store = Arc::new(MemoryStore::default());
    let (book, registry) = (FeedbackBook::new(store.clone()), ModelRegistry::new(store));
    let config = PcaConfig { variance: 0.9, span: 3.0, hold: 5.0, ..PcaConfig::default() };

    // The champion learnt the world before the release.
    let before = replay(4_000, false, &[], 1);
    let lineage = |seed: u64, parent| Lineage {
        params: serde_json::to_string(&config).unwrap(),
        seed: Some(seed),
        parent,
        ..Lineage::default()
    };
    let first = registry
        .register(
            MODEL,
            &bytes(&config.train(&before).unwrap()),
            lineage(1, None),
            before.time(3_999),
        )
        .unwrap();
    registry
        .point(MODEL, Alias::Champion, first.number, None, "ada", before.time(3_999), "the first")
        .unwrap();
    let champion = registry.load(MODEL, parse, || unreachable!("it was registered")).unwrap().model;

    // The first replay after the release: people say which alerts were nothing.
    let trouble: Vec<Range<usize>> = (0..10).map(|n| 500 + 900 * n..540 + 900 * n).collect();
    let history = replay(10_000, true, &trouble, 2);
    let raised = alerts(&champion, &history);
    let rate = judge(&book, first.number, &raised, &history, &trouble);
    assert!(rate > 0.1, "the share of false alerts is {rate}");
    let origin = Origin { detector: MODEL.to_owned(), class: MetricClass::Business };
    let mut health = HealthConfig::default().build().unwrap();
    for remark in book.standing().unwrap() {
        let Subject::Alert(alert) = remark.subject else { continue };
        health.told(alert, origin.clone());
        health.hear(&remark);
    }
    assert!(
        health.advice(&origin) >= Advice::Retrain,
        "it asks for retraining: {:?}",
        health.report()
    );

    // The job: without what was trouble, by what people said of the alerts.
    let real: BTreeSet<Subject> = book
        .standing()
        .unwrap()
        .iter()
        .filter(|remark| remark.said == Said::NotNoise)
        .map(|remark| remark.subject)
        .collect();
    let spans: Vec<Span> = raised
        .iter()
        .filter(|alert| real.contains(&subject(first.number, alert)))
        .map(|alert| (history.time(alert.start), history.time(alert.end)))
        .collect();
    let job = Retrain {
        history: &history,
        trouble: &spans,
        excluded: &[],
        held_back: 0.3,
        false_positive_rate: TOLERATED,
    };
    let trainer = Keeping { config: config.clone(), ..Keeping::default() };
    let outcome = retrain(&job, &trainer, &champion).unwrap();
    assert!(matches!(outcome, Retrained::Swap { .. }), "{outcome:?}");
    let challenger = trainer.trained.lock().unwrap().take().unwrap();
    let now = history.time(9_999);
    let second =
        registry.register(MODEL, &bytes(&challenger), lineage(2, Some(first.number)), now).unwrap();
    registry
        .point(MODEL, Alias::Challenger, second.number, None, "ada", now, "people marked alerts")
        .unwrap();

    // Held-out spans, half of them with trouble: right is an alert there, and none elsewhere.
    let paired: Vec<(f64, f64)> = (0..60)
        .map(|nth| {
            let trouble: Vec<Range<usize>> =
                (nth % 2 == 0).then_some(200..240).into_iter().collect();
            let span = replay(400, true, &trouble, 100 + nth);
            let right = |model: &Pca| {
                let raised = alerts(model, &span);
                let false_alerts = raised.iter().filter(|step| !is_real(step, &trouble)).count();
                let seen = trouble.is_empty() || raised.iter().any(|step| is_real(step, &trouble));
                f64::from(u8::from(seen && false_alerts == 0))
            };
            (right(&champion), right(&challenger))
        })
        .collect();
    let judgement = PromotionGate::default().judge(&paired).unwrap();
    let early = registry.promote(MODEL, &judgement, "ada", now).unwrap_err();
    assert!(early.to_string().contains("shadow"), "{early}");
    registry
        .point(MODEL, Alias::Shadow, second.number, None, "ada", now, "beside the champion")
        .unwrap();
    assert_eq!(
        registry.promote(MODEL, &judgement, "ada", now).unwrap(),
        second.number,
        "{judgement}"
    );
    assert_eq!(registry.alias(MODEL, Alias::Previous).unwrap(), Some(first.number));

    // The next replay, with the champion that the registry now loads.
    let loaded = registry.load(MODEL, parse, || unreachable!("it was registered")).unwrap();
    assert_eq!(loaded.version, Some(second.number));
    let trouble: Vec<Range<usize>> = (0..30).map(|n| 400 + 300 * n..440 + 300 * n).collect();
    let next = replay(10_000, true, &trouble, 3);
    let raised = alerts(&loaded.model, &next);
    for span in &trouble {
        let seen = |step: &Range<usize>| is_real(step, std::slice::from_ref(span));
        assert!(raised.iter().any(seen), "trouble at {span:?} is seen");
    }
    let rate = judge(&book, second.number, &raised, &next, &trouble);
    assert!(rate < 0.05, "the share of false alerts is {rate}");
}

/// Trains, and keeps a copy of the model for the registry.
#[derive(Default)]
struct Keeping {
    config: PcaConfig,
    trained: Mutex<Option<Pca>>,
}

impl Fit for Keeping {
    fn fit(&self, train: &Frame) -> aiops_detect::Result<Box<dyn BatchDetector>> {
        let model = self.config.train(train)?;
        *self.trained.lock().unwrap() = Some(model.clone());
        Ok(Box::new(model))
    }
}

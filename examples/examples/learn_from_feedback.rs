//! Two services that share nothing but a rack become slow together, and the ranking cannot tell which
//! of them began it. After three incidents people have said each time that it was the storage.
//! The fourth ranking knows; and when the remarks are taken back, it forgets.
//!
//! ```text
//! cargo run -p aiops-examples --example learn_from_feedback
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what a user would see")]
use aiops_core::{
    Cause, Feedback, Frame, IncidentId, MetricKind, Ranking, Said, SeriesKey, Subject, Timestamp,
    Topology,
};
use aiops_rca::{
    Context, DefaultConfig, Experience, ExperienceConfig, MetricInfo, RootCauseAnalyzer,
};
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let keys = ["batch", "storage"].map(|s| SeriesKey::new("latency", [("service", s)]));
    let metrics: Vec<_> = keys.iter().map(|key| MetricInfo::of(key, MetricKind::Latency)).collect();
    let row = |rise: f64| {
        (0..720).map(move |t| {
            let noise = ((t * 7_919) % 101) as f64 / 101.0;
            0.1 + 0.02 * noise + if t >= 600 { rise } else { 0.0 }
        })
    };
    let values = row(0.42).chain(row(0.40)).collect();
    let window = Frame::new(keys.to_vec(), Timestamp::EPOCH, Duration::from_secs(1), values)?;
    let topology = Topology::new();
    let analyzer = DefaultConfig::default().build()?;
    let rank = |experience: Option<&Experience>| {
        let mut context = Context::new(&window, &metrics, &topology, Timestamp::from_secs(600))?;
        context.experience = experience;
        analyzer.rank(&context)
    };

    let before = rank(None)?;
    show("before anyone said anything", &before);
    assert_eq!(before.candidates[0].cause.service(), Some("batch"), "by a hair");

    // Three nights, two people, one remark each.
    let day = |n: i64| Timestamp::from_secs(n * 86_400);
    let remarks: Vec<Feedback> = [(1, "ada"), (2, "grace"), (3, "ada")]
        .into_iter()
        .map(|(n, who)| {
            let cause = Cause::Service { service: "storage".into() };
            let incident = Subject::Incident(IncidentId::from_u64(n as u64));
            Feedback::new(incident, Said::TrueCause { cause }, who, day(n))
        })
        .collect();
    let experience = ExperienceConfig::default().learn(&remarks, day(4))?;
    for (service, trouble, confirmed, rejected) in experience.counts() {
        println!("{service} ({trouble:?}): confirmed {confirmed:.2}, rejected {rejected:.2}");
    }
    let after = rank(Some(&experience))?;
    show("after three nights", &after);
    assert_eq!(after.candidates[0].cause.service(), Some("storage"));

    // All three are taken back: the counts are rebuilt from what stands.
    let undone = remarks.iter().map(|remark| {
        Feedback::new(remark.subject, Said::Undo { feedback: remark.id }, &*remark.by, day(5))
    });
    let all: Vec<Feedback> = remarks.iter().cloned().chain(undone).collect();
    let forgotten = ExperienceConfig::default().learn(&all, day(6))?;
    assert_eq!(rank(Some(&forgotten))?, before);
    println!("taken back: as before");
    Ok(())
}

fn show(title: &str, ranking: &Ranking) {
    println!("{title}:");
    for candidate in &ranking.candidates {
        println!("  {:4.1} %  {}", candidate.probability * 100.0, candidate.cause);
    }
}

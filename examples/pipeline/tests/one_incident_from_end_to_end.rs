//! The whole loop on a made-up incident: wiring, not quality.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod synthetic;

use std::collections::BTreeSet;

use aiops_pipeline::recording::{Recording, Truth};
use aiops_pipeline::story::{ActionStory, Story};
use aiops_pipeline::{
    Approval, Settings, bundled_runbooks, carry_out, json, judge, print, replay, report,
};
use synthetic::{Files, incident, pool_incident};

fn play(files: Files, name: &str) -> (Story, Truth) {
    let dir = files.write(name);
    let recording = Recording::open(&dir).unwrap();
    assert!(recording.flaws.is_empty(), "{}", recording.flaws);
    let mut seconds = 0;
    let library = bundled_runbooks().unwrap();
    let story = replay(&recording, &library, &Settings::default(), &mut |_| seconds += 1).unwrap();
    assert_eq!(seconds, recording.times.len(), "progress is told each second");
    (story, Truth::read(&dir).unwrap().unwrap())
}

#[test]
fn the_slow_database_is_found_and_told() {
    let (mut story, truth) = play(incident(), "end_to_end");
    let score = judge::judge(&story, &truth);
    assert_eq!(score.rank, Some(1), "{score:?}");
    assert!(score.to_incident_s.is_some_and(|s| (0.0..60.0).contains(&s)), "{score:?}");
    story.score = Some(score);

    let funnel = story.funnel;
    assert!(funnel.samples > funnel.anomalies && funnel.alerts() > funnel.incidents, "{funnel:?}");
    assert_eq!(funnel.incidents, 1, "{funnel:?}");

    let mut text = String::new();
    print::understanding(&story, &mut text).unwrap();
    print::outcome(&story, &mut text).unwrap();
    for part in
        ["Funnel", "Time line", "Ranked causes", "postgres", "DatabaseSlow", "Against the truth"]
    {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }

    let document = serde_json::to_value(json::document(&story)).unwrap();
    assert_eq!(document["format"], "aiops.replay/v1");
    let first = &document["incidents"][0]["ranking"]["candidates"][0];
    assert_eq!((first["rank"].as_u64(), first["service"].as_str()), (Some(1), Some("postgres")));

    // Whatever an incident names can be looked up, hidden alerts with their reasons too.
    let alerts = document["alerts"].as_array().unwrap();
    assert_eq!(alerts.len(), story.alerts.len());
    let known: BTreeSet<_> = alerts.iter().filter_map(|alert| alert["id"].as_str()).collect();
    for incident in document["incidents"].as_array().unwrap() {
        for id in incident["alerts"].as_array().unwrap() {
            assert!(known.contains(id.as_str().unwrap()), "{id} resolves");
        }
    }
    for alert in alerts {
        assert!(!alert["reasons"].as_array().unwrap().is_empty(), "{alert}");
        assert!(alert["hidden"].is_boolean() && alert["action"].is_string(), "{alert}");
    }

    let page = report(&story, &Settings::default());
    for part in ["<svg", "postgres", "What was done", "DatabaseSlow", "What people were spared"] {
        assert!(page.contains(part), "{part} is missing in the report");
    }
    for outside in ["http://", "https://", "src=", "@import", "url(//"] {
        assert!(!page.contains(outside), "the report is self-contained, found {outside}");
    }
}

#[test]
fn a_network_may_confirm_what_the_first_tier_flags() {
    let dir = incident().write("network");
    let recording = Recording::open(&dir).unwrap();
    let settings = Settings { network: true, ..Settings::default() };
    let library = bundled_runbooks().unwrap();
    let story = replay(&recording, &library, &settings, &mut |_| ()).unwrap();
    let score = judge::judge(&story, &Truth::read(&dir).unwrap().unwrap());
    assert_eq!(score.rank, Some(1), "{score:?}");
    let named =
        |told: &aiops_pipeline::story::AlertStory| told.alert.name.contains(aiops_gpu::NAME);
    let names: BTreeSet<_> = story.alerts.iter().map(|told| &told.alert.name).collect();
    assert!(story.alerts.iter().any(named), "{names:?}");
}

/// What was decided by some second must not depend on what came after it.
#[test]
fn nothing_looks_ahead() {
    let whole = incident();
    let (whole_story, _) = play(incident(), "whole");
    let cut_after = synthetic::TROUBLE.start + 90;
    let metrics = &whole.0["metrics.csv.gz"];
    let rows = metrics.lines().take(cut_after as usize + 2).map(|line| format!("{line}\n"));
    let (cut_story, _) = play(incident().with("metrics.csv.gz", rows.collect::<String>()), "cut");

    let until = cut_story.end;
    let earlier = |story: &Story| {
        let incident = story.main_incident().unwrap();
        let ranked: Vec<_> = incident.rankings.iter().filter(|r| r.at <= until).cloned().collect();
        (incident.incident.id, incident.incident.shown_at, ranked)
    };
    assert_eq!(earlier(&whole_story), earlier(&cut_story));
}

#[test]
fn a_denied_plan_touches_nothing_and_an_approved_one_is_verified() {
    let library = bundled_runbooks().unwrap();
    let plan_after = |approval, name| {
        let (mut story, _) = play(pool_incident(), name);
        let before = story.main_incident().and_then(|main| main.plan()).unwrap().clone();
        assert_eq!(
            (before.runbook.as_str(), before.state.as_str()),
            ("raise-pool-limit", "proposed")
        );
        carry_out(&mut story, &library, approval).unwrap();
        let plan = story.main_incident().and_then(|main| main.plan()).unwrap().clone();
        assert!(!plan.audit.is_empty(), "whatever the answer, there is a record of it");
        plan
    };
    // A plan for another cause than the true root is an error, during the fault too.
    let (story, truth) = play(pool_incident(), "wrong_root");
    assert_eq!(judge::judge(&story, &truth).acted_in_error, 0);
    let elsewhere = Truth { root_services: vec!["redis".to_owned()], ..truth };
    assert_eq!(judge::judge(&story, &elsewhere).acted_in_error, 1);
    let undo = story.main_incident().and_then(|main| main.plan()).unwrap().steps[1].undo.clone();
    assert_eq!(undo.as_deref(), Some("POST http://127.0.0.1:21001/admin/pool?max=8"), "resolved");

    let denied = plan_after(Approval::Deny, "denied");
    assert_eq!((denied.approval.answer, denied.state.as_str()), ("denied", "rejected"));
    assert!(denied.steps.iter().all(|step| step.state == "pending"), "{:?}", denied.steps);
    assert_eq!(denied.outcome, None);

    let approved = plan_after(Approval::Auto, "approved");
    assert_eq!((approved.approval.answer, approved.state.as_str()), ("approved", "succeeded"));
    assert!(approved.steps.iter().all(|step| step.state == "succeeded"), "{:?}", approved.steps);
    assert_eq!(approved.outcome, Some(aiops_core::Outcome::Ok));
}

/// Accepted samples are all judged, and every alert that came in or was raised ends with one
/// decision: its reasons, and the incident through which it stays reachable.
#[test]
fn nothing_is_lost_on_the_way_and_every_decision_has_its_reason() {
    let dir = pool_incident().write("nothing_lost");
    let recording = Recording::open(&dir).unwrap();
    let settings = Settings::default();
    let library = bundled_runbooks().unwrap();
    let mut story = replay(&recording, &library, &settings, &mut |_| {}).unwrap();
    carry_out(&mut story, &library, Approval::Deny).unwrap();

    let measured = story.metrics.values().iter().filter(|value| !value.is_nan()).count();
    assert_eq!(story.funnel.samples, measured as u64, "each value was judged or warmed up on");

    // Two anomalies of one series within a window of the rule are one alert.
    let raised = story.anomalies.iter().map(|a| settings.alert_rule.alert(a, a.last_seen).id);
    let came_in = recording.alerts.iter().map(|alert| alert.id);
    let expected: BTreeSet<_> = raised.chain(came_in).collect();
    let decided: BTreeSet<_> = story.alerts.iter().map(|told| told.alert.id).collect();
    assert_eq!(decided, expected);
    assert!(story.funnel.alerts() >= decided.len() as u64);

    for told in &story.alerts {
        assert!(!told.reasons.is_empty(), "{} was {} for no reason", told.alert.name, told.action);
        let incident = told.incident.unwrap_or_else(|| panic!("{} is nowhere", told.alert.name));
        let holder = story.incidents.iter().find(|story| story.incident.id == incident).unwrap();
        assert!(holder.incident.alerts.contains(&told.alert.id), "{} reaches", told.alert.name);
    }
    for incident in &story.incidents {
        assert!(!incident.incident.timeline.is_empty(), "{} has no story", incident.incident.title);
        for ranked in &incident.rankings {
            assert!(ranked.ranking.candidates.iter().all(|c| !c.evidence.is_empty()));
        }
        match &incident.action {
            ActionStory::NotReached(reasons) => assert!(!reasons.is_empty()),
            ActionStory::Planned(plan) => {
                assert!(!plan.because.is_empty() && !plan.gates.is_empty())
            }
        }
    }
}

/// Rows that are missing leave a gap; they do not push later ones out of the frame.
#[test]
fn what_comes_after_a_gap_is_judged_and_drawn() {
    let rows: Vec<String> = incident().0["metrics.csv.gz"].lines().map(str::to_owned).collect();
    let gap = 121..221;
    let left = rows.iter().enumerate().filter(|(row, _)| !gap.contains(row));
    let left: String = left.map(|(_, row)| format!("{row}\n")).collect();
    let recording = Recording::open(&incident().with("metrics.csv.gz", left).write("gap")).unwrap();
    let library = bundled_runbooks().unwrap();
    let story = replay(&recording, &library, &Settings::default(), &mut |_| {}).unwrap();
    assert_eq!(story.metrics.n_steps(), synthetic::SECONDS as usize);
    let last = story.metrics.n_steps() - 1;
    assert!((0..story.metrics.n_series()).all(|row| story.metrics.row(row)[last].is_finite()));
    assert!((0..story.metrics.n_series()).all(|row| story.metrics.row(row)[150].is_nan()));
    let measured = story.metrics.values().iter().filter(|value| !value.is_nan()).count();
    assert_eq!(story.funnel.samples, measured as u64);
    assert_eq!(story.funnel.incidents, 1, "{:?}", story.funnel);
}

#[test]
fn the_same_recording_tells_the_same_story() {
    let told = |name| {
        let (mut story, _) = play(incident(), name);
        story.timings.clear(); // seconds of computing are no part of the story
        serde_json::to_string(&json::document(&story)).unwrap()
    };
    assert_eq!(told("once"), told("again"));
}

#[test]
fn a_recording_without_trouble_shows_no_incident() {
    let files = incident();
    let rows = files.0["metrics.csv.gz"].lines().take(synthetic::TROUBLE.start as usize);
    let quiet = rows.map(|line| format!("{line}\n")).collect::<String>();
    let files =
        files.with("alerts.jsonl", "").with("changes.jsonl", "").with("metrics.csv.gz", quiet);
    let (story, truth) = play(files.edit("truth.json", "\"slow_queries\"", "null"), "quiet");
    let score = judge::judge(&story, &truth);
    assert_eq!((score.shown_beside, score.acted_in_error), (0, 0), "{:?}", story.funnel);
    assert!(report(&story, &Settings::default()).contains("Nothing to act on"));
}

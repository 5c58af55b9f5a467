//! The gates, row by row: what each lets through on the very limit, just beyond it, and why.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aiops_act::book::{Book, Closing};
use aiops_act::gates::{self, GateInput};
use aiops_act::{Gate, GateConfig, Level, Mode, Passage, Plan, Situation, matcher};
use aiops_core::{IncidentState, Timestamp, Topology};

use crate::common::{START, runbook, shop, situation};

/// A plan, and a world in which every gate is open.
struct Scene {
    plan: Plan,
    config: GateConfig,
    now: Timestamp,
    paused: Option<&'static str>,
    mode: Mode,
    incident: Option<Situation>,
    ranked: bool,
    calibrated: bool,
    topology: Topology,
    unhealthy: BTreeSet<String>,
    book: Book,
    level: Level,
}

fn plan_of(id: &str, document: &str, situation: &Situation) -> Plan {
    let steps = "steps: [{id: act, uses: hands, undo: {uses: nothing}}]\n";
    let runbook = runbook(id, &format!("{document}{steps}"));
    let fit = matcher::fit(&runbook, situation, None, START).unwrap();
    let mut plan = Plan::new(&fit, situation, &BTreeMap::new(), "engine", START).unwrap();
    plan.measure_blast(&shop(START), Duration::from_secs(300), START);
    plan
}

/// On the API, which the gateway depends on: two of four services can be hurt.
fn scene_of(document: &str) -> Scene {
    let situation = situation(&[("api", 0.9)]);
    Scene {
        plan: plan_of("table", document, &situation),
        config: GateConfig::default(),
        now: START,
        paused: None,
        mode: Mode::Full,
        incident: Some(situation),
        ranked: true,
        calibrated: true,
        topology: shop(START),
        unhealthy: BTreeSet::new(),
        book: Book::default(),
        level: Level::Approve,
    }
}

fn on_api(safety: &str) -> Scene {
    scene_of(&format!(
        "match: {{services: [api]}}\ntargets: {{services: [api]}}\nsafety: {{{safety}}}\n"
    ))
}

impl Scene {
    /// What `gate` lets through, and the code of its reason.
    fn at(&self, gate: Gate) -> (Passage, String) {
        let input = GateInput {
            now: self.now,
            paused: self.paused,
            mode: self.mode,
            incident: self.incident.as_ref().map(|s| &s.incident),
            ranking: self.incident.as_ref().filter(|_| self.ranked).map(|s| &s.ranking),
            calibrated: self.calibrated,
            topology: &self.topology,
            unhealthy: &self.unhealthy,
            book: &self.book,
            level: self.level,
        };
        let report = gates::check(&self.plan, &self.config, &input);
        let check = report.checks.iter().find(|check| check.gate == gate).unwrap();
        (check.passage, check.reason.code.to_string())
    }

    fn says(&self, gate: Gate, passage: Passage, code: &str) {
        assert_eq!(self.at(gate), (passage, code.to_owned()), "{gate:?}");
    }

    fn is_open(&self, gate: Gate) {
        self.says(gate, Passage::Open, "ok");
    }

    /// Another run that works on `target` alone.
    fn and_one_on(mut self, target: &str) -> Scene {
        let other = other_plan("other", target);
        self.book.start(&other, [target.to_owned()].into(), self.now);
        self
    }
}

fn other_plan(id: &str, target: &str) -> Plan {
    let document = format!(
        "match: {{services: [{target}]}}\ntargets: {{services: [{target}]}}\nsafety: {{max_percent: 100}}\n"
    );
    plan_of(id, &document, &situation(&[(target, 0.9)]))
}

#[test]
fn in_a_quiet_world_every_gate_is_open() {
    let scene = on_api("max_percent: 100");
    use Gate::*;
    for gate in [
        KillSwitch,
        Mode,
        Freeze,
        Document,
        Incident,
        Confidence,
        Calibration,
        Targets,
        Topology,
        BlastRadius,
        GroupHealth,
        Lease,
        Cooldown,
        Breaker,
        Rate,
        Trust,
    ] {
        scene.is_open(gate);
    }
}

#[test]
fn the_switch_the_mode_the_calibration_and_the_trust_close_their_gates() {
    let with = |change: fn(&mut Scene)| {
        let mut scene = on_api("max_percent: 100");
        change(&mut scene);
        scene
    };
    let (refuse, propose) = (Passage::Refuse, Passage::Propose);
    with(|s| s.paused = Some("drill")).says(Gate::KillSwitch, refuse, "paused");
    with(|s| s.mode = Mode::SuggestOnly).says(Gate::Mode, propose, "suggest_only");
    with(|s| s.mode = Mode::NotifyOnly).says(Gate::Mode, refuse, "no_acting");
    with(|s| s.calibrated = false).says(Gate::Calibration, propose, "uncalibrated");
    with(|s| {
        s.calibrated = false;
        s.config.act_on_uncalibrated = true;
    })
    .is_open(Gate::Calibration);
    for level in [Level::Observe, Level::Suggest] {
        let mut scene = on_api("max_percent: 100");
        scene.level = level;
        scene.says(Gate::Trust, propose, "not_trusted");
    }
    with(|s| s.level = Level::Auto).is_open(Gate::Trust);
}

#[test]
fn the_incident_has_to_be_open_and_its_cause_the_same() {
    let mut scene = on_api("max_percent: 100");
    scene.ranked = false;
    scene.says(Gate::Confidence, Passage::Propose, "no_ranking");
    scene.incident.as_mut().unwrap().incident.state = IncidentState::Resolved;
    scene.says(Gate::Incident, Passage::Refuse, "incident_over");
    scene.incident = None;
    scene.says(Gate::Incident, Passage::Refuse, "incident_unknown");
    scene.says(Gate::Confidence, Passage::Propose, "no_ranking");

    let either = "match: {services: [api, redis], min_confidence: 0.5}\n\
                  targets: {services: [api]}\nsafety: {max_percent: 100}\n";
    for (causes, passage, code) in [
        (&[("api", 0.9)][..], Passage::Open, "ok"),
        (&[("redis", 0.9)], Passage::Refuse, "cause_changed"),
        (&[("postgres", 0.9)], Passage::Refuse, "other_service"),
        (&[("api", 0.4)], Passage::Propose, "low_confidence"),
    ] {
        let mut then = scene_of(either);
        then.incident = Some(situation(causes));
        let (found, reason) = then.at(Gate::Confidence);
        assert_eq!(found, passage, "{causes:?}: {reason}");
        if code != "other_service" {
            assert_eq!(reason, code, "{causes:?}");
        }
    }
}

#[test]
fn a_condition_is_asked_again_unless_it_reads_the_alerts_of_then() {
    let with = |condition: &str| {
        let mut scene = scene_of(&format!(
            "match: {{services: [api], when: \"{condition}\"}}\n\
             targets: {{services: [api]}}\nsafety: {{max_percent: 100}}\n"
        ));
        let now = scene.incident.as_mut().unwrap();
        now.incident.title = "something else".to_owned();
        now.alerts.clear();
        scene
    };
    let (passage, _) = with("incident.title == 'api: pool is dry'").at(Gate::Confidence);
    assert_eq!(passage, Passage::Refuse, "it does not hold any more");
    with("incident.title != ''").is_open(Gate::Confidence);
    with("alerts.exists(a, a.service == 'api')").is_open(Gate::Confidence);
}

#[test]
fn targets_are_known_and_none_is_what_the_engine_needs() {
    let mut own = on_api("max_percent: 100");
    own.config.self_exclusion = ["gateway".to_owned()].into();
    own.says(Gate::Targets, Passage::Propose, "self_exclusion");
    let unknown = scene_of(
        "match: {services: [api]}\ntargets: {services: [ghost]}\nsafety: {max_percent: 100}\n",
    );
    unknown.says(Gate::Targets, Passage::Propose, "unknown_target");
    unknown.is_open(Gate::Topology);
    let mut old = on_api("max_percent: 100");
    old.now = START + old.config.max_topology_age;
    old.is_open(Gate::Topology);
    old.now += Duration::from_nanos(1);
    old.says(Gate::Topology, Passage::Propose, "stale_topology");
    old.is_open(Gate::Targets);
}

#[test]
fn a_blast_radius_may_reach_its_limits_and_not_pass_them() {
    let gate = Gate::BlastRadius;
    on_api("max_services: 2, max_percent: 50").is_open(gate);
    on_api("max_services: 1, max_percent: 50").says(gate, Passage::Propose, "blast_radius");
    on_api("max_services: 2, max_percent: 49").says(gate, Passage::Propose, "blast_radius");
    // Together with what is in flight.
    on_api("max_services: 3, max_percent: 75").and_one_on("redis").is_open(gate);
    on_api("max_services: 2, max_percent: 75").and_one_on("redis").says(
        gate,
        Passage::Wait,
        "blast_radius_shared",
    );
    // No more than when the plan was made.
    let mut grown = on_api("max_services: 2, max_percent: 50");
    grown.plan.blast.services.remove("gateway");
    grown.says(gate, Passage::Refuse, "blast_grew");
}

#[test]
fn a_group_may_be_as_sick_as_the_document_allows() {
    let group = |most: u32| {
        let mut scene = scene_of(&format!(
            "match: {{services: [api]}}\ntargets: {{services: [api, redis]}}\n\
             safety: {{max_percent: 100, max_unhealthy_percent: {most}}}\n"
        ));
        scene.unhealthy = ["redis".to_owned(), "postgres".to_owned()].into();
        scene
    };
    group(50).is_open(Gate::GroupHealth);
    group(49).says(Gate::GroupHealth, Passage::Refuse, "group_unhealthy");
}

#[test]
fn a_target_is_worked_on_by_one_run_and_all_runs_are_counted() {
    let limited = |most: u32| {
        let mut scene = on_api("max_percent: 100");
        scene.config.limits.max_concurrent = most;
        scene
    };
    let mut own = limited(1);
    let plan = own.plan.clone();
    own.book.start(&plan, ["api".to_owned()].into(), START);
    own.is_open(Gate::Lease);
    own.is_open(Gate::Cooldown);
    limited(2).and_one_on("redis").is_open(Gate::Lease);
    limited(1).and_one_on("redis").says(Gate::Lease, Passage::Wait, "concurrency");
    let mut taken = limited(9).and_one_on("api");
    taken.says(Gate::Lease, Passage::Wait, "target_taken");
    taken.book.quarantine(other_plan("other", "api").run);
    taken.says(Gate::Lease, Passage::Refuse, "quarantined");
}

#[test]
fn what_ran_lately_or_went_wrong_is_only_proposed() {
    let limits = GateConfig::default().limits;
    // The same remedy a moment ago.
    let mut scene = scene_of(
        "match: {services: [api], cooldown: 10m}\ntargets: {services: [api]}\n\
         safety: {max_percent: 100, rate: {runs: 1, per: 20m}}\n",
    );
    let mut before = scene.plan.clone();
    before.run = "00000000000000aa".parse().unwrap();
    scene.book.start(&before, BTreeSet::new(), START);
    scene.book.end(&before, Closing::Good, &limits, START);
    scene.says(Gate::Cooldown, Passage::Propose, "cooldown");
    scene.says(Gate::Rate, Passage::Propose, "rate");
    scene.is_open(Gate::Breaker);
    scene.now = START + Duration::from_secs(600);
    scene.is_open(Gate::Cooldown);
    scene.says(Gate::Rate, Passage::Propose, "rate");
    scene.now = START + Duration::from_secs(1_200);
    scene.is_open(Gate::Rate);
    // The budget of the hour.
    let mut budget = on_api("max_percent: 100");
    budget.config.limits.max_per_hour = 2;
    budget = budget.and_one_on("redis");
    budget.is_open(Gate::Breaker);
    budget = budget.and_one_on("postgres");
    budget.says(Gate::Breaker, Passage::Propose, "budget");
    // Bad ends open a breaker, of the runbook and of the target; one "worse" does so at once.
    for (closings, open) in [
        (vec![Closing::Bad; 2], false),
        (vec![Closing::Bad; 3], true),
        (vec![Closing::Worse], true),
        (vec![Closing::Good; 5], false),
    ] {
        let mut same_target = on_api("max_percent: 100");
        let mut same_runbook = on_api("max_percent: 100");
        for closing in closings {
            same_target.book.count(&other_plan("other", "api"), closing, &limits, START);
            same_runbook.book.count(&other_plan("table", "redis"), closing, &limits, START);
        }
        for scene in [same_target, same_runbook] {
            let (passage, code) = scene.at(Gate::Breaker);
            assert_eq!((passage == Passage::Propose, code == "breaker_open"), (open, open));
        }
    }
}

#[test]
fn a_revoked_old_or_frozen_document_does_not_run() {
    let dated = |more: &str| {
        scene_of(&format!(
            "{more}match: {{services: [api]}}\ntargets: {{services: [api]}}\nsafety: {{max_percent: 100}}\n"
        ))
    };
    dated("revoked: false\n").is_open(Gate::Document);
    let mut old = dated("valid_until: 2027-01-16T00:00:00Z\n");
    old.is_open(Gate::Document);
    old.now = START + Duration::from_secs(2 * 86_400);
    old.says(Gate::Document, Passage::Refuse, "not_valid");
}

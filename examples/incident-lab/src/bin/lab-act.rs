//! Acts on the running lab: waits until alerts fire, proposes a runbook, has it approved, executes it
//! against the API's admin interface, and verifies it on live metrics.
//!
//! What runs is `aiops-act` as a service would embed it: a durable store, the HTTP executor with an
//! allow-list, metrics from Prometheus, the machine's own clock. Only the ranking is simple: the share
//! of firing alerts by service. How well real rankings find the cause is judged on the recordings.
#![allow(clippy::print_stdout, reason = "a command line tool prints")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aiops_act::executor::BoxFuture;
use aiops_act::executor::http::HttpExecutor;
use aiops_act::http::{HttpClient, HttpRequest, PlainClient};
use aiops_act::{
    ApprovalPolicy, Approver, Engine, EngineConfig, FixedApprover, GateConfig, Library,
    MetricQuery, Metrics, Mode, Run, Runbook, Situation, TerminalApprover, World, audit,
    match_runbooks,
};
use aiops_core::{
    Alert, Candidate, Cause, Clock, Edge, EdgeKind, Fingerprint, Incident, IncidentId,
    IncidentState, Labels, NodeKind, Ranking, Severity, SystemClock, Timestamp, Topology,
};
use aiops_incident_lab::http::{BoxError, url_encode};
use aiops_knowledge::RedbStore;
use clap::Parser;
use serde_json::Value;

/// Acts on the running lab.
#[derive(Parser)]
struct Args {
    /// Address of Prometheus.
    #[arg(long)]
    prometheus: String,
    /// Address of the API's admin interface.
    #[arg(long)]
    api: String,
    /// The runbook.
    #[arg(long)]
    runbook: PathBuf,
    /// File of the durable store.
    #[arg(long)]
    store: PathBuf,
    /// Approves in the name of this person without asking; otherwise the terminal is asked.
    #[arg(long)]
    approve: Option<String>,
    /// Seconds to wait for alerts.
    #[arg(long, default_value_t = 180)]
    patience: u64,
    /// Fails unless the run ends so, for example `succeeded` or `rolled_back`.
    #[arg(long)]
    expect: Option<String>,
}

/// Prometheus, as far as acting needs it.
#[derive(Clone)]
struct Prometheus {
    address: String,
    client: PlainClient,
}

impl Prometheus {
    async fn get(&self, path: &str) -> Result<Value, BoxError> {
        let request = HttpRequest {
            method: "GET".to_owned(),
            url: format!("{}{path}", self.address),
            headers: vec![],
            body: vec![],
            timeout: Duration::from_secs(5),
        };
        let answer = self.client.send(request).await?;
        Ok(serde_json::from_slice(&answer.body)?)
    }

    /// The alerts that fire now.
    async fn firing(&self) -> Result<Vec<Alert>, BoxError> {
        let answer = self.get("/api/v1/alerts").await?;
        let alerts = answer["data"]["alerts"].as_array().cloned().unwrap_or_default();
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        Ok(firing
            .map(|alert| {
                let label = |name: &str| alert["labels"][name].as_str().unwrap_or_default();
                let labels = Labels::from([("service", label("service"))]);
                let mut made = Alert::new(label("alertname"), labels, SystemClock.now());
                made.service = Some(label("service").to_owned());
                made
            })
            .collect())
    }
}

impl Metrics for Prometheus {
    fn read<'a>(&'a self, query: &'a MetricQuery, at: Timestamp) -> BoxFuture<'a, Option<f64>> {
        let mut labels: Vec<String> =
            query.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        if !query.service.is_empty() {
            labels.push(format!("service={:?}", query.service));
        }
        let over = query.over.as_secs().max(1);
        let text = format!("avg_over_time({}{{{}}}[{over}s])", query.metric, labels.join(","));
        let path = format!("/api/v1/query?query={}&time={}", url_encode(&text), at.as_secs());
        Box::pin(async move {
            let answer = self.get(&path).await.ok()?;
            let [only] = answer["data"]["result"].as_array()?.as_slice() else { return None };
            only["value"][1].as_str()?.parse().ok()
        })
    }
}

/// The lab as it is now. Its topology is fixed, and confirmed by its being up.
struct Lab(Mutex<Situation>);

impl World for Lab {
    fn situation(&self, incident: IncidentId) -> Option<Situation> {
        let now = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (now.incident.id == incident).then_some(now)
    }
    fn topology(&self) -> Arc<Topology> {
        let now = SystemClock.now();
        let mut topology = Topology::new();
        let [gateway, api, postgres, redis] = ["gateway", "api", "postgres", "redis"]
            .map(|name| topology.upsert_node(name, NodeKind::Service, now));
        for (from, to) in [(gateway, api), (api, postgres), (api, redis)] {
            // Both ends were just made.
            let _ = topology.upsert_edge(from, to, Edge::new(EdgeKind::Calls, "lab", now));
        }
        Arc::new(topology)
    }
    fn unhealthy(&self) -> BTreeSet<String> {
        BTreeSet::new() // the API is one instance: there is no group to spare
    }
    fn calibrated(&self) -> bool {
        false
    }
    fn mode(&self) -> Mode {
        Mode::Full
    }
}

/// An incident out of what fires, with each service as probable as its share of the alerts.
fn situation(alerts: Vec<Alert>, onset: Timestamp) -> Result<Situation, BoxError> {
    let mut shares: BTreeMap<String, f64> = BTreeMap::new();
    for alert in &alerts {
        // The gateway only shows what is behind it.
        let service = alert.service.clone().unwrap_or_default();
        if service != "gateway" && !service.is_empty() {
            *shares.entry(service).or_default() += 1.0;
        }
    }
    let incident = Incident {
        id: IncidentId::of("lab", Fingerprint::from_u64(1), onset),
        tenant: "lab".to_owned(),
        state: IncidentState::Open,
        onset,
        shown_at: Some(onset),
        resolved_at: None,
        severity: Severity::Critical,
        title: format!("{} alerts", alerts.len()),
        alerts: vec![],
        services: shares.keys().cloned().collect(),
        events: vec![],
        timeline: vec![],
    };
    let candidates = shares.into_iter().map(|(service, score)| Candidate {
        cause: Cause::Service { service },
        probability: 0.0,
        score,
        evidence: vec![],
    });
    let ranking = Ranking::from_weights("share_of_alerts", candidates.collect(), 0.5)?;
    Ok(Situation { incident, ranking, alerts })
}

/// Waits until an alert of the pool fires and the picture has stood for a few seconds.
async fn wait_for_incident(prometheus: &Prometheus, patience: u64) -> Result<Situation, BoxError> {
    for _ in 0..patience {
        let alerts = prometheus.firing().await?;
        if alerts.iter().any(|alert| alert.name.contains("PoolWaiting")) {
            let onset = SystemClock.now();
            tokio::time::sleep(Duration::from_secs(5)).await;
            return situation(prometheus.firing().await?, onset);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Err("no alert of the pool fired in time".into())
}

async fn act(args: Args) -> Result<(), BoxError> {
    let address = args.prometheus.trim_end_matches('/').to_owned();
    let prometheus = Prometheus { address, client: PlainClient::default() };
    let mut library = Library::new();
    library.add(Runbook::parse(&std::fs::read(&args.runbook)?)?)?;

    let situation = wait_for_incident(&prometheus, args.patience).await?;
    let names: Vec<&str> = situation.alerts.iter().map(|alert| alert.name.as_str()).collect();
    println!("firing: {}", names.join(", "));
    for candidate in &situation.ranking.candidates {
        println!("cause: {} {:.0} %", candidate.cause, candidate.probability * 100.0);
    }

    let clock = Arc::new(SystemClock);
    let operator = args.approve.clone().unwrap_or_else(|| "operator".to_owned());
    let approver: Arc<dyn Approver> = match &args.approve {
        Some(name) => Arc::new(FixedApprover::approving(name, clock.clone())),
        None => Arc::new(TerminalApprover::new(&operator, clock.clone())),
    };
    let config = EngineConfig {
        name: "lab".to_owned(),
        approval: ApprovalPolicy::default().with_person(&operator, &["oncall"]),
        // The share of alerts is no probability; a person looks at every plan.
        gates: GateConfig { act_on_uncalibrated: true, ..GateConfig::default() },
        ..EngineConfig::default()
    };
    let http = HttpExecutor::new(Arc::new(PlainClient::default())).allowing(&args.api)?;
    let store = Arc::new(RedbStore::open(&args.store)?);
    let world = Arc::new(Lab(Mutex::new(situation.clone())));
    let engine = Engine::builder(config, store, clock.clone(), world)
        .executor(Arc::new(http))
        .approver(approver)
        .metrics(Arc::new(prometheus))
        .build()?;

    let matches = match_runbooks(&library, &situation, &BTreeMap::new(), clock.now());
    let fit = matches.best().ok_or_else(|| format!("no runbook fits: {:?}", matches.misfits))?;
    let params = BTreeMap::from([("api".to_owned(), Value::from(args.api))]);
    let proposal = engine.propose(fit, &situation, &params).await?;
    println!("proposed: {}", fit.runbook.document().title);
    for step in &proposal.steps {
        println!("  {}: {} {}", step.id, step.uses, Value::Object(step.with.clone()));
    }
    let began = clock.now();
    let run = engine.execute(proposal.plan).await?;
    print_run(&run, began, clock.now());

    let records = engine.audit(0, 10_000).await?;
    let head = audit::verify(&records, Some(engine.audit_head().await?))?;
    println!("audit: {} records, the chain is whole: {head}", records.len());
    let ending = serde_json::to_value(run.ending())?;
    match args.expect {
        Some(expected) if ending != expected => {
            Err(format!("it ended {ending}, expected {expected}").into())
        }
        _ => Ok(()),
    }
}

fn print_run(run: &Run, began: Timestamp, ended: Timestamp) {
    let show = |values: &aiops_act::verify::Values| {
        let shown = values.iter().map(|(name, value)| match value {
            Some(value) => format!("{name} {value:.3}"),
            None => format!("{name} no data"),
        });
        shown.collect::<Vec<_>>().join(", ")
    };
    println!("before: {}", show(&run.progress.before));
    for taken in &run.progress.taken {
        let after = taken.at.since(began).as_secs();
        println!(
            "  +{after} s: {} -> {:?}: {}",
            show(&taken.values),
            taken.judged,
            taken.reason.sentence
        );
    }
    for step in &run.steps {
        println!("step {}: {:?}, undo {:?}", step.id, step.status, step.undo);
    }
    let because: Vec<&str> = run.because.iter().map(|r| r.sentence.as_str()).collect();
    println!("{:?} after {} s: {}", run.state, ended.since(began).as_secs(), because.join("; "));
}

#[tokio::main]
async fn main() {
    if let Err(error) = act(Args::parse()).await {
        println!("lab-act: {error}");
        std::process::exit(1);
    }
}

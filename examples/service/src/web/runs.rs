//! Remedies: what would be done, who may say so, what came of it, and the record of all that.

use std::sync::Arc;

use aiops_act::approve::Says;
use aiops_act::approver::{call_line, visible};
use aiops_act::audit::AuditRecord;
use aiops_act::machine::{Ending, Resolution, Run, State, StepStatus, Stuck};
use aiops_act::runbook::{Effect, UNDO_NOTHING};
use aiops_act::{Binding, RunId};
use aiops_core::{IncidentId, Reason};
use aiops_pipeline::words;
use axum::body::Body;
use axum::extract::{Path, Query, State as Given};
use axum::http::{Response, StatusCode};
use axum::response::{Html, IntoResponse, Redirect};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::json;

use super::form::{Fields, Sent};
use super::{App, Asking, console, failed, plain};
use crate::{Acting, Result, Role};

/// How many records of the audit a page shows.
const RECORDS: usize = 100;

/// How many runs a page shows.
const RUNS: usize = 50;

/// Which page is asked for, from 1.
#[derive(Deserialize)]
pub(super) struct Paged {
    #[serde(default)]
    page: usize,
}

impl Paged {
    /// How many are on the pages before it.
    fn skip(&self, size: usize) -> usize {
        self.page.saturating_sub(1).saturating_mul(size)
    }

    /// Ways to the pages beside it.
    fn links(&self, size: usize, count: usize) -> Markup {
        let (page, pages) = (self.page.max(1), count.div_ceil(size).max(1));
        html! {
            @if pages > 1 {
                nav aria-label="Pages" {
                    @if page > 1 { a href=(format!("?page={}", page - 1)) rel="prev" { "Newer" } " " }
                    span.dim { "Page " (page) " of " (pages) " " }
                    @if page < pages { a href=(format!("?page={}", page + 1)) rel="next" { "Older" } }
                }
            }
        }
    }
}

/// What is or may be done about one incident.
pub(super) struct Remedy {
    run: Option<Run>,
    misfits: Vec<Reason>,
    dry_run: bool,
}

impl Remedy {
    pub(super) async fn of(acting: &Acting, incident: IncidentId) -> Result<Remedy> {
        let run = acting.run_of(incident).await?;
        Ok(Remedy { run, misfits: acting.misfits(incident), dry_run: acting.is_dry_run() })
    }
}

/// The part of an incident's page about its remedy.
pub(super) fn section(remedy: &Remedy, form_key: Option<&str>) -> Markup {
    html! {
        @if let Some(run) = &remedy.run {
            h2 id="remedy" { "What can be done" }
            (plan(run, remedy.dry_run))
            @if let Some(key) = form_key { (question(run, key)) (decision(run, key)) }
            (course(run))
        } @else if !remedy.misfits.is_empty() {
            h2 { "What can be done" }
            details {
                summary { "No runbook fits yet: why not" }
                ul.dim { @for reason in &remedy.misfits { li { (reason.sentence) } } }
            }
        }
    }
}

fn plan(run: &Run, dry_run: bool) -> Markup {
    let plan = &run.plan;
    let document = plan.runbook.document();
    let (targets, hurt) = (plan.targets.iter().collect::<Vec<_>>(), &plan.blast.services);
    html! {
        p {
            strong { (visible(&document.title)) } " " (standing(run))
            br;
            span.dim {
                (document.id) " " (document.version) ", tier " (plan.risk as u8) ", for " (plan.cause) " ("
                (words::percent(plan.confidence)) "), on " (visible(&targets.join(", "))) "; can hurt "
                (hurt.len()) " of " (plan.blast.known) " services"
                @if !hurt.is_empty() { ": " (visible(&hurt.iter().cloned().collect::<Vec<_>>().join(", "))) }
            }
        }
        @if dry_run { p.dim { "Dry run: approved steps are walked, and nothing is touched." } }
        table {
            @for (step, done) in document.steps.iter().zip(&run.steps) { tr {
                td { (mark(done.status)) " " (step.id) }
                td {
                    @if !step.title.is_empty() { (visible(&step.title)) br; }
                    code { (visible(&call_line(&step.uses, &plan.fill(&step.with)))) }
                    @match &step.undo {
                        Some(undo) if undo.uses != UNDO_NOTHING => {
                            br; span.dim { "undone by " code { (visible(&call_line(&undo.uses, &plan.fill(&undo.with)))) } }
                        }
                        _ if step.effect == Effect::Read => {}
                        _ => { br; span.dim { "cannot be undone" } }
                    }
                    @if let Some(error) = &done.error { br; span.bad { (visible(&error.to_string())) } }
                }
            } }
        }
        @if let Some(verify) = &document.verify {
            p.dim { "It helped when " code { (verify.success_when) } " " (verify.count) " times in a row." }
        }
    }
}

fn standing(run: &Run) -> Markup {
    let (class, text) = match &run.state {
        State::Asking => ("", "waits for approval".to_owned()),
        State::NeedsHuman { over } => ("bad", format!("needs a person: {}", stuck(*over))),
        State::Ended { ending } => match ending {
            Ending::Succeeded => ("good", "done, and it helped".to_owned()),
            Ending::Completed => ("good", "done".to_owned()),
            Ending::Rejected => ("dim", "a person said no".to_owned()),
            Ending::RolledBack => ("bad", "undone".to_owned()),
            Ending::Failed => ("bad", "failed".to_owned()),
            other => ("dim", spoken(other)),
        },
        other => ("dim", spoken(other)),
    };
    html! { span class=(class) { (text) } }
}

/// The name of a state or an ending as JSON has it, with spaces.
fn spoken<T: serde::Serialize>(value: &T) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().or_else(|| value["is"].as_str()).unwrap_or_default().replace('_', " ")
}

fn stuck(over: Stuck) -> &'static str {
    match over {
        Stuck::Step { .. } => "nobody knows whether a step happened",
        Stuck::Failure => "a step failed",
        Stuck::Verdict => "nobody can tell whether it helped",
        Stuck::Rollback => "an undo failed",
        Stuck::Halted => "somebody pressed the kill switch",
        _ => "see the record",
    }
}

fn mark(status: StepStatus) -> &'static str {
    match status {
        StepStatus::Succeeded => "✓",
        StepStatus::Failed => "✗",
        StepStatus::Active => "…",
        _ => "·",
    }
}

/// The question that is open, with what an answer is bound to.
fn question(run: &Run, key: &str) -> Markup {
    let Some(question) = run.question.as_ref().filter(|_| matches!(run.state, State::Asking))
    else {
        return html! {};
    };
    let binding = serde_json::to_string(&question.binding).unwrap_or_default();
    let have = run.answers.iter().filter(|answer| answer.says == Says::Approve).count();
    html! {
        form method="post" action=(format!("/runs/{}/answer", run.plan.run)) {
            input type="hidden" name="key" value=(key);
            input type="hidden" name="to" value=(binding);
            p {
                label for="comment" { "Why?" } br;
                input id="comment" name="comment" maxlength="500" required placeholder="what makes you sure, or not";
            }
            button.go name="says" value="approve" { "Approve" }
            button.no name="says" value="reject" { "Reject" }
            p.dim {
                (have) " of " (question.count) " approvals"
                @if !question.roles.is_empty() { ", from: " (question.roles.join(", ")) }
                "; until " (words::clock(question.expires_at))
            }
        }
    }
}

/// What a person can decide about a run that needs one.
fn decision(run: &Run, key: &str) -> Markup {
    let State::NeedsHuman { over } = run.state else { return html! {} };
    let choices: &[(&str, &str)] = match over {
        Stuck::Step { .. } => {
            &[("happened", "It happened, go on"), ("did_not_happen", "It did not, do it")]
        }
        _ => &[],
    };
    let always = [
        ("roll_back", "Undo what was done"),
        ("close_as_fixed", "I have dealt with it, it helped"),
        ("close_as_bad", "I have dealt with it, it did not help"),
    ];
    html! {
        form method="post" action=(format!("/runs/{}/resolve", run.plan.run)) {
            input type="hidden" name="key" value=(key);
            @for (value, text) in choices.iter().chain(&always) {
                button name="resolution" value=(value) { (text) }
            }
        }
    }
}

/// How it came to where it stands.
fn course(run: &Run) -> Markup {
    html! {
        @for answer in &run.answers {
            p {
                (words::clock(answer.at)) " " (visible(&answer.by))
                @if answer.says == Says::Approve { " approved" } @else { " rejected" }
                @if !answer.comment.is_empty() { ": " (visible(&answer.comment)) }
            }
        }
        @if !run.because.is_empty() && !matches!(run.state, State::Asking) {
            ul.dim { @for reason in &run.because { li { (visible(&reason.sentence)) } } }
        }
        @if !run.progress.taken.is_empty() {
            details {
                summary { (run.progress.taken.len()) " measurements afterwards" }
                ul.dim { @for taken in &run.progress.taken {
                    li { (words::clock(taken.at)) " " (visible(&taken.reason.sentence)) }
                } }
            }
        }
    }
}

/// All runs, the mode, and the kill switch.
pub(super) async fn page(
    Given(app): Given<Arc<App>>,
    Query(paged): Query<Paged>,
    axum::Extension(who): Asking,
) -> Response<Body> {
    let acting = app.acting();
    let engine = acting.engine();
    let (runs, paused) = match (app.acting().runs().await, engine.paused().await) {
        (Ok(runs), Ok(paused)) => (runs, paused),
        (Err(error), _) => return failed(&error),
        (_, Err(error)) => return failed(&crate::Error::stage("act")(error)),
    };
    let key = (who.role >= Role::Admin).then(|| app.auth().form_key(&who));
    let body = html! {
        (console::navigation())
        h1 { "Runs" }
        p {
            @match &paused {
                Some(why) => strong.bad { "Paused: " (visible(why)) },
                None => { "Mode: " (engine.mode().name()) },
            }
            @if app.acting().is_dry_run() { ", dry run: nothing is touched" }
        }
        @if let Some(key) = key {
            form method="post" action="/runs/pause" {
                input type="hidden" name="key" value=(key);
                @if paused.is_some() { button name="why" value="" { "Go on" } } @else {
                    p { label for="why" { "Stop everything, because" } br; input id="why" name="why" required maxlength="500"; }
                    button.no { "Stop" }
                }
            }
        }
        @if runs.is_empty() { p.dim { "Nothing was proposed yet." } }
        @for run in runs.iter().skip(paged.skip(RUNS)).take(RUNS) {
            a.card href=(format!("/incidents/{}#remedy", run.plan.incident)) {
                strong { (visible(&run.plan.runbook.document().title)) }
                (standing(run)) br;
                span.dim { (words::date(run.plan.proposed_at)) " " (words::clock(run.plan.proposed_at)) ", for " (run.plan.cause) }
            }
        }
        (paged.links(RUNS, runs.len()))
    };
    Html(console::page("Runs", false, &body)).into_response()
}

/// The record, and whether it is whole.
pub(super) async fn audit(
    Given(app): Given<Arc<App>>,
    Query(paged): Query<Paged>,
) -> Response<Body> {
    let audited = match app.acting().audit(paged.skip(RECORDS), RECORDS).await {
        Ok(audited) => audited,
        Err(error) => return failed(&error),
    };
    let body = html! {
        (console::navigation())
        h1 { "Audit" }
        @match &audited.whole {
            Ok(()) => p.good { "The chain of hashes is whole." },
            Err(broken) => p.bad role="alert" { (broken) },
        }
        table { @for record in &audited.records { tr {
            td { (record.seq) } td { (words::date(record.at)) " " (words::clock(record.at)) }
            td { (record.what.replace('_', " ")) " " span.dim { (visible(&detail(record))) } }
        } } }
        (paged.links(RECORDS, audited.count))
    };
    Html(console::page("Audit", false, &body)).into_response()
}

fn detail(record: &AuditRecord) -> String {
    let text = |field: &str| record.body[field].as_str().map(str::to_owned);
    let reasons = record.body["because"].as_array().into_iter().flatten();
    let reasons = reasons.filter_map(|reason| reason["sentence"].as_str().map(str::to_owned));
    let answer = ["by", "says", "comment"]
        .map(|field| record.body["answer"][field].as_str().map(str::to_owned));
    let parts: Vec<String> =
        [text("by"), text("step")].into_iter().chain(answer).flatten().chain(reasons).collect();
    parts.join("; ")
}

/// All runs as JSON.
pub(super) async fn api(Given(app): Given<Arc<App>>) -> Response<Body> {
    match app.acting().runs().await {
        Ok(runs) => axum::Json(json!({ "runs": runs })).into_response(),
        Err(error) => failed(&error),
    }
}

#[derive(Deserialize)]
pub(super) struct Answer {
    to: String,
    says: Says,
    comment: String,
}

impl Fields for Answer {
    const LEAST: Role = Role::Approver;
}

/// A person says yes or no.
pub(super) async fn answer(
    Given(app): Given<Arc<App>>,
    Path(id): Path<String>,
    Sent { who, given }: Sent<Answer>,
) -> Response<Body> {
    let to = serde_json::from_str::<Binding>(&given.to).ok().filter(|to| id == to.run.to_string());
    let Some(to) = to else {
        return plain(StatusCode::BAD_REQUEST, "the question is not of this run");
    };
    if given.comment.trim().is_empty() {
        return plain(StatusCode::BAD_REQUEST, "say why");
    }
    match app.acting().answer(&who.name, given.says, to, given.comment.trim()).await {
        Ok(run) => to_incident(&run),
        Err(error) => failed(&error),
    }
}

#[derive(Deserialize)]
pub(super) struct Decision {
    resolution: Resolution,
}

impl Fields for Decision {
    const LEAST: Role = Role::Approver;
}

/// A person decides how a run goes on.
pub(super) async fn resolve(
    Given(app): Given<Arc<App>>,
    Path(id): Path<String>,
    Sent { who, given }: Sent<Decision>,
) -> Response<Body> {
    let Ok(id) = id.parse::<RunId>() else { return plain(StatusCode::NOT_FOUND, "no such run") };
    match app.acting().resolve(id, &who.name, given.resolution).await {
        Ok(run) => to_incident(&run),
        Err(error) => failed(&error),
    }
}

#[derive(Deserialize)]
pub(super) struct Pause {
    why: String,
}

impl Fields for Pause {
    const LEAST: Role = Role::Admin;
}

/// An admin presses or releases the kill switch.
pub(super) async fn pause(
    Given(app): Given<Arc<App>>,
    Sent { who, given }: Sent<Pause>,
) -> Response<Body> {
    let acting = app.acting();
    let engine = acting.engine();
    let done = match given.why.trim() {
        "" => engine.resume(&who.name).await,
        why => engine.pause(&who.name, why).await,
    };
    match done {
        Ok(()) => Redirect::to("/runs").into_response(),
        Err(error) => failed(&crate::Error::stage("act")(error)),
    }
}

fn to_incident(run: &Run) -> Response<Body> {
    Redirect::to(&format!("/incidents/{}#remedy", run.plan.incident)).into_response()
}

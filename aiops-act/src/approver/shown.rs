//! How a plan is written for people: nothing hidden, nothing that moves the cursor.

use std::borrow::Cow;
use std::fmt::Write;

use serde_json::{Map, Value};

use crate::plan::Plan;

/// `text` with everything that a terminal obeys instead of showing written as an escape: control
/// characters (ESC, line breaks, C0 and C1), direction overrides and marks of no width.
///
/// Titles, labels and names come from outside. Without this, a change called `"\u{1b}[2K..."` could
/// rewrite the line that asks whether to run a plan, and an override could show its target backwards.
///
/// ```
/// use aiops_act::approver::visible;
/// assert_eq!(visible("deploy api 2"), "deploy api 2");
/// assert_eq!(visible("\u{1b}[2Kall is well\n"), r"\u{1b}[2Kall is well\n");
/// assert_eq!(visible("api\u{202e}sergtsop"), r"api\u{202e}sergtsop");
/// ```
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => shown.extend(c.escape_default()),
            c if is_hidden(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// What a step would do as one line: a request or a command in its usual form, then whatever else
/// it is given, as JSON. Nothing is left out.
///
/// ```
/// use aiops_act::approver::call_line;
/// use serde_json::json;
/// let with = json!({"method": "POST", "url": "http://api/pool", "body": {"max": 24}});
/// assert_eq!(call_line("http", with.as_object().unwrap()), r#"POST http://api/pool {"body":{"max":24}}"#);
/// let with = json!({"argv": ["systemctl", "restart", "api"]});
/// assert_eq!(call_line("process", with.as_object().unwrap()), "systemctl restart api");
/// ```
#[must_use]
pub fn call_line(uses: &str, with: &Map<String, Value>) -> String {
    let mut rest = with.clone();
    let mut words: Vec<String> = Vec::new();
    let text = |name: &str| with.get(name).and_then(Value::as_str);
    if let (Some(method), Some(url)) = (text("method"), text("url")) {
        words.extend([method.to_owned(), url.to_owned()]);
        rest.remove("method");
        rest.remove("url");
    } else if let Some(Value::Array(argv)) = with.get("argv") {
        words.extend(argv.iter().map(|word| match word {
            Value::String(word) if !word.contains(char::is_whitespace) => word.clone(),
            other => other.to_string(),
        }));
        rest.remove("argv");
    } else {
        words.push(uses.to_owned());
    }
    if !rest.is_empty() {
        words.push(Value::Object(rest).to_string());
    }
    words.join(" ")
}

/// The plan as people read it before they decide: cause, targets, blast radius, parameters, and of
/// every step the call with its parameters and how it is undone.
pub(super) fn describe(plan: &Plan) -> String {
    let document = plan.runbook.document();
    let targets: Vec<&str> = plan.targets.iter().collect();
    let hurt: Vec<&str> = plan.blast.services.iter().map(String::as_str).collect();
    let params: Vec<String> =
        plan.params.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    let mut text = String::from("\n");
    let mut line = |indent: &str, content: String| {
        let _ = writeln!(text, "{indent}{}", visible(&content));
    };
    let (id, version, hash) = (&document.id, &document.version, plan.runbook.hash().short());
    line("", format!("{} ({id} {version}, {hash})", document.title));
    line("  ", format!("cause    {} with {:.0} %", plan.cause, plan.confidence * 100.0));
    line("  ", format!("targets  {}", targets.join(", ")));
    line("  ", format!("can hurt {}", hurt.join(", ")));
    line("  ", format!("tier     {}", plan.risk.tier()));
    if !params.is_empty() {
        line("  ", format!("with     {}", params.join(", ")));
    }
    for (step, number) in document.steps.iter().zip(1..) {
        let what = if step.title.is_empty() { &step.id } else { &step.title };
        line("  ", format!("{number}. {what} ({})", step.uses));
        line("     ", call_line(&step.uses, &plan.fill(&step.with)));
        if let Some(condition) = &step.condition {
            line("     ", format!("only if `{condition}`"));
        }
        line(
            "     ",
            match &step.undo {
                Some(undo) => format!("undo: {}", call_line(&undo.uses, &plan.fill(&undo.with))),
                None => "undo: none".to_owned(),
            },
        );
    }
    text.push_str("Run it? [y/N] ");
    text
}

#[cfg(test)]
mod tests {
    use aiops_core::{
        Candidate, Cause, Fingerprint, Incident, IncidentId, IncidentState, Ranking, Severity,
        Timestamp,
    };

    use super::*;
    use crate::matcher::match_runbooks;
    use crate::runbook::{Library, Runbook};
    use crate::situation::Situation;

    /// A plan to raise a limit, for a service whose name clears the terminal.
    fn plan() -> Plan {
        let runbook = Runbook::parse(
            br#"{schema: aiops.runbook/v1, id: raise, version: 1.0.0, title: Raise the limit, owner: o,
                 params: {limit: {type: integer, default: 24}},
                 match: {}, targets: {services: ["${{ cause.service }}"]},
                 steps: [{id: set, uses: http, idempotent: true,
                          with: {method: POST, url: "http://api/pool?max=${{ params.limit }}"},
                          undo: {uses: http, with: {method: POST, url: "http://api/pool?max=${{ before.limit }}"}}},
                         {id: look, uses: http, effect: read, with: {method: GET, url: "http://api/healthz"}}],
                 verify: {metrics: {limit: {metric: m, service: api}}, success_when: now.limit > 0.0}}"#,
        )
        .unwrap();
        let now = Timestamp::from_secs(100);
        let incident = Incident {
            id: IncidentId::of("", Fingerprint::from_u64(1), now),
            tenant: String::new(),
            state: IncidentState::Open,
            onset: now,
            shown_at: None,
            resolved_at: None,
            severity: Severity::Critical,
            title: String::new(),
            alerts: vec![],
            services: ["api".to_owned()].into(),
            events: vec![],
            timeline: vec![],
        };
        let cause = Cause::Service { service: "api\u{1b}[2J\n".into() };
        let candidate = Candidate { cause, probability: 0.0, score: 1.0, evidence: vec![] };
        let ranking = Ranking::from_weights("test", vec![candidate], 0.0).unwrap();
        let situation = Situation::new(incident, ranking);
        let mut library = Library::new();
        library.add(runbook).unwrap();
        let matches = match_runbooks(&library, &situation, &Default::default(), now);
        let fit = matches.best().unwrap_or_else(|| panic!("{:?}", matches.misfits));
        Plan::new(fit, &situation, &Default::default(), "test", now).unwrap()
    }

    #[test]
    fn everything_that_would_be_done_stands_before_the_question() {
        let text = describe(&plan());
        let (before, after) = text.split_once("Run it?").unwrap();
        assert_eq!(after, " [y/N] ");
        for part in [
            "with     limit = 24",
            "1. set (http)",
            "POST http://api/pool?max=24",
            "undo: POST http://api/pool?max=${{ before.limit }}",
            "2. look (http)",
            "GET http://api/healthz",
            "undo: none",
            "can hurt",
        ] {
            assert!(before.contains(part), "{part} is missing in:\n{text}");
        }
    }

    #[test]
    fn a_name_from_outside_cannot_move_the_cursor() {
        let text = describe(&plan());
        assert!(text.contains(r"targets  api\u{1b}[2J\n"), "{text:?}");
        assert!(text.chars().all(|c| c == '\n' || !is_hidden(c)), "{text:?}");
    }
}

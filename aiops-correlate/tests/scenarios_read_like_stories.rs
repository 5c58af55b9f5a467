//! Stories of alerts and what became of them, as text with commentary: `tests/scenarios/*.txt`.
//!
//! A line is one of
//! - `calls A B`, `runs_on A H`: the topology;
//! - `silence FROM UNTIL MATCHER`, `inhibit SOURCE => TARGET [on LABEL]`, `map MATCHER => SERVICE`,
//!   `storm N`, `cone HOPS`, `pin NAME`, `constant FIRINGS SECONDS` (the hold), `weekly DAY MINUTE SECONDS
//!   OFFSET MATCHER` (a maintenance window; minutes of the day and east of Greenwich): settings;
//! - `@T + SERVICE NAME [SEVERITY] [label=value ..] [arrives T]`: an alert fires (`?` for no service);
//!   `@T - ..`: it ends. Alerts are numbered from 1; `arrives` is when it gets here, T if left out;
//!   `ahead S` says that the sender's clock is S seconds ahead; `lasts S` adds the end S seconds later;
//!   `@T every S times N + ..` is the same N times, S seconds apart;
//! - `@T deploy SERVICE`, `@T config SERVICE`, `@T scaling SERVICE`, `@T` alone, `@T jumps`: a change; nothing but time passes; the clock jumps
//!   there without a stop in between;
//! - `merge A B`, `split A`, `move A B`, `not_noise A`, `noise A`, `undo`: corrections, by alert numbers;
//! - `expect ..`: `N shown`, `N incidents`, `A is ACTION`, `A because CODE`, `A with B`, `A apart B`,
//!   `A seen`, `A unseen`, `said NEWS`, `title TEXT` (of the last incident shown).

use aiops_core::{Alert, AlertId, Event, EventKind, Labels, Severity, Timestamp, Topology};
use aiops_core::{Edge, EdgeKind, NodeKind};
use aiops_correlate::{
    BreakerConfig, Context, Correction, Correlator, CorrelatorExt, Funnel, FunnelConfig, Hold,
    InhibitRule, MapRule, Silence, StaticHold, Subject, Update, Weekday, When, Zone,
};
use std::path::Path;
use std::time::Duration;

#[derive(Default)]
struct Story {
    topology: Topology,
    config: FunnelConfig,
    pins: Vec<String>,
    funnel: Option<Funnel>,
    updates: Vec<Update>,
    alerts: Vec<AlertId>,
    now: i64,
}

fn seconds(text: &str) -> i64 {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is no second"))
}

fn weekday(name: &str) -> Weekday {
    match name {
        "monday" => Weekday::Monday,
        "tuesday" => Weekday::Tuesday,
        "wednesday" => Weekday::Wednesday,
        "thursday" => Weekday::Thursday,
        "friday" => Weekday::Friday,
        "saturday" => Weekday::Saturday,
        "sunday" => Weekday::Sunday,
        _ => panic!("{name:?} is no day"),
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_secs(1_000_000 + second)
}

impl Story {
    fn funnel(&mut self) -> &mut Funnel {
        if self.funnel.is_none() {
            let mut funnel = self.config.clone().build().expect("the story's settings are valid");
            let ctx = Context::new(at(self.now), &self.topology);
            for name in self.pins.drain(..) {
                let pin = Correction::Pin { name, pinned: true };
                funnel.correct(pin, "story", &ctx).expect("a pin is always possible");
            }
            self.funnel = Some(funnel);
        }
        self.funnel.as_mut().expect("made above")
    }

    fn alert(&self, number: &str) -> AlertId {
        self.alerts[number.parse::<usize>().expect("an alert number") - 1]
    }

    fn pass(&mut self, to: i64) {
        self.now = self.now.max(to);
        let (topology, now) = (std::mem::take(&mut self.topology), at(self.now));
        let mut updates = std::mem::take(&mut self.updates);
        self.funnel().advance(now, &topology, &mut updates);
        (self.topology, self.updates) = (topology, updates);
    }

    fn record(&mut self, second: i64, words: &[&str]) {
        let mut labels = Labels::new();
        let mut arrives = second;
        let mut ahead = 0;
        let mut lasts = None;
        let mut severity = Severity::Warning;
        let mut rest = words[3..].iter();
        while let Some(word) = rest.next() {
            match word.split_once('=') {
                Some((label, value)) => drop(labels.insert(label, value)),
                None if *word == "arrives" => arrives = seconds(rest.next().expect("a second")),
                None if *word == "ahead" => ahead = seconds(rest.next().expect("seconds")),
                None if *word == "lasts" => lasts = rest.next().map(|word| seconds(word)),
                None => severity = Severity::from_word(word),
            }
        }
        if words[1] != "?" {
            labels.insert("service", words[1]);
        }
        let mut alert = Alert::new(words[2], labels, at(second + ahead));
        alert.id = AlertId::from_u64(self.alerts.len() as u64 + 1);
        alert.severity = severity;
        alert.ends_at = (words[0] == "-").then(|| at(second + ahead));
        alert.received_at = at(arrives);
        self.alerts.push(alert.id);
        self.pass(arrives);
        let topology = std::mem::take(&mut self.topology);
        self.funnel().ingest(&alert, &Context::new(alert.received_at, &topology));
        self.topology = topology;
        self.pass(arrives);
        if let Some(lasts) = lasts {
            let end = words.iter().position(|word| *word == "lasts").expect("it was read");
            let words = [&["-"], &words[1..end], &words[end + 2..]].concat();
            self.record(second + lasts, &words);
        }
    }

    fn event(&mut self, kind: EventKind, service: &str, title: String) {
        let event = Event::new(kind, Some(service), title, at(self.now));
        let topology = std::mem::take(&mut self.topology);
        let ctx = Context::new(at(self.now), &topology);
        self.funnel().observe(&event, &ctx);
        self.topology = topology;
    }

    fn correct(&mut self, words: &[&str]) {
        let incident = |story: &mut Story, number: &str| {
            let alert = story.alert(number);
            let decision = story.funnel().decision(alert).expect("known");
            decision.incident.expect("in an incident")
        };
        let correction = match words[0] {
            "merge" => {
                let (from, into) = (incident(self, words[1]), incident(self, words[2]));
                Correction::Merge { from, into }
            }
            "split" => {
                let alerts = words[1..].iter().map(|number| self.alert(number)).collect();
                Correction::Split { incident: incident(self, words[1]), alerts }
            }
            "move" => {
                Correction::Move { alert: self.alert(words[1]), to: incident(self, words[2]) }
            }
            "not_noise" => Correction::NotNoise { subject: Subject::Alert(self.alert(words[1])) },
            "noise" => Correction::Noise { subject: Subject::Alert(self.alert(words[1])) },
            word => panic!("{word:?} is no correction"),
        };
        let topology = std::mem::take(&mut self.topology);
        let ctx = Context::new(at(self.now), &topology);
        self.funnel().correct(correction, "a person", &ctx).expect("possible");
        self.topology = topology;
        self.pass(self.now);
    }

    fn undo(&mut self) {
        let topology = std::mem::take(&mut self.topology);
        let ctx = Context::new(at(self.now), &topology);
        let last = self.funnel().corrections().count() as u32 - 1;
        self.funnel().undo(last, &ctx).expect("it stands");
        self.topology = topology;
        self.pass(self.now);
    }

    fn expect(&mut self, words: &[&str]) -> Result<(), String> {
        let incident_of = |story: &mut Story, number: &str| {
            let alert = story.alert(number);
            story.funnel().decision(alert).and_then(|decision| decision.incident)
        };
        let same = |what: &str, got: String, wanted: &str| match got == wanted {
            true => Ok(()),
            false => Err(format!("{what} is {got}, not {wanted}")),
        };
        match words {
            [n, "shown"] => same("shown", self.funnel().shown().len().to_string(), n),
            [n, "incidents"] => {
                let funnel = self.funnel();
                let live = funnel.incidents().into_iter().filter_map(|id| funnel.incident(id));
                same("incidents", live.filter(|i| !i.alerts.is_empty()).count().to_string(), n)
            }
            [a, "is", action] => {
                let alert = self.alert(a);
                let decision = self.funnel().decision(alert).ok_or("lost")?;
                same("action", decision.action.name().to_owned(), action)
            }
            [a, "because", code] => {
                let alert = self.alert(a);
                let decision = self.funnel().decision(alert).ok_or("lost")?;
                let codes: Vec<_> = decision.reasons().into_iter().map(|r| r.code).collect();
                match codes.iter().any(|known| known == code) {
                    true => Ok(()),
                    false => Err(format!("reasons are {codes:?}")),
                }
            }
            [a, "with", b] | [a, "apart", b] => {
                let together = incident_of(self, a) == incident_of(self, b);
                match together == (words[1] == "with") {
                    true => Ok(()),
                    false => Err(format!("together: {together}")),
                }
            }
            [a, "seen"] | [a, "unseen"] => {
                let incident = incident_of(self, a).ok_or("in no incident")?;
                let seen = self.funnel().incident(incident).is_some_and(|i| i.shown_at.is_some());
                match seen == (words[1] == "seen") {
                    true => Ok(()),
                    false => Err(format!("seen: {seen}")),
                }
            }
            ["said", news] => {
                let said: Vec<_> = self.updates.iter().map(|update| update.news.name()).collect();
                match said.contains(news) {
                    true => Ok(()),
                    false => Err(format!("said were {said:?}")),
                }
            }
            ["title", ..] => {
                let shown = self.funnel().shown();
                let title = shown.last().map(|incident| incident.title.clone()).unwrap_or_default();
                same("title", title, &words[1..].join(" "))
            }
            _ => panic!("nothing can be expected of {words:?}"),
        }
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [kind @ ("calls" | "runs_on"), from, to] => {
                let of = if kind == "calls" { NodeKind::Service } else { NodeKind::Host };
                let from = self.topology.upsert_node(from, NodeKind::Service, at(0));
                let to = self.topology.upsert_node(to, of, at(0));
                let kind = if kind == "calls" { EdgeKind::Calls } else { EdgeKind::RunsOn };
                let edge = Edge::new(kind, "story", at(0));
                self.topology.upsert_edge(from, to, edge).expect("both ends exist");
            }
            ["silence", from, until, ..] => {
                let (from, until) = (at(seconds(from)), at(seconds(until)));
                let matcher = words[3..].join(" ").parse().expect("a matcher");
                let when = When::Once { from, until };
                self.config.silences.push(Silence { name: "story".into(), matcher, when });
            }
            ["inhibit", source, "=>", target, ..] => self.config.inhibit.push(InhibitRule {
                name: line.to_owned(),
                sources: vec![source.parse().expect("a matcher")],
                target: target.parse().expect("a matcher"),
                equal: words.get(5).map(|label| (*label).to_owned()).into_iter().collect(),
            }),
            ["map", when, "=>", service] => {
                let when = when.parse().expect("a matcher");
                self.config.mapping.push(MapRule { when, service: service.into() });
            }
            ["storm", n] => {
                let alerts_per_minute = seconds(n) as u64;
                self.config.breaker = BreakerConfig { alerts_per_minute, ..Default::default() };
            }
            ["weekly", day, minute, lasts, offset, ..] => {
                let days = vec![weekday(day)];
                let lasts = Duration::from_secs(seconds(lasts) as u64);
                let zone = Zone::Offset(seconds(offset) as _);
                let minute = seconds(minute) as u16;
                let matcher = words[5..].join(" ").parse().expect("a matcher");
                let when = When::Weekly { days, minute, lasts, zone };
                self.config.silences.push(Silence { name: "story".into(), matcher, when });
            }
            ["constant", firings, lasting] => {
                let lasting = Duration::from_secs(seconds(lasting) as u64);
                let firings = seconds(firings) as u32;
                self.config.hold = Hold::Static(StaticHold { firings, lasting });
            }
            ["cone", hops] => self.config.cone.hops = seconds(hops) as u8,
            ["pin", name] => self.pins.push(name.to_owned()),
            ["merge" | "split" | "move" | "not_noise" | "noise", ..] => self.correct(&words),
            ["undo"] => self.undo(),
            ["expect", ..] => return self.expect(&words[1..]),
            [time, ..] if time.starts_with('@') => {
                let second = seconds(&time[1..]);
                match words[1..] {
                    [] => self.pass(second),
                    ["jumps"] => {
                        self.now = second;
                        let topology = std::mem::take(&mut self.topology);
                        let mut updates = std::mem::take(&mut self.updates);
                        self.funnel().tick(&Context::new(at(second), &topology), &mut updates);
                        (self.topology, self.updates) = (topology, updates);
                    }
                    [change @ ("deploy" | "config" | "scaling"), service] => {
                        self.pass(second);
                        let kind = match change {
                            "deploy" => EventKind::Deploy,
                            "config" => EventKind::Config,
                            _ => EventKind::Scaling,
                        };
                        self.event(kind, service, format!("{change} {service}"));
                    }
                    ["every", step, "times", times, ..] => {
                        for time in 0..seconds(times) {
                            self.record(second + time * seconds(step), &words[5..]);
                        }
                    }
                    _ => self.record(second, &words[1..]),
                }
            }
            _ => panic!("no such line: {line:?}"),
        }
        Ok(())
    }
}

#[test]
fn every_story_ends_as_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder of stories")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    assert!(files.len() >= 8, "stories were lost: {files:?}");
    let mut wrong = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a text");
        let mut story = Story::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            if let Err(what) = story.line(line) {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                wrong.push(format!("{name}, line {}: {line}: {what}", number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

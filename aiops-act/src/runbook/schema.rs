//! The fields of `aiops.runbook/v1`.
//!
//! Every struct refuses unknown fields, so that a misspelt `approvals` can never mean "none".
//! Defaults are the careful choice: a step is a write that may not be repeated, a runbook needs an
//! approval and may hurt one service.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::duration;
use super::expr::Expr;

/// The one value of the `schema` field.
pub const SCHEMA: &str = "aiops.runbook/v1";

/// A runbook as written: what it is for, when it fits, what may go wrong, what to do, how to tell
/// whether it helped.
///
/// A parsed document is not yet a checked one: [`Runbook`](super::Runbook) holds one that is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Stable name: lower-case letters, digits and dashes.
    pub id: String,
    /// Version of the document, `major.minor.patch`. People read it; what binds an approval is the
    /// document hash.
    pub version: String,
    /// One line for people.
    pub title: String,
    /// Team that answers for it.
    pub owner: String,
    /// What it does and when not to use it.
    #[serde(default)]
    pub description: String,
    /// After this instant (RFC 3339) the document no longer matches anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<String>,
    /// A revoked document no longer matches anything.
    #[serde(default)]
    pub revoked: bool,
    /// Free labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// When it fits.
    #[serde(rename = "match")]
    pub matching: Match,
    /// Typed parameters, by name.
    #[serde(default)]
    pub params: BTreeMap<String, Param>,
    /// What it acts on.
    pub targets: Targets,
    /// Limits that must hold before anything runs.
    #[serde(default)]
    pub safety: Safety,
    /// What is done, in this order.
    pub steps: Vec<Step>,
    /// How to tell whether it helped. Without it, a run whose steps all succeed ends as
    /// "inconclusive" and asks a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
    /// What to do when a step fails or verification says "worse".
    #[serde(default)]
    pub on_failure: OnFailure,
    /// Names of the notification routes that hear of every run.
    #[serde(default)]
    pub notify: Vec<String>,
}

/// When a runbook fits an incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// Names of the services that may be the cause; empty for any. There are no patterns here: say
    /// it in `when`.
    #[serde(default)]
    pub services: Vec<String>,
    /// Kinds of cause; empty for any.
    #[serde(default)]
    pub cause_kinds: Vec<CauseKind>,
    /// A condition over `incident`, `cause`, `ranking`, `alerts` and `params`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Expr>,
    /// Least probability of the cause. Default 0.5: more likely than everything else together.
    #[serde(default = "half")]
    pub min_confidence: f64,
    /// Least distance in probability to the next cause. Default 0.1, a guess.
    #[serde(default = "tenth")]
    pub min_margin: f64,
    /// After a run on the same targets, how long until this runbook fits again. Default 30 min.
    #[serde(default = "half_hour", with = "duration")]
    pub cooldown: Duration,
}

/// The kinds of cause a ranking names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CauseKind {
    /// A service as a whole.
    Service,
    /// One metric of a service.
    Metric,
    /// A deploy, configuration change or other event.
    Change,
}

/// A parameter: a value a person may set when the plan is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Param {
    /// The type its value must have.
    #[serde(rename = "type")]
    pub kind: ParamType,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Its value when nobody gives one. Without a default the value must be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// The only values allowed.
    #[serde(default, rename = "enum", skip_serializing_if = "Vec::is_empty")]
    pub one_of: Vec<Value>,
    /// Least value of a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<f64>,
    /// Greatest value of a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum: Option<f64>,
    /// Most bytes of a string. Default 1,024.
    #[serde(default = "kib")]
    pub max_length: usize,
    /// The value is only ever a reference, `secret://name`; the executor resolves it, and nothing
    /// else sees it.
    #[serde(default)]
    pub secret: bool,
}

/// The types of parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParamType {
    /// Text.
    String,
    /// A whole number.
    Integer,
    /// Any finite number.
    Number,
    /// `true` or `false`.
    Boolean,
}

/// What a runbook acts on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Targets {
    /// Names of services, or templates that become names or lists of names. Nothing means "all":
    /// no wildcard exists, and an empty result ends the run before it begins.
    pub services: Vec<String>,
}

/// Limits that must hold before anything runs, and the approval it takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Safety {
    /// How bad it can be; executors and blast radius can only raise it.
    pub risk: Risk,
    /// Most services that the targets and their transitive dependents may be. Default 5.
    pub max_services: u32,
    /// Most percent of all known services that they may be. Default 50.
    pub max_percent: f64,
    /// How many calls away a dependent is still counted. Default 3.
    pub hops: u32,
    /// With more of the target group already unhealthy than this, nothing is done: the cause is
    /// elsewhere. In percent of the targets; default 100 for one target is no limit, so give it
    /// for groups.
    pub max_unhealthy_percent: f64,
    /// Most runs of this runbook, over all targets.
    pub rate: Rate,
    /// Times during which it does not run.
    pub freeze: Vec<Freeze>,
    /// Whose approval it takes.
    pub approvals: Approvals,
    /// Whether it may ever run without asking.
    pub auto: Auto,
}

impl Default for Safety {
    fn default() -> Safety {
        Safety {
            risk: Risk::Stateful,
            max_services: 5,
            max_percent: 50.0,
            hops: 3,
            max_unhealthy_percent: 100.0,
            rate: Rate::default(),
            freeze: Vec::new(),
            approvals: Approvals::default(),
            auto: Auto::Never,
        }
    }
}

/// How bad an action can be. Written as its number, 0 to 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum Risk {
    /// 0: reads only.
    ReadOnly,
    /// 1: reversible, idempotent, one target.
    Reversible,
    /// 2: reversible, but several targets or stateful.
    Stateful,
    /// 3: irreversible, or it touches data, or it is above a blast limit. Never automatic.
    Irreversible,
}

impl Risk {
    /// The tier as a number, 0 to 3.
    #[must_use]
    pub fn tier(self) -> u8 {
        self.into()
    }
}

impl From<Risk> for u8 {
    fn from(risk: Risk) -> u8 {
        match risk {
            Risk::ReadOnly => 0,
            Risk::Reversible => 1,
            Risk::Stateful => 2,
            Risk::Irreversible => 3,
        }
    }
}

impl TryFrom<u8> for Risk {
    type Error = String;

    fn try_from(tier: u8) -> Result<Risk, String> {
        match tier {
            0 => Ok(Risk::ReadOnly),
            1 => Ok(Risk::Reversible),
            2 => Ok(Risk::Stateful),
            3 => Ok(Risk::Irreversible),
            _ => Err(format!("risk is 0 (reads only) to 3 (irreversible), got {tier}")),
        }
    }
}

/// Most runs in a sliding window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// How many runs may start.
    pub runs: u32,
    /// In how long a window.
    #[serde(with = "duration")]
    pub per: Duration,
}

impl Default for Rate {
    /// Three an hour, a guess: often enough to retry, too seldom to hide a loop.
    fn default() -> Rate {
        Rate { runs: 3, per: Duration::from_secs(3_600) }
    }
}

/// A time during which a runbook does not run: `from` and `until` (RFC 3339), or `weekly`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Freeze {
    /// Why, for people.
    #[serde(default)]
    pub reason: String,
    /// First instant, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// First instant after it, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Every week instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weekly: Option<Weekly>,
}

/// Certain hours of certain days, in local time of a zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weekly {
    /// Days on which it begins.
    pub days: Vec<Day>,
    /// Local time it begins, `HH:MM`.
    pub from: String,
    /// Local time it ends, `HH:MM`; on the next day when not after `from`.
    pub until: String,
    /// IANA name of the zone, or `UTC`.
    pub zone: String,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// Whose approval it takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Approvals {
    /// How many different people. The risk tier can ask for more, never for fewer.
    pub count: u32,
    /// Roles of which each of them must have one; empty for any known approver.
    pub roles: Vec<String>,
    /// How long the question stands. Default 15 min.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// What happens then.
    pub on_timeout: OnTimeout,
}

impl Default for Approvals {
    fn default() -> Approvals {
        Approvals {
            count: 1,
            roles: Vec::new(),
            timeout: Duration::from_secs(15 * 60),
            on_timeout: OnTimeout::Reject,
        }
    }
}

/// What happens when nobody answers in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnTimeout {
    /// The run ends.
    Reject,
    /// The run ends and the next escalation level is paged.
    Escalate,
}

/// Whether a runbook may run without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Auto {
    /// Always ask.
    Never,
    /// Once its verified outcomes prove it ([`crate::trust`]) and a person agreed to it.
    WhenTrusted,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Name within the runbook: lower-case letters, digits, dashes and underscores.
    pub id: String,
    /// For people.
    #[serde(default)]
    pub title: String,
    /// Steps that must have succeeded; a step whose need was skipped or failed is skipped.
    #[serde(default)]
    pub needs: Vec<String>,
    /// Run only if this holds.
    #[serde(default, rename = "if", skip_serializing_if = "Option::is_none")]
    pub condition: Option<Expr>,
    /// Which executor runs it.
    pub uses: String,
    /// What the executor is given; texts may contain `${{ ... }}`.
    #[serde(default)]
    pub with: serde_json::Map<String, Value>,
    /// How long one attempt may take. Default 30 s.
    #[serde(default = "half_minute", with = "duration")]
    pub timeout: Duration,
    /// Attempts after a definite failure. Default: none.
    #[serde(default)]
    pub retry: Retry,
    /// What it does to the world.
    #[serde(default)]
    pub effect: Effect,
    /// Whether doing it twice equals doing it once.
    #[serde(default)]
    pub idempotent: Idempotent,
    /// What to do when nobody knows whether it happened.
    #[serde(default)]
    pub on_unknown: OnUnknown,
    /// Go on with the next step if it fails; a failed one is then not undone either.
    #[serde(default)]
    pub continue_on_error: bool,
    /// How to take it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Undo>,
    /// Must hold just before the step, over the outputs so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precheck: Option<Expr>,
    /// Values kept from its output, by name: JSON pointers such as `/items/0/name`.
    #[serde(default)]
    pub outputs: BTreeMap<String, String>,
}

/// What a step does to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Nothing.
    Read,
    /// Something that `undo` can take back.
    #[default]
    Write,
    /// Something that cannot be taken back; makes the runbook tier 3.
    Irreversible,
}

/// Whether a step may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub enum Idempotent {
    /// No: a second call is a second effect.
    #[default]
    No,
    /// Yes, by its nature (setting a value).
    Yes,
    /// Yes, if the other side is given the same idempotency key.
    Key,
}

impl From<Idempotent> for Value {
    fn from(value: Idempotent) -> Value {
        match value {
            Idempotent::No => Value::Bool(false),
            Idempotent::Yes => Value::Bool(true),
            Idempotent::Key => Value::from("key"),
        }
    }
}

impl TryFrom<Value> for Idempotent {
    type Error = &'static str;

    fn try_from(value: Value) -> Result<Idempotent, &'static str> {
        match value {
            Value::Bool(false) => Ok(Idempotent::No),
            Value::Bool(true) => Ok(Idempotent::Yes),
            Value::String(s) if s == "key" => Ok(Idempotent::Key),
            _ => Err("idempotent is true, false or key"),
        }
    }
}

/// What to do when nobody knows whether a step happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnknown {
    /// Ask the executor; if it cannot tell, repeat an idempotent step, and stop for a person
    /// otherwise.
    #[default]
    Probe,
    /// Stop for a person at once.
    Human,
}

/// Attempts after a definite failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Attempts in all, the first included.
    pub attempts: u32,
    /// Pause before the next one; doubled each time, at most ten minutes.
    #[serde(with = "duration")]
    pub delay: Duration,
}

impl Default for Retry {
    fn default() -> Retry {
        Retry { attempts: 1, delay: Duration::from_secs(1) }
    }
}

/// How a step is taken back: a call like a step's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Undo {
    /// Which executor runs it. `self` means the step's executor restores what it found before the
    /// step ran.
    pub uses: String,
    /// What the executor is given; `before` is what it found, next to the names a step sees.
    #[serde(default)]
    pub with: serde_json::Map<String, Value>,
    /// How long it may take. Default 30 s.
    #[serde(default = "half_minute", with = "duration")]
    pub timeout: Duration,
    /// Whether the undo itself may be repeated. Default `true`: it sets a state back.
    #[serde(default = "yes")]
    pub idempotent: Idempotent,
}

/// How to tell whether a run helped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    /// The metrics that are read, by the name conditions call them.
    pub metrics: BTreeMap<String, Metric>,
    /// Holds when a measurement is good, over `now` and `before` (maps from metric name to value),
    /// `params` and `cause`.
    pub success_when: Expr,
    /// Holds when a measurement is bad. Neither good nor bad is "not yet".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_when: Option<Expr>,
    /// Pause before the first measurement. Default 0 s.
    #[serde(default, with = "duration")]
    pub settle: Duration,
    /// Pause between two measurements. Default 10 s.
    #[serde(default = "ten_seconds", with = "duration")]
    pub interval: Duration,
    /// Good measurements in a row that make "ok". Default 3.
    #[serde(default = "three")]
    pub count: u32,
    /// Bad measurements that are tolerated; one more makes "worse". Default 0.
    #[serde(default)]
    pub failure_limit: u32,
    /// Measurements after which the verdict is "inconclusive". Default four times `count`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_measurements: Option<u32>,
}

/// One metric that verification reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// Name of the metric, as the metric source knows it.
    pub metric: String,
    /// Service it belongs to; may be a template.
    #[serde(default)]
    pub service: String,
    /// Labels that select the series.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The value is the mean over this long before the measurement. Default 10 s.
    #[serde(default = "ten_seconds", with = "duration")]
    pub over: Duration,
    /// Must not get worse than before the run, whatever the conditions say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<Guard>,
}

/// Which way a guarded metric must not go, and how far is noise.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guard {
    /// The direction that hurts.
    pub worse: Direction,
    /// Change in percent of the value before that is still noise. Default 20, a guess.
    #[serde(default = "twenty")]
    pub tolerance_percent: f64,
}

/// A direction of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Higher hurts.
    Up,
    /// Lower hurts.
    Down,
}

/// What to do when a step fails or verification says "worse".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Undo what was done, in reverse order.
    #[default]
    Rollback,
    /// Leave everything as it is and end.
    Stop,
    /// Leave everything as it is and ask a person.
    Human,
}

fn half() -> f64 {
    0.5
}
fn tenth() -> f64 {
    0.1
}
fn twenty() -> f64 {
    20.0
}
fn three() -> u32 {
    3
}
fn kib() -> usize {
    1_024
}
fn yes() -> Idempotent {
    Idempotent::Yes
}
fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}
fn half_minute() -> Duration {
    Duration::from_secs(30)
}
fn half_hour() -> Duration {
    Duration::from_secs(30 * 60)
}

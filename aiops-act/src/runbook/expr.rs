//! Conditions and values computed from the situation: CEL, with a bound on its cost.
//!
//! CEL (Common Expression Language) always ends, but not always soon: four nested `all` over 60
//! items take half a minute, and the evaluator has no budget of its own. So the cost is bounded
//! before anything runs: the source is short, macros over lists (`all`, `exists`, `map`,
//! `filter`) do not nest and do not make values grow from one to the next without bound, and the
//! lists that [`Scope`] hands in are capped, as is what comes out.
//!
//! The same language serves conditions (`when`, `if`, `success_when`) and the `${{ ... }}` parts
//! of values ([`super::template`]), so that there is one thing to learn and one thing to bound.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, OnceLock};

use cel::common::ast::{EntryExpr, Expr as Node, IdedExpr};
use cel::objects::Key;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// Longest source of one expression, in bytes.
pub const MAX_SOURCE: usize = 2_048;
/// Most nodes of one parsed expression.
pub const MAX_NODES: usize = 512;
/// How often list macros may repeat what they are given, all of an expression together.
pub const MAX_GROWTH: usize = 1_000;
/// Most parts, and most bytes of text, of a value that an expression gives.
pub const MAX_VALUE: usize = 1_000_000;
/// Longest list, and most keys of one map, that a [`Scope`] hands to an expression.
pub const MAX_ITEMS: usize = 1_000;

/// Names that an expression may use, with their values. Lists longer than [`MAX_ITEMS`] are cut.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    names: Vec<Bound>,
}

#[derive(Debug, Clone)]
struct Bound {
    name: String,
    value: Value,
    /// The value as the evaluator wants it, made when it is first read: translating a list of alerts
    /// costs more than most conditions, and a scope is asked many times.
    translated: OnceLock<cel::Value>,
}

impl Scope {
    /// An empty scope: only literals can be evaluated.
    #[must_use]
    pub fn new() -> Scope {
        Scope::default()
    }

    /// Binds `name`, replacing an earlier binding.
    #[must_use]
    pub fn with(mut self, name: &str, value: Value) -> Scope {
        self.set(name, value);
        self
    }

    /// Binds `name`, replacing an earlier binding.
    pub fn set(&mut self, name: &str, value: Value) {
        self.names.retain(|bound| bound.name != name);
        self.names.push(Bound { name: name.to_owned(), value, translated: OnceLock::new() });
    }

    /// The value bound to `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.names.iter().find(|bound| bound.name == name).map(|bound| &bound.value)
    }
}

/// Why an expression was refused or has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExprError {
    /// Longer than [`MAX_SOURCE`] bytes; it was not parsed.
    #[error("the expression has {got} bytes, more than {MAX_SOURCE}")]
    TooLong {
        /// Bytes of the source.
        got: usize,
    },
    /// Not CEL.
    #[error("not a CEL expression: {reason}")]
    Syntax {
        /// What the parser says.
        reason: String,
    },
    /// Parsed, but it could cost too much to evaluate.
    #[error("the expression could cost too much: {reason}")]
    TooCostly {
        /// Which limit it exceeds.
        reason: String,
    },
    /// A name, field or function that does not exist here, or operands that do not fit.
    #[error("`{source_text}` has no value: {reason}")]
    NoValue {
        /// The expression.
        source_text: String,
        /// What the evaluator says.
        reason: String,
    },
    /// A condition that evaluated to something else than true or false.
    #[error("`{source_text}` must be true or false, got {got}")]
    NotBool {
        /// The expression.
        source_text: String,
        /// The kind of value it has.
        got: &'static str,
    },
}

/// A parsed expression whose cost is bounded. Equality is by source text.
#[derive(Clone)]
pub struct Expr {
    source: String,
    program: Arc<cel::Program>,
    /// Sorted.
    names: Arc<[String]>,
}

impl Expr {
    /// Parses `source` and checks its bounds.
    ///
    /// # Errors
    /// Too long, not CEL, too many nodes, or macros nested in macros.
    pub fn parse(source: &str) -> Result<Expr, ExprError> {
        if source.len() > MAX_SOURCE {
            return Err(ExprError::TooLong { got: source.len() });
        }
        let program = cel::Program::compile(source)
            .map_err(|e| ExprError::Syntax { reason: one_line(&e.to_string()) })?;
        Cost { nodes: 0, growth: 1 }.add(program.expression(), false)?;
        let mut names = BTreeSet::new();
        free_names(program.expression(), &mut Vec::new(), &mut names);
        let names = names.into_iter().map(str::to_owned).collect();
        Ok(Expr { source: source.to_owned(), program: Arc::new(program), names })
    }

    /// The text it was parsed from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The names it reads from the [`Scope`], sorted; variables of its own macros are not among them.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.names.to_vec()
    }

    /// Evaluates to a JSON value.
    ///
    /// # Errors
    /// A missing name or field, or operands that do not fit: never a default value.
    pub fn eval(&self, scope: &Scope) -> Result<Value, ExprError> {
        let no_value =
            |reason: String| ExprError::NoValue { source_text: self.source.clone(), reason };
        let mut context = cel::Context::default();
        for bound in scope.names.iter().filter(|bound| self.names.contains(&bound.name)) {
            let value = bound.translated.get_or_init(|| to_cel(&bound.value));
            context.add_variable_from_value(bound.name.as_str(), value.clone());
        }
        let value =
            self.program.execute(&context).map_err(|e| no_value(one_line(&e.to_string())))?;
        let mut left = MAX_VALUE;
        match from_cel(&value, &mut left) {
            Some(json) => Ok(json),
            None if left == 0 => Err(no_value(format!("its value is larger than {MAX_VALUE}"))),
            None => Err(no_value(format!("a {:?} is not a JSON value", value.type_of()))),
        }
    }

    /// Evaluates a condition.
    ///
    /// # Errors
    /// As [`Expr::eval`], and when the value is not a boolean: `1` and `"true"` are not true.
    pub fn holds(&self, scope: &Scope) -> Result<bool, ExprError> {
        match self.eval(scope)? {
            Value::Bool(b) => Ok(b),
            other => {
                Err(ExprError::NotBool { source_text: self.source.clone(), got: kind_of(&other) })
            }
        }
    }
}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expr({})", self.source)
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl PartialEq for Expr {
    fn eq(&self, other: &Expr) -> bool {
        self.source == other.source
    }
}

impl Eq for Expr {}

impl Serialize for Expr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.source)
    }
}

impl<'de> Deserialize<'de> for Expr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Expr::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// What kind of JSON value this is, for messages.
pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(n) if n.is_f64() => "a number",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What an expression may cost, counted before it runs.
struct Cost {
    nodes: usize,
    growth: usize,
}

impl Cost {
    /// Counts nodes, refuses a macro inside a macro, and macros one after the other that make values
    /// grow: each repeats its element as often as its body names it. Recursion is bounded by the
    /// parser, which refuses sources nested deeper than 96 levels.
    fn add(&mut self, expr: &IdedExpr, in_macro: bool) -> Result<(), ExprError> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(ExprError::TooCostly { reason: format!("more than {MAX_NODES} parts") });
        }
        let Node::Comprehension(c) = &expr.expr else {
            return children(expr).into_iter().try_for_each(|child| self.add(child, in_macro));
        };
        if in_macro {
            let reason = "a list macro inside another one; write them one after the other";
            return Err(ExprError::TooCostly { reason: reason.to_owned() });
        }
        self.add(&c.iter_range, false)?;
        let body = [&c.accu_init, &c.loop_cond, &c.loop_step, &c.result];
        body.iter().try_for_each(|part| self.add(part, true))?;
        let is_element = |name: &str| name == c.iter_var || c.iter_var2.as_deref() == Some(name);
        let named: usize = body.iter().map(|part| count_idents(part, &is_element)).sum();
        self.growth = self.growth.saturating_mul(named.max(1));
        if self.growth > MAX_GROWTH {
            let reason = format!("list macros that repeat their elements over {MAX_GROWTH} times");
            return Err(ExprError::TooCostly { reason });
        }
        Ok(())
    }
}

/// The parts of an expression.
fn children(expr: &IdedExpr) -> Vec<&IdedExpr> {
    fn of_entry(entry: &EntryExpr) -> Vec<&IdedExpr> {
        match entry {
            EntryExpr::StructField(field) => vec![&field.value],
            EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
        }
    }
    match &expr.expr {
        Node::Unspecified | Node::Ident(_) | Node::Literal(_) => Vec::new(),
        Node::Call(call) => call.target.iter().map(|t| &**t).chain(&call.args).collect(),
        Node::List(list) => list.elements.iter().collect(),
        Node::Select(select) => vec![&select.operand],
        Node::Map(map) => map.entries.iter().flat_map(|e| of_entry(&e.expr)).collect(),
        Node::Struct(s) => s.entries.iter().flat_map(|e| of_entry(&e.expr)).collect(),
        Node::Comprehension(c) => {
            vec![&c.iter_range, &c.accu_init, &c.loop_cond, &c.loop_step, &c.result]
        }
    }
}

fn count_idents(expr: &IdedExpr, is_counted: &impl Fn(&str) -> bool) -> usize {
    match &expr.expr {
        Node::Ident(name) => usize::from(is_counted(name)),
        _ => children(expr).into_iter().map(|child| count_idents(child, is_counted)).sum(),
    }
}

/// Collects identifiers that no enclosing macro binds.
fn free_names<'a>(expr: &'a IdedExpr, bound: &mut Vec<&'a str>, out: &mut BTreeSet<&'a str>) {
    match &expr.expr {
        Node::Ident(name) => {
            if !bound.contains(&name.as_str()) {
                out.insert(name);
            }
        }
        Node::Comprehension(c) => {
            free_names(&c.iter_range, bound, out);
            free_names(&c.accu_init, bound, out);
            let outside = bound.len();
            bound.extend([c.iter_var.as_str(), c.accu_var.as_str()]);
            bound.extend(c.iter_var2.as_deref());
            for part in [&c.loop_cond, &c.loop_step, &c.result] {
                free_names(part, bound, out);
            }
            bound.truncate(outside);
        }
        _ => children(expr).into_iter().for_each(|child| free_names(child, bound, out)),
    }
}

fn to_cel(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(b) => cel::Value::Bool(*b),
        Value::Number(n) => match (n.as_i64(), n.as_f64()) {
            (Some(int), _) => cel::Value::Int(int),
            (None, Some(float)) => cel::Value::Float(float),
            (None, None) => cel::Value::Null,
        },
        Value::String(s) => cel::Value::String(Arc::new(s.clone())),
        Value::Array(items) => {
            cel::Value::List(Arc::new(items.iter().take(MAX_ITEMS).map(to_cel).collect()))
        }
        Value::Object(map) => cel::Value::Map(cel::objects::Map::from(
            map.iter()
                .take(MAX_ITEMS)
                .map(|(k, v)| (Key::from(k.as_str()), to_cel(v)))
                .collect::<std::collections::HashMap<_, _>>(),
        )),
    }
}

/// `None` when it is no JSON value, or, with nothing left, too large. A list that is shared inside the
/// evaluator is not any more in JSON: a small value can become a very large one.
fn from_cel(value: &cel::Value, left: &mut usize) -> Option<Value> {
    let text = |text: &str, left: &mut usize| spend(text.len(), left).then(|| text.to_owned());
    if !spend(1, left) {
        return None;
    }
    Some(match value {
        cel::Value::Null => Value::Null,
        cel::Value::Bool(b) => Value::Bool(*b),
        cel::Value::Int(i) => Value::from(*i),
        cel::Value::UInt(u) => Value::from(*u),
        // JSON has neither NaN nor infinity, and neither is a value anything may act on.
        cel::Value::Float(f) => Value::Number(serde_json::Number::from_f64(*f)?),
        cel::Value::String(s) => Value::String(text(s, left)?),
        cel::Value::List(items) => {
            Value::Array(items.iter().map(|item| from_cel(item, left)).collect::<Option<_>>()?)
        }
        cel::Value::Map(map) => Value::Object(
            map.map
                .iter()
                .map(|(key, v)| Some((text(&key.to_string(), left)?, from_cel(v, left)?)))
                .collect::<Option<_>>()?,
        ),
        _ => return None,
    })
}

/// Takes `cost` off what is left; `false`, and nothing left, when it is not there.
fn spend(cost: usize, left: &mut usize) -> bool {
    let enough = cost <= *left;
    *left = if enough { *left - cost } else { 0 };
    enough
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn scope() -> Scope {
        Scope::new()
            .with("cause", json!({"service": "postgres", "probability": 0.72, "rank": 1}))
            .with("services", json!(["api", "gateway"]))
            .with("now", json!({"p99": 0.4, "errors": 0}))
    }

    #[test]
    fn conditions_read_the_scope_and_compare_integers_with_numbers() {
        for (source, expected) in [
            ("cause.service == 'postgres' && cause.probability >= 0.5", true),
            ("services.exists(s, s == 'api')", true),
            ("'redis' in services", false),
            ("now.p99 < 1", true),
            ("now.errors < 0.01", true),
            ("size(services) == 2", true),
            ("has(cause.metric)", false),
        ] {
            assert_eq!(Expr::parse(source).unwrap().holds(&scope()), Ok(expected), "{source}");
        }
    }

    #[test]
    fn a_missing_name_or_field_is_an_error_and_never_false() {
        for source in ["nothing == 1", "cause.nothing == 1", "now.p99 < 'a'"] {
            let error = Expr::parse(source).unwrap().holds(&scope()).unwrap_err();
            assert!(matches!(error, ExprError::NoValue { .. }), "{source}: {error}");
        }
        let error = Expr::parse("now.errors").unwrap().holds(&scope()).unwrap_err();
        assert_eq!(error.to_string(), "`now.errors` must be true or false, got an integer");
    }

    #[test]
    fn values_keep_their_types() {
        for (source, expected) in [
            ("now.errors + 40", json!(40)),
            ("now.p99", json!(0.4)),
            ("services", json!(["api", "gateway"])),
            ("{'limit': 3}", json!({"limit": 3})),
            ("cause.service + '-1'", json!("postgres-1")),
        ] {
            assert_eq!(Expr::parse(source).unwrap().eval(&scope()), Ok(expected), "{source}");
        }
        assert!(Expr::parse("0.0 / 0.0").unwrap().eval(&scope()).is_err(), "NaN is no value");
    }

    #[test]
    fn an_expression_that_could_run_long_is_refused_before_it_runs() {
        let nested = "services.all(a, services.all(b, services.all(c, a == b && b == c)))";
        assert!(matches!(Expr::parse(nested), Err(ExprError::TooCostly { .. })));
        let wide = vec!["1"; 600].join("+");
        assert!(matches!(Expr::parse(&wide), Err(ExprError::TooCostly { .. })));
        let long = format!("'{}' == ''", "x".repeat(MAX_SOURCE));
        assert!(matches!(Expr::parse(&long), Err(ExprError::TooLong { .. })));
        let deep = format!("{}1{}", "(".repeat(900), ")".repeat(900));
        assert!(Expr::parse(&deep).is_err());
        assert!(matches!(Expr::parse("a &&"), Err(ExprError::Syntax { .. })));
    }

    #[test]
    fn values_that_would_grow_from_macro_to_macro_are_refused_before_they_do() {
        for step in [".map(x, x + x)", ".map(x, [x, x])", ".map(x, {'a': x, 'b': x})"] {
            let doubled = |times: usize| format!("['ab']{}", step.repeat(times));
            assert!(
                matches!(Expr::parse(&doubled(40)), Err(ExprError::TooCostly { .. })),
                "{step}"
            );
            let thrice = Expr::parse(&doubled(3)).unwrap().eval(&scope()).unwrap();
            assert_eq!(thrice.to_string().matches("ab").count(), 8, "{step}");
        }
        let chain = "services.filter(s, s != '').map(s, s + '-1').exists(s, s == 'api-1')";
        assert_eq!(Expr::parse(chain).unwrap().holds(&scope()), Ok(true));
        // One list, shared a thousand times inside the evaluator.
        let many: Vec<Value> = (0..1_000).map(|n| json!({"name": format!("alert {n}")})).collect();
        let scope = Scope::new().with("alerts", json!(many));
        let error = Expr::parse("alerts.map(a, alerts)").unwrap().eval(&scope).unwrap_err();
        assert!(error.to_string().contains("larger than"), "{error}");
        assert_eq!(Expr::parse("alerts").unwrap().eval(&scope).unwrap(), json!(many));
    }

    #[test]
    fn names_are_reported_so_that_a_misspelt_one_is_found_when_the_document_is_checked() {
        let expr = Expr::parse("cause.service == params.name && services.all(s, s != '')").unwrap();
        assert_eq!(expr.names(), ["cause", "params", "services"]);
    }
}

//! Stage 0: which service an alert is about when its sender did not say.

use aiops_core::Alert;
use serde::{Deserialize, Serialize};

use crate::matcher::value_of;
use crate::{Error, Matcher, Result};

/// One line of a [`Mapping`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapRule {
    /// The alerts that it is about.
    #[serde(rename = "if")]
    pub when: Matcher,
    /// The service to fill in; `{label}` is replaced by that label's value.
    pub service: String,
}

/// A table from label patterns to services, for alerts that name none. The first line that matches
/// and whose labels are all there decides.
///
/// Alerts without a service can only be deduplicated: nothing is known of what they depend on. A few
/// lines here often give most of them a place in the topology.
///
/// ```
/// use aiops_core::{Alert, Labels, Timestamp};
/// use aiops_correlate::{MapRule, Mapping};
///
/// let rule = |when: &str, service: &str| {
///     Ok::<_, aiops_correlate::Error>(MapRule { when: when.parse()?, service: service.into() })
/// };
/// let mapping = Mapping::new(vec![
///     rule("name~Postgres*", "orders-db")?,
///     rule("namespace=shop", "shop-{app}")?,
/// ])?;
/// let alert = |name: &str, labels: &[(&str, &str)]| {
///     Alert::new(name, labels.iter().copied().collect::<Labels>(), Timestamp::EPOCH)
/// };
/// let slow = alert("PostgresSlow", &[]);
/// assert_eq!(mapping.service(&slow).as_deref(), Some("orders-db"));
/// let cart = alert("Slow", &[("namespace", "shop"), ("app", "cart")]);
/// assert_eq!(mapping.service(&cart).as_deref(), Some("shop-cart"));
/// assert_eq!(mapping.service(&alert("Slow", &[("namespace", "shop")])), None, "no label app");
/// # Ok::<(), aiops_correlate::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mapping {
    rules: Vec<(MapRule, Vec<Piece>)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Label(String),
}

impl Mapping {
    /// A table of these lines, asked in their order.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a service that is empty or has a brace that is never closed.
    pub fn new(rules: Vec<MapRule>) -> Result<Self> {
        let with_pieces = |rule: MapRule| {
            let pieces = pieces(&rule.service)?;
            Ok((rule, pieces))
        };
        Ok(Mapping { rules: rules.into_iter().map(with_pieces).collect::<Result<_>>()? })
    }

    /// The service of an alert: its own, or the one that the table gives; `None` if neither.
    pub fn service(&self, alert: &Alert) -> Option<String> {
        if alert.service.is_some() {
            return alert.service.clone();
        }
        let matching = self.rules.iter().filter(|(rule, _)| rule.when.matches(alert));
        matching.map(|(_, pieces)| fill(pieces, alert)).find_map(|service| service)
    }

    /// Whether it has no line.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

fn pieces(template: &str) -> Result<Vec<Piece>> {
    let malformed = |reason: &str| Error::Malformed {
        what: "service of a mapping rule",
        reason: format!("{template:?}: {reason}"),
    };
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some((text, after)) = rest.split_once('{') {
        let (label, after) = after.split_once('}').ok_or_else(|| malformed("no closing brace"))?;
        pieces.push(Piece::Text(text.to_owned()));
        pieces.push(Piece::Label(label.trim().to_owned()));
        rest = after;
    }
    pieces.push(Piece::Text(rest.to_owned()));
    pieces.retain(|piece| *piece != Piece::Text(String::new()));
    if pieces.is_empty() { Err(malformed("it names no service")) } else { Ok(pieces) }
}

fn fill(pieces: &[Piece], alert: &Alert) -> Option<String> {
    let mut service = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(text) => service.push_str(text),
            Piece::Label(label) => {
                let value = value_of(alert, label);
                if value.is_empty() {
                    return None;
                }
                service.push_str(value);
            }
        }
    }
    Some(service)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aiops_core::{Labels, Timestamp};

    fn mapping(rules: &[(&str, &str)]) -> Result<Mapping> {
        let rule = |(when, service): &(&str, &str)| {
            Ok(MapRule { when: when.parse()?, service: (*service).to_owned() })
        };
        Mapping::new(rules.iter().map(rule).collect::<Result<_>>()?)
    }

    #[test]
    fn the_first_line_that_can_be_filled_decides_and_a_known_service_stays() {
        let table = mapping(&[("", "{team}-{app}"), ("name=Slow", "web")]).unwrap();
        let mut alert = Alert::new("Slow", Labels::from([("team", "a")]), Timestamp::EPOCH);
        assert_eq!(table.service(&alert).as_deref(), Some("web"), "app is missing");
        alert.labels.insert("app", "b");
        assert_eq!(table.service(&alert).as_deref(), Some("a-b"));
        alert.service = Some("own".into());
        assert_eq!(table.service(&alert).as_deref(), Some("own"));
        assert_eq!(
            Mapping::default().service(&Alert::new("X", Labels::new(), Timestamp::EPOCH)),
            None
        );
    }

    #[test]
    fn a_template_that_cannot_be_filled_is_refused() {
        assert!(mapping(&[("", "")]).is_err());
        assert!(mapping(&[("", "a{b")]).is_err());
        assert!(mapping(&[("oops", "a")]).is_err());
    }
}

//! What people write down: CSV, and the document form of a topology.

use std::collections::BTreeMap;

use aiops_core::{EdgeKind, NodeKind, TopologyDocument};

use super::Sighting;
use crate::{Error, Result};

/// Reads lines `from,to` or `from,to,kind` under such a header; kind is `calls`, `runs_on`, `owns` or
/// `declared`, and `declared` where there is none. Fields are trimmed, empty lines and lines that
/// begin with `#` skipped; names with commas need the document form.
///
/// # Errors
/// [`Error::Malformed`] names the line.
pub fn from_csv(bytes: &[u8]) -> Result<Vec<Sighting>> {
    let malformed = |line: usize, reason: String| {
        Error::malformed("list of dependencies", format!("line {line}: {reason}"))
    };
    let text = std::str::from_utf8(bytes).map_err(|error| malformed(0, error.to_string()))?;
    let mut found = Vec::new();
    let mut columns = 0;
    for (line, text) in (1..).zip(text.lines()) {
        let fields: Vec<&str> = text.split(',').map(str::trim).collect();
        if text.trim().is_empty() || text.starts_with('#') {
            continue;
        }
        if columns == 0 {
            if !matches!(fields[..], ["from", "to"] | ["from", "to", "kind"]) {
                let reason = format!("expected the header from,to or from,to,kind, got {text:?}");
                return Err(malformed(line, reason));
            }
            columns = fields.len();
            continue;
        }
        if fields.len() != columns {
            return Err(malformed(
                line,
                format!("expected {columns} fields, got {}", fields.len()),
            ));
        }
        if fields[0].is_empty() || fields[1].is_empty() || fields[0] == fields[1] {
            return Err(malformed(line, "expected two different names".to_owned()));
        }
        let kind = match fields.get(2).copied().unwrap_or_default() {
            "" | "declared" => EdgeKind::Declared,
            "calls" => EdgeKind::Calls,
            "runs_on" => EdgeKind::RunsOn,
            "owns" => EdgeKind::Owns,
            other => {
                let reason = format!("expected calls, runs_on, owns or declared, got {other:?}");
                return Err(malformed(line, reason));
            }
        };
        found.push(Sighting { kind, ..Sighting::call(fields[0], fields[1], 1.0) });
    }
    Ok(found)
}

/// The edges of a document, with the kinds of its nodes.
///
/// # Errors
/// [`Error::Malformed`] names an edge with an end that is not listed, a weight that is no positive
/// number, or a node that depends on itself.
pub fn from_document(document: &TopologyDocument) -> Result<Vec<Sighting>> {
    let kinds: BTreeMap<&str, NodeKind> =
        document.nodes.iter().map(|node| (node.name.as_str(), node.kind)).collect();
    let kind_of = |name: &str| {
        kinds.get(name).copied().ok_or_else(|| {
            let hint = aiops_core::text::closest(name, kinds.keys().copied());
            let hint = hint.map(|known| format!("; did you mean {known:?}?")).unwrap_or_default();
            Error::malformed("topology", format!("no node is named {name:?}{hint}"))
        })
    };
    document
        .edges
        .iter()
        .map(|edge| {
            if !(edge.weight > 0.0 && edge.weight.is_finite()) || edge.from == edge.to {
                let reason =
                    format!("{:?} to {:?} with weight {}", edge.from, edge.to, edge.weight);
                return Err(Error::malformed("edge of a topology", reason));
            }
            Ok(Sighting {
                from_kind: kind_of(&edge.from)?,
                to_kind: kind_of(&edge.to)?,
                kind: edge.kind,
                ..Sighting::call(&edge.from, &edge.to, edge.weight)
            })
        })
        .collect()
}

/// The same as YAML.
///
/// # Errors
/// As [`from_document`], and [`Error::Malformed`] with line and column for other YAML.
#[cfg(feature = "yaml")]
pub fn from_yaml(text: &str) -> Result<Vec<Sighting>> {
    let document: TopologyDocument =
        serde_saphyr::from_str(text).map_err(|error| Error::malformed("topology", error))?;
    from_document(&document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_mistakes_named() {
        let text = b"# who calls whom\nfrom,to,kind\napi, db,\napi,host-1,runs_on\n\n";
        let found = from_csv(text).unwrap();
        let told: Vec<_> = found.iter().map(|s| (s.from.as_str(), s.to.as_str(), s.kind)).collect();
        let expected = [("api", "db", EdgeKind::Declared), ("api", "host-1", EdgeKind::RunsOn)];
        assert_eq!(told, expected);
        for (text, part) in [
            ("api,db\n", "line 1"),
            ("from,to\napi\n", "line 2: expected 2 fields"),
            ("from,to\napi,api\n", "line 2: expected two different"),
            ("from,to,kind\napi,db,owned\n", "got \"owned\""),
        ] {
            let error = from_csv(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert!(from_csv(&[0xff]).is_err());
    }

    #[test]
    fn a_document_is_checked_before_anything_is_taken() {
        let json = r#"{"nodes": [{"name": "api"}, {"name": "h", "kind": "host"}],
                       "edges": [{"from": "api", "to": "h", "kind": "runs_on"}]}"#;
        let mut document: TopologyDocument = serde_json::from_str(json).unwrap();
        assert_eq!(from_document(&document).unwrap()[0].to_kind, NodeKind::Host);
        document.edges[0].from = "apo".into();
        let error = from_document(&document).unwrap_err().to_string();
        assert!(error.contains("did you mean \"api\"?"), "{error}");
    }

    #[cfg(feature = "yaml")]
    #[test]
    fn yaml_is_the_same_document() {
        let yaml = "nodes: [{name: api}, {name: db}]\nedges:\n  - {from: api, to: db}\n";
        assert_eq!(from_yaml(yaml).unwrap(), [Sighting::call("api", "db", 1.0)]);
        assert!(from_yaml("nodes: {").is_err());
    }
}

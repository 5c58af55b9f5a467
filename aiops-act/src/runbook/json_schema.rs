//! The published JSON Schema, for editors and for checks outside of Rust.

/// The JSON Schema (draft 2020-12) of `aiops.runbook/v1`.
///
/// It says less than [`Runbook::parse`](super::Runbook::parse): what must hold between fields is
/// checked there alone. An editor takes it from a file with
/// `# yaml-language-server: $schema=runbook-v1.schema.json` in the first line of a runbook.
pub const JSON_SCHEMA: &str = include_str!("runbook-v1.schema.json");

#[cfg(test)]
mod tests {
    use super::super::schema::{
        Approvals, Document, Freeze, Guard, Match, Metric, Param, Rate, Retry, Safety, Step,
        Targets, Undo, Verify, Weekly,
    };
    use super::*;
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};
    use std::collections::BTreeSet;

    /// The fields that a type knows, out of its own complaint about one that it does not.
    fn fields_of<T: DeserializeOwned>() -> BTreeSet<String> {
        let Err(error) = serde_json::from_value::<T>(json!({"no such field": 1})) else {
            panic!("an unknown field is an error");
        };
        let text = error.to_string();
        let (_, names) = text.split_once("expected ").expect("it says what it expects");
        names.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn the_schema_knows_exactly_the_fields_of_the_types() {
        let schema: Value = serde_json::from_str(JSON_SCHEMA).unwrap();
        let defs = &schema["$defs"];
        let types = [
            ("", fields_of::<Document>()),
            ("match", fields_of::<Match>()),
            ("param", fields_of::<Param>()),
            ("targets", fields_of::<Targets>()),
            ("safety", fields_of::<Safety>()),
            ("rate", fields_of::<Rate>()),
            ("freeze", fields_of::<Freeze>()),
            ("weekly", fields_of::<Weekly>()),
            ("approvals", fields_of::<Approvals>()),
            ("step", fields_of::<Step>()),
            ("retry", fields_of::<Retry>()),
            ("undo", fields_of::<Undo>()),
            ("verify", fields_of::<Verify>()),
            ("metric", fields_of::<Metric>()),
            ("guard", fields_of::<Guard>()),
        ];
        assert_eq!(defs.as_object().unwrap().len() + 1, types.len());
        for (name, fields) in types {
            let of = if name.is_empty() { &schema } else { &defs[name] };
            let known: BTreeSet<String> =
                of["properties"].as_object().unwrap().keys().cloned().collect();
            // A type with one field says "expected `x`".
            assert_eq!(known, fields, "{name}");
            assert_eq!(of["additionalProperties"], false, "{name}");
        }
    }

    #[test]
    fn the_defaults_in_the_schema_are_those_of_the_types() {
        let schema: Value = serde_json::from_str(JSON_SCHEMA).unwrap();
        let document = crate::Runbook::parse(
            b"{schema: aiops.runbook/v1, id: a, version: 1.0.0, title: t, owner: o, match: {}, \
              targets: {services: [api]}, steps: [{id: s, uses: u, undo: {uses: u}}], \
              verify: {metrics: {m: {metric: m, guard: {worse: up}}}, success_when: 'true'}}",
        )
        .unwrap();
        let value = serde_json::to_value(document.document()).unwrap();
        let defaults = |of: &Value, value: &Value, name: &str| {
            for (field, property) in of["properties"].as_object().unwrap() {
                let Some(default) = property.get("default") else { continue };
                let same = match (default.as_f64(), value[field].as_f64()) {
                    (Some(a), Some(b)) => a == b,
                    _ => *default == value[field],
                };
                assert!(same, "{name}.{field}: {default} and {}", value[field]);
            }
        };
        let defs = &schema["$defs"];
        defaults(&schema, &value, "");
        for (name, pointer) in [
            ("match", "/match"),
            ("safety", "/safety"),
            ("approvals", "/safety/approvals"),
            ("step", "/steps/0"),
            ("undo", "/steps/0/undo"),
            ("verify", "/verify"),
            ("metric", "/verify/metrics/m"),
            ("guard", "/verify/metrics/m/guard"),
        ] {
            defaults(&defs[name], value.pointer(pointer).unwrap(), name);
        }
    }
}

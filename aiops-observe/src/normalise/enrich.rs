//! Enrichment: labels in, more labels out, by tables that somebody keeps.

use crate::{Error, Result};
use aiops_core::Labels;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;

/// A mapping table: which labels to look up, and which to add for each combination of values.
///
/// It exists so that a missing label does not disable grouping: an alert that names only a host can
/// still get the service, team and environment of that host. Labels that are there already are kept
/// unless `overwrite` is set; a row whose new value is empty adds nothing.
///
/// ```
/// use aiops_core::Labels;
/// use aiops_observe::MappingTable;
///
/// let table = MappingTable::from_csv("host,service,team\ndb-7,orders-db,storage\n", &["host"])?;
/// let mut labels = Labels::from([("host", "db-7")]);
/// table.enrich(&mut labels);
/// assert_eq!(labels.get("service"), Some("orders-db"));
/// assert_eq!(labels.get("team"), Some("storage"));
/// # Ok::<(), aiops_observe::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MappingTable {
    /// The labels to look up; all of them must be there.
    pub on: Vec<String>,
    /// The values of `on`, in their order, to the labels to add. Serialises as a list of pairs.
    #[serde(with = "pairs")]
    pub rows: BTreeMap<Vec<String>, Labels>,
    /// Whether a label that is there already is replaced. Default no.
    pub overwrite: bool,
}

impl MappingTable {
    /// A table from CSV with a header: the columns `on` are looked up, all others are added.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] when a column of `on` is missing, the text is not CSV, or two rows
    /// have the same values in `on`.
    pub fn from_csv(text: &str, on: &[&str]) -> Result<Self> {
        let bad = |reason: String| Error::config("mapping table", reason);
        let mut reader =
            csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
        let header = reader.headers().map_err(|error| bad(error.to_string()))?.clone();
        let place = |&name: &&str| {
            let found = header.iter().position(|column| column == name);
            found.ok_or_else(|| bad(format!("no column {name:?} in the header")))
        };
        let keys = on.iter().map(place).collect::<Result<Vec<_>>>()?;
        let mut rows = BTreeMap::new();
        for row in reader.records() {
            let row = row.map_err(|error| bad(error.to_string()))?;
            let key: Vec<String> = keys.iter().map(|&key| row[key].to_owned()).collect();
            let cells = header.iter().zip(&row).enumerate();
            let added = cells.filter(|(i, (_, value))| !keys.contains(i) && !value.is_empty());
            let labels: Labels = added.map(|(_, cell)| cell).collect();
            if rows.insert(key.clone(), labels).is_some() {
                return Err(bad(format!("two rows for {key:?}")));
            }
        }
        Ok(MappingTable {
            on: on.iter().map(|&name| name.to_owned()).collect(),
            rows,
            overwrite: false,
        })
    }

    /// Adds what the table knows.
    pub fn enrich(&self, labels: &mut Labels) {
        let key = self.on.iter().map(|name| labels.get(name).map(str::to_owned));
        let Some(key) = key.collect::<Option<Vec<_>>>() else { return };
        let Some(row) = self.rows.get(&key) else { return };
        for (name, value) in row.iter() {
            if self.overwrite || labels.get(name).is_none() {
                labels.insert(name, value);
            }
        }
    }
}

/// JSON keys are text, and these are lists of text.
mod pairs {
    use super::*;

    type Rows = BTreeMap<Vec<String>, Labels>;

    pub(super) fn serialize<S: Serializer>(rows: &Rows, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(rows)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Rows, D::Error> {
        Ok(Vec::<(Vec<String>, Labels)>::deserialize(from)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_adds_and_does_not_replace_unless_told() -> Result<()> {
        let text = "zone,host,team,env\na,h1,core,\nb,h1,edge,prod\n";
        let mut table = MappingTable::from_csv(text, &["zone", "host"])?;
        let row = |zone: &str| Labels::from([("zone", zone), ("host", "h1"), ("team", "old")]);
        let mut labels = row("b");
        table.enrich(&mut labels);
        assert_eq!((labels.get("team"), labels.get("env")), (Some("old"), Some("prod")));
        table.overwrite = true;
        table.enrich(&mut labels);
        assert_eq!(labels.get("team"), Some("edge"));

        let mut unknown = row("c");
        table.enrich(&mut unknown);
        assert_eq!(unknown, row("c"));
        let mut partial = Labels::from([("host", "h1")]);
        table.enrich(&mut partial);
        assert_eq!(partial.len(), 1, "both labels are needed");

        let stored = serde_json::to_string(&table).unwrap();
        assert_eq!(serde_json::from_str::<MappingTable>(&stored).unwrap(), table);
        Ok(())
    }

    #[test]
    fn a_table_says_what_is_wrong_with_it() {
        let message = |text| MappingTable::from_csv(text, &["host"]).unwrap_err().to_string();
        assert!(message("service,team\n").contains("no column \"host\""));
        assert!(message("host,team\nh1,a\nh1,b\n").contains("two rows for [\"h1\"]"));
        assert!(message("host,team\nh1\n").contains("record 1"));
    }
}

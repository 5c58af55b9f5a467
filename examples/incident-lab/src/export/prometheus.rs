//! The part of Prometheus' HTTP API that an export needs.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::http::{BoxError, HttpClient, url_encode};

/// Why the history could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// Prometheus did not answer.
    #[error("no answer to {what}")]
    Unreachable {
        /// The call.
        what: String,
        /// Why.
        source: BoxError,
    },
    /// Prometheus refused the call.
    #[error("{what} was answered with {status}: {body}")]
    Refused {
        /// The call.
        what: String,
        /// The status code.
        status: StatusCode,
        /// What it said.
        body: String,
    },
    /// The answer is not what the API documents.
    #[error("the answer to {what} could not be read")]
    Malformed {
        /// The call.
        what: String,
        /// Where it went wrong.
        source: serde_json::Error,
    },
}

/// One series with its raw samples, oldest first.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct RawSeries {
    /// All labels, the name as `__name__`.
    #[serde(rename = "metric")]
    pub labels: BTreeMap<String, String>,
    /// Time in milliseconds, value. NaN is possible; staleness marks are not returned.
    #[serde(rename = "values", deserialize_with = "samples")]
    pub samples: Vec<(i64, f64)>,
}

fn samples<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<(i64, f64)>, D::Error> {
    let pairs = Vec::<(f64, String)>::deserialize(from)?;
    pairs
        .into_iter()
        .map(|(seconds, value)| {
            let value = value.parse().map_err(serde::de::Error::custom)?;
            Ok(((seconds * 1_000.0).round() as i64, value))
        })
        .collect()
}

#[derive(Deserialize)]
struct Answer<T> {
    data: T,
}

#[derive(Deserialize)]
struct Matrix {
    result: Vec<RawSeries>,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Groups {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    name: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// A Prometheus server.
#[derive(Debug, Clone)]
pub struct Prometheus {
    base: String,
    client: HttpClient,
}

impl Prometheus {
    /// A server at `base`, as `http://127.0.0.1:9090`.
    pub fn new(base: impl Into<String>) -> Self {
        Self { base: base.into(), client: HttpClient::new(Duration::from_secs(60), 256 << 20) }
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str, form: String) -> Result<T, HistoryError> {
        let what = || format!("{path} {form}");
        let method = if form.is_empty() { Method::GET } else { Method::POST };
        let (status, body) = self
            .client
            .call(method, &format!("{}{path}", self.base), form.clone().into_bytes())
            .await
            .map_err(|source| HistoryError::Unreachable { what: what(), source })?;
        if !status.is_success() {
            let body = String::from_utf8_lossy(&body).into_owned();
            return Err(HistoryError::Refused { what: what(), status, body });
        }
        serde_json::from_slice::<Answer<T>>(&body)
            .map(|answer| answer.data)
            .map_err(|source| HistoryError::Malformed { what: what(), source })
    }

    /// Raw samples of `selector` in the `seconds` before `end_ms`.
    ///
    /// # Errors
    /// When Prometheus does not answer, refuses, or answers something else.
    pub async fn history(
        &self,
        selector: &str,
        end_ms: i64,
        seconds: i64,
    ) -> Result<Vec<RawSeries>, HistoryError> {
        let query = url_encode(&format!("{selector}[{seconds}s]"));
        let form = format!("query={query}&time={}", end_ms as f64 / 1_000.0);
        Ok(self.ask::<Matrix>("/api/v1/query", form).await?.result)
    }

    /// Type of each metric that a target described, by metric name.
    ///
    /// # Errors
    /// As [`Prometheus::history`].
    pub async fn kinds(&self) -> Result<BTreeMap<String, String>, HistoryError> {
        let metadata: BTreeMap<String, Vec<Metadata>> =
            self.ask("/api/v1/metadata", String::new()).await?;
        Ok(metadata
            .into_iter()
            .filter_map(|(name, described)| Some((name, described.into_iter().next()?.kind)))
            .collect())
    }

    /// Annotations of each alerting rule, by alert name.
    ///
    /// # Errors
    /// As [`Prometheus::history`].
    pub async fn annotations(
        &self,
    ) -> Result<BTreeMap<String, BTreeMap<String, String>>, HistoryError> {
        let groups: Groups = self.ask("/api/v1/rules?type=alert", String::new()).await?;
        Ok(groups
            .groups
            .into_iter()
            .flat_map(|group| group.rules)
            .map(|rule| (rule.name, rule.annotations))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_is_read_with_its_special_values() {
        let text = r#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{"__name__":"up","job":"api"},"values":[[1.5,"1"],[2.5,"NaN"],[3.501,"+Inf"]]}]}}"#;
        let answer: Answer<Matrix> = serde_json::from_str(text).unwrap();
        let series = &answer.data.result[0];
        assert_eq!(series.labels["__name__"], "up");
        assert_eq!(series.samples[0], (1_500, 1.0));
        assert!(series.samples[1].1.is_nan());
        assert_eq!(series.samples[2], (3_501, f64::INFINITY));
    }
}

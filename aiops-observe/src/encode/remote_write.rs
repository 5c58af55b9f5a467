//! Prometheus remote write 1.0.

use super::{Said, proto};
use crate::{Error, NAME, Result};

/// Headers that a remote write body travels with.
pub const REMOTE_WRITE_HEADERS: [(&str, &str); 3] = [
    ("content-type", "application/x-protobuf"),
    ("content-encoding", "snappy"),
    ("x-prometheus-remote-write-version", "0.1.0"),
];

/// A body of remote write 1.0: one series with one sample for each number that was said.
///
/// Hand samples of one series over in the order of time. Names are made such as Prometheus takes:
/// other characters than letters, digits and `_` become `_`, and of labels that become equal the
/// first is kept. Times are cut to milliseconds.
///
/// ```
/// use aiops_core::{Labels, SeriesKey, Timestamp};
/// use aiops_observe::encode::{Said, remote_write};
/// use aiops_observe::{Decoder, Inbox, NormaliserConfig, decode::RemoteWriteV1};
///
/// let series = SeriesKey::new("latency", Labels::from([("service", "api")]));
/// let time = Timestamp::from_secs(60);
/// let said = Said { series: &series, time, score: 7.5, expected: 0.2, lower: f64::NAN, upper: 0.4, flagged: true };
/// let body = remote_write(&[said])?;
///
/// let mut normaliser = NormaliserConfig::default().build()?;
/// let mut inbox = Inbox::default();
/// RemoteWriteV1::default().decode(&body, time, &mut normaliser.sink(&mut inbox))?;
/// assert_eq!(inbox.batch().values(), [7.5, 0.2, 0.4, 1.0]);
/// # Ok::<(), aiops_observe::Error>(())
/// ```
///
/// Source: `prompb/remote.proto` of Prometheus; the specification 1.0, "Protocol" and "Labels".
///
/// # Errors
/// [`Error::TooLarge`] when the body would be longer than the 4 GiB that snappy can say.
pub fn remote_write(said: &[Said<'_>]) -> Result<Vec<u8>> {
    let (mut body, mut series, mut part) = (Vec::new(), Vec::new(), Vec::new());
    for said in said {
        let mut labels: Vec<_> =
            said.labels().into_iter().map(|(name, value)| (plain(&name), value)).collect();
        for (column, value) in said.columns() {
            labels.push((NAME.into(), column));
            labels.sort_by(|a, b| a.0.cmp(&b.0));
            series.clear();
            let mut last = "";
            for (name, value) in labels.iter().filter(|(name, _)| !name.is_empty()) {
                if name == last {
                    continue;
                }
                last = name;
                part.clear();
                proto::bytes(&mut part, 1, name.as_bytes());
                proto::bytes(&mut part, 2, value.as_bytes());
                proto::bytes(&mut series, 1, &part);
            }
            part.clear();
            proto::fixed64(&mut part, 1, value.to_le_bytes());
            proto::number(&mut part, 2, said.time.as_millis() as u64);
            proto::bytes(&mut series, 2, &part);
            proto::bytes(&mut body, 1, &series);
            labels.retain(|(name, _)| name != NAME);
        }
    }
    let too_large = |_| Error::TooLarge {
        format: "remote_write_v1",
        what: "bytes",
        limit: u32::MAX as usize,
        got: body.len(),
        before: Box::default(),
    };
    snap::raw::Encoder::new().compress_vec(&body).map_err(too_large)
}

/// A label name as Prometheus takes it.
fn plain(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' };
    let mut out: String = name.chars().map(plain).collect();
    if out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert(0, '_');
    }
    // A metric name is none of the series' own labels.
    if out == NAME { "exported___name__".into() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aiops_core::{Labels, SeriesKey, Timestamp};

    #[test]
    fn labels_are_sorted_unique_and_plain() {
        let labels = Labels::from([
            ("Zone", "a"),
            ("service.name", "x"),
            ("service-name", "y"),
            ("9", "z"),
            ("empty", ""),
        ]);
        let series = SeriesKey { tenant: "acme".into(), ..SeriesKey::new("cpu", labels) };
        let said = Said {
            series: &series,
            time: Timestamp::from_millis(-1),
            score: 1.0,
            expected: f64::NAN,
            lower: f64::NAN,
            upper: f64::NAN,
            flagged: false,
        };
        let body =
            snap::raw::Decoder::new().decompress_vec(&remote_write(&[said]).unwrap()).unwrap();
        let text = String::from_utf8_lossy(&body);
        let places: Vec<_> = ["Zone", "_9", "__name__", "metric", "service_name", "tenant"]
            .iter()
            .map(|name| text.find(name).unwrap_or_else(|| panic!("{name} in {text}")))
            .collect();
        assert!(places.is_sorted(), "{text}");
        assert_eq!(text.matches("service_name").count(), 2, "once for each of two numbers");
        assert!(!text.contains("empty"));
    }
}

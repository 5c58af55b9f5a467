//! The exposition format 0.0.4 and OpenMetrics 1.0, by their specifications.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod collect;

use aiops_core::Timestamp;
use aiops_observe::decode::Exposition;
use aiops_observe::{Decoder, Error, Form, Limits, Rejection, Tally};
use collect::Collected;
use proptest::prelude::*;

const NOW: Timestamp = Timestamp::from_secs(1_000);

fn text(body: &str) -> (Collected, Tally) {
    let mut sink = Collected::default();
    let tally = Exposition::text().decode(body.as_bytes(), NOW, &mut sink).unwrap();
    (sink, tally)
}

#[test]
fn the_example_of_the_specification() {
    let body = r#"
# HELP http_requests_total The total number of HTTP requests.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total{method="post",code="400"}    3 1395066363000

# Escaping in label values:
msdos_file_access_time_seconds{path="C:\\DIR\\FILE.TXT",error="Cannot find file:\n\"FILE.TXT\""} 1.458255915e9

# Minimalistic line:
metric_without_timestamp_and_labels 12.47

# A weird metric from before the epoch:
something_weird{problem="division by zero"} +Inf -3982045

# TYPE http_request_duration_seconds histogram
http_request_duration_seconds_bucket{le="0.05"} 24054
http_request_duration_seconds_sum 53423
# TYPE rpc_duration_seconds summary
rpc_duration_seconds{quantile="0.5"} 4773
rpc_duration_seconds_count 2693
"#;
    let (sink, tally) = text(body);
    assert_eq!((tally.accepted(), tally.rejected()), (9, 0));
    assert_eq!(
        sink.lines(),
        [
            r#"http_requests_total{code="200",method="post"} 1027 @ 1395066363"#,
            r#"http_requests_total{code="400",method="post"} 3 @ 1395066363"#,
            r#"msdos_file_access_time_seconds{error="Cannot find file:\n\"FILE.TXT\"",path="C:\\DIR\\FILE.TXT"} 1458255915 @ 1000"#,
            "metric_without_timestamp_and_labels{} 12.47 @ 1000",
            r#"something_weird{problem="division by zero"} inf @ -3982.045"#,
            r#"http_request_duration_seconds_bucket{le="0.05"} 24054 @ 1000"#,
            "http_request_duration_seconds_sum{} 53423 @ 1000",
            r#"rpc_duration_seconds{quantile="0.5"} 4773 @ 1000"#,
            "rpc_duration_seconds_count{} 2693 @ 1000",
        ]
    );
    use Form::{Counter, Distribution, Unknown};
    let forms = [Counter, Counter, Unknown, Unknown, Unknown];
    assert_eq!(sink.forms[..5], forms);
    assert_eq!(sink.forms[5..], [Distribution; 4]);
}

#[test]
fn blanks_commas_and_braces_in_odd_places() {
    let (sink, tally) = text(concat!(
        "a { b = \"}\" , c=\"x,y=\\\"z\" , } 1\r\n",
        "\tempty{} 2\n",
        "{\"dotted.name\", \"odd label\"=\"v\"} 3\n",
        "colon:name 4",
    ));
    assert_eq!(tally.rejected(), 0, "{tally}");
    assert_eq!(
        sink.lines(),
        [
            r#"a{b="}",c="x,y=\"z"} 1 @ 1000"#,
            "empty{} 2 @ 1000",
            r#"dotted.name{odd label="v"} 3 @ 1000"#,
            "colon:name{} 4 @ 1000",
        ]
    );
}

#[test]
fn a_bad_line_has_its_reason_and_the_next_is_read() {
    let (sink, tally) = text(concat!(
        "no_value\n",
        "bad_value{} one\n",
        "bad_time 1 yesterday\n",
        "too many 1 2 3\n",
        "open{a=\"b 1\n",
        "open{a=\"b\" 1\n",
        "unquoted{a=b} 1\n",
        "unseparated{a=\"b\"c=\"d\"} 1\n",
        "fine 1\n",
    ));
    assert_eq!(sink.lines(), ["fine{} 1 @ 1000"]);
    let expected = [(Rejection::Malformed, 5), (Rejection::BadTime, 1), (Rejection::BadValue, 2)];
    assert_eq!(tally.reasons().collect::<Vec<_>>(), expected);
}

#[test]
fn open_metrics_has_seconds_exemplars_units_and_an_end() {
    let body = concat!(
        "# TYPE foo_seconds counter\n",
        "# UNIT foo_seconds seconds\n",
        "# HELP foo_seconds Some help.\n",
        "foo_seconds_total{a=\"b\"} 17.0 1520879607.789 # {trace_id=\"} 1 2\"} 0.67 1520879600.1\n",
        "foo_seconds_created{a=\"b\"} 1520872607.123\n",
        "# EOF\n",
        "ignored 1\n",
    );
    let mut sink = Collected::default();
    let tally = Exposition::open_metrics().decode(body.as_bytes(), NOW, &mut sink).unwrap();
    assert_eq!(tally.accepted(), 2);
    assert_eq!(sink.points[0].nanos, 1_520_879_607_789_000_000, "exact");
    assert_eq!(sink.forms, [Form::Counter, Form::Gauge], "the time of creation does not grow");

    let cut = &body[..body.find("# EOF").unwrap()];
    let mut sink = Collected::default();
    let error = Exposition::open_metrics().decode(cut.as_bytes(), NOW, &mut sink).unwrap_err();
    assert!(error.to_string().contains("cut short"), "{error}");
    assert_eq!((sink.points.len(), error.before().unwrap().accepted()), (2, 2));
}

#[test]
fn limits_hold() {
    let limits = Limits { items: 2, labels: 1, label_bytes: 8, ..Limits::default() };
    let mut sink = Collected::default();
    let body = "a{b=\"123456789\"} 1\na{b=\"1\",c=\"2\"} 1\na 1\n";
    let mut decoder = Exposition::text().with_limits(limits);
    let error = decoder.decode(body.as_bytes(), NOW, &mut sink).unwrap_err();
    assert!(matches!(error, Error::TooLarge { what: "items", .. }));
    let before: Vec<_> = error.before().unwrap().reasons().collect();
    assert_eq!(before, [(Rejection::TooManyLabels, 1), (Rejection::LabelTooLong, 1)]);
}

proptest! {
    #[test]
    fn what_is_written_by_the_rules_is_read_back(
        name in "[a-zA-Z_:][a-zA-Z0-9_:]{0,10}",
        labels in prop::collection::btree_map("[a-z_][a-z0-9_]{0,6}", "\\PC{0,12}", 0..5),
        value in any::<f64>().prop_filter("NaN has many forms", |v| !v.is_nan()),
        millis in any::<i32>(),
    ) {
        let escape = |text: &str| {
            text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
        };
        let pairs: Vec<_> = labels.iter().map(|(n, v)| format!("{n}=\"{}\"", escape(v))).collect();
        let line = format!("{name}{{{}}} {value:?} {millis}\n", pairs.join(","));
        let (sink, tally) = text(&line);
        prop_assert_eq!(tally.accepted(), 1, "{} of {}", tally, line);
        let point = &sink.points[0];
        let mut expected: Vec<_> = labels.into_iter().collect();
        expected.push(("__name__".to_owned(), name));
        expected.sort();
        prop_assert_eq!(&point.labels, &expected);
        prop_assert_eq!(f64::from_bits(point.bits), value);
        prop_assert_eq!(point.nanos, i64::from(millis) * 1_000_000);
    }

    #[test]
    fn any_text_adds_up(body in "[a-z{}=\",\\\\# \n0-9TYPE]{0,120}") {
        let lines = body.lines().map(|line| line.trim_matches([' ', '\t', '\r']));
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#')).count();
        let (_, tally) = text(&body);
        prop_assert_eq!(tally.items(), lines as u64);
    }
}

//! Bad input gets a clear error or a counted rejection, never a panic and never silence.

mod synthetic;

use std::error::Error;

use aiops_core::EventKind;
use aiops_pipeline::recording::{Flaw, Recording, RecordingError, Truth};
use synthetic::{Files, START_MS, pack};

#[test]
fn a_good_recording_is_read_whole() {
    let dir = Files::tiny().write("good");
    let recording = Recording::open(&dir).unwrap();
    assert!(recording.flaws.is_empty(), "{}", recording.flaws);
    assert_eq!((recording.times.len(), recording.series.len()), (5, 2));
    assert_eq!(recording.row(4), [4.0, 104.0]);
    assert_eq!(recording.start().as_millis(), START_MS);
    assert_eq!(
        recording.series[1].key.to_string(),
        r#"api_requests_total{code="200", service="api"}"#
    );
    assert!(recording.series[1].is_counter && !recording.series[0].is_counter);
    assert_eq!(recording.alerts[0].service.as_deref(), Some("api"));
    assert_eq!(recording.alerts[0].severity.name(), "critical");
    assert_eq!(recording.changes[0].kind, EventKind::Deploy);
    assert_eq!(recording.topology.len(), 5);
    assert!(Truth::read(&dir).unwrap().is_none(), "a truth is optional");
}

#[test]
fn a_missing_file_is_named() {
    for missing in
        ["recording.json", "series.csv.gz", "metrics.csv.gz", "alerts.jsonl", "topology.json"]
    {
        let mut files = Files::tiny();
        files.0.remove(missing);
        let error = Recording::open(&files.write("missing")).unwrap_err();
        assert!(
            matches!(&error, RecordingError::Missing { file } if file.ends_with(missing)),
            "{error}"
        );
        assert!(error.to_string().contains("a recording is a directory with"), "{error}");
    }
}

#[test]
fn a_truncated_archive_is_refused_at_every_length() {
    let dir = Files::tiny().write("truncated");
    let whole = pack(&Files::tiny().0["metrics.csv.gz"]);
    for length in 0..whole.len() {
        std::fs::write(dir.join("metrics.csv.gz"), &whole[..length]).unwrap();
        let error = Recording::open(&dir).unwrap_err();
        let truncated = matches!(error, RecordingError::Truncated { .. });
        assert!(truncated || length == 0, "{length} bytes: {error:?}");
    }
}

#[test]
fn a_flipped_byte_is_refused_or_harmless() {
    let dir = Files::tiny().write("flipped");
    let whole = pack(&Files::tiny().0["metrics.csv.gz"]);
    for at in 10..whole.len() {
        let mut spoilt = whole.clone();
        spoilt[at] ^= 0x10;
        std::fs::write(dir.join("metrics.csv.gz"), &spoilt).unwrap();
        // The checksum catches what still unpacks; a few bits of padding mean nothing.
        if let Ok(recording) = Recording::open(&dir) {
            assert_eq!(
                (recording.row(0), recording.row(4)),
                (&[0.0, 100.0][..], &[4.0, 104.0][..])
            );
        }
    }
}

#[test]
fn wrong_columns_are_refused_with_the_reason() {
    let cases = [
        ("series.csv.gz", "service,labels", "servce,labels", "no column \"service\""),
        ("series.csv.gz", "s1,api", "s0,api", "\"s0\" is described twice"),
        ("metrics.csv.gz", "time_ms,", "when,", "first column must be \"time_ms\""),
        ("metrics.csv.gz", "s0,s1", "s0,s9", "\"s9\" is described nowhere"),
        ("metrics.csv.gz", "s0,s1", "s0,s0", "stands twice"),
        ("metrics.csv.gz", ",s0,s1", ",s0", "no column for series \"s1\""),
    ];
    for (file, from, to, reason) in cases {
        let error =
            Recording::open(&Files::tiny().edit(file, from, to).write("columns")).unwrap_err();
        assert!(matches!(error, RecordingError::Columns { .. }), "{error:?}");
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[test]
fn another_format_and_broken_json_are_refused() {
    let other = Files::tiny().edit("recording.json", "/v1", "/v9").write("format");
    let error = Recording::open(&other).unwrap_err();
    assert!(error.to_string().contains("format is \"aiops.recording/v9\""), "{error}");

    let broken = Files::tiny().with("recording.json", "{").write("broken");
    let error = Recording::open(&broken).unwrap_err();
    assert!(matches!(error, RecordingError::Json { .. }) && error.source().is_some());

    let topology = Files::tiny().edit("topology.json", "\"to\": \"api\"", "\"to\": \"apii\"");
    let error = Recording::open(&topology.write("topology")).unwrap_err();
    let cause = error.source().unwrap().to_string();
    assert!(cause.contains("apii") && cause.contains("did you mean \"api\""), "{cause}");
}

#[test]
fn spoilt_cells_become_gaps_and_are_counted() {
    let files = Files::tiny()
        .edit("metrics.csv.gz", ",0,100", ",NaN,100")
        .edit("metrics.csv.gz", ",1,101", ",inf,101")
        .edit("metrics.csv.gz", ",2,102", ",two,102")
        .edit("metrics.csv.gz", ",3,103", ",,103");
    let recording = Recording::open(&files.write("cells")).unwrap();
    assert!((0..4).all(|row| recording.row(row)[0].is_nan()));
    assert_eq!(recording.flaws.count(Flaw::NotFinite), 2);
    assert_eq!(recording.flaws.count(Flaw::NotANumber), 1);
    let text = recording.flaws.to_string();
    assert!(
        text.contains("metrics.csv.gz line 4, s0: \"two\""),
        "an empty cell is no flaw: {text}"
    );
}

#[test]
fn rows_that_do_not_fit_in_time_are_left_out_and_counted() {
    let rows = [(0, "0,100"), (1, "1,101"), (1, "9,9"), (0, "9,9"), (2, "2,102"), (3, "3")];
    let rows = rows.map(|(s, cells)| format!("{},{cells}\n", START_MS + s * 1_000)).concat();
    let text = format!("time_ms,s0,s1\n{rows}soon,1,2\n");
    let recording =
        Recording::open(&Files::tiny().with("metrics.csv.gz", text).write("rows")).unwrap();
    assert_eq!(recording.times.len(), 3);
    assert_eq!(recording.row(2), [2.0, 102.0]);
    let counts = [Flaw::RowDuplicated, Flaw::RowOutOfOrder, Flaw::RowWidth, Flaw::RowTime]
        .map(|flaw| recording.flaws.count(flaw));
    assert_eq!(counts, [1, 1, 1, 1]);
}

#[test]
fn a_recording_without_a_usable_row_says_why() {
    let files = Files::tiny().with("metrics.csv.gz", "time_ms,s0,s1\nsoon,1,2\n");
    let error = Recording::open(&files.write("empty")).unwrap_err();
    assert!(error.to_string().contains("no readable time"), "{error}");
}

#[test]
fn unknown_services_are_kept_and_counted_with_a_hint() {
    let files = Files::tiny().edit("series.csv.gz", "api_in_flight,api", "api_in_flight,ap1").edit(
        "changes.jsonl",
        "\"service\":\"api\"",
        "\"service\":\"nobody\"",
    );
    let recording = Recording::open(&files.write("unknown")).unwrap();
    assert_eq!(recording.flaws.count(Flaw::UnknownService), 2);
    assert!(recording.flaws.to_string().contains("did you mean \"api\"?"));
    assert_eq!((recording.series.len(), recording.changes.len()), (2, 1));
}

#[test]
fn lines_that_cannot_be_read_are_counted() {
    let mut files = Files::tiny();
    let text = format!("not json\n\n{}", files.0["alerts.jsonl"]);
    files = files.with("alerts.jsonl", text);
    let recording = Recording::open(&files.write("lines")).unwrap();
    assert_eq!((recording.alerts.len(), recording.flaws.count(Flaw::Unreadable)), (1, 1));
}

#[test]
fn a_series_described_twice_counts_once() {
    let same = "s1,api_in_flight,api,{},gauge,\n";
    let described =
        format!("series,name,service,labels,kind,unit\ns0,api_in_flight,api,{{}},gauge,\n{same}");
    let recording =
        Recording::open(&Files::tiny().with("series.csv.gz", described).write("twice")).unwrap();
    assert_eq!((recording.series.len(), recording.flaws.count(Flaw::SeriesDuplicated)), (1, 1));
    assert_eq!(recording.row(1), [1.0]);
}

#[test]
fn a_truth_that_is_there_must_be_readable() {
    let dir = Files::tiny().with("truth.json", "[]").write("truth");
    assert!(Truth::read(&dir).is_err());
    assert!(Recording::open(&dir).is_ok(), "no stage reads it");
}

/// A recording whose rows are at these seconds, the second itself as both values.
fn rows_at(seconds: impl IntoIterator<Item = i64>) -> Files {
    let rows = seconds.into_iter().map(|s| format!("{},{s},{s}\n", START_MS + s * 1_000));
    Files::tiny().with("metrics.csv.gz", format!("time_ms,s0,s1\n{}", rows.collect::<String>()))
}

#[test]
fn a_row_that_never_ends_is_refused_before_it_costs_memory() {
    // Packed this is a few kilobytes; a cell costs eight bytes before anybody can count it.
    let text = format!("time_ms,s0,s1\n{START_MS},1,2\n{}\n", ",".repeat(3 << 20));
    let error =
        Recording::open(&rows_at([]).with("metrics.csv.gz", text).write("commas")).unwrap_err();
    assert!(matches!(error, RecordingError::RowTooLong { line: 3, .. }), "{error:?}");
    assert!(error.to_string().contains("metrics.csv.gz line 3"), "{error}");

    let wide = format!("time_ms{}\n", ",s0".repeat(20_000));
    let error = Recording::open(&rows_at([]).with("metrics.csv.gz", wide).write("wide"));
    assert!(matches!(error, Err(RecordingError::TooLarge { what: "columns", .. })));
}

#[test]
fn rows_that_are_missing_are_gaps_on_the_grid_and_counted() {
    let recording =
        Recording::open(&rows_at((0..50).chain(150..200)).write("missing_rows")).unwrap();
    assert_eq!((recording.times.len(), recording.n_steps()), (100, 200));
    assert_eq!(recording.flaws.count(Flaw::RowMissing), 100);
    assert!(recording.flaws.to_string().contains(&format!("after {}", START_MS + 49_000)));
}

#[test]
fn a_single_wrong_clock_costs_a_single_row() {
    let year = 365 * 86_400;
    let late = Recording::open(&rows_at((0..100).chain([year])).write("year_late")).unwrap();
    assert_eq!((late.times.len(), late.flaws.count(Flaw::RowFarOff)), (100, 1));
    let early = Recording::open(&rows_at([year].into_iter().chain(0..100)).write("ahead")).unwrap();
    assert_eq!((early.times.len(), early.flaws.count(Flaw::RowFarOff)), (100, 1));
    let ahead =
        Recording::open(&rows_at([600].into_iter().chain(0..100)).write("minutes")).unwrap();
    assert_eq!((ahead.times.len(), ahead.flaws.count(Flaw::RowOutOfOrder)), (100, 1));
    assert_eq!(ahead.row(0), [0.0, 0.0], "values stay with their rows");
}

#[test]
fn a_step_that_cannot_be_is_refused() {
    for step in ["0", "1", "9223372036854775808", "1000000000000", "60000"] {
        let files = rows_at(0..10).edit(
            "recording.json",
            "\"step_ms\":1000",
            &format!("\"step_ms\":{step}"),
        );
        let error = Recording::open(&files.write("step")).unwrap_err();
        assert!(
            matches!(error, RecordingError::Field { field: "step_ms", .. }),
            "{step}: {error:?}"
        );
        assert!(error.to_string().contains("recording.json: step_ms"), "{error}");
    }
}

#[test]
fn a_name_that_spoils_a_path_is_refused() {
    let long = "n".repeat(300);
    for name in ["", "../../etc", "a\\u0000b", "a\\u001b[2J", &long] {
        let files = Files::tiny().edit("recording.json", "\"tiny\"", &format!("\"{name}\""));
        let error = Recording::open(&files.write("name")).unwrap_err();
        assert!(matches!(error, RecordingError::Field { field: "name", .. }), "{name}: {error:?}");
    }
}

#[test]
fn a_metric_without_a_name_is_refused() {
    let files = Files::tiny().edit("series.csv.gz", "s0,api_in_flight", "s0,");
    let error = Recording::open(&files.write("nameless")).unwrap_err();
    assert!(
        error.to_string().contains("series.csv.gz: line 2: the name of a metric is empty"),
        "{error}"
    );
}

#[test]
fn what_lies_outside_the_recorded_time_is_counted_and_not_promised() {
    let mut files = Files::tiny();
    let at = |from: i64, to: i64| {
        let (from, to) = (START_MS + from * 1_000, START_MS + to * 1_000);
        format!(
            "{{\"starts_at_ms\":{from},\"ends_at_ms\":{to},\"name\":\"Elsewhen\",\"service\":\"api\"}}\n"
        )
    };
    let alerts = files.0["alerts.jsonl"].clone() + &at(-90, -60) + &at(-60, 2) + &at(5, 9);
    files = files.with("alerts.jsonl", alerts);
    let late = files.0["changes.jsonl"]
        .replace(&(START_MS + 1_000).to_string(), &(START_MS + 60_000).to_string());
    let changes = files.0["changes.jsonl"].clone() + &late;
    let recording =
        Recording::open(&files.with("changes.jsonl", changes).write("outside")).unwrap();
    assert_eq!((recording.alerts.len(), recording.changes.len()), (2, 1));
    assert_eq!(recording.flaws.count(Flaw::OutsideRecording), 3);
}

#[test]
fn a_file_of_alerts_beyond_the_limit_is_refused_and_never_cut() {
    let dir = Files::tiny().write("many_alerts");
    let file = std::fs::OpenOptions::new().append(true).open(dir.join("alerts.jsonl")).unwrap();
    file.set_len(65 << 20).unwrap();
    let error = Recording::open(&dir).unwrap_err();
    assert!(matches!(error, RecordingError::TooLarge { what: "bytes", .. }), "{error:?}");
    assert!(error.to_string().contains("alerts.jsonl"), "{error}");
}

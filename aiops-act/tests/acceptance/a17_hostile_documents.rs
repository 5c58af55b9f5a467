//! Documents that mean harm, or are just broken.

use aiops_act::Runbook;

const GOOD: &str = "schema: aiops.runbook/v1
id: good
version: 1.0.0
title: A good one
owner: tests
match: {}
targets:
  services: [api]
steps:
  - id: look
    uses: http
    effect: read
";

fn error(text: &[u8]) -> String {
    let errors = Runbook::parse(text).expect_err("it is refused");
    let message = errors.to_string();
    assert!(message.len() < 20_000, "the message stays readable");
    message
}

/// What replaces `find` in the good document.
fn with(find: &str, replace: &str) -> Vec<u8> {
    assert!(GOOD.contains(find), "{find}");
    GOOD.replacen(find, replace, 1).into_bytes()
}

/// Pass: every hostile document is an error with line and path, soon and within bounds.
#[test]
fn acceptance_17_hostile_documents() {
    Runbook::parse(GOOD.as_bytes()).unwrap();

    for (text, expected) in [
        // Slips.
        (
            with("owner:", "onwer:"),
            "line 5, column 1: onwer: no field is called `onwer` here; did you mean `owner`?",
        ),
        (
            with("    effect: read", "    efect: read"),
            "line 12, column 5: steps[0].efect: no field is called `efect` here; did you mean `effect`?",
        ),
        (
            with("effect: read", "effect: raed"),
            "`raed` is none of read, write, irreversible; did you mean `read`?",
        ),
        (with("title: A good one", "title: A good one\ntitle: Twice"), "line 5, column 1"),
        (with("id: look", "id: Look"), "line 10, column 9: steps[0].id"),
        (with("version: 1.0.0", "version: 1.0"), "line 3"),
        (
            with("uses: http", "uses: http\n    needs: [lok]"),
            "steps[0].needs[0]: no step is called `lok`; did you mean `look`?",
        ),
        (with("uses: http", "uses: http\n    if: params.x ==="), "not a CEL expression"),
        (with("uses: http", "uses: http\n    if: parms.x == 1"), "`parms` is not known here"),
        (
            with("uses: http", "uses: http\n    with: {url: '${{ a'}"),
            "line 12, column 17: steps[0].with.url: `${{ a` opens ${{ without closing it",
        ),
        // YAML's own traps.
        (with("title: A good one", "title: no\nrevoked: no"), "line 5, column 10: revoked"),
        (with("title: A good one", "title: [a"), "line"),
        (with("match: {}", "match: &m {}\nlabels: {<<: *m}"), "merge"),
        // What must not be.
        (with("services: [api]", "services: ['*']"), "never a pattern"),
        (with("services: [api]", "services: []"), "an empty list does not mean all"),
        (with("match: {}", "match: {min_confidence: .nan}"), "must be between 0 and 1"),
        (with("match: {}", "match: {}\nsafety: {risk: 4}"), "risk is 0 (reads only) to 3"),
        (with("match: {}", "match: {}\nsafety: {max_percent: -1}"), "must be above 0"),
        (with("effect: read", "effect: write"), "a write says how it is taken back"),
    ] {
        let message = error(&text);
        assert!(
            message.contains(expected),
            "{}\n--- expected: {expected}\n--- got: {message}",
            String::from_utf8_lossy(&text)
        );
    }

    // Cycles in `needs`.
    let cycle = with(
        "    effect: read\n",
        "    effect: read\n    needs: [b]\n  - {id: b, uses: http, effect: read, needs: [look]}\n",
    );
    assert!(error(&cycle).contains("`b` does not come before `look`"));

    // Bytes and sizes.
    assert!(error(b"schema: \xff\xfe").contains("not UTF-8"));
    assert!(error(&vec![b'a'; 50 * 1024 * 1024]).contains("more than 262144"));
    error(&[b"x: ".as_slice(), &vec![b'['; 100_000]].concat());
    error(&[b"x: ".as_slice(), "{a: ".repeat(50_000).as_bytes()].concat());
    error("- ".repeat(100_000).as_bytes());
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..10 {
        let before = n - 1;
        bomb.push_str(&format!("a{n}: &a{n} [{}]\n", vec![format!("*a{before}"); 10].join(", ")));
    }
    error(bomb.as_bytes());
    error(b"");
    error(b"\0\0\0");
    error(b"--- \n...\n---\n");
    error(&[GOOD.as_bytes(), b"---\n", GOOD.as_bytes()].concat());

    // An expression that would run for hours.
    let costly = "if: incident.services.all(a, incident.services.all(b, a == b))";
    let nested = with("uses: http", &format!("uses: http\n    {costly}"));
    assert!(error(&nested).contains("could cost too much"));
    let many: String =
        (0..200).map(|n| format!("  - {{id: s{n}, uses: u, effect: read}}\n")).collect();
    assert!(error(&[GOOD.as_bytes(), many.as_bytes()].concat()).contains("at most 64 steps"));

    // The same in JSON: a duplicate key does not win silently.
    let value: serde_json::Value =
        serde_json::to_value(Runbook::parse(GOOD.as_bytes()).unwrap()).unwrap();
    let json = serde_json::to_string_pretty(&value).unwrap();
    let read = Runbook::parse(json.as_bytes()).unwrap();
    assert_eq!(
        read.hash(),
        Runbook::parse(GOOD.as_bytes()).unwrap().hash(),
        "one document, one hash"
    );
    let doubled =
        json.replacen("\"revoked\": false", "\"revoked\": true,\n  \"revoked\": false", 1);
    assert!(error(doubled.as_bytes()).contains("twice"));
}

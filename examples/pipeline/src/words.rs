//! Numbers, times and evidence as people read them.

use aiops_core::{Cause, Evidence, Timestamp};

use crate::story::IncidentStory;

/// The time of day, UTC, as `18:03:20`.
pub fn clock(time: Timestamp) -> String {
    let seconds = time.as_secs().rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// The date, UTC, as `2026-03-01`.
pub fn date(time: Timestamp) -> String {
    // Days to civil date; Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", 2013.
    let z = time.as_secs().div_euclid(86_400) + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// A length of time, as `3 min 20 s`.
pub fn span(seconds: f64) -> String {
    let sign = if seconds < 0.0 { "−" } else { "" };
    let whole = seconds.abs().round() as u64;
    match (whole / 3_600, whole / 60 % 60, whole % 60) {
        (0, 0, _) if seconds.abs() < 10.0 && seconds.fract() != 0.0 => {
            format!("{sign}{:.1} s", seconds.abs())
        }
        (0, 0, s) => format!("{sign}{s} s"),
        (0, m, 0) => format!("{sign}{m} min"),
        (0, m, s) => format!("{sign}{m} min {s} s"),
        (h, m, _) => format!("{sign}{h} h {m} min"),
    }
}

/// A probability, as `72 %`; never rounded to certainty.
pub fn percent(probability: f64) -> String {
    match probability * 100.0 {
        p if p <= 0.0 => "0 %".to_owned(),
        p if p < 1.0 => "< 1 %".to_owned(),
        p if p > 99.0 && p < 100.0 => "> 99 %".to_owned(),
        p => format!("{p:.0} %"),
    }
}

/// A whole number with thin spaces between thousands.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A value with its unit, in three significant digits: `340 ms`, `1.2 GB`, `35 %`.
pub fn value(value: f64, unit: &str) -> String {
    if !value.is_finite() {
        return "no value".to_owned();
    }
    let scaled = |steps: &[(f64, &str)]| {
        let (size, name) = steps.iter().find(|(size, _)| value.abs() >= *size).or(steps.last())?;
        Some(format!("{} {name}", digits(value / size)))
    };
    let (base, rate) = match unit.strip_suffix("/s") {
        Some(base) => (base, "/s"),
        None => (unit, ""),
    };
    let text = match base {
        // Seconds per second are a share of time.
        "seconds" | "s" if rate.is_empty() && value != 0.0 => {
            scaled(&[(1.0, "s"), (1e-3, "ms"), (1e-6, "µs")])
        }
        "bytes" | "B" => scaled(&[(1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")]),
        "ratio" => Some(format!("{} %", digits(value * 100.0))),
        "seconds" | "s" => Some(format!("{} s", digits(value))),
        "" => scaled(&[(1e9, "G"), (1e6, "M"), (1e4, "k"), (1.0, "")]),
        other => Some(format!("{} {other}", digits(value))),
    };
    let text = text.unwrap_or_else(|| digits(value));
    format!("{}{rate}", text.trim_end())
}

/// Three significant digits without trailing zeros.
pub fn digits(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return if value == 0.0 { "0".to_owned() } else { "no value".to_owned() };
    }
    let magnitude = value.abs().log10().floor();
    if !(-4.0..7.0).contains(&magnitude) {
        return format!("{value:.2e}");
    }
    let decimals = (2.0 - magnitude).clamp(0.0, 6.0) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// At most `most` characters of a text, with an ellipsis where something is missing.
pub fn shorten(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// What kind of cause it is, in one word.
pub fn kind_of(cause: &Cause) -> &'static str {
    match cause {
        Cause::Service { .. } => "service",
        Cause::Metric { .. } => "metric",
        Cause::Change { .. } => "change",
        _ => "cause",
    }
}

/// A piece of evidence as one sentence.
pub fn evidence(evidence: &Evidence) -> String {
    match evidence {
        Evidence::Onset { subject, at, after_first_s, uncertainty_s } => {
            let around = if *uncertainty_s >= 2.0 {
                format!(" (give or take {})", span(*uncertainty_s))
            } else {
                String::new()
            };
            if *after_first_s > 0.5 {
                format!(
                    "{subject} began at {}, {} after the first sign{around}",
                    clock(*at),
                    span(*after_first_s)
                )
            } else {
                format!("{subject} began first, at {}{around}", clock(*at))
            }
        }
        Evidence::Magnitude { metric, score, expected, observed } => {
            let expected = if expected.is_finite() {
                format!(" where {} was normal", digits(*expected))
            } else {
                String::new()
            };
            // Beyond this the baseline was all but constant, and the number says nothing more.
            let score = if *score > 1_000.0 { "over 1000".to_owned() } else { digits(*score) };
            let observed = digits(*observed);
            format!("{metric} went to {observed}{expected}, {score} robust standard deviations off")
        }
        Evidence::Path { nodes } => format!("trouble can travel {}", nodes.join(" → ")),
        Evidence::Test { name, cause, effect, p_value, lag, .. } => {
            let lag = lag.map(|lag| format!(" at lag {lag}")).unwrap_or_default();
            format!("{cause} precedes {effect}{lag} ({name}, p = {})", digits(*p_value))
        }
        Evidence::Change { title, service, before_onset_s } if *before_onset_s >= 0.0 => {
            format!("“{title}” changed {service} {} before the first sign", span(*before_onset_s))
        }
        Evidence::Change { title, service, before_onset_s } => {
            format!("“{title}” changed {service} {} after the first sign", span(-before_onset_s))
        }
        Evidence::Counterfactual { sentence } => sentence.clone(),
        Evidence::Other { reason } => reason.sentence.clone(),
        _ => String::new(),
    }
}

/// The incident in one line: what is most probably to blame.
pub fn headline(incident: &IncidentStory) -> String {
    match incident.top() {
        Some(top) => match &top.cause {
            Cause::Service { service } => format!("Trouble at {service}"),
            Cause::Change { title, .. } => format!("Trouble since “{title}”"),
            other => format!("Trouble with {other}"),
        },
        None => incident.incident.title.clone(),
    }
}

/// The incident in two sentences.
pub fn story(incident: &IncidentStory) -> String {
    let about = &incident.incident;
    let services = match about.services.len() {
        1 => "One service was in trouble".to_owned(),
        n => format!("{n} services were in trouble"),
    };
    let lasted = match about.resolved_at {
        Some(over) => format!("for {}", span(over.seconds_after(incident.began()))),
        None => "until the recording ends".to_owned(),
    };
    let Some(top) = incident.top() else {
        return format!("{services} {lasted}, from {} on.", clock(incident.began()));
    };
    let first = match top.cause {
        Cause::Change { .. } => format!("the change “{}”", top.cause),
        _ => top.cause.to_string(),
    };
    let sign = top.evidence.iter().find_map(|item| match item {
        Evidence::Magnitude { .. } => Some(evidence(item)),
        _ => None,
    });
    let sign = sign.map(|sign| format!(" There, {sign}.")).unwrap_or_default();
    format!(
        "{services} {lasted}, from {} on; most probably because of {first} ({}).{sign}",
        clock(incident.began()),
        percent(top.probability),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_known_by_heart() {
        for (seconds, text) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (-1, "1969-12-31"),
            (1_772_323_200, "2026-03-01"),
        ] {
            assert_eq!(date(Timestamp::from_secs(seconds)), text);
        }
        assert_eq!(clock(Timestamp::from_secs(1_772_323_200 + 3_661)), "01:01:01");
    }

    #[test]
    fn lengths_of_time_read_naturally() {
        for (seconds, text) in [
            (0.5, "0.5 s"),
            (12.0, "12 s"),
            (60.0, "1 min"),
            (200.0, "3 min 20 s"),
            (7_260.0, "2 h 1 min"),
            (-5.0, "−5 s"),
        ] {
            assert_eq!(span(seconds), text);
        }
    }

    #[test]
    fn values_carry_a_unit_that_fits() {
        for (number, unit, text) in [
            (0.34, "seconds", "340 ms"),
            (2.0, "seconds", "2 s"),
            (0.0, "seconds", "0 s"),
            (0.35, "ratio", "35 %"),
            (1.234e9, "bytes", "1.23 GB"),
            (2_000.0, "bytes/s", "2 kB/s"),
            (0.5, "seconds/s", "0.5 s/s"),
            (17.0, "", "17"),
            (f64::NAN, "", "no value"),
        ] {
            assert_eq!(value(number, unit), text);
        }
    }

    #[test]
    fn long_names_end_in_an_ellipsis() {
        assert_eq!(shorten("ApiErrors", 9), "ApiErrors");
        assert_eq!(shorten("ApiErrorsÜber", 10), "ApiErrors…");
    }

    #[test]
    fn a_probability_is_never_rounded_to_certainty() {
        assert_eq!(
            [0.0, 0.004, 0.72, 0.996, 1.0].map(percent),
            ["0 %", "< 1 %", "72 %", "> 99 %", "100 %"]
        );
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
    }
}

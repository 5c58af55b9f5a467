//! Numbers as text, short.

/// Writes a finite value in its shortest form: whole numbers exactly, others rounded to `digits`
/// significant digits.
///
/// Counters of seconds keep nine digits, so that differences of neighbours stay good; gauges and
/// ratios need no more than six.
pub fn number(value: f64, digits: usize) -> String {
    // 2⁵³: above it a float cannot tell neighbouring whole numbers apart anyway.
    if value == value.trunc() && value.abs() < 9_007_199_254_740_992.0 {
        return format!("{}", value as i64);
    }
    let rounded: f64 = format!("{value:.*e}", digits.saturating_sub(1)).parse().unwrap_or(value);
    format!("{rounded}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_exact_and_others_rounded() {
        assert_eq!(number(8_123_456_789.0, 6), "8123456789");
        assert_eq!(number(0.0, 6), "0");
        assert_eq!(number(-0.0, 6), "0");
        assert_eq!(number(0.123_456_789, 6), "0.123457");
        assert_eq!(number(1_234.567_891_23, 9), "1234.56789");
        assert_eq!(number(0.000_012_5, 6), "0.0000125");
    }
}

//! Suggestions for misspelt names: every crate's errors want them.

/// The name closest to `wanted`, if one is close enough to be what was meant: at most one edit per
/// three characters, two at least. Ties go to the name that comes first.
///
/// ```
/// assert_eq!(aiops_core::text::closest("servce", ["service", "severity"]), Some("service"));
/// assert_eq!(aiops_core::text::closest("zzz", ["service"]), None);
/// ```
pub fn closest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (wanted.chars().count() / 3).max(2);
    let candidates = names.into_iter().map(|name| (edits(wanted, name), name));
    // A suggestion that shares nothing with the word helps nobody: `abc` is three edits from `xyz`.
    candidates
        .filter(|&(edits, name)| edits <= allowed && edits < name.chars().count())
        .min_by_key(|&(edits, _)| edits)
        .map(|(_, name)| name)
}

/// Levenshtein distance; one row of memory.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_known_by_hand() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("same", "same"), 0);
    }
}

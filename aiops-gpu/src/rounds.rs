//! Rows of a batch in rounds in which every series comes once.

use aiops_core::SeriesId;

/// The rows of a batch, so that each round has different series in ascending order and rows of one
/// series keep theirs. With `apart = false` rows of one series may share a round, for when nothing is
/// learnt.
pub(crate) fn rounds(ids: &[SeriesId], apart: bool) -> Vec<Vec<usize>> {
    let mut rows: Vec<usize> = (0..ids.len()).collect();
    if ids.is_sorted_by(|a, b| a < b) {
        return if rows.is_empty() { Vec::new() } else { vec![rows] };
    }
    rows.sort_by_key(|row| ids[*row]);
    if !apart {
        return vec![rows];
    }
    let mut rounds: Vec<Vec<usize>> = Vec::new();
    let mut occurrence = 0;
    for (i, row) in rows.iter().enumerate() {
        let again = i > 0 && ids[rows[i - 1]] == ids[*row];
        occurrence = if again { occurrence + 1 } else { 0 };
        if occurrence == rounds.len() {
            rounds.push(Vec::new());
        }
        rounds[occurrence].push(*row);
    }
    rounds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_comes_once_a_round_in_its_order() {
        let ids = [5, 2, 5, 9, 5, 2].map(SeriesId);
        assert_eq!(rounds(&ids, true), [vec![1, 0, 3], vec![5, 2], vec![4]]);
        assert_eq!(rounds(&ids, false), [vec![1, 5, 0, 2, 4, 3]]);
        assert!(rounds(&[], true).is_empty());
    }
}

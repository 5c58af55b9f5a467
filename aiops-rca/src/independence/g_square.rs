//! The G² test of categories: likelihood ratio of dependence against independence in each stratum.

use super::Independence;
use statrs::distribution::{ChiSquared, ContinuousCDF};
use std::collections::BTreeMap;

/// Variables as categories 0, 1, …
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Discrete {
    codes: Vec<Vec<u32>>,
    categories: Vec<u32>,
}

impl Discrete {
    /// Each distinct value is a category, a gap one of its own; with `bins`, values are first cut
    /// into so many parts that are equally full as far as ties allow.
    pub(crate) fn of<'a>(
        columns: impl IntoIterator<Item = &'a [f64]>,
        bins: Option<usize>,
    ) -> Discrete {
        let codes = columns.into_iter().map(|column| code(column, bins));
        let (codes, categories) = codes.unzip();
        Discrete { codes, categories }
    }

    /// The same with one more variable, whose distinct values are categories.
    pub(crate) fn and(mut self, column: &[f64]) -> Discrete {
        let (codes, categories) = code(column, None);
        self.codes.push(codes);
        self.categories.push(categories);
        self
    }
}

fn code(column: &[f64], bins: Option<usize>) -> (Vec<u32>, u32) {
    let mut sorted: Vec<f64> = column.iter().copied().filter(|v| v.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let levels: Vec<f64> = match bins {
        // The lower ends of the parts.
        Some(bins) => {
            (0..bins).filter_map(|b| sorted.get(b * sorted.len() / bins)).copied().collect()
        }
        None => sorted,
    };
    let mut levels = levels;
    levels.dedup();
    let place = |v: &f64| match v.is_finite() {
        // A gap is the last category.
        false => levels.len() + 1,
        true => levels.partition_point(|level| level <= v),
    };
    let places: Vec<usize> = column.iter().map(place).collect();
    let mut used: BTreeMap<usize, u32> = places.iter().map(|&place| (place, 0)).collect();
    used.values_mut().enumerate().for_each(|(code, slot)| *slot = code as u32);
    let codes = places.iter().map(|place| used[place]).collect();
    (codes, used.len() as u32)
}

/// The G² statistic, its degrees of freedom and its p-value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct GSquare {
    pub(crate) statistic: f64,
    pub(crate) freedom: f64,
    pub(crate) p_value: f64,
}

impl Discrete {
    /// G² = 2 Σ n(x, y, s) ln(n(x, y, s) n(s) / (n(x, s) n(y, s))), with the degrees of freedom of
    /// each stratum s counted over the categories that occur in it; p-value 1 where none is left.
    pub(crate) fn g_square(&self, x: usize, y: usize, given: &[usize]) -> GSquare {
        // Strata are numbered as they occur: their product may be far larger than the samples.
        let samples = self.codes.first().map_or(0, Vec::len);
        let mut stratum = vec![0_usize; samples];
        let mut strata = 1;
        for &variable in given {
            let mut seen: BTreeMap<(usize, u32), usize> = BTreeMap::new();
            for (s, code) in stratum.iter_mut().zip(&self.codes[variable]) {
                let next = seen.len();
                *s = *seen.entry((*s, *code)).or_insert(next);
            }
            strata = seen.len();
        }
        let (rows, columns) = (self.categories[x] as usize, self.categories[y] as usize);
        let mut cells = vec![0.0_f64; strata * rows * columns];
        for ((s, a), b) in stratum.iter().zip(&self.codes[x]).zip(&self.codes[y]) {
            cells[(s * rows + *a as usize) * columns + *b as usize] += 1.0;
        }
        let (mut statistic, mut freedom) = (0.0, 0.0);
        for table in cells.chunks_exact((rows * columns).max(1)) {
            let of_row: Vec<f64> =
                table.chunks_exact(columns).map(|row| row.iter().sum()).collect();
            let of_column: Vec<f64> =
                (0..columns).map(|b| table.iter().skip(b).step_by(columns).sum()).collect();
            let total: f64 = of_row.iter().sum();
            for (a, row) in table.chunks_exact(columns).enumerate() {
                for (b, &count) in row.iter().enumerate().filter(|(_, count)| **count > 0.0) {
                    statistic += 2.0 * count * (count * total / (of_row[a] * of_column[b])).ln();
                }
            }
            let used = |of: &[f64]| of.iter().filter(|n| **n > 0.0).count() as f64 - 1.0;
            freedom += used(&of_row).max(0.0) * used(&of_column).max(0.0);
        }
        let p_value = match ChiSquared::new(freedom) {
            Ok(chi2) if freedom > 0.0 => chi2.sf(statistic.max(0.0)).clamp(0.0, 1.0),
            _ => 1.0,
        };
        GSquare { statistic: statistic.max(0.0), freedom, p_value }
    }
}

impl Independence for Discrete {
    fn variables(&self) -> usize {
        self.codes.len()
    }

    fn p_value(&self, x: usize, y: usize, given: &[usize]) -> f64 {
        self.g_square(x, y, given).p_value
    }

    /// sqrt(1 − e^(−G² / n)): the correlation of two Gaussians with the same mutual information.
    fn strength(&self, x: usize, y: usize) -> f64 {
        let samples = self.codes.first().map_or(0, Vec::len).max(1) as f64;
        (-(-self.g_square(x, y, &[]).statistic / samples).exp_m1()).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_categories() {
        let gap = f64::NAN;
        assert_eq!(code(&[2.0, 0.5, gap, 2.0], None), (vec![1, 0, 2, 1], 3));
        assert_eq!(code(&[1.0, 2.0, 3.0, 4.0], Some(2)), (vec![0, 0, 1, 1], 2));
        assert_eq!(code(&[7.0; 5], Some(3)), (vec![0; 5], 1), "ties stay together");
        assert_eq!(code(&[], Some(3)), (vec![], 0));
    }

    #[test]
    fn a_table_is_tested_as_by_hand() {
        // 2 x 2 with 10, 20, 30, 40: G² = 2 Σ O ln(O / E), E = 12, 18, 28, 42.
        let pairs = [(0.0, 0.0, 10), (0.0, 1.0, 20), (1.0, 0.0, 30), (1.0, 1.0, 40)];
        let column = |pick: fn(&(f64, f64, usize)) -> f64| -> Vec<f64> {
            pairs.iter().flat_map(|p| std::iter::repeat_n(pick(p), p.2)).collect()
        };
        let (x, y) = (column(|p| p.0), column(|p| p.1));
        let data = Discrete::of([&*x, &*y], None);
        let expected = 2.0
            * (10.0 * (10.0_f64 / 12.0).ln()
                + 20.0 * (20.0_f64 / 18.0).ln()
                + 30.0 * (30.0_f64 / 28.0).ln()
                + 40.0 * (40.0_f64 / 42.0).ln());
        let test = data.g_square(0, 1, &[]);
        assert!((test.statistic - expected).abs() < 1e-12);
        assert_eq!(test.freedom, 1.0);
        // Given itself nothing varies any more.
        assert_eq!(data.g_square(0, 1, &[0]).p_value, 1.0);
    }

    #[test]
    fn p_values_are_those_of_causal_learn() {
        // Versions and command: tests/golden/README.md.
        let table = include_str!("../../tests/golden/sem.csv");
        let cut = |cell: &str| {
            let v: f64 = cell.parse().unwrap();
            f64::from(u8::from(v > -1.0) + u8::from(v > 1.0))
        };
        let samples: Vec<Vec<f64>> =
            table.lines().map(|line| line.split(',').map(cut).collect()).collect();
        let columns: Vec<Vec<f64>> =
            (0..8).map(|i| samples.iter().map(|sample| sample[i]).collect()).collect();
        let data = Discrete::of(columns.iter().map(Vec::as_slice), None);
        let golden = include_str!("../../tests/golden/golden.json");
        let golden: serde_json::Value = serde_json::from_str(golden).unwrap();
        for case in golden["g_square"].as_array().unwrap() {
            let numbers: Vec<f64> =
                case.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
            let (p_value, variables) = numbers.split_last().unwrap();
            let variables: Vec<usize> = variables.iter().map(|v| *v as usize).collect();
            let ours = data.g_square(variables[0], variables[1], &variables[2..]).p_value;
            assert!((ours - p_value).abs() < 1e-8, "{ours} and {case}");
        }
    }
}

//! Many tests at once: p-values adjusted so that few of the "significant" ones are luck.

use serde::{Deserialize, Serialize};

/// How p-values of many tests are adjusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Adjust {
    /// Not at all: each test alone has its error rate.
    None,
    /// Benjamini & Hochberg 1995: of the accepted, at most the level is false on average, when tests
    /// are independent or positively dependent. The default.
    #[default]
    BenjaminiHochberg,
    /// Benjamini & Yekutieli 2001: the same under any dependence, at the price of a factor of about
    /// ln(number of tests).
    BenjaminiYekutieli,
    /// Bonferroni: at most the level for even one false acceptance.
    Bonferroni,
}

impl Adjust {
    /// Adjusted p-values in the order given: accept those at or below the level. NaN stays NaN and
    /// is not counted as a test.
    ///
    /// ```
    /// use aiops_rca::Adjust;
    /// let adjusted = Adjust::BenjaminiHochberg.apply(&[0.01, 0.02, 0.9]);
    /// assert_eq!(adjusted, [0.03, 0.03, 0.9]);
    /// ```
    pub fn apply(self, p_values: &[f64]) -> Vec<f64> {
        let mut order: Vec<usize> =
            (0..p_values.len()).filter(|&i| !p_values[i].is_nan()).collect();
        let m = order.len() as f64;
        let mut adjusted = p_values.to_vec();
        match self {
            Adjust::None => return adjusted,
            Adjust::Bonferroni => {
                order.iter().for_each(|&i| adjusted[i] = (p_values[i] * m).min(1.0));
                return adjusted;
            }
            Adjust::BenjaminiHochberg | Adjust::BenjaminiYekutieli => {}
        }
        let harmonic = match self {
            Adjust::BenjaminiYekutieli => (1..=order.len()).map(|i| 1.0 / i as f64).sum(),
            _ => 1.0,
        };
        order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
        let mut smallest = 1.0_f64;
        for (rank, &i) in order.iter().enumerate().rev() {
            smallest = smallest.min(p_values[i] * m * harmonic / (rank + 1) as f64);
            adjusted[i] = smallest;
        }
        adjusted
    }
}

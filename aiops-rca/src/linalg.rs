//! Small dense symmetric systems, by Cholesky.

/// A symmetric matrix, row-major, both halves kept.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Symmetric {
    n: usize,
    cells: Vec<f64>,
}

impl Symmetric {
    pub(crate) fn from_fn(n: usize, cell: impl Fn(usize, usize) -> f64) -> Self {
        let mut cells = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..=i {
                let value = cell(i, j);
                cells[i * n + j] = value;
                cells[j * n + i] = value;
            }
        }
        Symmetric { n, cells }
    }

    /// The inner products of columns, each of which must be as long as the others.
    pub(crate) fn gram(columns: &[&[f64]]) -> Self {
        Symmetric::from_fn(columns.len(), |i, j| dot(columns[i], columns[j]))
    }

    pub(crate) fn len(&self) -> usize {
        self.n
    }

    pub(crate) fn at(&self, i: usize, j: usize) -> f64 {
        self.cells[i * self.n + j]
    }

    /// The rows and columns `keep`, in that order.
    pub(crate) fn select(&self, keep: &[usize]) -> Symmetric {
        Symmetric::from_fn(keep.len(), |i, j| self.at(keep[i], keep[j]))
    }

    /// The lower Cholesky factor; `None` when a pivot falls below 10^-10 of its diagonal, which is
    /// where columns repeat each other as far as f64 can tell.
    pub(crate) fn cholesky(&self) -> Option<Cholesky> {
        let n = self.n;
        let mut lower = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..=i {
                let (done_i, done_j) = (&lower[i * n..i * n + j], &lower[j * n..j * n + j]);
                let rest = self.at(i, j) - dot(done_i, done_j);
                if i != j {
                    lower[i * n + j] = rest / lower[j * n + j];
                } else if rest > 1e-10 * self.at(i, i).abs() {
                    lower[i * n + i] = rest.sqrt();
                } else {
                    return None;
                }
            }
        }
        Some(Cholesky { n, lower })
    }
}

/// L with L Lᵀ the matrix.
#[derive(Debug, Clone)]
pub(crate) struct Cholesky {
    n: usize,
    lower: Vec<f64>,
}

impl Cholesky {
    /// Solves A x = b.
    pub(crate) fn solve(&self, b: &[f64]) -> Vec<f64> {
        let n = self.n;
        let mut x = b.to_vec();
        for i in 0..n {
            let row = &self.lower[i * n..i * n + i];
            x[i] = (x[i] - dot(row, &x[..i])) / self.lower[i * n + i];
        }
        for i in (0..n).rev() {
            x[i] /= self.lower[i * n + i];
            let (solved, scale) = (x[i], i * n);
            for (j, value) in x[..i].iter_mut().enumerate() {
                *value -= self.lower[scale + j] * solved;
            }
        }
        x
    }

    /// ln det A.
    pub(crate) fn ln_det(&self) -> f64 {
        2.0 * (0..self.n).map(|i| self.lower[i * self.n + i].ln()).sum::<f64>()
    }

    pub(crate) fn inverse(&self) -> Symmetric {
        let mut cells = Vec::with_capacity(self.n * self.n);
        for i in 0..self.n {
            let mut unit = vec![0.0; self.n];
            unit[i] = 1.0;
            cells.extend(self.solve(&unit));
        }
        // Solved column by column, so the halves differ in the last digit.
        let raw = Symmetric { n: self.n, cells };
        Symmetric::from_fn(self.n, |i, j| 0.5 * (raw.at(i, j) + raw.at(j, i)))
    }
}

/// The inner product, in four chains so that it is limited by throughput and not by latency; the
/// order of summation is fixed.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a4, b4) = (a.chunks_exact(4), b.chunks_exact(4));
    let tail: f64 = a4.remainder().iter().zip(b4.remainder()).map(|(x, y)| x * y).sum();
    let mut sums = [0.0; 4];
    for (x, y) in a4.zip(b4) {
        for lane in 0..4 {
            sums[lane] += x[lane] * y[lane];
        }
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3]) + tail
}

/// The partial correlation of the variables `x` and `y` given `given`, from a matrix of (co)moments
/// or correlations; 0 when it is not defined because variables repeat each other.
///
/// −P_xy / sqrt(P_xx P_yy), with P the inverse of the selected matrix.
pub(crate) fn partial_correlation(moments: &Symmetric, x: usize, y: usize, given: &[usize]) -> f64 {
    // Squares of huge values overflow: then nothing is known, and that is no correlation.
    let known = |r: f64| if r.is_nan() { 0.0 } else { r.clamp(-1.0, 1.0) };
    if given.is_empty() {
        let scale = (moments.at(x, x) * moments.at(y, y)).sqrt();
        return if scale > 0.0 { known(moments.at(x, y) / scale) } else { 0.0 };
    }
    // Conditions first: then the last two rows of the factor hold what x and y have beyond them.
    let mut keep = given.to_vec();
    keep.extend([x, y]);
    let Some(factor) = moments.select(&keep).cholesky() else { return 0.0 };
    let n = keep.len();
    let (shared, own) = (factor.lower[(n - 1) * n + n - 2], factor.lower[(n - 1) * n + n - 1]);
    known(shared / shared.hypot(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spd() -> Symmetric {
        Symmetric::from_fn(3, |i, j| [[4.0, 2.0, 0.6], [2.0, 5.0, 1.0], [0.6, 1.0, 3.0]][i][j])
    }

    #[test]
    fn solving_undoes_multiplying() {
        let a = spd();
        let x = [1.0, -2.0, 0.5];
        let b: Vec<f64> = (0..3).map(|i| (0..3).map(|j| a.at(i, j) * x[j]).sum()).collect();
        let factor = a.cholesky().unwrap();
        let solved = factor.solve(&b);
        assert!(solved.iter().zip(x).all(|(s, x)| (s - x).abs() < 1e-14));
        let inverse = factor.inverse();
        assert!((dot(&inverse.cells[..3], &[4.0, 2.0, 0.6]) - 1.0).abs() < 1e-14);
        // det by hand: 4 (15 - 1) - 2 (6 - 0.6) + 0.6 (2 - 3) = 44.6
        assert!((factor.ln_det() - 44.6_f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn repeated_columns_are_singular() {
        let column = [1.0, 2.0, 3.0];
        assert!(Symmetric::gram(&[&column, &column]).cholesky().is_none());
    }

    #[test]
    fn partial_correlation_is_that_of_the_formula() {
        // r_xy.z = (r_xy - r_xz r_yz) / sqrt((1 - r_xz²)(1 - r_yz²)), with 0.5, 0.4 and 0.3.
        let r =
            Symmetric::from_fn(3, |i, j| [[1.0, 0.5, 0.4], [0.5, 1.0, 0.3], [0.4, 0.3, 1.0]][i][j]);
        let expected = (0.5 - 0.12) / ((1.0 - 0.16_f64) * (1.0 - 0.09)).sqrt();
        assert!((partial_correlation(&r, 0, 1, &[2]) - expected).abs() < 1e-15);
        assert_eq!(partial_correlation(&r, 0, 1, &[]), 0.5);
    }
}

//! Eigenvalues of a small symmetric matrix.

/// Eigenvalues and eigenvectors of the symmetric `n × n` matrix `a` (row-major), largest first.
///
/// Cyclic Jacobi rotations: slower than the usual methods for large matrices, accurate to the last
/// digits for the few dozen metrics of a service, and without a dependency. An eigenvector's sign is
/// that of its largest entry made positive, so that equal input gives equal output. O(n³) a sweep, about
/// ten sweeps.
///
/// Source: Golub & Van Loan 2013, "Matrix computations", section 8.5.
pub(crate) fn symmetric_eigen(mut a: Vec<f64>, n: usize) -> Vec<(f64, Vec<f64>)> {
    let mut vectors = vec![0.0; n * n];
    for i in 0..n {
        vectors[i * n + i] = 1.0;
    }
    let size: f64 = a.iter().map(|v| v * v).sum();
    for _sweep in 0..60 {
        let off: f64 = (0..n)
            .flat_map(|i| (0..i).map(move |j| (i, j)))
            .map(|(i, j)| a[i * n + j].powi(2))
            .sum();
        if off <= 1e-30 * size {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                rotate(&mut a, &mut vectors, n, p, q);
            }
        }
    }
    let mut pairs: Vec<(f64, Vec<f64>)> = (0..n)
        .map(|i| {
            let mut vector: Vec<f64> = (0..n).map(|k| vectors[k * n + i]).collect();
            let largest =
                vector.iter().copied().fold(0.0, |m: f64, v| if v.abs() > m.abs() { v } else { m });
            if largest < 0.0 {
                vector.iter_mut().for_each(|v| *v = -*v);
            }
            (a[i * n + i], vector)
        })
        .collect();
    pairs.sort_by(|x, y| y.0.total_cmp(&x.0));
    pairs
}

/// One rotation that makes `a[p][q]` zero.
fn rotate(a: &mut [f64], vectors: &mut [f64], n: usize, p: usize, q: usize) {
    let apq = a[p * n + q];
    if apq.abs() < 1e-300 {
        return;
    }
    let theta = (a[q * n + q] - a[p * n + p]) / (2.0 * apq);
    let t = if theta == 0.0 { 1.0 } else { theta.signum() / (theta.abs() + theta.hypot(1.0)) };
    let c = 1.0 / t.hypot(1.0);
    let s = t * c;
    for k in 0..n {
        let (x, y) = (a[k * n + p], a[k * n + q]);
        a[k * n + p] = c * x - s * y;
        a[k * n + q] = s * x + c * y;
    }
    for k in 0..n {
        let (x, y) = (a[p * n + k], a[q * n + k]);
        a[p * n + k] = c * x - s * y;
        a[q * n + k] = s * x + c * y;
    }
    for k in 0..n {
        let (x, y) = (vectors[k * n + p], vectors[k * n + q]);
        vectors[k * n + p] = c * x - s * y;
        vectors[k * n + q] = s * x + c * y;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // By hand: [[2, 1], [1, 2]] has eigenvalues 3 and 1 with vectors (1, 1) and (1, -1) over √2.
    #[test]
    fn two_by_two() {
        let pairs = symmetric_eigen(vec![2.0, 1.0, 1.0, 2.0], 2);
        assert!((pairs[0].0 - 3.0).abs() < 1e-12 && (pairs[1].0 - 1.0).abs() < 1e-12);
        assert!((pairs[0].1[0] - 0.5_f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn vectors_reproduce_the_matrix() {
        let n = 7;
        let entry = |i: usize, j: usize| ((i * 31 + j * 31 + i * j * 7) % 13) as f64 - 6.0;
        let a: Vec<f64> = (0..n * n).map(|k| entry(k / n, k % n)).collect();
        let pairs = symmetric_eigen(a.clone(), n);
        for i in 0..n {
            for j in 0..n {
                let sum: f64 = pairs.iter().map(|(value, v)| value * v[i] * v[j]).sum();
                assert!((sum - a[i * n + j]).abs() < 1e-10, "{i} {j}");
            }
        }
    }
}

//! [`ProphetSearch`]: Prophet's parameters without Stan.

use augurs::prophet::{
    PositiveFloat,
    optimizer::{
        Data, Error, InitialParams, OptimizeOpts, OptimizedParams, Optimizer, TrendIndicator,
    },
};

use super::{
    owl_qn::{Sharp, minimise},
    posterior::{Growth, NOISE, OFFSET, Problem, RATE},
};

/// An optimiser for the Prophet of `augurs` in plain Rust: the most likely parameters, with exact zeros where a
/// change of the trend is not worth its prior.
///
/// Minimises the negative logarithm of Prophet's posterior: least squares with Gaussian priors on rate, offset
/// and weights, a half-normal one on the noise and a **Laplace prior on the changes** of the trend, whose kink a
/// plain quasi-Newton search stumbles over. Of the options it takes `iter` (default 10,000) and `jacobian`. The
/// answer does not depend on the order of the regressors. Time: a few hundred passes over the data.
///
/// ```
/// use aiops_detect::tier2::ProphetSearch;
/// use augurs::prophet::{Prophet, TrainingData};
/// let day = |i: i64| 1_700_000_000 + 86_400 * i;
/// let value = |i: i64| 20.0 + 0.5 * i as f64 + [0.0, 2.0, 1.0, 0.0, -1.0, -3.0, 1.0][i as usize % 7];
/// let data = TrainingData::new((0..100).map(day).collect(), (0..100).map(value).collect())?;
/// let mut prophet = Prophet::new(Default::default(), ProphetSearch);
/// prophet.fit(data, Default::default())?;
/// let fitted = prophet.predict(None)?.yhat.point;
/// assert!((0..100).all(|i| (fitted[i as usize] - value(i)).abs() < 0.2));
/// # Ok::<(), augurs::prophet::Error>(())
/// ```
///
/// Source: Taylor & Letham 2018, "Forecasting at scale", with the priors of its Stan program; Andrew & Gao 2007
/// (orthant-wise L-BFGS). Deviation: data counts as known to nine digits of its scale, so that the noise of a
/// perfect fit is not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProphetSearch;

impl Optimizer for ProphetSearch {
    fn optimize(
        &self,
        init: &InitialParams,
        data: &Data,
        opts: &OptimizeOpts,
    ) -> Result<OptimizedParams, Error> {
        let (columns, problem) = problem(data, opts.jacobian.unwrap_or(false))?;
        let mut start = vec![init.k, init.m, init.sigma_obs.ln()];
        start.extend(&init.delta);
        start.extend(columns.iter().map(|column| init.beta.get(*column).copied().unwrap_or(0.0)));
        if start.len() != problem.weights().end {
            return Err(Error::static_str("as many initial changes as places for them"));
        }
        let steps = opts.iter.map_or(10_000, |steps| steps as usize);
        let sharp = Sharp { places: problem.changes(), slope: problem.sharpness() };
        let found = minimise(|p, gradient| problem.smooth(p, gradient), sharp, start, steps);
        let mut beta = vec![0.0; columns.len()];
        for (column, weight) in columns.iter().zip(&found[problem.weights()]) {
            beta[*column] = *weight;
        }
        let noise = found[NOISE].exp().clamp(f64::MIN_POSITIVE, f64::MAX);
        Ok(OptimizedParams {
            k: found[RATE],
            m: found[OFFSET],
            sigma_obs: PositiveFloat::try_new(noise).map_err(Error::custom)?,
            delta: found[problem.changes()].to_vec(),
            beta,
            trend: problem.trend(&found),
        })
    }
}

/// The data of a fit, its regressors in an order of their own: that of `augurs` is that of a hash map. The
/// columns it had come first.
fn problem(data: &Data, jacobian: bool) -> Result<(Vec<usize>, Problem<'_>), Error> {
    let (n, k) = (data.y.len(), data.sigmas.len());
    let fits = n > 0
        && k > 0
        && data.t.len() == n
        && data.X.len() == n * k
        && data.s_a.len() == k
        && data.s_m.len() == k
        && (data.trend_indicator != TrendIndicator::Logistic || data.cap.len() == n);
    if !fits {
        return Err(Error::static_str("columns are empty or of different lengths"));
    }
    let column = |j: usize| data.X[j..].iter().step_by(k.max(1));
    let mut columns: Vec<usize> = (0..k).collect();
    columns.sort_by(|a, b| {
        let values = column(*a).zip(column(*b)).map(|(a, b)| a.total_cmp(b));
        let other = |j: usize| (data.s_a[j], data.s_m[j]);
        values
            .fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
            .then(data.sigmas[*a].total_cmp(&data.sigmas[*b]))
            .then(other(*a).cmp(&other(*b)))
    });
    let x = data.X.chunks_exact(k.max(1)).flat_map(|row| columns.iter().map(|j| row[*j])).collect();
    let shares = |of: &[i32]| columns.iter().map(|j| f64::from(of[*j])).collect();
    let problem = Problem {
        y: &data.y,
        t: &data.t,
        cap: &data.cap,
        t_change: &data.t_change,
        growth: match data.trend_indicator {
            TrendIndicator::Linear => Growth::Linear,
            TrendIndicator::Logistic => Growth::Logistic,
            TrendIndicator::Flat => Growth::Flat,
        },
        x,
        added: shares(&data.s_a),
        multiplied: shares(&data.s_m),
        sigmas: columns.iter().map(|j| *data.sigmas[*j]).collect(),
        tau: *data.tau,
        jacobian,
    };
    Ok((columns, problem))
}

#[cfg(test)]
mod tests {
    use super::*;
    use augurs::prophet::{GrowthType, PredictionData, Prophet, ProphetOptions, TrainingData};

    /// Fits and checks that nothing that Prophet 1.5.0 found (`tests/golden/prophet.py`) is likelier, and returns the forecasts.
    #[derive(Debug)]
    struct Judged {
        /// Rate, offset, noise, changes, weights.
        theirs: Vec<f64>,
    }

    impl Optimizer for Judged {
        fn optimize(
            &self,
            init: &InitialParams,
            data: &Data,
            opts: &OptimizeOpts,
        ) -> Result<OptimizedParams, Error> {
            let found = ProphetSearch.optimize(init, data, opts)?;
            let (columns, problem) = problem(data, false)?;
            let in_order =
                |beta: &[f64]| -> Vec<f64> { columns.iter().map(|j| beta[*j]).collect() };
            let objective = |k: f64, m: f64, sigma: f64, delta: &[f64], beta: &[f64]| {
                let p: Vec<f64> = [k, m, sigma.ln()]
                    .into_iter()
                    .chain(delta.iter().copied())
                    .chain(in_order(beta))
                    .collect();
                let sizes: f64 = delta.iter().map(|d| d.abs()).sum();
                problem.smooth(&p, &mut vec![0.0; p.len()]) + problem.sharpness() * sizes
            };
            let (changes, weights) = self.theirs[3..].split_at(5);
            let theirs =
                objective(self.theirs[0], self.theirs[1], self.theirs[2], changes, weights);
            let ours = objective(found.k, found.m, *found.sigma_obs, &found.delta, &found.beta);
            assert!(ours <= theirs + 1e-6 && theirs - ours < 2.0, "{ours}, theirs {theirs}");
            Ok(found)
        }
    }

    fn fitted(value: impl Fn(usize) -> f64, growth: GrowthType, theirs: &[f64]) -> Vec<f64> {
        let cap = if growth == GrowthType::Logistic { Some(100.0) } else { None };
        let options = ProphetOptions {
            growth,
            n_changepoints: 5,
            uncertainty_samples: 0,
            ..Default::default()
        };
        let mut prophet = Prophet::new(options, Judged { theirs: theirs.to_vec() });
        let day = |i: usize| 86_400 * (19_723 + i as i64);
        let mut data =
            TrainingData::new((0..140).map(day).collect(), (0..140).map(value).collect()).unwrap();
        let mut future = PredictionData::new((0..180).map(day).collect());
        if let Some(cap) = cap {
            data = data.with_cap(vec![cap; 140]).unwrap();
            future = future.with_cap(vec![cap; 180]).unwrap();
        }
        prophet.fit(data, Default::default()).unwrap();
        prophet.predict(future).unwrap().yhat.point
    }

    #[test]
    fn a_linear_trend_is_at_least_as_likely_as_stans() {
        let value = |i: usize| {
            let season = [0.0, 2.0, 5.0, 3.0, 1.0, -4.0, -6.0][i % 7];
            let bend = 0.02 * i.saturating_sub(60) as f64;
            20.0 + 0.03 * i as f64 + season + bend + (i * 37 % 11) as f64 / 5.0 - 1.0
        };
        fitted(value, GrowthType::Linear, &DAILY);
    }

    #[test]
    fn a_logistic_trend_is_prophets() {
        let value = |i: usize| {
            let season = [0.0, 1.0, 2.0, 1.0, 0.0, -2.0, -2.0][i % 7];
            90.0 / (1.0 + (-0.05 * (i as f64 - 60.0)).exp()) + season + (i * 37 % 11) as f64 / 5.0
        };
        // Stan's L-BFGS stops where the posterior is still a factor of three below ours; its Newton search, which
        // nobody uses by default, goes on and is closer to ours.
        for (theirs, forecasts, tolerance) in
            [(LOGISTIC, LOGISTIC_FORECASTS, 0.5), (NEWTON, NEWTON_FORECASTS, 0.1)]
        {
            let found = fitted(value, GrowthType::Logistic, &theirs);
            for (i, expected) in forecasts {
                let off = (found[i] - expected).abs();
                assert!(off < tolerance, "{i}: {}, expected {expected}", found[i]);
            }
        }
    }

    const DAILY: [f64; 14] = [
        0.14711078,
        0.65976276,
        0.020802342,
        6.7486822e-09,
        0.019509921,
        0.058533743,
        4.0776878e-07,
        1.0681501e-11,
        -0.10886139,
        0.1188621,
        0.030903627,
        -0.0020590497,
        -0.0268491,
        -0.02126615,
    ];
    const LOGISTIC: [f64; 14] = [
        6.3817571,
        0.45766464,
        0.0077077247,
        -4.698339e-09,
        -3.4203121e-06,
        -0.58046087,
        -1.9950193,
        -0.94624049,
        -0.017255468,
        0.013698043,
        0.0026978284,
        0.00084483213,
        -0.0014786908,
        -0.0029255304,
    ];
    const LOGISTIC_FORECASTS: [(usize, f64); 6] = [
        (0, 5.102552248685175),
        (70, 56.957967284382285),
        (139, 88.47582380404114),
        (140, 90.64778206018326),
        (150, 93.31241009652135),
        (179, 95.53921002704989),
    ];
    const NEWTON: [f64; 14] = [
        6.3976173,
        0.45731338,
        0.0074469511,
        -3.688563e-09,
        -5.7638303e-09,
        -0.65928876,
        -1.7687799,
        -1.3567581,
        -0.017209081,
        0.013699556,
        0.0026726778,
        0.00084217709,
        -0.0014611353,
        -0.0029238905,
    ];
    const NEWTON_FORECASTS: [(usize, f64); 6] = [
        (0, 5.07284),
        (70, 56.98377),
        (139, 88.20776),
        (140, 90.35847),
        (150, 92.94146),
        (179, 95.08795),
    ];
}

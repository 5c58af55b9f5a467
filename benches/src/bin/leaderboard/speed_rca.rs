//! Speed rows of root cause analysis, each beside a plain textbook implementation. One thread.

use std::hint::black_box;
use std::time::Duration;

use aiops_core::{Frame, MetricKind, SeriesKey, Timestamp, Topology};
use aiops_rca::{
    CausalDiscovery, ConditionalGrangerConfig, Context, DefaultConfig, Knowledge, MetricInfo,
    PcConfig, PcmciConfig, RootCauseAnalyzer,
};

use crate::discovery::{Noise, var};
use crate::rca_data::topology;
use crate::registry::{Measured, Result, SpeedRow, Unit};
use crate::stopwatch::compare;

macro_rules! rows {
    ($($id:literal, $baseline:literal, $measure:expr;)*) => {
        &[$(SpeedRow {
            id: $id,
            unit: Unit::Seconds,
            baseline_is: $baseline,
            measure: $measure,
        }),*]
    };
}

pub(crate) const ROWS: &[SpeedRow] = rows![
    "granger_50x1000", "one Gram matrix, then the restricted regression of each pair solved anew", granger;
    "pcmci_50x1000", "the same tests, each by two least-squares fits over all samples", pcmci;
    "pc_50x1000", "the same tests, each by two least-squares fits over all samples", pc;
    "rca_200x1200", "median and quartiles of each metric by sorting, worst z a service; no graph, no evidence", |quick| rank(40, 5, 1_200, quick);
    "rca_1000_services", "median and quartiles of each metric by sorting, worst z a service; no graph, no evidence", |quick| rank(1_000, 5, 1_200, quick);
];

/// Both contenders on one thread of a pool of their own, so that thread time counts all of it.
fn on_one_thread(
    rounds: usize,
    ours: impl FnMut() + Send,
    baseline: impl FnMut() + Send,
) -> Result<Measured> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    let (ours, baseline) = pool.install(|| compare(rounds, ours, baseline));
    Ok(Measured { ours, baseline: Some(baseline), bytes_per_series: None })
}

fn granger(quick: bool) -> Result<Measured> {
    let data = var(1, 50, 1_000, 75, Noise::Gaussian, false)?.data;
    let method = ConditionalGrangerConfig::default().build()?;
    let ours = || drop(black_box(method.discover(black_box(&data), &Knowledge::none())));
    on_one_thread(if quick { 1 } else { 5 }, ours, || drop(black_box(textbook_granger(&data, 2))))
}

fn pcmci(quick: bool) -> Result<Measured> {
    let data = var(1, 50, 1_000, 75, Noise::Gaussian, false)?.data;
    let method = PcmciConfig::default().build()?;
    let ours = || drop(black_box(method.discover(black_box(&data), &Knowledge::none())));
    on_one_thread(if quick { 1 } else { 3 }, ours, || drop(black_box(textbook_pcmci(&data, 2))))
}

fn pc(quick: bool) -> Result<Measured> {
    let data = var(1, 50, 1_000, 75, Noise::Gaussian, false)?.data;
    let method = PcConfig::default().build()?;
    let ours = || drop(black_box(method.discover(black_box(&data), &Knowledge::none())));
    on_one_thread(if quick { 1 } else { 3 }, ours, || drop(black_box(textbook_skeleton(&data))))
}

/// A made-up incident.
pub(crate) struct Incident {
    pub(crate) window: Frame,
    pub(crate) infos: Vec<MetricInfo>,
    pub(crate) topology: Topology,
    pub(crate) began: Timestamp,
}

/// Services in layers of ten, each calling two of the next; a fault in the last one that spreads. The
/// last quarter of the steps is the incident.
pub(crate) fn incident(services: usize, metrics: usize, steps: usize) -> Result<Incident> {
    let kinds = [
        (MetricKind::Latency, "latency"),
        (MetricKind::Errors, "errors"),
        (MetricKind::Cpu, "cpu"),
        (MetricKind::Memory, "memory"),
        (MetricKind::Throughput, "requests"),
    ];
    let name = |service: usize| format!("service-{service:04}");
    let mut keys = vec![];
    let mut infos = vec![];
    let mut values = Vec::with_capacity(services * metrics * steps);
    let mut state = 7_u64;
    let normal = steps * 3 / 4;
    for service in 0..services {
        for (kind, metric) in kinds.iter().cycle().take(metrics) {
            keys.push(SeriesKey::new(*metric, [("service", name(service))]));
            infos.push(MetricInfo::new(name(service), *kind));
            let up = if service + 1 == services {
                5.0
            } else if service % 10 == 9 {
                1.0
            } else {
                0.0
            };
            for step in 0..steps {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let noise = (state >> 40) as f64 / f64::from(1 << 24);
                values.push(1.0 + 0.1 * noise + if step >= normal { up } else { 0.0 });
            }
        }
    }
    let calls: Vec<(String, String)> = (0..services)
        .flat_map(|s| [s + 10, s + 11].into_iter().map(move |callee| (s, callee)))
        .filter(|(_, callee)| *callee < services)
        .map(|(caller, callee)| (name(caller), name(callee)))
        .collect();
    let topology = topology(&calls)?;
    let window = Frame::new(keys, Timestamp::EPOCH, Duration::from_secs(1), values)?;
    let began = Timestamp::from_secs(normal as i64);
    Ok(Incident { window, infos, topology, began })
}

fn rank(services: usize, metrics: usize, steps: usize, quick: bool) -> Result<Measured> {
    let Incident { window, infos, topology, began } = incident(services, metrics, steps)?;
    let context = Context::new(&window, &infos, &topology, began)?;
    let analyzer = DefaultConfig::default().build()?;
    let ours = || drop(black_box(analyzer.rank(black_box(&context))));
    let plain = || drop(black_box(textbook_scores(&window, metrics, steps * 3 / 4)));
    on_one_thread(if quick { 1 } else { 3 }, ours, plain)
}

/// The worst (x − median) / IQR of each service.
fn textbook_scores(window: &Frame, metrics: usize, normal: usize) -> Vec<f64> {
    let score = |row: usize| {
        let values = window.row(row);
        let mut before = values[..normal].to_vec();
        before.sort_by(f64::total_cmp);
        let at = |share: f64| before[((before.len() - 1) as f64 * share) as usize];
        let (median, iqr) = (at(0.5), (at(0.75) - at(0.25)).max(1e-9));
        values[normal..].iter().fold(f64::MIN, |worst, v| worst.max((v - median) / iqr))
    };
    (0..window.n_series() / metrics)
        .map(|service| {
            (service * metrics..(service + 1) * metrics).map(score).fold(f64::MIN, f64::max)
        })
        .collect()
}

/// F statistics of all pairs: the unrestricted and, for each cause, the restricted residual sum.
fn textbook_granger(data: &Frame, lags: usize) -> Vec<f64> {
    let columns = lagged(data, lags);
    let width = lags + 1;
    let past: Vec<usize> = (0..columns.len()).filter(|c| c % width != 0).collect();
    let gram: Vec<Vec<f64>> = columns
        .iter()
        .map(|a| columns.iter().map(|b| a.iter().zip(b).map(|(x, y)| x * y).sum()).collect())
        .collect();
    let residual = |on: &[usize], target: usize| {
        let matrix: Vec<Vec<f64>> =
            on.iter().map(|&i| on.iter().map(|&j| gram[i][j]).collect()).collect();
        let right: Vec<f64> = on.iter().map(|&i| gram[i][target]).collect();
        let solved = solve(matrix, right.clone());
        gram[target][target] - solved.iter().zip(&right).map(|(a, b)| a * b).sum::<f64>()
    };
    let mut statistics = vec![];
    for effect in 0..data.n_series() {
        let target = effect * width;
        let with = residual(&past, target);
        for cause in (0..data.n_series()).filter(|&cause| cause != effect) {
            let without: Vec<usize> = past.iter().copied().filter(|c| c / width != cause).collect();
            let alone = residual(&without, target);
            let freedom = (columns[0].len() - past.len() - 1) as f64;
            statistics.push((alone - with) / lags as f64 / (with / freedom));
        }
    }
    statistics
}

/// Every row at every lag from 0, centred, row by row.
fn lagged(data: &Frame, lags: usize) -> Vec<Vec<f64>> {
    let n = data.n_steps();
    (0..data.n_series())
        .flat_map(|row| (0..=lags).map(move |lag| (row, lag)))
        .map(|(row, lag)| {
            let values = &data.row(row)[lags - lag..n - lag];
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            values.iter().map(|v| v - mean).collect()
        })
        .collect()
}

/// Gaussian elimination of a positive definite system.
fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    for i in 0..n {
        for j in i + 1..n {
            let factor = a[j][i] / a[i][i];
            if factor != 0.0 {
                let (upper, lower) = a.split_at_mut(j);
                lower[0][i..].iter_mut().zip(&upper[i][i..]).for_each(|(x, y)| *x -= factor * y);
                b[j] -= factor * b[i];
            }
        }
    }
    for i in (0..n).rev() {
        let known: f64 = (i + 1..n).map(|j| a[i][j] * b[j]).sum();
        b[i] = (b[i] - known) / a[i][i];
    }
    b
}

/// The correlation of what two columns have beyond the columns `given`.
fn partial(columns: &[Vec<f64>], x: usize, y: usize, given: &[usize]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    let rest = |target: usize| {
        let matrix: Vec<Vec<f64>> = given
            .iter()
            .map(|&i| given.iter().map(|&j| dot(&columns[i], &columns[j])).collect())
            .collect();
        let right = given.iter().map(|&i| dot(&columns[i], &columns[target])).collect();
        let slopes = solve(matrix, right);
        let mut rest = columns[target].clone();
        for (slope, &column) in slopes.iter().zip(given) {
            rest.iter_mut().zip(&columns[column]).for_each(|(v, c)| *v -= slope * c);
        }
        rest
    };
    let (a, b) = (rest(x), rest(y));
    dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()
}

/// |r| beyond which a normal approximation calls n samples dependent at 5 %.
fn critical(samples: usize, given: usize) -> f64 {
    (1.96 / ((samples - given) as f64 - 3.0).sqrt()).tanh()
}

fn textbook_pcmci(data: &Frame, max_lag: usize) -> Vec<f64> {
    let width = 2 * max_lag + 1;
    let columns = lagged(data, 2 * max_lag);
    let (rows, samples) = (data.n_series(), columns[0].len());
    let mut parents: Vec<Vec<usize>> = vec![];
    for effect in 0..rows {
        let mut left: Vec<(usize, f64)> = (0..rows)
            .flat_map(|row| (1..=max_lag).map(move |lag| (row * width + lag, f64::INFINITY)))
            .collect();
        let mut p = 0;
        while p == 0 || p < left.len() {
            let order: Vec<usize> = left.iter().map(|(column, _)| *column).collect();
            for (column, weakest) in &mut left {
                let given: Vec<usize> =
                    order.iter().copied().filter(|c| c != column).take(p).collect();
                let r = partial(&columns, *column, effect * width, &given).abs();
                *weakest = if r < critical(samples, p) { -1.0 } else { weakest.min(r) };
            }
            left.retain(|(_, weakest)| *weakest >= 0.0);
            left.sort_by(|a, b| b.1.total_cmp(&a.1));
            p += 1;
        }
        parents.push(left.into_iter().map(|(column, _)| column).collect());
    }
    let mut links = vec![];
    for effect in 0..rows {
        for cause in 0..rows {
            for lag in 1..=max_lag {
                let link = cause * width + lag;
                let mut given: Vec<usize> =
                    parents[effect].iter().copied().filter(|&c| c != link).collect();
                for &column in &parents[cause] {
                    if !given.contains(&(column + lag)) {
                        given.push(column + lag);
                    }
                }
                links.push(partial(&columns, link, effect * width, &given));
            }
        }
    }
    links
}

fn textbook_skeleton(data: &Frame) -> Vec<Vec<bool>> {
    let columns = lagged(data, 0);
    let (rows, samples) = (columns.len(), columns[0].len());
    let mut adjacent: Vec<Vec<bool>> =
        (0..rows).map(|i| (0..rows).map(|j| i != j).collect()).collect();
    for depth in 0..rows {
        let neighbours: Vec<Vec<usize>> =
            adjacent.iter().map(|of| (0..rows).filter(|&j| of[j]).collect()).collect();
        if neighbours.iter().all(|of| of.len() <= depth) {
            break;
        }
        for x in 0..rows {
            for &y in &neighbours[x] {
                let others: Vec<usize> =
                    neighbours[x].iter().copied().filter(|&z| z != y).collect();
                for given in subsets(&others, depth) {
                    if partial(&columns, x, y, &given).abs() < critical(samples, depth) {
                        adjacent[x][y] = false;
                        adjacent[y][x] = false;
                    }
                }
            }
        }
    }
    adjacent
}

fn subsets(of: &[usize], size: usize) -> Vec<Vec<usize>> {
    match (size, of) {
        (0, _) => vec![vec![]],
        (_, []) => vec![],
        (_, [first, rest @ ..]) => {
            let with = subsets(rest, size - 1).into_iter().map(|mut subset| {
                subset.insert(0, *first);
                subset
            });
            with.chain(subsets(rest, size)).collect()
        }
    }
}

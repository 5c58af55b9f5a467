//! [`PeersConfig`]: which of several siblings is unlike the others.

use aiops_core::{Frame, Reason};
use linfa::prelude::*;
use linfa_clustering::Dbscan;
use ndarray16::Array2;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    error::{at_least, not_negative, positive},
};

/// Settings of the comparison of siblings: the same metric of several hosts, pods or shards.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PeersConfig {
    /// Steps that are compared, up to the one that is asked about. Default 30.
    pub window: usize,
    /// How many series, itself included, must lie within reach for a series to be in a crowd. Default 3.
    pub crowd: usize,
    /// Reach, in median distances of a series to its `crowd - 1`st neighbour. Default 3 (a guess).
    pub reach: f64,
    /// Least reach as a share of the median size of the values. Default 0.05: siblings that agree to five
    /// percent are alike, however well the others agree.
    pub min_relative: f64,
}

impl Default for PeersConfig {
    fn default() -> Self {
        PeersConfig { window: 30, crowd: 3, reach: 3.0, min_relative: 0.05 }
    }
}

/// What the comparison says of one series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peer {
    /// In no crowd: unlike its siblings.
    pub outlier: bool,
    /// Distance to the nearest sibling that is in a crowd, in reaches; 0 for series in a crowd.
    pub score: f64,
    /// Root mean square difference to the median of all siblings, in the unit of the series.
    pub difference: f64,
}

impl PeersConfig {
    /// Compares the rows of `siblings` over the window that ends with `step`. `None` for a series
    /// without any value there.
    ///
    /// Finds the host that is slow while its siblings are not, whatever the load does to all of them. Fails to see
    /// what befalls a whole crowd, and needs siblings that do the same work.
    ///
    /// The distance of two series is the root mean square of their differences over the window; DBSCAN with
    /// `crowd` points and a tolerance of `reach` times the median distance to the `crowd - 1`st neighbour finds the crowds, of
    /// which there may be several (two versions during a rollout). A gap counts as the median of all
    /// siblings at its step. Time O(series² · window).
    ///
    /// Source: Ester, Kriegel, Sander & Xu 1996, "A density-based algorithm for discovering clusters";
    /// the clustering is that of `linfa-clustering`, the tolerance rule ours.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for settings out of range, [`Error::ShapeMismatch`] when `step` is outside the
    /// frame, [`Error::NotEnoughData`] with fewer series than a crowd and one more.
    pub fn compare(&self, siblings: &Frame, step: usize) -> Result<Vec<Option<Peer>>> {
        at_least("window", self.window, 1)?;
        at_least("crowd", self.crowd, 2)?;
        positive("reach", self.reach)?;
        not_negative("min_relative", self.min_relative)?;
        if step >= siblings.n_steps() {
            let (expected, got) = (siblings.n_steps(), step);
            return Err(Error::ShapeMismatch { what: "step of a frame", expected, got });
        }
        let steps = (step + 1).saturating_sub(self.window)..step + 1;
        let medians: Vec<f64> = steps.clone().map(|at| median_of(siblings, at)).collect();
        let rows: Vec<usize> = (0..siblings.n_series())
            .filter(|row| siblings.row(*row)[steps.clone()].iter().any(|v| v.is_finite()))
            .collect();
        if rows.len() <= self.crowd {
            return Err(Error::NotEnoughData { needed: self.crowd + 1, got: rows.len() });
        }
        // Differences to the median, over √window: then the Euclidean distance is a root mean square, and
        // large values keep their digits.
        let scale = (steps.len() as f64).sqrt();
        let points: Vec<Vec<f64>> = rows
            .iter()
            .map(|row| {
                let values = siblings.row(*row)[steps.clone()].iter().zip(&medians);
                let off =
                    |v: f64, m: f64| if v.is_finite() { (v - m).clamp(-1e100, 1e100) } else { 0.0 };
                values.map(|(v, m)| off(*v, *m) / scale).collect()
            })
            .collect();
        let sizes = medians.iter().map(|median| median.abs()).collect();
        let tolerance = (self.reach * self.typical_distance(&points))
            .max(self.min_relative * middle(sizes))
            .max(f64::MIN_POSITIVE);
        let flat: Vec<f64> = points.concat();
        let table = Array2::from_shape_vec((rows.len(), steps.len()), flat)
            .expect("as many values as rows times steps");
        let crowds = Dbscan::params(self.crowd)
            .tolerance(tolerance)
            .transform(&table)
            .map_err(|error| Error::config("reach", error.to_string()))?;
        let mut peers = vec![None; siblings.n_series()];
        for (i, row) in rows.iter().enumerate() {
            let outlier = crowds[i].is_none();
            let in_crowds = (0..rows.len()).filter(|j| crowds[*j].is_some());
            let nearest =
                in_crowds.map(|j| distance(&points[i], &points[j])).fold(f64::INFINITY, f64::min);
            let score = match outlier {
                false => 0.0,
                // Where nobody is in a crowd, the distance to the middle is all there is.
                true if nearest.is_infinite() => size(&points[i]) / tolerance,
                true => nearest / tolerance,
            };
            let score = score.min(f64::MAX);
            peers[*row] = Some(Peer { outlier, score, difference: size(&points[i]) });
        }
        Ok(peers)
    }

    /// Median over the series of the distance to the `crowd - 1`st neighbour.
    fn typical_distance(&self, points: &[Vec<f64>]) -> f64 {
        let of = |i: usize| {
            let others = (0..points.len()).filter(|j| *j != i);
            let mut all: Vec<f64> = others.map(|j| distance(&points[i], &points[j])).collect();
            all.sort_unstable_by(f64::total_cmp);
            all[self.crowd - 2]
        };
        middle((0..points.len()).map(of).collect())
    }
}

impl Peer {
    /// In words, for the series `name`.
    pub fn reason(&self, name: &str) -> Reason {
        let sentence = if self.outlier {
            format!(
                "{name} is unlike its siblings, {:.1} times as far from them as they are from each other allows",
                self.score
            )
        } else {
            format!("{name} is like its siblings")
        };
        Reason::new("unlike_siblings", sentence)
            .with("outlier", self.outlier)
            .with("score", self.score)
            .with("difference", self.difference)
    }
}

fn median_of(frame: &Frame, step: usize) -> f64 {
    let values = (0..frame.n_series()).map(|row| frame.row(row)[step]);
    let median = middle(values.filter(|v| v.is_finite()).collect());
    if median.is_finite() { median } else { 0.0 }
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    if values.is_empty() { 0.0 } else { crate::window::median(&values) }
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

fn size(a: &[f64]) -> f64 {
    a.iter().map(|a| a * a).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Noise;
    use aiops_core::{SeriesKey, Timestamp};

    fn frame(rows: usize, value: impl Fn(usize, usize) -> f64) -> Frame {
        let keys = (0..rows)
            .map(|i| SeriesKey::new("cpu", [("host", format!("h{i}").as_str())]))
            .collect();
        let value = &value;
        let values = (0..rows).flat_map(|row| (0..40).map(move |step| value(row, step))).collect();
        Frame::new(keys, Timestamp::EPOCH, std::time::Duration::from_secs(1), values).unwrap()
    }

    #[test]
    fn the_slow_host_is_found_whatever_the_load_does() {
        let noise = |row: usize, step: usize| Noise::new((row * 1000 + step) as u64).normal();
        let load = |step: usize| 50.0 + 30.0 * (step as f64 / 5.0).sin();
        let siblings = frame(9, |row, step| {
            let slow = if row == 6 && step >= 20 { 15.0 } else { 0.0 };
            if row == 2 && step % 3 == 0 { f64::NAN } else { load(step) + slow + noise(row, step) }
        });
        let outliers = |step: usize| -> Vec<usize> {
            let peers = PeersConfig { window: 10, ..Default::default() }.compare(&siblings, step);
            let peers = peers.unwrap();
            (0..9).filter(|row| peers[*row].is_some_and(|peer| peer.outlier)).collect()
        };
        assert_eq!((outliers(19), outliers(39)), (vec![], vec![6]));
        let peer = PeersConfig::default().compare(&siblings, 39).unwrap()[6].unwrap();
        assert!(peer.score > 1.0 && peer.reason("h6").sentence.starts_with("h6 is unlike"));
    }

    #[test]
    fn two_versions_are_two_crowds_and_what_agrees_to_five_percent_is_alike() {
        let two = frame(8, |row, _| if row < 4 { 10.0 } else { 20.0 });
        let peers = PeersConfig::default().compare(&two, 39).unwrap();
        assert!(peers.iter().all(|peer| !peer.unwrap().outlier));
        let nearly = frame(8, |row, _| if row == 3 { 10.4 } else { 10.0 });
        let peers = PeersConfig::default().compare(&nearly, 39).unwrap();
        assert!(!peers[3].unwrap().outlier);
        let silent = frame(8, |row, _| if row == 3 { f64::NAN } else { 10.0 });
        assert_eq!(PeersConfig::default().compare(&silent, 39).unwrap()[3], None);
        assert!(PeersConfig::default().compare(&frame(3, |_, _| 1.0), 5).is_err());
        assert!(PeersConfig::default().compare(&silent, 40).is_err());
    }
}

//! What an analyzer is given: one incident, as data.

use crate::{Error, Experience, Result};
use aiops_core::{
    Anomaly, Event, Frame, Harm, IncidentId, MetricKind, SeriesKey, Timestamp, Topology,
};

/// What one row of the window measures, and of whom.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MetricInfo {
    /// The service it tells about, a node of the topology; `None` for what belongs to no service,
    /// which is then never blamed.
    pub service: Option<String>,
    /// What it measures.
    pub kind: MetricKind,
    /// The direction in which it hurts. [`MetricKind::harm`] unless you know better.
    pub harm: Harm,
    /// The dependent whose calls it was measured on, for the latency or errors of one edge; `None`
    /// for what the service measured itself.
    ///
    /// Such a metric blames `service`, the callee: it sees the network between the two, which
    /// neither end sees in its own numbers.
    pub seen_by: Option<String>,
}

impl MetricInfo {
    /// A metric of `service` that hurts the way its kind does.
    pub fn new(service: impl Into<String>, kind: MetricKind) -> Self {
        MetricInfo { service: Some(service.into()), kind, harm: kind.harm(), seen_by: None }
    }

    /// A metric of the service that the labels of its series name.
    pub fn of(series: &SeriesKey, kind: MetricKind) -> Self {
        let service = series.service().map(str::to_owned);
        MetricInfo { service, kind, harm: kind.harm(), seen_by: None }
    }
}

/// One incident: what was measured, who depends on whom, what changed and what was noticed.
///
/// Everything is borrowed and nothing is asked from outside, so the same context always gives the
/// same ranking.
///
/// ```
/// use aiops_core::{Frame, Labels, MetricKind, SeriesKey, Timestamp, Topology};
/// use aiops_rca::{Context, DefaultConfig, MetricInfo, RootCauseAnalyzer};
/// use std::time::Duration;
///
/// // Ten quiet minutes, then the latency of `db` and, less so, of `api` is up for two.
/// let (normal, steps) = (600, 720);
/// let row = |height: f64| (0..steps).map(move |t| {
///     let noise = ((t * 7919) % 13) as f64 / 13.0;
///     0.1 + 0.01 * noise + if t < normal { 0.0 } else { height }
/// });
/// let keys = ["api", "db"].map(|s| SeriesKey::new("latency", [("service", s)]));
/// let metrics: Vec<_> = keys.iter().map(|k| MetricInfo::of(k, MetricKind::Latency)).collect();
/// let values = row(0.2).chain(row(0.9)).collect();
/// let window = Frame::new(keys.to_vec(), Timestamp::EPOCH, Duration::from_secs(1), values)?;
///
/// let topology = Topology::new(); // nobody knows who calls whom
/// let context = Context::new(&window, &metrics, &topology, Timestamp::from_secs(normal as i64))?;
/// let ranking = DefaultConfig::default().build()?.rank(&context)?;
/// assert_eq!(ranking.top().and_then(|c| c.cause.service()), Some("db"));
/// # Ok::<(), aiops_rca::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The metrics on a common grid: some normal time, then the incident. Gaps are NaN.
    pub window: &'a Frame,
    /// What each row of the window is; as many as it has rows.
    pub metrics: &'a [MetricInfo],
    /// The same rows over a time known to be normal, for a window whose own first part is too
    /// short or too troubled to learn from. `None`: the part of the window before `began`.
    pub normal: Option<&'a Frame>,
    /// When trouble began, as far as is known: the first alarm, or the time a person gave. A minute
    /// late does little harm; analyzers look at what was normal before it and worse after it.
    pub began: Timestamp,
    /// Who depends on whom. May be empty, incomplete and cyclic; names that it does not know are
    /// services without edges.
    pub topology: &'a Topology,
    /// What detection found. Their onsets refine those seen in the window; an anomaly of a series
    /// that the window lacks still makes its service a suspect.
    pub anomalies: &'a [Anomaly],
    /// What changed around that time. Those that [can cause](aiops_core::EventKind::can_cause)
    /// trouble are candidates.
    pub changes: &'a [Event],
    /// The series on which users or their proxies feel it, such as the front door's error rate.
    /// Empty: nobody said; then no candidate is judged by what it explains.
    pub symptoms: &'a [SeriesKey],
    /// What people said about the causes of earlier incidents, if it is to count.
    pub experience: Option<&'a Experience>,
    /// The incident, to be named in the ranking.
    pub incident: Option<IncidentId>,
}

impl<'a> Context<'a> {
    /// A context without anomalies, changes, symptoms and a normal period of its own; set those
    /// fields as you have them.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when there is not one [`MetricInfo`] for each row.
    pub fn new(
        window: &'a Frame,
        metrics: &'a [MetricInfo],
        topology: &'a Topology,
        began: Timestamp,
    ) -> Result<Self> {
        let context = Context {
            window,
            metrics,
            normal: None,
            began,
            topology,
            anomalies: &[],
            changes: &[],
            symptoms: &[],
            experience: None,
            incident: None,
        };
        context.check()?;
        Ok(context)
    }

    /// Whether the parts fit together; every analyzer calls it first, because the fields are open.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when metrics or the rows of the normal period are not as many as the
    /// rows of the window.
    pub fn check(&self) -> Result<()> {
        let expected = self.window.n_series();
        if self.metrics.len() != expected {
            let got = self.metrics.len();
            return Err(Error::Mismatch { what: "metric infos for the rows", expected, got });
        }
        if let Some(normal) = self.normal
            && normal.n_series() != expected
        {
            let got = normal.n_series();
            return Err(Error::Mismatch { what: "rows of the normal period", expected, got });
        }
        Ok(())
    }
}

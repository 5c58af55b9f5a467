//! Gateway, control-group and probe metrics; see `aiops_incident_lab::exporter`.
//!
//! `lab-exporter --listen ADDRESS --syslog ADDRESS --cgroup GROUP --service NAME...
//! --probe SERVICE=http|postgres|redis=ADDRESS...`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use aiops_incident_lab::exporter::access_log::{self, GatewayMetrics};
use aiops_incident_lab::exporter::cgroup::CgroupCollector;
use aiops_incident_lab::exporter::probe::{self, ProbeMetrics};
use aiops_incident_lab::http::{BoxError, metrics_response};
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use lexopt::ValueExt as _;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let (mut listen, mut syslog): (Option<SocketAddr>, Option<SocketAddr>) = (None, None);
    let mut groups = CgroupCollector {
        root: PathBuf::from("/sys/fs/cgroup"),
        group: String::new(),
        services: Vec::new(),
    };
    let mut targets = Vec::new();
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            lexopt::Arg::Long("listen") => listen = Some(parser.value()?.parse()?),
            lexopt::Arg::Long("syslog") => syslog = Some(parser.value()?.parse()?),
            lexopt::Arg::Long("cgroup") => groups.group = parser.value()?.string()?,
            lexopt::Arg::Long("service") => groups.services.push(parser.value()?.string()?),
            lexopt::Arg::Long("probe") => targets.push(parser.value()?.parse()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let listen = listen.ok_or("--listen ADDRESS is missing")?;
    let syslog = syslog.ok_or("--syslog ADDRESS is missing")?;
    let mut registry = Registry::default();
    let gateway = GatewayMetrics::register(&mut registry);
    let probes = ProbeMetrics::register(&mut registry);
    if CgroupCollector::available(&groups.root) && !groups.group.is_empty() {
        registry.register_collector(Box::new(groups));
    }
    for target in targets {
        tokio::spawn(probe::run(target, probes.clone()));
    }
    let router = Router::new()
        .route(
            "/metrics",
            get(|State(registry): State<Arc<Registry>>| async move { metrics_response(&registry) }),
        )
        .with_state(Arc::new(registry));
    let serving = async { axum::serve(TcpListener::bind(listen).await?, router).await };
    tokio::try_join!(serving, access_log::listen(syslog, gateway))?;
    Ok(())
}

//! Gateway, control-group and probe metrics; see `aiops_incident_lab::exporter`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use aiops_incident_lab::exporter::access_log::{self, GatewayMetrics};
use aiops_incident_lab::exporter::cgroup::CgroupCollector;
use aiops_incident_lab::exporter::probe::{self, ProbeMetrics, Target};
use aiops_incident_lab::http::{BoxError, metrics_response};
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use clap::Parser;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

/// Metrics of the gateway, of control groups and of probes.
#[derive(Parser)]
struct Args {
    /// Where to serve /metrics
    #[arg(long)]
    listen: SocketAddr,
    /// Where nginx sends its access log as syslog datagrams
    #[arg(long)]
    syslog: SocketAddr,
    /// Parent control group of the services; without it there are no service_* metrics
    #[arg(long)]
    cgroup: Option<String>,
    /// A service with a control group; may be given several times
    #[arg(long = "service", value_name = "NAME")]
    services: Vec<String>,
    /// A service to probe once a second; may be given several times
    #[arg(long = "probe", value_name = "SERVICE=http|postgres|redis=ADDRESS")]
    probes: Vec<Target>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let args = Args::parse();
    let mut registry = Registry::default();
    let gateway = GatewayMetrics::register(&mut registry);
    let probes = ProbeMetrics::register(&mut registry);
    let root = PathBuf::from("/sys/fs/cgroup");
    if let Some(group) = args.cgroup.filter(|_| CgroupCollector::available(&root)) {
        let groups = CgroupCollector { root, group, services: args.services };
        registry.register_collector(Box::new(groups));
    }
    for target in args.probes {
        tokio::spawn(probe::run(target, probes.clone()));
    }
    let router = Router::new()
        .route(
            "/metrics",
            get(|State(registry): State<Arc<Registry>>| async move { metrics_response(&registry) }),
        )
        .with_state(Arc::new(registry));
    let serving = async { axum::serve(TcpListener::bind(args.listen).await?, router).await };
    tokio::try_join!(serving, access_log::listen(args.syslog, gateway))?;
    Ok(())
}

//! TCP proxies with a delay that can be set while they run; see `aiops_incident_lab::proxy`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aiops_incident_lab::http::BoxError;
use aiops_incident_lab::proxy::{Delay, serve};
use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use clap::Parser;
use serde::Deserialize;
use tokio::net::TcpListener;

#[derive(Deserialize)]
struct SetDelay {
    link: String,
    ms: u64,
    #[serde(default)]
    jitter_ms: u64,
}

async fn set_delay(
    State(links): State<Arc<BTreeMap<String, Delay>>>,
    Query(set): Query<SetDelay>,
) -> Response {
    match links.get(&set.link) {
        Some(delay) => {
            delay.set(Duration::from_millis(set.ms), Duration::from_millis(set.jitter_ms));
            StatusCode::NO_CONTENT.into_response()
        }
        None => (StatusCode::NOT_FOUND, "no such link\n").into_response(),
    }
}

/// TCP proxies that hold bytes back.
///
/// `POST /delay?link=NAME&ms=40&jitter_ms=10` on the admin address sets the delay of one link.
#[derive(Parser)]
struct Args {
    /// Where to listen for the delays to set
    #[arg(long)]
    admin: SocketAddr,
    /// A link to carry; may be given several times
    #[arg(long = "link", value_name = "NAME=LISTEN=UPSTREAM", value_parser = parse_link)]
    links: Vec<Link>,
}

#[derive(Clone)]
struct Link {
    name: String,
    listen: SocketAddr,
    upstream: SocketAddr,
}

fn parse_link(text: &str) -> Result<Link, BoxError> {
    let parts: Vec<&str> = text.split('=').collect();
    let [name, listen, upstream] = parts[..] else {
        return Err("a link is NAME=LISTEN=UPSTREAM".into());
    };
    Ok(Link { name: name.to_owned(), listen: listen.parse()?, upstream: upstream.parse()? })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let args = Args::parse();
    let mut delays = BTreeMap::new();
    for link in args.links {
        let (listener, delay) = (TcpListener::bind(link.listen).await?, Delay::default());
        delays.insert(link.name, delay.clone());
        tokio::spawn(serve(listener, link.upstream, delay));
    }
    let router = Router::new().route("/delay", post(set_delay)).with_state(Arc::new(delays));
    axum::serve(TcpListener::bind(args.admin).await?, router).await?;
    Ok(())
}

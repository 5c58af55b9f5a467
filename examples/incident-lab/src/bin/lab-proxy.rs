//! TCP proxies with a delay that can be set while they run; see `aiops_incident_lab::proxy`.
//!
//! `lab-proxy --admin ADDRESS --link NAME=LISTEN=UPSTREAM...`; then
//! `POST /delay?link=NAME&ms=40&jitter_ms=10` on the admin address.

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
use lexopt::ValueExt as _;
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

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let mut admin: Option<SocketAddr> = None;
    let mut links = BTreeMap::new();
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            lexopt::Arg::Long("admin") => admin = Some(parser.value()?.parse()?),
            lexopt::Arg::Long("link") => {
                let text = parser.value()?.string()?;
                let parts: Vec<&str> = text.split('=').collect();
                let [name, listen, upstream] = parts[..] else {
                    return Err(format!("--link needs NAME=LISTEN=UPSTREAM, got {text:?}").into());
                };
                let listener = TcpListener::bind(listen.parse::<SocketAddr>()?).await?;
                let (upstream, delay) = (upstream.parse()?, Delay::default());
                links.insert(name.to_owned(), delay.clone());
                tokio::spawn(serve(listener, upstream, delay));
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let admin = admin.ok_or("--admin ADDRESS is missing")?;
    let router = Router::new().route("/delay", post(set_delay)).with_state(Arc::new(links));
    axum::serve(TcpListener::bind(admin).await?, router).await?;
    Ok(())
}

//! The little HTTP that all binaries share: serving `/metrics`, and a client for JSON.

use std::sync::Arc;
use std::time::Duration;

use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

/// The error of code that only reports what failed; the binaries print it and exit.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Renders a registry as OpenMetrics text.
pub fn metrics_response(registry: &Arc<Registry>) -> Response {
    let mut text = String::new();
    match encode(&mut text, registry) {
        Ok(()) => {
            ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
                .into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// A pooled HTTP/1.1 client with a time limit per call.
#[derive(Debug, Clone)]
pub struct HttpClient {
    client: Client<HttpConnector, Full<Bytes>>,
    timeout: Duration,
    max_bytes: usize,
}

impl HttpClient {
    /// A client that gives up on a call after `timeout` or a body above `max_bytes`.
    pub fn new(timeout: Duration, max_bytes: usize) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Self { client, timeout, max_bytes }
    }

    /// Sends one request without headers of its own; returns status and body.
    ///
    /// # Errors
    /// When the address is malformed, the connection fails, or time or size run out.
    pub async fn call(
        &self,
        method: Method,
        url: &str,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Bytes), BoxError> {
        let uri: Uri = url.parse()?;
        let request = hyper::Request::builder()
            .method(method)
            .uri(uri)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::from(body)))?;
        let exchange = async {
            let response = self.client.request(request).await?;
            let status = response.status();
            let body =
                Limited::new(response.into_body(), self.max_bytes).collect().await?.to_bytes();
            Ok::<_, BoxError>((status, body))
        };
        tokio::time::timeout(self.timeout, exchange).await?
    }
}

/// Percent-encodes everything but unreserved characters, for a form or a query.
pub fn url_encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unreserved_characters_pass_unencoded() {
        assert_eq!(url_encode("up{job=\"a\"}[5s]"), "up%7Bjob%3D%22a%22%7D%5B5s%5D");
    }
}

//! The network side: senders, the console, the JSON interface, and what the service says of itself.

mod api;
mod auth;
mod chart;
mod console;
mod form;
mod runs;

use std::future::Future;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use aiops_act::{Mode, Timekeeper};
use aiops_core::{IncidentId, Store, Timestamp};
use aiops_observe::{IntakeAnswer, IntakeRequest};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Form, Path, Query, Request, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, IntoResponse, Redirect};
use axum::routing::{get, post};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde::Deserialize;
use tokio::net::TcpListener;

use crate::health::Condition;
use crate::{Acting, Config, Error, Result, Role, Stages, Verdict};
use auth::{Auth, COOKIE, Who};

/// Bytes of a body as it came; a longer one is 413.
const BODY: usize = 16 << 20;

/// How long what is under way may take to end when the service is told to stop.
const SHUTDOWN: Duration = Duration::from_secs(20);

/// What every handler needs.
struct App {
    stages: Arc<Mutex<Stages>>,
    acting: RwLock<Arc<Acting>>,
    auth: RwLock<Arc<Auth>>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Timekeeper>,
    condition: Arc<Condition>,
    metrics: &'static PrometheusHandle,
}

impl App {
    fn acting(&self) -> Arc<Acting> {
        self.acting.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn auth(&self) -> Arc<Auth> {
        self.auth.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Works with the stages on a thread that may wait.
    async fn with<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut Stages, Timestamp) -> T + Send + 'static,
    ) -> T {
        let app = self.clone();
        let done = tokio::task::spawn_blocking(move || {
            let mut stages = app.stages.lock().unwrap_or_else(PoisonError::into_inner);
            let now = app.clock.now();
            work(&mut stages, now)
        });
        done.await.expect("a stage panicked, which is a bug, and the process is told to say so")
    }
}

/// The service as a whole. Clones are the same service.
#[derive(Clone)]
pub struct Service {
    app: Arc<App>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

impl Service {
    /// Builds every stage on `store` and reads again what came in before. Time passes by `clock`.
    ///
    /// # Errors
    /// When a setting is out of range, or what was kept cannot be read.
    pub fn open(
        config: &Config,
        store: Arc<dyn Store>,
        clock: Arc<dyn Timekeeper>,
    ) -> Result<Self> {
        let stages = Stages::open(config.clone(), store.clone(), clock.now())?;
        let stages = Arc::new(Mutex::new(stages));
        let condition = Arc::new(Condition::new(clock.now()));
        let (kept, time, shared) = (store.clone(), clock.clone(), stages.clone());
        let acting = Acting::new(config, kept, time, shared, condition.clone())?;
        let (acting, auth) = (RwLock::new(Arc::new(acting)), Auth::new(&config.tokens)?);
        let auth = RwLock::new(Arc::new(auth));
        let app = App { stages, acting, auth, store, clock, condition, metrics: recorder() };
        Ok(Service { app: Arc::new(app) })
    }

    /// The stages: who holds them holds up everything else.
    pub fn stages(&self) -> &Arc<Mutex<Stages>> {
        &self.app.stages
    }

    /// What acts, as it is configured now.
    pub fn acting(&self) -> Arc<Acting> {
        self.app.acting()
    }

    /// Goes on with another configuration: people, runbooks, executors, routes and the topology file change, and
    /// nothing that was learnt or is under way is lost. What the engine of before was doing is finished or
    /// journaled, and taken over. Gives the settings that changed and need a restart.
    ///
    /// # Errors
    /// When something of it cannot be used; then everything stays as it was.
    pub async fn reload(&self, config: &Config) -> Result<Vec<&'static str>> {
        let app = &self.app;
        let (store, clock, stages) = (app.store.clone(), app.clock.clone(), app.stages.clone());
        let acting = Acting::new(config, store, clock, stages, app.condition.clone())?;
        let auth = app.auth().with_tokens(&config.tokens);
        let given = config.clone();
        let restart = app.with(move |stages, now| stages.reload(given, now)).await?;
        *app.auth.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(auth);
        let before = {
            let mut now = app.acting.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *now, Arc::new(acting))
        };
        before.shutdown(SHUTDOWN).await;
        Ok(restart)
    }

    /// What time alone brings about, once: every second while it serves. Says how the parts are.
    ///
    /// # Errors
    /// When a part failed; the next tick tries again.
    pub async fn tick(&self) -> Result<()> {
        let app = &self.app;
        let ticked = app.with(|stages, now| {
            let ticked = stages.tick(now);
            (ticked, stages.seen(now), now)
        });
        let (ticked, seen, now) = ticked.await;
        app.condition.ticked(&ticked, now);
        let acted = app.acting().tick(seen, now).await;
        ticked.and(acted)
    }

    /// How much the service does now, by how its parts are.
    pub fn mode(&self) -> Mode {
        self.app.condition.mode(self.app.clock.now())
    }

    /// Serves on `listener` until `stopped`, or until the listener fails.
    ///
    /// # Errors
    /// What the listener reports.
    pub async fn serve(
        &self,
        listener: TcpListener,
        stopped: impl Future<Output = ()> + Send + 'static,
    ) -> Result<()> {
        let ticking = tokio::spawn(keep_ticking(self.clone()));
        let router = router(self.app.clone());
        let served = axum::serve(listener, router).with_graceful_shutdown(stopped).await;
        ticking.abort();
        self.acting().shutdown(SHUTDOWN).await;
        Ok(served?)
    }
}

fn router(app: Arc<App>) -> Router {
    let seen = Router::new()
        .route("/", get(incidents))
        .route("/incidents/{id}", get(incident))
        .route("/incidents/{id}/answer", post(answer))
        .route("/runs", get(runs::page))
        .route("/runs/{id}/answer", post(runs::answer))
        .route("/runs/{id}/resolve", post(runs::resolve))
        .route("/runs/pause", post(runs::pause))
        .route("/audit", get(runs::audit))
        .route("/api/openapi.json", get(openapi))
        .route("/api/runs", get(runs::api))
        .route("/api/incidents", get(api_incidents))
        .route("/api/incidents/{id}", get(api_incident))
        .route("/metrics", get(metrics))
        .layer(from_fn_with_state(app.clone(), signed_in));
    seen.route("/healthz", get(|| async { "ok" }))
        .route("/sign-in", get(sign_in_page).post(sign_in))
        .fallback(receive)
        .layer(DefaultBodyLimit::max(BODY))
        .with_state(app)
}

/// One recorder for a process.
fn recorder() -> &'static PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    RECORDER.get_or_init(|| {
        let builder = PrometheusBuilder::new();
        builder.install_recorder().expect("nobody else in this process records metrics")
    })
}

/// Ticks every second; a tick that panics is reported, and the next one tries again.
async fn keep_ticking(service: Service) {
    let mut every = tokio::time::interval(Duration::from_secs(1));
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let service = service.clone();
        match tokio::spawn(async move { service.tick().await }).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => eprintln!("a tick failed and is repeated: {error}"),
            Err(error) => eprintln!("a tick panicked, which is a bug, and is repeated: {error}"),
        }
    }
}

/// Lets people through that may look; sends the others to sign in.
async fn signed_in(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response<Body> {
    match app.auth().who(request.headers()) {
        Some(who) if who.role >= Role::Viewer => {
            request.extensions_mut().insert(who);
            let mut response = next.run(request).await;
            let headers = response.headers_mut();
            let policy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; \
                          frame-ancestors 'none'; base-uri 'none'";
            let policy = header::HeaderValue::from_static(policy);
            headers.insert(header::CONTENT_SECURITY_POLICY, policy);
            let no_store = header::HeaderValue::from_static("no-store");
            headers.insert(header::CACHE_CONTROL, no_store);
            response
        }
        Some(_) => plain(StatusCode::FORBIDDEN, "this token may only send"),
        None if request.uri().path().starts_with("/api") || request.uri().path() == "/metrics" => {
            plain(StatusCode::UNAUTHORIZED, "a bearer token is needed")
        }
        None if app.auth().is_open() => {
            plain(StatusCode::FORBIDDEN, "ask for it as localhost or 127.0.0.1")
        }
        None => Redirect::to("/sign-in").into_response(),
    }
}

fn plain(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    (status, text.into()).into_response()
}

type Asking = axum::Extension<Who>;

#[derive(Deserialize)]
struct Search {
    #[serde(default)]
    q: String,
}

async fn incidents(State(app): State<Arc<App>>, Query(search): Query<Search>) -> Html<String> {
    Html(app.with(move |stages, now| console::incidents(stages, search.q.trim(), now)).await)
}

async fn incident(
    State(app): State<Arc<App>>,
    axum::Extension(who): Asking,
    Path(id): Path<String>,
) -> Response<Body> {
    let Ok(id) = id.parse::<IncidentId>() else {
        return plain(StatusCode::NOT_FOUND, "no such incident");
    };
    let key = (who.role >= Role::Approver).then(|| app.auth().form_key(&who));
    let remedy = match runs::Remedy::of(&app.acting(), id).await {
        Ok(remedy) => remedy,
        Err(error) => return failed(&error),
    };
    let page = move |stages: &mut Stages, now| {
        let remedy = runs::section(&remedy, key.as_deref());
        console::incident(stages, id, &remedy, key.as_deref(), now)
    };
    match app.with(page).await {
        Ok(page) => Html(page).into_response(),
        Err(error) => failed(&error),
    }
}

fn failed(error: &Error) -> Response<Body> {
    match error {
        Error::Unknown { reason } => plain(StatusCode::NOT_FOUND, reason.clone()),
        error => {
            eprintln!("a request failed: {error}");
            plain(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
        }
    }
}

#[derive(Deserialize)]
struct Answer {
    verdict: Verdict,
}

impl form::Fields for Answer {
    const LEAST: Role = Role::Approver;
}

async fn answer(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    form::Sent { who, given }: form::Sent<Answer>,
) -> Response<Body> {
    let Ok(id) = id.parse::<IncidentId>() else {
        return plain(StatusCode::NOT_FOUND, "no such incident");
    };
    let by = who.name;
    match app.with(move |stages, now| stages.answer(id, given.verdict, &by, now)).await {
        Ok(()) => Redirect::to(&format!("/incidents/{id}")).into_response(),
        Err(error) => failed(&error),
    }
}

async fn openapi() -> Response<Body> {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (kind, include_str!("../../openapi.json")).into_response()
}

#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    all: bool,
}

async fn api_incidents(
    State(app): State<Arc<App>>,
    Query(listed): Query<Listed>,
) -> Response<Body> {
    let list = move |stages: &mut Stages, _| {
        let listed = if listed.all { stages.all() } else { stages.shown() };
        api::incidents(stages, listed)
    };
    axum::Json(app.with(list).await).into_response()
}

async fn api_incident(State(app): State<Arc<App>>, Path(id): Path<String>) -> Response<Body> {
    let Ok(id) = id.parse::<IncidentId>() else {
        return plain(StatusCode::NOT_FOUND, "no such incident");
    };
    match app.with(move |stages, _| api::incident(stages, id)).await {
        Ok(document) => axum::Json(document).into_response(),
        Err(error) => failed(&error),
    }
}

async fn metrics(State(app): State<Arc<App>>) -> Response<Body> {
    app.with(|stages, _| {
        aiops_core::telemetry::level("aiops_service_series", stages.series() as f64);
        aiops_core::telemetry::level("aiops_service_incidents", stages.shown().len() as f64);
    })
    .await;
    aiops_core::telemetry::level("aiops_service_mode", app.acting().engine().mode() as u8 as f64);
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (kind, app.metrics.render()).into_response()
}

async fn sign_in_page() -> Html<String> {
    Html(console::sign_in(None))
}

#[derive(Deserialize)]
struct SignIn {
    token: String,
}

async fn sign_in(State(app): State<Arc<App>>, Form(given): Form<SignIn>) -> Response<Body> {
    let now = app.clock.now();
    if !app.auth().may_try(now) {
        return plain(StatusCode::TOO_MANY_REQUESTS, "too many wrong tokens; wait a minute");
    }
    let token = given.token.trim();
    if app.auth().of_token(token).is_none_or(|who| who.role < Role::Viewer) {
        app.auth().was_wrong(now);
        let page = Html(console::sign_in(Some("Nobody who may look has this token.")));
        return (StatusCode::UNAUTHORIZED, page).into_response();
    }
    let cookie = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict");
    let mut response = Redirect::to("/").into_response();
    match cookie.parse() {
        Ok(cookie) => response.headers_mut().insert(header::SET_COOKIE, cookie),
        Err(_) => return plain(StatusCode::BAD_REQUEST, "the token cannot stand in a cookie"),
    };
    response
}

/// Everything else is something that is sent.
async fn receive(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    if app.auth().who(&parts.headers).is_none() {
        return plain(StatusCode::UNAUTHORIZED, "a bearer token is needed");
    }
    let body = match axum::body::to_bytes(body, BODY).await {
        Ok(body) => body,
        Err(_) => return plain(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long, or was cut"),
    };
    let answer = app.with(move |stages, now| hand_over(stages, &parts, &body, now)).await;
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    for (name, value) in answer.headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn hand_over(
    stages: &mut Stages,
    parts: &axum::http::request::Parts,
    body: &Bytes,
    now: Timestamp,
) -> IntakeAnswer {
    let headers: Vec<_> = texts(&parts.headers).collect();
    let method = parts.method.as_str();
    let path = parts.uri.path();
    stages.receive(&IntakeRequest { method, path, headers: &headers, body }, now)
}

fn texts(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
}

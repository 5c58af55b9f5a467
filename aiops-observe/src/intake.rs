//! The HTTP side of ingestion without a server: which decoder a request is for, who may send, and
//! what to answer. A pure function of the request, so that any server can carry it.

use crate::decode::*;
use crate::digest::{LogDigest, TraceDigest};
use crate::otlp_answer::{self, Signal};
use crate::{Decoder, Error, Limits, Rejection, Result, Sink, Tally};
use aiops_core::{Timestamp, report};
use std::fmt;

/// What ingestion needs of an HTTP request.
#[derive(Debug, Clone, Copy)]
pub struct IntakeRequest<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// The path, without the query.
    pub path: &'a str,
    /// Names and values; the case of names does not matter. Values that are no text are left out.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body, as it came.
    pub body: &'a [u8],
}

impl<'a> IntakeRequest<'a> {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let mut named = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        named.next().map(|&(_, value)| value)
    }
}

/// What to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntakeAnswer {
    /// The HTTP status.
    pub status: u16,
    /// Headers beside the length of the body.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// What became of the items; `None` when nothing was read.
    pub tally: Option<Tally>,
}

impl IntakeAnswer {
    pub(crate) fn text(status: u16, text: impl Into<String>) -> Self {
        let headers = vec![("content-type", "text/plain; charset=utf-8".to_owned())];
        IntakeAnswer { status, headers, body: text.into().into_bytes(), tally: None }
    }

    /// That there is too much to do; senders of all formats here wait and try again.
    pub fn busy(retry_after_secs: u32) -> Self {
        let mut answer = IntakeAnswer::text(503, "busy, try again");
        answer.headers.push(("retry-after", retry_after_secs.to_string()));
        answer
    }
}

/// Chooses the decoder of a request and answers as its sender expects.
///
/// | `POST` | what | answer |
/// | --- | --- | --- |
/// | `/api/v1/write` | remote write 1.0 or 2.0, by `Content-Type` | 204; 400 names what was rejected |
/// | `/v1/metrics` | OpenTelemetry, protobuf or JSON by `Content-Type` | 200, with a partial success where some was rejected |
/// | `/v1/logs`, `/v1/traces` | the same, into a digest where there is one | as `/v1/metrics`; else 404 |
/// | `/api/v1/import/prometheus` | text or OpenMetrics, by `Content-Type` | 204, 400 |
/// | `/api/v2/alerts` | alerts as Prometheus sends them | 200, 400 |
/// | `/webhook/alertmanager`, `/webhook/grafana` | their webhooks | 200, 400 |
/// | `/v2/enqueue` | PagerDuty events | 202, 400 |
/// | `/events` | CloudEvents, in all three modes | 204, 400 |
/// | `/changes`, `/samples.jsonl`, `/samples.csv` | our own forms | 204, 400 |
///
/// A body that nobody could read is 400 and one beyond a limit 413, both with the reason: such a
/// request must not be sent again. An unknown path is 404, another method 405, a wrong token 401, an
/// encoding or type that is not read 415. What of a body was delivered before it turned out damaged
/// stays delivered. Bodies whose only rejections are kinds of data that are left out
/// ([`Rejection::Unsupported`]) and alerts that the sender itself cut are a success.
///
/// TLS is a matter of the server or the proxy before it.
#[derive(Default)]
pub struct Intake {
    token: Option<String>,
    remote_write_v1: RemoteWriteV1,
    remote_write_v2: RemoteWriteV2,
    otlp: Otlp,
    otlp_json: OtlpJson,
    logs: Option<LogDigest>,
    traces: Option<TraceDigest>,
    limits: Limits,
}

impl fmt::Debug for Intake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The token is a secret.
        let token = self.token.as_ref().map(|_| "...");
        f.debug_struct("Intake").field("token", &token).field("limits", &self.limits).finish()
    }
}

/// How the senders of a path expect to be answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// This status when all went well.
    Plain(u16),
    /// With counts in headers.
    RemoteWriteV2,
    /// With a protobuf message.
    Otlp,
    /// With the same message as JSON.
    OtlpJson(Signal),
}

impl Intake {
    /// An intake whose decoders have these limits, open to everybody who can reach it.
    pub fn new(limits: Limits) -> Self {
        Intake {
            token: None,
            remote_write_v1: RemoteWriteV1::new(limits),
            remote_write_v2: RemoteWriteV2::new(limits),
            otlp: Otlp::new(limits),
            otlp_json: OtlpJson::new(limits),
            logs: None,
            traces: None,
            limits,
        }
    }

    /// Takes logs, too. What they sum up to comes out of [`emit`](Self::emit) only.
    pub fn with_logs(mut self, logs: LogDigest) -> Self {
        self.logs = Some(logs);
        self
    }

    /// Takes traces, too. What they sum up to comes out of [`emit`](Self::emit) only.
    pub fn with_traces(mut self, traces: TraceDigest) -> Self {
        self.traces = Some(traces);
        self
    }

    /// The digest of logs, if it has one.
    pub fn logs(&self) -> Option<&LogDigest> {
        self.logs.as_ref()
    }

    /// The digest of traces, if it has one.
    pub fn traces(&self) -> Option<&TraceDigest> {
        self.traces.as_ref()
    }

    /// Hands over what logs and traces sum up to, with the time `now`. Call it at a fixed interval,
    /// usually 10 s.
    pub fn emit(&mut self, now: Timestamp, sink: &mut dyn Sink) -> Tally {
        let mut tally = Tally::default();
        if let Some(logs) = &mut self.logs {
            tally += &logs.emit(now, sink);
        }
        if let Some(traces) = &mut self.traces {
            tally += &traces.emit(now, sink);
        }
        tally
    }

    /// Asks for `Authorization: Bearer <token>`.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] when the token is empty: it would let everybody in.
    pub fn with_token(mut self, token: impl Into<String>) -> Result<Self> {
        let token = token.into();
        if token.is_empty() {
            return Err(Error::config("token", "must not be empty"));
        }
        self.token = Some(token);
        Ok(self)
    }

    /// Reads the body into `sink`, and says what to answer.
    pub fn handle(
        &mut self,
        request: &IntakeRequest<'_>,
        now: Timestamp,
        sink: &mut dyn Sink,
    ) -> IntakeAnswer {
        if !self.may_send(request) {
            let mut answer = IntakeAnswer::text(401, "a bearer token is needed");
            answer.headers.push(("www-authenticate", "Bearer".into()));
            return answer;
        }
        if request.method != "POST" {
            let mut answer = IntakeAnswer::text(405, "send it with POST");
            answer.headers.push(("allow", "POST".into()));
            return answer;
        }
        let media = request.header("content-type").unwrap_or_default().to_ascii_lowercase();
        let kind = media.split(';').next().unwrap_or_default().trim();
        let encoding = request.header("content-encoding").unwrap_or_default();
        let limits = self.limits;
        let (manner, decoded) = match request.path {
            "/api/v1/write" if !encoding.is_empty() && encoding != "snappy" => {
                return IntakeAnswer::text(415, "remote write is compressed with snappy");
            }
            "/api/v1/write" if media.contains("io.prometheus.write.v2.request") => {
                let decoder = &mut self.remote_write_v2;
                (Manner::RemoteWriteV2, read(decoder, request, now, sink))
            }
            "/api/v1/write" => {
                (Manner::Plain(204), read(&mut self.remote_write_v1, request, now, sink))
            }
            "/v1/metrics" | "/v1/logs" | "/v1/traces" => {
                let json = kind == "application/json";
                if !json && kind != "application/x-protobuf" {
                    let expected = "send application/x-protobuf or application/json";
                    return IntakeAnswer::text(415, expected);
                }
                match self.open_telemetry(request, json, now, sink) {
                    Some((signal, read)) if json => (Manner::OtlpJson(signal), read),
                    Some((_, read)) => (Manner::Otlp, read),
                    None => return IntakeAnswer::text(404, "this signal is not taken here"),
                }
            }
            "/events" if request.header("ce-specversion").is_some() => {
                let headers = request.headers.iter().copied();
                let mut decoder = CloudEvents::new(limits);
                (Manner::Plain(204), decoder.decode_binary(headers, request.body, now, sink))
            }
            path => {
                let Some((mut decoder, status)) = webhook(path, kind, limits) else {
                    return IntakeAnswer::text(404, "no such path");
                };
                if !encoding.is_empty() && encoding != "identity" {
                    return IntakeAnswer::text(415, "send it uncompressed");
                }
                (Manner::Plain(status), read(decoder.as_mut(), request, now, sink))
            }
        };
        answer(manner, decoded)
    }

    /// One of the three signals in one of its two forms; `None` of one without a digest.
    fn open_telemetry(
        &mut self,
        request: &IntakeRequest<'_>,
        json: bool,
        now: Timestamp,
        sink: &mut dyn Sink,
    ) -> Option<(Signal, Result<Tally>)> {
        Some(match request.path {
            "/v1/logs" => {
                let read = if json { LogDigest::read_json } else { LogDigest::read };
                (Signal::Logs, read(self.logs.as_mut()?, request.body, now))
            }
            "/v1/traces" => {
                let read = if json { TraceDigest::read_json } else { TraceDigest::read };
                (Signal::Traces, read(self.traces.as_mut()?, request.body, now))
            }
            _ if json => (Signal::Metrics, read(&mut self.otlp_json, request, now, sink)),
            _ => (Signal::Metrics, read(&mut self.otlp, request, now, sink)),
        })
    }

    /// Compares in a time that does not depend on where the difference is.
    fn may_send(&self, request: &IntakeRequest<'_>) -> bool {
        let Some(token) = &self.token else { return true };
        let given = request.header("authorization").and_then(|value| value.split_once(' '));
        let Some((_, given)) = given.filter(|(how, _)| how.eq_ignore_ascii_case("bearer")) else {
            return false;
        };
        let (given, token) = (given.trim().as_bytes(), token.as_bytes());
        let differing = given.iter().zip(token).fold(0, |all, (a, b)| all | (a ^ b));
        given.len() == token.len() && differing == 0
    }
}

/// Decoders of low rate are made for each request: they are small and keep nothing.
fn webhook(path: &str, kind: &str, limits: Limits) -> Option<(Box<dyn Decoder>, u16)> {
    let open_metrics = kind == "application/openmetrics-text";
    let decoder: (Box<dyn Decoder>, u16) = match path {
        "/api/v1/import/prometheus" if open_metrics => {
            (Box::new(Exposition::open_metrics().with_limits(limits)), 204)
        }
        "/api/v1/import/prometheus" => (Box::new(Exposition::text().with_limits(limits)), 204),
        "/api/v2/alerts" => (Box::new(AlertmanagerApi::new(limits)), 200),
        "/webhook/alertmanager" | "/webhook/grafana" => {
            (Box::new(AlertmanagerWebhook::new(limits)), 200)
        }
        "/v2/enqueue" => (Box::new(PagerDuty::new(limits)), 202),
        "/events" => (Box::new(CloudEvents::new(limits)), 204),
        "/changes" => (Box::new(Changes::new(limits)), 204),
        "/samples.jsonl" => (Box::new(JsonLines::new(limits)), 204),
        "/samples.csv" => (Box::new(CsvSamples::new(limits)), 204),
        _ => return None,
    };
    Some(decoder)
}

fn read(
    decoder: &mut dyn Decoder,
    request: &IntakeRequest<'_>,
    now: Timestamp,
    sink: &mut dyn Sink,
) -> Result<Tally> {
    decoder.decode(request.body, now, sink)
}

fn answer(manner: Manner, decoded: Result<Tally>) -> IntakeAnswer {
    let (mut answer, tally) = match decoded {
        Err(error) => {
            let status = if matches!(error, Error::TooLarge { .. }) { 413 } else { 400 };
            let tally = error.before().cloned().unwrap_or_default();
            report!(warn, "aiops_observe", "a body could not be read"; reason = error);
            (IntakeAnswer::text(status, error.to_string()), tally)
        }
        Ok(tally) => {
            let harmless = [Rejection::Unsupported, Rejection::CutBySender];
            let harmless: u64 = harmless.map(|reason| tally.rejected_as(reason)).iter().sum();
            let answer = match manner {
                Manner::Otlp => otlp_answer::protobuf(&tally),
                Manner::OtlpJson(signal) => otlp_answer::json(signal, &tally),
                _ if tally.rejected() > harmless => IntakeAnswer::text(400, tally.to_string()),
                Manner::Plain(202) => IntakeAnswer {
                    status: 202,
                    headers: vec![("content-type", "application/json".into())],
                    body: br#"{"status":"success","message":"Event processed"}"#.to_vec(),
                    tally: None,
                },
                Manner::Plain(status) => {
                    IntakeAnswer { status, headers: vec![], body: vec![], tally: None }
                }
                Manner::RemoteWriteV2 => {
                    IntakeAnswer { status: 204, headers: vec![], body: vec![], tally: None }
                }
            };
            (answer, tally)
        }
    };
    if manner == Manner::RemoteWriteV2 {
        let written = [
            ("x-prometheus-remote-write-samples-written", tally.accepted().to_string()),
            ("x-prometheus-remote-write-histograms-written", "0".to_owned()),
            ("x-prometheus-remote-write-exemplars-written", "0".to_owned()),
        ];
        answer.headers.extend(written);
    }
    tally.report();
    answer.tally = Some(tally);
    answer
}

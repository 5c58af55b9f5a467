//! What a digest reads of a span.

use super::request::attribute;
use crate::decode::json_form::{KEY_VALUE, Kind as JsonKind, RESOURCE, SCOPE, Schema};
use crate::proto::{Broken, Kind, Reader, Tag};

/// Which side of a call a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Client or producer.
    Client,
    /// Server or consumer.
    Server,
}

/// The fields of a `Span` that matter here; ids are as long as the sender made them.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Span<'a> {
    pub(super) trace: &'a [u8],
    pub(super) id: &'a [u8],
    pub(super) parent: &'a [u8],
    /// `None` for internal spans.
    pub(super) side: Option<Side>,
    pub(super) seconds: f64,
    pub(super) failed: bool,
    /// What a client says that it called.
    pub(super) peer: Option<&'a [u8]>,
}

pub(super) static REQUEST: Schema =
    Schema(&[("resourceSpans", 1, JsonKind::Message(&RESOURCE_SPANS))]);
static RESOURCE_SPANS: Schema = Schema(&[
    ("resource", 1, JsonKind::Message(&RESOURCE)),
    ("scopeSpans", 2, JsonKind::Message(&SCOPE_SPANS)),
]);
static SCOPE_SPANS: Schema =
    Schema(&[("scope", 1, JsonKind::Message(&SCOPE)), ("spans", 2, JsonKind::Message(&SPAN))]);
static SPAN: Schema = Schema(&[
    ("traceId", 1, JsonKind::Hex),
    ("spanId", 2, JsonKind::Hex),
    ("parentSpanId", 4, JsonKind::Hex),
    ("kind", 6, JsonKind::Varint),
    ("startTimeUnixNano", 7, JsonKind::Fixed64),
    ("endTimeUnixNano", 8, JsonKind::Fixed64),
    ("attributes", 9, JsonKind::Message(&KEY_VALUE)),
    ("status", 15, JsonKind::Message(&Schema(&[("code", 3, JsonKind::Varint)]))),
]);

/// Attributes that name what was called, the best last: a service says more than a kind of system.
const PEERS: [&[u8]; 5] =
    [b"messaging.system", b"db.system", b"db.system.name", b"service.peer.name", b"peer.service"];

impl<'a> Span<'a> {
    /// `Span {trace_id = 1; span_id = 2; parent_span_id = 4; kind = 6; start_time_unix_nano = 7;
    /// end_time_unix_nano = 8; attributes = 9; status = 15 {code = 3}}`.
    pub(super) fn parse(message: &'a [u8]) -> Result<Self, Broken> {
        const TRACE: Tag = Tag::new(1, Kind::Bytes);
        const ID: Tag = Tag::new(2, Kind::Bytes);
        const PARENT: Tag = Tag::new(4, Kind::Bytes);
        const KIND: Tag = Tag::new(6, Kind::Varint);
        const START: Tag = Tag::new(7, Kind::Fixed64);
        const END: Tag = Tag::new(8, Kind::Fixed64);
        const ATTRIBUTE: Tag = Tag::new(9, Kind::Bytes);
        const STATUS: Tag = Tag::new(15, Kind::Bytes);
        let mut span = Span::default();
        let (mut start, mut end, mut rank) = (0, 0, None);
        let mut reader = Reader::new(message);
        while let Some(tag) = reader.tag()? {
            match tag {
                TRACE => span.trace = reader.bytes()?,
                ID => span.id = reader.bytes()?,
                PARENT => span.parent = reader.bytes()?,
                KIND => span.side = side(reader.varint()?),
                START => start = reader.fixed64()?,
                END => end = reader.fixed64()?,
                ATTRIBUTE => {
                    let (key, value) = attribute(reader.bytes()?)?;
                    let found = PEERS.iter().position(|known| *known == key);
                    if found >= rank && found.is_some() && !value.is_empty() {
                        (span.peer, rank) = (Some(value), found);
                    }
                }
                STATUS => span.failed = failed(reader.bytes()?)?,
                _ => reader.skip(tag)?,
            }
        }
        // A clock that was set back between start and end makes no negative duration.
        span.seconds = u64::saturating_sub(end, start) as f64 / 1e9;
        Ok(span)
    }
}

/// `SPAN_KIND_SERVER = 2; CLIENT = 3; PRODUCER = 4; CONSUMER = 5`.
fn side(kind: u64) -> Option<Side> {
    match kind {
        2 | 5 => Some(Side::Server),
        3 | 4 => Some(Side::Client),
        _ => None,
    }
}

/// Whether a `Status {code = 3}` says `STATUS_CODE_ERROR`.
fn failed(message: &[u8]) -> Result<bool, Broken> {
    const CODE: Tag = Tag::new(3, Kind::Varint);
    const ERROR: u64 = 2;
    let mut failed = false;
    let mut status = Reader::new(message);
    while let Some(tag) = status.tag()? {
        match tag {
            CODE => failed = status.varint()? == ERROR,
            _ => status.skip(tag)?,
        }
    }
    Ok(failed)
}

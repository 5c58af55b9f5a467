//! The part of OpenTelemetry's requests that logs and traces share.

use crate::decode::{Gzip, json_form};
use crate::proto::{Broken, Kind, Reader, Tag};
use crate::{Error, Limits, Result, Tally};
use json_form::Schema;

pub(super) const FIRST: Tag = Tag::new(1, Kind::Bytes);
pub(super) const SECOND: Tag = Tag::new(2, Kind::Bytes);

/// Bodies as protobuf: what is compressed is decompressed, and JSON is rewritten.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    gzip: Gzip,
    protobuf: Vec<u8>,
}

/// A format by its name in errors, and by its fields where it is JSON.
#[derive(Clone, Copy)]
pub(super) struct Format {
    pub(super) name: &'static str,
    pub(super) json: Option<&'static Schema>,
}

impl Bodies {
    /// Hands the bytes of the service's name and every item of a request to `each`, which says in the
    /// tally what became of it: `resource_* = 1 {resource = 1; scope_* = 2 {item = 2}}`. The name is
    /// empty where the resource has none.
    pub(super) fn each_item(
        &mut self,
        format: Format,
        body: &[u8],
        limits: &Limits,
        mut each: impl FnMut(&[u8], &[u8], &mut Tally) -> Result<(), Broken>,
    ) -> Result<Tally> {
        let mut body = self.gzip.decompress(format.name, body, limits)?;
        if let Some(schema) = format.json {
            json_form::transcode(format.name, schema, body, &mut self.protobuf)?;
            body = &self.protobuf;
        }
        let (mut tally, mut over) = (Tally::default(), false);
        let walked = walk(body, |service, item| {
            over = tally.items() as usize >= limits.items;
            if over {
                return Err(Reader::new(item).broken("more items than the limit"));
            }
            each(service, item, &mut tally)
        });
        let Err(broken) = walked else { return Ok(tally) };
        let (format, before) = (format.name, Box::new(tally));
        if over {
            let (what, limit) = ("items", limits.items);
            return Err(Error::TooLarge { format, what, limit, got: limit + 1, before });
        }
        let offset = broken.offset_in(body);
        Err(Error::Malformed { format, offset, reason: broken.reason.into(), before })
    }
}

fn walk(
    body: &[u8],
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), Broken>,
) -> Result<(), Broken> {
    let mut request = Reader::new(body);
    while let Some(tag) = request.tag()? {
        if tag != FIRST {
            request.skip(tag)?;
            continue;
        }
        let message = request.bytes()?;
        let service = service_of(message)?;
        let mut resource = Reader::new(message);
        while let Some(tag) = resource.tag()? {
            if tag != SECOND {
                resource.skip(tag)?;
                continue;
            }
            let mut scope = Reader::new(resource.bytes()?);
            while let Some(tag) = scope.tag()? {
                match tag {
                    SECOND => each(service, scope.bytes()?)?,
                    _ => scope.skip(tag)?,
                }
            }
        }
    }
    Ok(())
}

/// `service.name` of the resource, wherever in the message it stands.
fn service_of(message: &[u8]) -> Result<&[u8], Broken> {
    let mut service: &[u8] = &[];
    let mut reader = Reader::new(message);
    while let Some(tag) = reader.tag()? {
        if tag != FIRST {
            reader.skip(tag)?;
            continue;
        }
        let mut resource = Reader::new(reader.bytes()?);
        while let Some(tag) = resource.tag()? {
            if tag != FIRST {
                resource.skip(tag)?;
                continue;
            }
            let (key, value) = attribute(resource.bytes()?)?;
            if key == b"service.name" {
                service = value;
            }
        }
    }
    Ok(service)
}

/// Key and text of a `KeyValue {key = 1; value = 2 {string_value = 1}}`; other values are empty.
pub(super) fn attribute(message: &[u8]) -> Result<(&[u8], &[u8]), Broken> {
    let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
    let mut pair = Reader::new(message);
    while let Some(tag) = pair.tag()? {
        match tag {
            FIRST => key = pair.bytes()?,
            SECOND => value = text(pair.bytes()?)?,
            _ => pair.skip(tag)?,
        }
    }
    Ok((key, value))
}

/// The text of an `AnyValue`; empty when it is something else.
pub(super) fn text(message: &[u8]) -> Result<&[u8], Broken> {
    let mut found: &[u8] = &[];
    let mut value = Reader::new(message);
    while let Some(tag) = value.tag()? {
        match tag {
            FIRST => found = value.bytes()?,
            _ => value.skip(tag)?,
        }
    }
    Ok(found)
}

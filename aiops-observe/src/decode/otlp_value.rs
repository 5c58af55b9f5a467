//! OpenTelemetry attributes as labels.

use crate::Rejection;
use crate::proto::{Broken, Kind, Reader, Tag, unexpected};
use std::fmt::Write;

type Each<'e> = dyn FnMut(&str, &str) -> Result<(), Rejection> + 'e;

const FIRST: Tag = Tag::new(1, Kind::Bytes);

/// The attributes of the `resource` fields (1) of a `ResourceMetrics`.
pub(super) fn resource_labels(message: &[u8], each: &mut Each<'_>) -> Result<(), Rejection> {
    let mut reader = Reader::new(message);
    while let Some(tag) = reader.tag().map_err(damaged)? {
        if tag == FIRST {
            attributes_of(reader.bytes().map_err(damaged)?, 1, each)?;
        } else {
            reader.skip(tag).map_err(damaged)?;
        }
    }
    Ok(())
}

/// The attributes in field `field` of a message: `KeyValue {key = 1; value = 2}`.
pub(super) fn attributes_of(
    message: &[u8],
    field: u32,
    each: &mut Each<'_>,
) -> Result<(), Rejection> {
    const VALUE: Tag = Tag::new(2, Kind::Bytes);
    let attribute = Tag::new(field, Kind::Bytes);
    let mut reader = Reader::new(message);
    let mut value = String::new();
    while let Some(tag) = reader.tag().map_err(damaged)? {
        if tag != attribute {
            reader.skip(tag).map_err(damaged)?;
            continue;
        }
        let mut key: &[u8] = &[];
        value.clear();
        let mut pair = Reader::new(reader.bytes().map_err(damaged)?);
        while let Some(tag) = pair.tag().map_err(damaged)? {
            match tag {
                FIRST => key = pair.bytes().map_err(damaged)?,
                VALUE => {
                    let message = pair.bytes().map_err(damaged)?;
                    if !message.is_empty() {
                        value.clear();
                        any_value(message, false, MAX_DEPTH, &mut value)?;
                    }
                }
                _ => unexpected(&mut pair, tag, &[1, 2]).map_err(damaged)?,
            }
        }
        each(std::str::from_utf8(key).map_err(|_| Rejection::NotUtf8)?, &value)?;
    }
    Ok(())
}

/// As deep as values may nest: deeper ones describe no series.
const MAX_DEPTH: usize = 8;

fn damaged(_: Broken) -> Rejection {
    Rejection::Malformed
}

/// `AnyValue {oneof string = 1, bool = 2, int = 3, double = 4, array = 5, kvlist = 6, bytes = 7}`.
/// Scalars as they are written, the rest as JSON; bytes in hexadecimal.
fn any_value(message: &[u8], quote: bool, depth: usize, out: &mut String) -> Result<(), Rejection> {
    if depth == 0 {
        return Err(Rejection::Unsupported);
    }
    let start = out.len();
    let mut reader = Reader::new(message);
    // A `String` takes whatever is written to it.
    macro_rules! put {
        ($($text:tt)*) => {{
            out.truncate(start);
            let _ = write!(out, $($text)*);
        }};
    }
    while let Some(tag) = reader.tag().map_err(damaged)? {
        let bytes = Tag::new(tag.field(), Kind::Bytes) == tag;
        match tag.field() {
            1 if bytes => {
                let text = std::str::from_utf8(reader.bytes().map_err(damaged)?)
                    .map_err(|_| Rejection::NotUtf8)?;
                if quote { put!("{text:?}") } else { put!("{text}") }
            }
            2 if tag == Tag::new(2, Kind::Varint) => {
                put!("{}", reader.varint().map_err(damaged)? != 0);
            }
            3 if tag == Tag::new(3, Kind::Varint) => {
                put!("{}", reader.varint().map_err(damaged)? as i64);
            }
            4 if tag == Tag::new(4, Kind::Fixed64) => {
                put!("{}", reader.double().map_err(damaged)?);
            }
            5 | 6 if bytes => {
                let list = reader.bytes().map_err(damaged)?;
                out.truncate(start);
                nested(list, tag.field() == 6, depth, out)?;
            }
            7 if bytes => {
                out.truncate(start);
                for byte in reader.bytes().map_err(damaged)? {
                    let _ = write!(out, "{byte:02x}");
                }
            }
            _ => unexpected(&mut reader, tag, &[1, 2, 3, 4, 5, 6, 7]).map_err(damaged)?,
        }
    }
    Ok(())
}

/// `ArrayValue {values = 1}` or `KeyValueList {values = 1}`.
fn nested(message: &[u8], keyed: bool, depth: usize, out: &mut String) -> Result<(), Rejection> {
    out.push(if keyed { '{' } else { '[' });
    let mut reader = Reader::new(message);
    let mut first = true;
    while let Some(tag) = reader.tag().map_err(damaged)? {
        if tag != FIRST {
            reader.skip(tag).map_err(damaged)?;
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(',');
        }
        let item = reader.bytes().map_err(damaged)?;
        if keyed {
            pair(item, depth, out)?;
        } else {
            any_value(item, true, depth - 1, out)?;
        }
    }
    out.push(if keyed { '}' } else { ']' });
    Ok(())
}

fn pair(message: &[u8], depth: usize, out: &mut String) -> Result<(), Rejection> {
    let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
    let mut reader = Reader::new(message);
    while let Some(tag) = reader.tag().map_err(damaged)? {
        match tag.field() {
            1 if tag == FIRST => key = reader.bytes().map_err(damaged)?,
            2 if tag == Tag::new(2, Kind::Bytes) => value = reader.bytes().map_err(damaged)?,
            _ => unexpected(&mut reader, tag, &[1, 2]).map_err(damaged)?,
        }
    }
    let _ = write!(out, "{:?}:", std::str::from_utf8(key).map_err(|_| Rejection::NotUtf8)?);
    any_value(value, true, depth - 1, out)
}

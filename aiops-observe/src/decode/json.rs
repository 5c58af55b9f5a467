//! What the JSON webhooks share: documents whose items are read one by one, so that a bad item
//! leaves the others alone.

use crate::{Error, Limits, Rejection, Result, Tally};
use aiops_core::Labels;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Reads a whole document.
pub(super) fn document<'a, T: Deserialize<'a>>(
    format: &'static str,
    body: &'a [u8],
    limits: &Limits,
) -> Result<T> {
    limits.check_body(format, body.len())?;
    serde_json::from_slice(body).map_err(|error| malformed(format, body, &error))
}

pub(super) fn malformed(format: &'static str, body: &[u8], error: &serde_json::Error) -> Error {
    let lines = body.split_inclusive(|&byte| byte == b'\n').take(error.line().saturating_sub(1));
    let offset = (lines.map(<[u8]>::len).sum::<usize>() + error.column()).min(body.len());
    Error::Malformed { format, offset, reason: error.to_string(), before: Box::default() }
}

/// Hands every item to `take`, and counts what it says.
pub(super) fn each<'a, T: Deserialize<'a>>(
    format: &'static str,
    items: &[&'a RawValue],
    limits: &Limits,
    tally: &mut Tally,
    mut take: impl FnMut(T) -> Result<(), Rejection>,
) -> Result<()> {
    for item in items {
        let read = serde_json::from_str(item.get()).map_err(|_| Rejection::Malformed);
        tally.count(read.and_then(&mut take), 1);
        limits.check_items(format, tally)?;
    }
    Ok(())
}

/// The items of an array, or the one document that is none.
pub(super) fn one_or_many<'a>(
    format: &'static str,
    body: &'a [u8],
    limits: &Limits,
) -> Result<Vec<&'a RawValue>> {
    if body.trim_ascii_start().starts_with(b"[") {
        return document(format, body, limits);
    }
    Ok(vec![document(format, body, limits)?])
}

/// Labels within the limits, without empty values.
pub(super) fn checked(labels: Labels, limits: &Limits) -> Result<Labels, Rejection> {
    if labels.len() > limits.labels {
        return Err(Rejection::TooManyLabels);
    }
    let long = |text: &str| text.len() > limits.label_bytes;
    if labels.iter().any(|(name, value)| long(name) || long(value)) {
        return Err(Rejection::LabelTooLong);
    }
    if labels.iter().all(|(_, value)| !value.is_empty()) {
        return Ok(labels);
    }
    Ok(labels.iter().filter(|(_, value)| !value.is_empty()).collect())
}

/// Annotations describe and may be long: what exceeds the limit is cut, at a character.
pub(super) fn cut(text: &str, limits: &Limits) -> String {
    let mut end = text.len().min(limits.label_bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

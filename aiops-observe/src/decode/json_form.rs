//! OpenTelemetry's JSON turned into its protobuf by tables of fields, token by token: one meaning for
//! both forms.

use crate::Result;
use crate::encode::proto;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use std::borrow::Cow;
use std::fmt;

/// Writes the protobuf form of `json`, whose root has the fields of `schema`, to `out`.
///
/// # Errors
/// [`Error::Malformed`](crate::Error::Malformed), with the place in the JSON.
pub(crate) fn transcode(
    format: &'static str,
    schema: &'static Schema,
    json: &[u8],
    out: &mut Vec<u8>,
) -> Result<()> {
    out.clear();
    let mut from = serde_json::Deserializer::from_slice(json);
    let root = Value { kind: Kind::Message(schema), field: 0, out };
    let read = root.deserialize(&mut from).and_then(|()| from.end());
    read.map_err(|error| super::json::malformed(format, json, &error))
}

/// How a field is written in protobuf.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Text,
    /// Base64.
    Bytes,
    /// Hexadecimal: ids of traces and spans, which the specification writes so.
    Hex,
    Bool,
    Varint,
    /// `sint32`.
    Zigzag,
    Fixed64,
    Double,
    Message(&'static Schema),
}

/// Name in JSON, number in protobuf, and kind.
pub(crate) type Field = (&'static str, u8, Kind);

/// The fields of a message: a static, since values hold values.
pub(crate) struct Schema(pub(crate) &'static [Field]);

/// What all signals are about.
pub(crate) static RESOURCE: Schema = Schema(&[("attributes", 1, Kind::Message(&KEY_VALUE))]);
/// Who made them.
pub(crate) static SCOPE: Schema = Schema(&[
    ("name", 1, Kind::Text),
    ("version", 2, Kind::Text),
    ("attributes", 3, Kind::Message(&KEY_VALUE)),
]);
/// An attribute.
pub(crate) static KEY_VALUE: Schema =
    Schema(&[("key", 1, Kind::Text), ("value", 2, Kind::Message(&ANY_VALUE))]);
/// A value of any kind.
pub(crate) static ANY_VALUE: Schema = Schema(&[
    ("stringValue", 1, Kind::Text),
    ("boolValue", 2, Kind::Bool),
    ("intValue", 3, Kind::Varint),
    ("doubleValue", 4, Kind::Double),
    ("arrayValue", 5, Kind::Message(&Schema(&[("values", 1, Kind::Message(&ANY_VALUE))]))),
    ("kvlistValue", 6, Kind::Message(&Schema(&[("values", 1, Kind::Message(&KEY_VALUE))]))),
    ("bytesValue", 7, Kind::Bytes),
]);

/// One value, or an array of them, on its way into a field; field 0 is the body itself.
struct Value<'o> {
    kind: Kind,
    field: u8,
    out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl Value<'_> {
    /// A number of any kind.
    fn number<E: serde::de::Error>(self, whole: Option<u64>, number: f64) -> Result<(), E> {
        let fractional = || E::custom(format!("{number} is no whole number"));
        match self.kind {
            Kind::Double => proto::fixed64(self.out, self.field, number.to_le_bytes()),
            Kind::Fixed64 => {
                let whole = whole.ok_or_else(fractional)?;
                proto::fixed64(self.out, self.field, whole.to_le_bytes());
            }
            Kind::Varint => proto::number(self.out, self.field, whole.ok_or_else(fractional)?),
            Kind::Zigzag => {
                let number = whole.ok_or_else(fractional)? as i64;
                let zigzag = (number << 1 ^ number >> 63) as u64;
                proto::number(self.out, self.field, zigzag);
            }
            _ => return Err(E::custom("a number where there should be none")),
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Text => "text",
            Kind::Bytes => "bytes in base64",
            Kind::Hex => "bytes in hexadecimal",
            Kind::Bool => "true or false",
            Kind::Varint | Kind::Zigzag | Kind::Fixed64 => "a whole number",
            Kind::Double => "a number",
            Kind::Message(_) => "an object",
        })
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Ok(()) // null: absent
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        match self.kind {
            Kind::Bool => {
                proto::number(self.out, self.field, u64::from(value));
                Ok(())
            }
            _ => Err(E::invalid_type(serde::de::Unexpected::Bool(value), &self)),
        }
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.number(Some(value), value as f64)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.number(Some(value as u64), value as f64)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        let exact = value.fract() == 0.0 && value.abs() < 9e15;
        self.number(exact.then_some(value as i64 as u64), value)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        let unexpected = || serde::de::Unexpected::Str(text);
        match self.kind {
            Kind::Text => proto::bytes(self.out, self.field, text.as_bytes()),
            Kind::Bytes => {
                let bytes = base64(text).ok_or_else(|| E::invalid_value(unexpected(), &self))?;
                proto::bytes(self.out, self.field, &bytes);
            }
            Kind::Hex => {
                let bytes = hex(text).ok_or_else(|| E::invalid_value(unexpected(), &self))?;
                proto::bytes(self.out, self.field, &bytes);
            }
            Kind::Double => {
                let number = match text {
                    "NaN" => f64::NAN,
                    "Infinity" => f64::INFINITY,
                    "-Infinity" => f64::NEG_INFINITY,
                    _ => text.parse().map_err(|_| E::invalid_value(unexpected(), &self))?,
                };
                return self.number(None, number);
            }
            Kind::Varint | Kind::Zigzag | Kind::Fixed64 => {
                let whole = text.parse::<u64>().or_else(|_| text.parse::<i64>().map(|n| n as u64));
                let whole = whole.map_err(|_| E::invalid_value(unexpected(), &self))?;
                return self.number(Some(whole), f64::NAN);
            }
            Kind::Bool | Kind::Message(_) => return Err(E::invalid_type(unexpected(), &self)),
        }
        Ok(())
    }

    /// An array repeats its field; numbers too, which protobuf may write one by one.
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        if self.field == 0 {
            return Err(A::Error::invalid_type(serde::de::Unexpected::Seq, &self));
        }
        let (kind, field) = (self.kind, self.field);
        while items.next_element_seed(Value { kind, field, out: self.out })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Kind::Message(fields) = self.kind else {
            return Err(A::Error::invalid_type(serde::de::Unexpected::Map, &self));
        };
        let mut inside = Vec::new();
        let message = if self.field == 0 { &mut *self.out } else { &mut inside };
        while let Some(Name(name)) = map.next_key::<Name<'_>>()? {
            match fields.0.iter().find(|(known, ..)| *known == name) {
                Some(&(_, field, kind)) => {
                    map.next_value_seed(Value { kind, field, out: &mut *message })?;
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if self.field != 0 {
            proto::bytes(self.out, self.field, &inside);
        }
        Ok(())
    }
}

/// A name of a field, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The bytes of base64 in either alphabet, with or without padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut bits, mut held) = (0u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(six);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    Some(out)
}

/// The bytes of hexadecimal in either case.
fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |&[high, low]: &[u8; 2]| Some((digit(high)? << 4 | digit(low)?) as u8);
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_base64_or_hexadecimal() {
        assert_eq!(base64("aGVsbG8="), Some(b"hello".to_vec()));
        assert_eq!(base64("-_8"), Some(vec![0xfb, 0xff]));
        assert_eq!(base64("a b"), None);
        assert_eq!(hex("5B8e"), Some(vec![0x5b, 0x8e]));
        assert_eq!((hex("5b8"), hex("zz")), (None, None));
    }
}

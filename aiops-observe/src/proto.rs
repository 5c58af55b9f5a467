//! Reading protobuf without generated code: a cursor that borrows, skips what it does not know, and
//! cannot run past the end.

/// What is wrong with the bytes, and where (as an address, turned into an offset at the end).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) reason: &'static str,
    address: usize,
}

impl Broken {
    /// How far into `body` the damage is.
    pub(crate) fn offset_in(&self, body: &[u8]) -> usize {
        self.address.saturating_sub(body.as_ptr().addr()).min(body.len())
    }
}

/// A field number and how its value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tag(u32);

impl Tag {
    pub(crate) const fn new(field: u32, kind: Kind) -> Tag {
        Tag(field << 3 | kind as u32)
    }

    pub(crate) const fn field(self) -> u32 {
        self.0 >> 3
    }
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Varint = 0,
    Fixed64 = 1,
    Bytes = 2,
}

const GROUP: u32 = 3;
const END_GROUP: u32 = 4;
/// As deep as prost goes.
const MAX_DEPTH: usize = 100;

/// The rest of a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Reader { rest: message }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn broken(&self, reason: &'static str) -> Broken {
        Broken { reason, address: self.rest.as_ptr().addr() }
    }

    /// The next tag; `None` at the end of the message.
    #[inline]
    pub(crate) fn tag(&mut self) -> Result<Option<Tag>, Broken> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let here = *self;
        let tag = self.varint()?;
        match u32::try_from(tag) {
            Ok(tag) if tag >> 3 != 0 => Ok(Some(Tag(tag))),
            _ => Err(here.broken("a tag that is no field number")),
        }
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, Broken> {
        match self.rest {
            [byte, rest @ ..] if *byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            // References to a table of texts are mostly of two bytes.
            [low, high, rest @ ..] if *high < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*low & 0x7f) | u64::from(*high) << 7)
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Broken> {
        let mut value = 0u64;
        for (place, &byte) in self.rest.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                if place == 9 && byte > 1 {
                    break;
                }
                self.rest = &self.rest[place + 1..];
                return Ok(value);
            }
        }
        Err(self.broken("a number that does not end, or is longer than 64 bits"))
    }

    #[inline]
    pub(crate) fn fixed64(&mut self) -> Result<u64, Broken> {
        let Some((bytes, rest)) = self.rest.split_first_chunk::<8>() else {
            return Err(self.broken("fewer than eight bytes left"));
        };
        self.rest = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    #[inline]
    pub(crate) fn double(&mut self) -> Result<f64, Broken> {
        self.fixed64().map(f64::from_bits)
    }

    #[inline]
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Broken> {
        let here = *self;
        let len = self.varint()?;
        match usize::try_from(len).ok().and_then(|len| self.rest.split_at_checked(len)) {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(bytes)
            }
            None => Err(here.broken("a length beyond the end")),
        }
    }

    /// Skips the value behind `tag`.
    pub(crate) fn skip(&mut self, tag: Tag) -> Result<(), Broken> {
        self.skip_at(tag, MAX_DEPTH)
    }

    fn skip_at(&mut self, tag: Tag, depth: usize) -> Result<(), Broken> {
        match tag.0 & 7 {
            0 => self.varint().map(drop),
            1 => self.fixed64().map(drop),
            2 => self.bytes().map(drop),
            5 => match self.rest.split_at_checked(4) {
                Some((_, rest)) => {
                    self.rest = rest;
                    Ok(())
                }
                None => Err(self.broken("fewer than four bytes left")),
            },
            GROUP if depth > 0 => loop {
                match self.tag()? {
                    None => return Err(self.broken("a group that does not end")),
                    Some(end) if end.0 & 7 == END_GROUP && end.field() == tag.field() => {
                        return Ok(());
                    }
                    Some(inner) => self.skip_at(inner, depth - 1)?,
                }
            },
            GROUP => Err(self.broken("groups nested too deep")),
            _ => Err(self.broken("a value of unknown kind")),
        }
    }
}

/// The next field of a message is a `$name` of one of these; anything else is skipped, but a known
/// field of another kind is damage.
pub(crate) fn unexpected(reader: &mut Reader<'_>, tag: Tag, known: &[u32]) -> Result<(), Broken> {
    if known.contains(&tag.field()) {
        return Err(reader.broken("a known field whose value is of another kind"));
    }
    reader.skip(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_are_read_to_their_last_bit() {
        let read = |bytes: &[u8]| Reader::new(bytes).varint().ok();
        assert_eq!(read(&[0x96, 0x01]), Some(150));
        assert_eq!(read(&[0xff; 10]), None);
        let mut longest = [0xff; 10];
        longest[9] = 1;
        assert_eq!(read(&longest), Some(u64::MAX));
        longest[9] = 2;
        assert_eq!(read(&longest), None, "65 bits");
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[0x80]), None);
    }

    #[test]
    fn damage_is_located() {
        let body = [0x0a, 0x05, 0x01];
        let mut reader = Reader::new(&body);
        assert_eq!(reader.tag().unwrap().map(Tag::field), Some(1));
        let broken = reader.bytes().unwrap_err();
        assert_eq!((broken.reason, broken.offset_in(&body)), ("a length beyond the end", 1));
    }

    #[test]
    fn groups_are_skipped_and_bounded() {
        let skip = |bytes: &[u8]| {
            let mut reader = Reader::new(bytes);
            let tag = reader.tag().unwrap().unwrap();
            reader.skip(tag).map(|()| reader.rest().len())
        };
        assert_eq!(skip(&[0x0b, 0x10, 0x01, 0x0c, 0x07]), Ok(1));
        assert!(skip(&[0x0b, 0x10, 0x01]).is_err());
        assert!(skip(&[0x0b; 200]).is_err());
        assert!(skip(&[0x0c]).is_err(), "an end without a start");
    }
}

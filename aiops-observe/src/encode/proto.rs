//! Writing protobuf without generated code.

/// Appends a number in base 128.
pub(crate) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a field that holds bytes, text or a message; `field` is below 16.
pub(crate) fn bytes(out: &mut Vec<u8>, field: u8, content: &[u8]) {
    out.push(field << 3 | 2);
    varint(out, content.len() as u64);
    out.extend_from_slice(content);
}

/// Appends a field that holds eight bytes.
pub(crate) fn fixed64(out: &mut Vec<u8>, field: u8, content: [u8; 8]) {
    out.push(field << 3 | 1);
    out.extend_from_slice(&content);
}

/// Appends a field that holds a number.
pub(crate) fn number(out: &mut Vec<u8>, field: u8, value: u64) {
    out.push(field << 3);
    varint(out, value);
}

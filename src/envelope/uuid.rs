//! UUIDs of a version, made of other bytes.
//!
//! Source: RFC 9562, sections 4 and 5.

use md5::Digest;

/// The name-based UUID (version 3, no namespace) of some bytes, as Java's `nameUUIDFromBytes`.
pub fn of_name(bytes: &[u8]) -> String {
    of_bytes(md5::Md5::digest(bytes).into(), 3)
}

/// The version 4 UUID of random bytes.
pub fn of_random(bytes: [u8; 16]) -> String {
    of_bytes(bytes, 4)
}

/// Bytes as a UUID's text, with its version and variant in their places.
fn of_bytes(bytes: [u8; 16], version: u128) -> String {
    let mut number = u128::from_be_bytes(bytes);
    number = number & !(0xF << 76) | version << 76;
    number = number & !(0x3 << 62) | 2 << 62;
    let hex = format!("{number:032x}");
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
    [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-")
}

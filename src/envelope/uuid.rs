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

/// The version 7 UUID of a moment, in milliseconds since 1970, and random bytes: ids made later
/// sort behind.
pub fn of_moment(millis: u64, mut bytes: [u8; 16]) -> String {
    let [_, _, moment @ ..] = millis.to_be_bytes();
    for (byte, of_moment) in bytes.iter_mut().zip(moment) {
        *byte = of_moment;
    }
    of_bytes(bytes, 7)
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

#[cfg(test)]
mod tests {
    use super::of_moment;

    #[test]
    fn a_moment_is_the_first_half_of_its_id() {
        // RFC 9562, appendix A.6.
        let random = 0x0CC3_18C4_DC0C_0C07_398F_u128.to_be_bytes();
        let id = of_moment(0x017F_22E2_79B0, random);
        assert_eq!(id, "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
    }
}

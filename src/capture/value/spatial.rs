//! Points, PostGIS geometry and vectors.
//!
//! Source: PostgreSQL 18, "Geometric Types"; PostGIS manual, "OGC WKB"; pgvector, "Reference".

use crate::capture::value::ValueError;
use crate::capture::value::binary;

/// Reads a `point` of the form `(1,2)`.
pub fn point(text: &[u8]) -> Result<(f64, f64), ValueError> {
    let syntax = ValueError::Syntax { expected: "a point of the form (x,y)" };
    let inner = text.strip_prefix(b"(").and_then(|text| text.strip_suffix(b")")).ok_or(syntax)?;
    let comma = memchr::memchr(b',', inner).ok_or(syntax)?;
    let (x, y) = inner.split_at_checked(comma).ok_or(syntax)?;
    Ok((float(x)?, float(y.get(1..).unwrap_or_default())?))
}

/// The well-known binary form of a point: 21 bytes, little-endian, without a reference system.
pub fn point_wkb(x: f64, y: f64) -> [u8; 21] {
    let mut wkb = [0; 21];
    let (head, coordinates) = wkb.split_at_mut(5);
    head.copy_from_slice(&[1, 1, 0, 0, 0]);
    for (slot, coordinate) in coordinates.chunks_exact_mut(8).zip([x, y]) {
        slot.copy_from_slice(&coordinate.to_le_bytes());
    }
    wkb
}

/// Reads a number as the server prints a `double precision`.
pub fn float(text: &[u8]) -> Result<f64, ValueError> {
    let syntax = ValueError::Syntax { expected: "a floating-point number" };
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(syntax)
}

/// Appends the extended well-known binary form that PostGIS prints in hexadecimal; gives the
/// spatial reference identifier that stands in it.
pub fn geometry(text: &[u8], out: &mut Vec<u8>) -> Result<Option<u32>, ValueError> {
    const SRID_FLAG: u32 = 0x2000_0000;
    let start = out.len();
    binary::hex(text, out)?;
    let syntax = ValueError::Syntax { expected: "extended well-known binary" };
    let bytes = out.get(start..).unwrap_or_default();
    let (&order, rest) = bytes.split_first().ok_or(syntax)?;
    let (kind, rest) = rest.split_first_chunk::<4>().ok_or(syntax)?;
    let number = |bytes: &[u8; 4]| match order {
        0 => u32::from_be_bytes(*bytes),
        _ => u32::from_le_bytes(*bytes),
    };
    if number(kind) & SRID_FLAG == 0 {
        return Ok(None);
    }
    let (srid, _) = rest.split_first_chunk::<4>().ok_or(syntax)?;
    Ok(Some(number(srid)))
}

/// Calls `each` for every number of a `vector` or `halfvec`, `[1,2,3]`.
pub fn for_each_number(
    text: &[u8],
    mut each: impl FnMut(&[u8]) -> Result<(), ValueError>,
) -> Result<(), ValueError> {
    let syntax = ValueError::Syntax { expected: "a vector of the form [1,2,3]" };
    let inner = text.strip_prefix(b"[").and_then(|text| text.strip_suffix(b"]")).ok_or(syntax)?;
    if inner.is_empty() {
        return Ok(());
    }
    inner.split(|&byte| byte == b',').try_for_each(&mut each)
}

/// Reads a `sparsevec`, `{1:1.5,3:2}/5`: calls `each` with index and number, gives the dimensions.
pub fn sparse_vector(
    text: &[u8],
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), ValueError>,
) -> Result<i16, ValueError> {
    let syntax = ValueError::Syntax { expected: "a sparse vector of the form {1:1,3:2}/5" };
    let text = std::str::from_utf8(text).map_err(|_| syntax)?;
    let (entries, dimensions) = text.rsplit_once('/').ok_or(syntax)?;
    let entries =
        entries.strip_prefix('{').and_then(|text| text.strip_suffix('}')).ok_or(syntax)?;
    for entry in entries.split(',').filter(|entry| !entry.is_empty()) {
        let (index, number) = entry.split_once(':').ok_or(syntax)?;
        each(index.as_bytes(), number.as_bytes())?;
    }
    dimensions.parse().map_err(|_| ValueError::OutOfRange { target: "16 bits of dimensions" })
}

//! What is done to a column's values before they are written: masks, hashes, truncation.
//!
//! Source: Debezium 3.6.1.Final, `MaskStrings` and `TruncateColumn`.

use digest::DynDigest;

use crate::capture::change::json_value;
use crate::capture::change::json_value::Spelling;
use crate::capture::change::kind::Kind;
use crate::capture::value::ValueError;
use crate::envelope::json;
use crate::envelope::schema::ConnectSchema;
use crate::envelope::schema::SchemaKind;

/// One change to a column's values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mask {
    /// So many asterisks in place of any string, NULL too.
    Stars(usize),
    /// A hash in place of any string.
    Hash(HashMask),
    /// At most so many characters of a string, or bytes.
    Truncate(usize),
}

/// A hash with a salt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashMask {
    /// Algorithm.
    pub algorithm: HashAlgorithm,
    /// What is hashed before the value.
    pub salt: Vec<u8>,
    /// The value is hashed as Java writes an object that is a string.
    pub java_object: bool,
}

/// Hash algorithms: those of Java's own providers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is the algorithm of its name")]
pub enum HashAlgorithm {
    Md2,
    Md5,
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
    Sha512Of224,
    Sha512Of256,
    Sha3Of224,
    Sha3Of256,
    Sha3Of384,
    Sha3Of512,
}

impl HashAlgorithm {
    /// By Java's name, in any case.
    ///
    /// Source: Java Security Standard Algorithm Names, "MessageDigest Algorithms", and the aliases of
    /// the provider SUN.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_str() {
            "MD2" => HashAlgorithm::Md2,
            "MD5" => HashAlgorithm::Md5,
            "SHA" | "SHA1" | "SHA-1" => HashAlgorithm::Sha1,
            "SHA-224" | "SHA224" => HashAlgorithm::Sha224,
            "SHA-256" | "SHA256" => HashAlgorithm::Sha256,
            "SHA-384" | "SHA384" => HashAlgorithm::Sha384,
            "SHA-512" | "SHA512" => HashAlgorithm::Sha512,
            "SHA-512/224" | "SHA512/224" => HashAlgorithm::Sha512Of224,
            "SHA-512/256" | "SHA512/256" => HashAlgorithm::Sha512Of256,
            "SHA3-224" => HashAlgorithm::Sha3Of224,
            "SHA3-256" => HashAlgorithm::Sha3Of256,
            "SHA3-384" => HashAlgorithm::Sha3Of384,
            "SHA3-512" => HashAlgorithm::Sha3Of512,
            _ => return None,
        })
    }

    fn digest(self, parts: &[&[u8]]) -> Vec<u8> {
        let mut hash: Box<dyn DynDigest> = match self {
            HashAlgorithm::Md2 => Box::new(md2::Md2::default()),
            HashAlgorithm::Md5 => Box::new(md5::Md5::default()),
            HashAlgorithm::Sha1 => Box::new(sha1::Sha1::default()),
            HashAlgorithm::Sha224 => Box::new(sha2::Sha224::default()),
            HashAlgorithm::Sha256 => Box::new(sha2::Sha256::default()),
            HashAlgorithm::Sha384 => Box::new(sha2::Sha384::default()),
            HashAlgorithm::Sha512 => Box::new(sha2::Sha512::default()),
            HashAlgorithm::Sha512Of224 => Box::new(sha2::Sha512_224::default()),
            HashAlgorithm::Sha512Of256 => Box::new(sha2::Sha512_256::default()),
            HashAlgorithm::Sha3Of224 => Box::new(sha3::Sha3_224::default()),
            HashAlgorithm::Sha3Of256 => Box::new(sha3::Sha3_256::default()),
            HashAlgorithm::Sha3Of384 => Box::new(sha3::Sha3_384::default()),
            HashAlgorithm::Sha3Of512 => Box::new(sha3::Sha3_512::default()),
        };
        parts.iter().for_each(|part| hash.update(part));
        hash.finalize().to_vec()
    }
}

/// A column whose values are masked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masked {
    /// How its values would be written.
    inner: Kind,
    /// The values are strings.
    string: bool,
    /// The column's length, to which a hash is cut; `None`: any.
    length: Option<usize>,
    mask: Mask,
}

impl Masked {
    /// A column of this kind and schema under a mask; `None` if the mask does not change its
    /// values. `characters` is whether the type is one of characters, and `length` its length.
    pub fn new(
        (inner, schema): (&Kind, &ConnectSchema),
        characters: bool,
        length: Option<usize>,
        mask: &Mask,
    ) -> Option<Self> {
        let string = schema.kind == SchemaKind::String;
        let plain_bytes = schema.kind == SchemaKind::Bytes && schema.name.is_none();
        let applies = match mask {
            Mask::Stars(_) | Mask::Hash(_) => characters && string,
            Mask::Truncate(most) => {
                (string || plain_bytes) && length.is_none_or(|length| length > *most)
            }
        };
        let mask = mask.clone();
        applies.then(|| Masked { inner: inner.clone(), string, length, mask })
    }

    /// Whether its values are strings, not bytes.
    pub(super) fn is_of_strings(&self) -> bool {
        self.string
    }

    /// Appends a value, masked.
    pub(super) fn write(
        &self,
        text: &[u8],
        spelling: Spelling,
        out: &mut Vec<u8>,
    ) -> Result<(), ValueError> {
        let mut plain = Vec::new();
        json_value::write(&self.inner, text, spelling, &mut plain)?;
        self.apply(&plain, out);
        Ok(())
    }

    /// Appends what becomes of a value's JSON.
    pub(super) fn apply(&self, plain: &[u8], out: &mut Vec<u8>) {
        let null = plain == b"null";
        let string: Option<String> = if null { None } else { serde_json::from_slice(plain).ok() };
        match (&self.mask, string) {
            (Mask::Stars(count), _) => json::string("*".repeat(*count).as_bytes(), out),
            (_, None) => out.extend_from_slice(plain),
            (Mask::Hash(mask), Some(text)) => {
                let hex = mask.hex(&text);
                let kept = self.length.map_or(hex.as_str(), |length| cut(&hex, length));
                json::string(kept.as_bytes(), out);
            }
            (Mask::Truncate(most), Some(text)) if self.string => {
                json::string(cut(&text, *most).as_bytes(), out);
            }
            (Mask::Truncate(most), Some(text)) => {
                let bytes = json::from_base64(&text).unwrap_or_default();
                json::base64(bytes.get(..*most).unwrap_or(&bytes), out);
            }
        }
    }
}

impl HashMask {
    fn hex(&self, text: &str) -> String {
        let digest = if self.java_object {
            self.algorithm.digest(&[&self.salt, &java_object(text)])
        } else {
            self.algorithm.digest(&[&self.salt, text.as_bytes()])
        };
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The first `most` UTF-16 units, which is how Java counts; half a pair is left out.
fn cut(text: &str, most: usize) -> &str {
    let mut units = 0;
    for (at, character) in text.char_indices() {
        units += character.len_utf16();
        if units > most {
            return text.get(..at).unwrap_or(text);
        }
    }
    text
}

/// What Java's `ObjectOutputStream` writes for a string. Source: Java Object Serialization
/// Specification, "Object Serialization Stream Protocol".
fn java_object(text: &str) -> Vec<u8> {
    let mut content = Vec::with_capacity(text.len());
    for unit in text.encode_utf16() {
        let bits = |shift: u16, mask: u16| u8::try_from(unit >> shift & mask).unwrap_or_default();
        match unit {
            1..=0x7F => content.push(bits(0, 0x7F)),
            0 | 0x80..=0x7FF => content.extend([0xC0 | bits(6, 0x1F), 0x80 | bits(0, 0x3F)]),
            _ => content.extend([0xE0 | bits(12, 0xF), 0x80 | bits(6, 0x3F), 0x80 | bits(0, 0x3F)]),
        }
    }
    let mut out = vec![0xAC, 0xED, 0x00, 0x05];
    match u16::try_from(content.len()) {
        Ok(length) => {
            out.push(0x74);
            out.extend(length.to_be_bytes());
        }
        Err(_) => {
            out.push(0x7C);
            out.extend((content.len() as u64).to_be_bytes());
        }
    }
    out.extend(content);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_cut_as_java_counts() {
        assert_eq!(cut("abc", 2), "ab");
        assert_eq!(cut("a😀c", 2), "a");
        assert_eq!(cut("a😀c", 3), "a😀");
        assert_eq!(cut("é", 5), "é");
    }

    #[test]
    fn algorithms_are_javas() {
        // The output of Java 17 for "saltétext" in UTF-8, its first eight bytes.
        for (name, expected) in [
            ("MD2", "ede5bbdfee8ec28a"),
            ("MD5", "80890d940d721319"),
            ("SHA-1", "981b3befa06f305c"),
            ("SHA", "981b3befa06f305c"),
            ("SHA-224", "0ba128756115f7b9"),
            ("SHA-256", "be915553400140dd"),
            ("SHA-384", "2fcacf147f849fc3"),
            ("SHA-512", "bcb4a26c4c66ac39"),
            ("SHA-512/224", "c095e8704e5f52aa"),
            ("SHA-512/256", "466ab4b6867372b1"),
            ("SHA3-224", "b8668f0dcbf0a41e"),
            ("SHA3-256", "56a1a1a7f6ca8f55"),
            ("SHA3-384", "f69487b53104df3c"),
            ("SHA3-512", "89060308809e9e3b"),
            ("sha3-256", "56a1a1a7f6ca8f55"),
        ] {
            let algorithm = HashAlgorithm::from_name(name).unwrap();
            let hash = algorithm.digest(&[b"salt", "étext".as_bytes()]);
            let hex: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, expected, "{name}");
        }
        assert_eq!(HashAlgorithm::from_name("SHAKE128"), None);
    }

    #[test]
    fn java_writes_strings_with_a_header() {
        assert_eq!(java_object("aé\0"), b"\xAC\xED\x00\x05\x74\x00\x05a\xC3\xA9\xC0\x80");
        assert_eq!(java_object(&"x".repeat(70_000)).get(4), Some(&0x7C));
    }
}

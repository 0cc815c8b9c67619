//! Classes of characters by the names that Java's regular expressions have for them, as the members
//! of a bracket of [`regex`].
//!
//! Source: Java SE 17, `java.util.regex.Pattern`, `java.lang.Character`.

/// What ends a line.
pub(super) const LINE_ENDS: &str = r"\n\r\x{85}\x{2028}\x{2029}";
/// Java's `\s`.
pub(super) const SPACES: &str = r"\t\n\x0B\x0C\r\x20";
/// Java's `\h`.
pub(super) const HORIZONTAL: &str =
    r"\x20\t\x{A0}\x{1680}\x{180E}\x{2000}-\x{200A}\x{202F}\x{205F}\x{3000}";
/// Java's `\v`.
pub(super) const VERTICAL: &str = r"\n\x0B\x0C\r\x{85}\x{2028}\x{2029}";
/// Java's `\w`.
pub(super) const WORD: &str = "0-9A-Z_a-z";
/// Java's `\p{Punct}`.
const PUNCTUATION: &str = r"\x21-\x2F\x3A-\x40\x5B-\x60\x7B-\x7E";
/// What Java takes for white space beside [`SPACES`].
const WHITE: &str =
    r"\x1C-\x1F\x{1680}\x{2000}-\x{2006}\x{2008}-\x{200A}\x{2028}\x{2029}\x{205F}\x{3000}";

/// What `\p{NAME}` stands for.
///
/// # Errors
///
/// The name is not known.
pub(super) fn property(name: &str, ignore_case: bool) -> Result<String, String> {
    let ascii = match name {
        "Lower" | "Upper" | "Alpha" if ignore_case => "A-Za-z",
        "Lower" => "a-z",
        "Upper" => "A-Z",
        "Alpha" => "A-Za-z",
        "ASCII" => r"\x00-\x7F",
        "Digit" => "0-9",
        "Alnum" => "0-9A-Za-z",
        "Punct" => PUNCTUATION,
        "Graph" => r"\x21-\x7E",
        "Print" => r"\x20-\x7E",
        "Blank" => r"\x20\t",
        "Cntrl" => r"\x00-\x1F\x7F",
        "XDigit" => "0-9A-Fa-f",
        "Space" => SPACES,
        "javaLowerCase" => return Ok(cased("Lowercase", ignore_case)),
        "javaUpperCase" => return Ok(cased("Uppercase", ignore_case)),
        "javaWhitespace" => return Ok(format!("{SPACES}{WHITE}")),
        "javaAlphabetic" => r"\p{Alphabetic}",
        "javaLetter" => r"\p{L}",
        "javaDigit" => r"\p{Nd}",
        "javaLetterOrDigit" => r"\p{L}\p{Nd}",
        name => return unicode(name, ignore_case),
    };
    Ok(ascii.to_owned())
}

/// A property of Unicode's that tells cases apart, which it does not where case is ignored.
fn cased(name: &str, ignore_case: bool) -> String {
    match (ignore_case, name) {
        (true, "Lowercase" | "Uppercase") => r"\p{Lowercase}\p{Uppercase}\p{Lt}".to_owned(),
        (true, _) => r"\p{Lu}\p{Ll}\p{Lt}".to_owned(),
        _ => format!(r"\p{{{name}}}"),
    }
}

fn unicode(name: &str, ignore_case: bool) -> Result<String, String> {
    let unknown = || format!("the property {name} is not known");
    let value = ["Is", "general_category=", "gc=", "script=", "sc="]
        .iter()
        .find_map(|start| name.strip_prefix(start));
    let value = match value {
        Some(value) => value,
        // Blocks, and Java's own.
        None if name.starts_with("In") || name.starts_with("java") || name.contains('=') => {
            return Err(unknown());
        }
        None => name,
    };
    let members = match value.to_ascii_uppercase().as_str() {
        "LU" => cased("Lu", ignore_case),
        "LL" => cased("Ll", ignore_case),
        "LT" => cased("Lt", ignore_case),
        "LOWERCASE" => cased("Lowercase", ignore_case),
        "UPPERCASE" => cased("Uppercase", ignore_case),
        _ => format!(r"\p{{{value}}}"),
    };
    regex::Regex::new(&format!("[{members}]")).map(|_| members).map_err(|_| unknown())
}

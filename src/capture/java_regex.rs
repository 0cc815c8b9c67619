//! Regular expressions in Java's spelling.
//!
//! Takes expressions of settings; gives whether a whole name matches, and what takes its place.
//! Most are run by the engine that takes linear time; those that look around, refer back or are
//! possessive by another. Source: Java 17, `java.util.regex.Pattern`.

use std::fmt::Write;
use std::iter::Peekable;
use std::str::Chars;

/// An expression that must match the whole of a name.
#[derive(Clone, Debug)]
pub struct JavaRegex {
    engine: Engine,
    groups: usize,
}

#[derive(Clone, Debug)]
enum Engine {
    Plain(regex::Regex),
    Looking(fancy_regex::Regex),
}

/// Quantifiers that never give back, which [`regex`] reads as something else.
const POSSESSIVE: [&str; 4] = ["*+", "++", "?+", "}+"];

impl JavaRegex {
    /// Reads an expression; of `any_case` are ASCII's letters.
    ///
    /// # Errors
    ///
    /// It is not valid.
    pub fn new(text: &str, any_case: bool) -> Result<Self, String> {
        let flags = if any_case { "(?i)" } else { "" };
        let whole = format!("{flags}^(?:{})$", translated(text, any_case));
        let looking = || {
            fancy_regex::Regex::new(&whole).map(|regex| JavaRegex {
                groups: regex.captures_len(),
                engine: Engine::Looking(regex),
            })
        };
        if POSSESSIVE.iter().any(|quantifier| text.contains(quantifier))
            && let Ok(found) = looking()
        {
            return Ok(found);
        }
        match regex::Regex::new(&whole) {
            Ok(regex) => {
                Ok(JavaRegex { groups: regex.captures_len(), engine: Engine::Plain(regex) })
            }
            Err(error) => looking().map_err(|_| not_an_expression(text, &error)),
        }
    }

    /// Whether the whole name matches.
    pub fn is_match(&self, name: &str) -> bool {
        match &self.engine {
            Engine::Plain(regex) => regex.is_match(name),
            // An expression that is given up matches nothing.
            Engine::Looking(regex) => regex.is_match(name).unwrap_or(false),
        }
    }

    /// What takes the place of a name that matches; `template` is in the spelling of [`regex`].
    pub fn replaced(&self, name: &str, template: &str) -> Option<String> {
        let mut out = String::new();
        match &self.engine {
            Engine::Plain(regex) => regex.captures(name)?.expand(template, &mut out),
            Engine::Looking(regex) => {
                regex.captures(name).ok().flatten()?.expand(template, &mut out);
            }
        }
        Some(out)
    }

    /// Groups, the whole among them.
    pub fn groups(&self) -> usize {
        self.groups
    }
}

/// What is wrong with an expression, in one line: `regex` draws a picture.
fn not_an_expression(text: &str, error: &regex::Error) -> String {
    let picture = error.to_string();
    let reason = picture.rsplit("error: ").next().unwrap_or_default();
    format!("\"{text}\" is not a regular expression: {reason}")
}

/// An expression as [`regex`] spells it.
fn translated(text: &str, any_case: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    let mut depth = 0_usize;
    while let Some(character) = rest.next() {
        match character {
            '\\' => escape(&mut rest, &mut out),
            '[' => {
                depth += 1;
                out.push(character);
            }
            ']' => {
                depth = depth.saturating_sub(1);
                out.push(character);
            }
            // Only ASCII's letters are the same in any case.
            _ if any_case && depth == 0 && !character.is_ascii() => {
                out.push_str("(?-i:");
                out.push(character);
                out.push(')');
            }
            _ => out.push(character),
        }
    }
    out
}

/// What follows a backslash.
fn escape(rest: &mut Peekable<Chars<'_>>, out: &mut String) {
    let Some(character) = rest.next() else {
        out.push('\\');
        return;
    };
    match character {
        'd' => out.push_str("[0-9]"),
        'D' => out.push_str("[^0-9]"),
        's' => out.push_str(r"[ \t\n\x0B\x0C\r]"),
        'S' => out.push_str(r"[^ \t\n\x0B\x0C\r]"),
        'w' => out.push_str("[0-9A-Za-z_]"),
        'W' => out.push_str("[^0-9A-Za-z_]"),
        'h' => out.push_str(r"[ \t\u00A0\u1680\u180E\u2000-\u200A\u202F\u205F\u3000]"),
        'R' => out.push_str(r"(?:\r\n|[\n-\r\u0085\u2028\u2029])"),
        'e' => out.push_str(r"\x1B"),
        'Z' => out.push_str(r"\z"),
        'Q' => quoted(rest, out),
        'E' => {}
        'p' | 'P' if rest.peek() == Some(&'{') => {
            let name: String = rest.by_ref().skip(1).take_while(|next| *next != '}').collect();
            class(&name, character == 'P', out);
        }
        _ if character.is_ascii_alphanumeric() => {
            out.push('\\');
            out.push(character);
        }
        _ => out.push_str(&regex::escape(character.encode_utf8(&mut [0; 4]))),
    }
}

/// From `\Q` to `\E`: as it is.
fn quoted(rest: &mut Peekable<Chars<'_>>, out: &mut String) {
    let mut text = String::new();
    for character in rest.by_ref() {
        text.push(character);
        if text.ends_with("\\E") {
            text.truncate(text.len() - 2);
            break;
        }
    }
    out.push_str(&regex::escape(&text));
}

/// A class of characters by its name.
fn class(name: &str, negated: bool, out: &mut String) {
    const ASCII: [&str; 13] = [
        "Lower", "Upper", "ASCII", "Alpha", "Digit", "Alnum", "Punct", "Graph", "Print", "Blank",
        "Cntrl", "XDigit", "Space",
    ];
    let not = if negated { "^" } else { "" };
    if ASCII.contains(&name) {
        // Writing to a string cannot fail.
        write!(out, "[[:{not}{}:]]", name.to_ascii_lowercase()).ok();
        return;
    }
    let known = match name {
        "javaLowerCase" => "Lowercase",
        "javaUpperCase" => "Uppercase",
        "javaWhitespace" => "White_Space",
        _ => name.strip_prefix("Is").unwrap_or(name),
    };
    out.push_str(if negated { "\\P{" } else { "\\p{" });
    out.push_str(known);
    out.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        JavaRegex::new(pattern, true).unwrap().is_match(name)
    }

    #[test]
    fn expressions_are_java_s() {
        for (pattern, name) in [
            (r"\Qs1.a\E", "s1.a"),
            (r"\Qa[\E.*", "a[x"),
            (r"s\d+\.[\w-]+", "s10.a-b"),
            (r"[\w&&[^b]]", "a"),
            (r"\p{Alpha}+\.\p{Lower}", "Ab.c"),
            (r"a\<b\>", "a<b>"),
            (r"(?!s1).*\.a", "s2.a"),
            (r"(a|b)\1", "aa"),
            ("ü\\.Ab", "ü.aB"),
            (r"\u0061.*", "abc"),
            ("a++b", "aab"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            (r"\Qs1.a\E", "s1xa"),
            (r"\w+", "ü"),
            (r"\d", "٣"),
            (r"[\w&&[^b]]", "b"),
            ("ü", "Ü"),
            ("a++ab", "aaab"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
        assert!(JavaRegex::new("a(", true).is_err());
    }
}

//! Regular expressions as Java reads them, since Debezium's and Kafka Connect's files hold Java's.
//!
//! An expression is spelled anew for [`regex`], or for [`fancy_regex`] if it looks around, refers
//! back or is possessive. What the spelling says in so many characters: classes are of ASCII unless
//! they name Unicode's properties, and case is ignored for ASCII letters alone.
//!
//! Source: Java SE 17, `java.util.regex.Pattern`.

use std::iter::Peekable;
use std::str::Chars;

use crate::capture::java_classes as classes;
use crate::capture::java_classes::HORIZONTAL;
use crate::capture::java_classes::LINE_ENDS;
use crate::capture::java_classes::SPACES;
use crate::capture::java_classes::VERTICAL;
use crate::capture::java_classes::WORD;

/// A regular expression of Java's.
#[derive(Clone, Debug)]
pub struct JavaRegex {
    /// Matches the whole text.
    whole: Engine,
    /// Finds the first place.
    first: Engine,
}

#[derive(Clone, Debug)]
enum Engine {
    Plain(regex::Regex),
    Looking(Box<fancy_regex::Regex>),
}

/// A place that was found: its range, and what each group holds.
type Found<'t> = (std::ops::Range<usize>, Vec<Option<&'t str>>);

impl Engine {
    fn new(expression: &str, looks: bool) -> Result<Self, String> {
        if looks {
            let compiled = fancy_regex::Regex::new(expression);
            return compiled.map(|it| Engine::Looking(Box::new(it))).map_err(|e| e.to_string());
        }
        let compiled = regex::RegexBuilder::new(expression).size_limit(SIZE_LIMIT).build();
        compiled.map(Engine::Plain).map_err(|error| {
            // The expression is pictured in front of the reason.
            let picture = error.to_string();
            picture.rsplit("error: ").next().unwrap_or_default().trim().to_owned()
        })
    }
}

/// Bytes that a compiled expression may take.
const SIZE_LIMIT: usize = 64 << 20;

impl JavaRegex {
    /// Reads an expression.
    ///
    /// # Errors
    ///
    /// It is none of Java's, or one that is not supported here.
    pub fn new(expression: &str, ignore_case: bool) -> Result<Self, String> {
        let refused =
            |reason: String| format!("\"{expression}\" is not a regular expression: {reason}");
        let flags = Flags { ignore_case, ..Flags::default() };
        let (text, looks) = Translation::run(expression, flags).map_err(refused)?;
        Ok(JavaRegex {
            whole: Engine::new(&format!(r"\A(?:{text})\z"), looks).map_err(refused)?,
            first: Engine::new(&text, looks).map_err(refused)?,
        })
    }

    /// Whether it matches the whole text. An expression that takes too long matches nothing.
    pub fn is_match(&self, text: &str) -> bool {
        match &self.whole {
            Engine::Plain(whole) => whole.is_match(text),
            Engine::Looking(whole) => whole.is_match(text).unwrap_or(false),
        }
    }

    /// The first place that matches, and its groups.
    pub fn find<'t>(&self, text: &'t str) -> Option<Found<'t>> {
        match &self.first {
            Engine::Plain(first) => {
                let captures = first.captures(text)?;
                let groups = captures.iter().map(|group| group.map(|it| it.as_str())).collect();
                Some((captures.get(0)?.range(), groups))
            }
            Engine::Looking(first) => {
                let captures = first.captures(text).ok()??;
                let groups = captures.iter().map(|group| group.map(|it| it.as_str())).collect();
                Some((captures.get(0)?.range(), groups))
            }
        }
    }

    /// Number of groups, with the whole as the first.
    pub fn groups(&self) -> usize {
        match &self.first {
            Engine::Plain(first) => first.captures_len(),
            Engine::Looking(first) => first.captures_len(),
        }
    }

    /// Number of the group of that name.
    pub fn group(&self, name: &str) -> Option<usize> {
        match &self.first {
            Engine::Plain(first) => first.capture_names().position(|known| known == Some(name)),
            Engine::Looking(first) => first.capture_names().position(|known| known == Some(name)),
        }
    }
}

/// Flags in force.
#[derive(Clone, Copy, Default)]
struct Flags {
    ignore_case: bool,
    unicode_case: bool,
    dot_all: bool,
    multiline: bool,
    comments: bool,
}

struct Translation<'e> {
    rest: Peekable<Chars<'e>>,
    out: String,
    flags: Flags,
    /// Flags around each group that is open.
    groups: Vec<Flags>,
    looks: bool,
    /// Something stands there that can be repeated.
    repeatable: bool,
}

impl<'e> Translation<'e> {
    fn run(expression: &'e str, flags: Flags) -> Result<(String, bool), String> {
        let mut it = Translation {
            rest: expression.chars().peekable(),
            out: String::new(),
            flags,
            groups: Vec::new(),
            looks: false,
            repeatable: false,
        };
        while let Some(character) = it.rest.next() {
            it.element(character)?;
        }
        if it.groups.is_empty() { Ok((it.out, it.looks)) } else { Err("unclosed group".to_owned()) }
    }

    fn atom(&mut self, text: &str) {
        self.out.push_str(text);
        self.repeatable = true;
    }

    fn element(&mut self, character: char) -> Result<(), String> {
        match character {
            '\\' => self.escape()?,
            '[' => {
                let class = self.class()?;
                self.atom(&class);
            }
            '(' => self.open()?,
            ')' => {
                self.flags = self.groups.pop().ok_or("unmatched closing parenthesis")?;
                self.atom(")");
            }
            '*' | '+' | '?' | '{' => self.repetition(character)?,
            '|' => {
                self.out.push('|');
                self.repeatable = false;
            }
            '.' if self.flags.dot_all => self.atom("(?s:.)"),
            '.' => self.atom(&format!("[^{LINE_ENDS}]")),
            '^' if self.flags.multiline => self.atom("(?m:^)"),
            '^' => self.atom(r"\A"),
            '$' if self.flags.multiline => self.atom("(?m:$)"),
            '$' => self.atom(r"\z"),
            '#' if self.flags.comments => {
                while self.rest.next().is_some_and(|next| next != '\n') {}
            }
            blank if self.flags.comments && blank.is_ascii_whitespace() => {}
            literal => self.literal(literal),
        }
        Ok(())
    }

    fn literal(&mut self, character: char) {
        let text = if self.flags.ignore_case && self.flags.unicode_case {
            format!("(?i:{})", one(character))
        } else if self.flags.ignore_case && character.is_ascii_alphabetic() {
            format!("[{}{}]", character.to_ascii_uppercase(), character.to_ascii_lowercase())
        } else {
            one(character)
        };
        self.atom(&text);
    }

    fn escape(&mut self) -> Result<(), String> {
        let character = self.rest.next().ok_or("nothing follows the last backslash")?;
        match character {
            'Q' => self.quotation(),
            'b' | 'B' | 'A' | 'z' => self.atom(&format!("\\{character}")),
            'Z' => self.atom(r"\z"),
            // Where the last match ended; there is but one.
            'G' => self.atom(r"\A"),
            'R' => self.atom(&format!(r"(?:\r\n|[{VERTICAL}])")),
            '1'..='9' => {
                self.looks = true;
                let flag = if self.flags.ignore_case { "i" } else { "" };
                self.atom(&format!("(?{flag}:\\{character})"));
            }
            'k' => {
                let name = self.name('<', '>')?;
                self.looks = true;
                self.atom(&format!(r"\k<{name}>"));
            }
            _ => match self.set(character)? {
                Some(set) => self.atom(&format!("[{set}]")),
                None => {
                    let literal = self.character(character)?;
                    self.literal(literal);
                }
            },
        }
        Ok(())
    }

    /// What stands between `\Q` and `\E`.
    fn quotation(&mut self) {
        while let Some(character) = self.rest.next() {
            if character == '\\' && self.rest.next_if_eq(&'E').is_some() {
                return;
            }
            self.literal(character);
        }
    }

    /// The characters of a class that one escape stands for.
    fn set(&mut self, character: char) -> Result<Option<String>, String> {
        let not = |set: &str| format!("[^{set}]");
        Ok(Some(match character {
            'd' => "0-9".to_owned(),
            'D' => not("0-9"),
            'w' => WORD.to_owned(),
            'W' => not(WORD),
            's' => SPACES.to_owned(),
            'S' => not(SPACES),
            'h' => HORIZONTAL.to_owned(),
            'H' => not(HORIZONTAL),
            'v' => VERTICAL.to_owned(),
            'V' => not(VERTICAL),
            'p' => self.property()?,
            'P' => not(&self.property()?),
            _ => return Ok(None),
        }))
    }

    fn property(&mut self) -> Result<String, String> {
        let name = match self.rest.peek() {
            Some('{') => self.name('{', '}')?,
            Some(_) => self.rest.next().map(String::from).unwrap_or_default(),
            None => return Err("a property has no name".to_owned()),
        };
        classes::property(&name, self.flags.ignore_case)
    }

    /// A name between two characters.
    fn name(&mut self, before: char, after: char) -> Result<String, String> {
        let mut name = String::new();
        if self.rest.next_if_eq(&before).is_none() {
            return Err(format!("a name must stand between {before} and {after}"));
        }
        loop {
            match self.rest.next() {
                Some(character) if character == after => return Ok(name),
                Some(character) => name.push(character),
                None => return Err(format!("{after} is missing")),
            }
        }
    }

    /// The character that an escape stands for.
    fn character(&mut self, escaped: char) -> Result<char, String> {
        let hex = |digits: String, count: usize| {
            let code = u32::from_str_radix(&digits, 16).ok();
            code.filter(|_| count == 0 || digits.len() == count)
                .and_then(char::from_u32)
                .ok_or_else(|| {
                    format!("\"{digits}\" are not the hexadecimal digits of a character")
                })
        };
        Ok(match escaped {
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            'f' => '\u{C}',
            'a' => '\u{7}',
            'e' => '\u{1B}',
            'x' if self.rest.peek() == Some(&'{') => hex(self.name('{', '}')?, 0)?,
            'x' => hex(self.rest.by_ref().take(2).collect(), 2)?,
            'u' => hex(self.rest.by_ref().take(4).collect(), 4)?,
            'c' => {
                let control = self.rest.next().and_then(|next| u8::try_from(next).ok());
                char::from(control.ok_or("a control character is missing")? ^ 64)
            }
            '0' => {
                let mut code = 0;
                let mut digits = 0;
                while let Some(digit) = self.rest.peek().and_then(|next| next.to_digit(8)) {
                    if digits == 3 || code * 8 + digit > 0o377 {
                        break;
                    }
                    (code, digits) = (code * 8 + digit, digits + 1);
                    self.rest.next();
                }
                let code = char::from_u32(code).filter(|_| digits > 0);
                code.ok_or("octal digits are missing")?
            }
            other if other.is_ascii_alphanumeric() => {
                return Err(format!("\\{other} is not known"));
            }
            other => other,
        })
    }

    fn open(&mut self) -> Result<(), String> {
        let around = self.flags;
        self.repeatable = false;
        if self.rest.next_if_eq(&'?').is_none() {
            self.groups.push(around);
            self.out.push('(');
            return Ok(());
        }
        let next = self.rest.next().ok_or("unclosed group")?;
        let opening = match next {
            ':' => "(?:".to_owned(),
            '=' | '!' | '>' => {
                self.looks = true;
                format!("(?{next}")
            }
            '<' if matches!(self.rest.peek(), Some('=' | '!')) => {
                self.looks = true;
                format!("(?<{}", self.rest.next().unwrap_or_default())
            }
            '<' => {
                let mut name = String::new();
                while let Some(character) = self.rest.next_if(|next| *next != '>') {
                    name.push(character);
                }
                self.rest.next().ok_or("unclosed group")?;
                let letters = name.chars().all(|c| c.is_ascii_alphanumeric());
                if !letters || !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
                    return Err(format!("\"{name}\" is not the name of a group"));
                }
                format!("(?<{name}>")
            }
            flag => {
                if !self.flags_of(flag)? {
                    // They hold to the end of the group around.
                    return Ok(());
                }
                "(?:".to_owned()
            }
        };
        self.groups.push(around);
        self.out.push_str(&opening);
        Ok(())
    }

    /// Takes flags; whether a group of their own follows.
    fn flags_of(&mut self, first: char) -> Result<bool, String> {
        let mut next = Some(first);
        let mut on = true;
        loop {
            match next {
                Some('-') => on = false,
                Some('i') => self.flags.ignore_case = on,
                Some('u') => self.flags.unicode_case = on,
                Some('s') => self.flags.dot_all = on,
                Some('m') => self.flags.multiline = on,
                Some('x') => self.flags.comments = on,
                // Only \n ends a line, which makes no difference in a name.
                Some('d') => {}
                Some(':') => return Ok(true),
                Some(')') => return Ok(false),
                Some(other) => return Err(format!("the flag {other} is not known")),
                None => return Err("unclosed group".to_owned()),
            }
            next = self.rest.next();
        }
    }

    fn repetition(&mut self, character: char) -> Result<(), String> {
        if !self.repeatable {
            return Err(format!("nothing stands before {character} that could be repeated"));
        }
        self.repeatable = false;
        let mut text = String::from(character);
        if character == '{' {
            while let Some(digit) = self.rest.next_if(|next| *next == ',' || next.is_ascii_digit())
            {
                text.push(digit);
            }
            if self.rest.next_if_eq(&'}').is_none() {
                return Err("a repetition is not closed".to_owned());
            }
            let inner = text.strip_prefix('{').unwrap_or_default();
            let (low, high) = inner.split_once(',').unwrap_or((inner, inner));
            let low: u32 = low.parse().map_err(|_| "a repetition has no number")?;
            let high = if high.is_empty() { None } else { high.parse::<u32>().ok() };
            if high.is_some_and(|high| high < low) || inner.matches(',').count() > 1 {
                return Err("a repetition has wrong numbers".to_owned());
            }
            text.push('}');
        }
        self.out.push_str(&text);
        if self.rest.next_if_eq(&'?').is_some() {
            self.out.push('?');
        } else if self.rest.next_if_eq(&'+').is_some() {
            self.looks = true;
            self.out.push('+');
        }
        Ok(())
    }

    /// A class, behind its bracket.
    fn class(&mut self) -> Result<String, String> {
        let mut out = String::from("[");
        if self.rest.next_if_eq(&'^').is_some() {
            out.push('^');
        }
        let mut is_empty = true;
        loop {
            let character = self.rest.next().ok_or("unclosed character class")?;
            match character {
                ']' if !is_empty => break,
                '[' => out.push_str(&self.class()?),
                '&' if self.rest.next_if_eq(&'&').is_some() => {
                    if is_empty || matches!(self.rest.peek(), Some(']')) {
                        continue;
                    }
                    out.push_str("&&");
                    continue;
                }
                '\\' if self.rest.next_if_eq(&'Q').is_some() => {
                    while let Some(quoted) = self.rest.next() {
                        if quoted == '\\' && self.rest.next_if_eq(&'E').is_some() {
                            break;
                        }
                        self.member(quoted, quoted, &mut out);
                    }
                }
                '\\' if self.rest.next_if_eq(&'E').is_some() => {}
                _ => {
                    let low = match self.of_class(character)? {
                        Ok(low) => low,
                        Err(set) => {
                            out.push_str(&set);
                            is_empty = false;
                            continue;
                        }
                    };
                    let high = self.range_end()?.unwrap_or(low);
                    if high < low {
                        return Err(format!("the range {low}-{high} is empty"));
                    }
                    self.member(low, high, &mut out);
                }
            }
            is_empty = false;
        }
        out.push(']');
        Ok(out)
    }

    /// A character of a class, or the characters that an escape stands for.
    fn of_class(&mut self, character: char) -> Result<Result<char, String>, String> {
        if character != '\\' {
            return Ok(Ok(character));
        }
        let escaped = self.rest.next().ok_or("nothing follows the last backslash")?;
        Ok(match self.set(escaped)? {
            Some(set) => Err(set),
            None => Ok(self.character(escaped)?),
        })
    }

    /// The end of a range, if a hyphen and a character follow.
    fn range_end(&mut self) -> Result<Option<char>, String> {
        let mut ahead = self.rest.clone();
        if ahead.next() != Some('-') || matches!(ahead.peek(), None | Some('[' | ']')) {
            return Ok(None);
        }
        self.rest.next();
        let character = self.rest.next().ok_or("unclosed character class")?;
        self.of_class(character)?.map(Some).map_err(|_| "a range ends in a class".to_owned())
    }

    /// Characters of a class, in both cases if case is ignored.
    fn member(&self, low: char, high: char, out: &mut String) {
        let range = |low: char, high: char| format!("{}-{}", one(low), one(high));
        out.push_str(&range(low, high));
        if !self.flags.ignore_case {
            return;
        }
        for (first, last, other) in [('a', 'z', 'A'), ('A', 'Z', 'a')] {
            let (from, to) = (low.max(first), high.min(last));
            if from > to {
                continue;
            }
            let shifted = |character: char| {
                let place = u32::from(character) - u32::from(first) + u32::from(other);
                char::from_u32(place).unwrap_or(character)
            };
            out.push_str(&range(shifted(from), shifted(to)));
        }
        if self.flags.unicode_case && low == high {
            let others = low.to_lowercase().chain(low.to_uppercase());
            out.extend(others.map(one));
        }
    }
}

/// One character, so spelled that it stands for itself within a class and without.
fn one(character: char) -> String {
    if character.is_alphanumeric() {
        return character.to_string();
    }
    format!("\\x{{{:X}}}", u32::from(character))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_other_engines_match_are_not_java_s() {
        for (expression, name, expected) in [
            (r"\Qs1.a\E", "s1.a", true),
            (r"\Qs1.a\E", "s1xa", false),
            ("ü\\.Ab", "ü.aB", true),
            ("ü", "Ü", false),
            (r"\w+", "ü", false),
            ("a++ab", "aaab", false),
        ] {
            let compiled = JavaRegex::new(expression, true).unwrap();
            assert_eq!(compiled.is_match(name), expected, "{expression} {name}");
        }
    }
}

//! Random values as SQL literals.

use fastrand::Rng;

/// Texts that have broken somebody's program.
const TEXTS: [&str; 20] = [
    "",
    " ",
    "NULL",
    "\\N",
    "\\",
    "O'Brien",
    "\"quoted\"",
    "a,b",
    "{}",
    "tab\tand\nline\r\nends",
    "Zoë Łódź",
    "東京都",
    "😀👩‍👩‍👧",
    "ﷺ\u{202e}right",
    "\u{1}\u{7f}\u{2028}",
    "e\u{301}",
    "</script>",
    "__debezium",
    "plain",
    "another plain text of some length",
];

/// One of them, or NULL with a chance of one in eight.
pub(super) fn text_or_null(rng: &mut Rng) -> String {
    if rng.u8(..8) == 0 { "NULL".into() } else { text(rng) }
}

/// A text literal, mostly short.
pub(super) fn text(rng: &mut Rng) -> String {
    let begin = TEXTS[rng.usize(..TEXTS.len())];
    let number = rng.u32(..1_000_000);
    match rng.u8(..4) {
        0 => literal(begin),
        1 => literal(&format!("{begin}{number}")),
        2 => literal(&format!("{number}{begin}{begin}")),
        _ => literal(&format!("text {number}")),
    }
}

/// A text of so many characters that does not compress.
pub(super) fn long_text(rng: &mut Rng, characters: usize) -> String {
    let letters: String = std::iter::repeat_with(|| rng.alphanumeric()).take(characters).collect();
    literal(&letters)
}

/// A bytea of so many bytes.
pub(super) fn bytes(rng: &mut Rng, count: usize) -> String {
    let digits: String = (0..count).map(|_| format!("{:02x}", rng.u8(..))).collect();
    format!("'\\x{digits}'")
}

/// A decimal with so many digits after the point.
pub(super) fn decimal(rng: &mut Rng, scale: usize) -> String {
    let unscaled = rng.i64(-9_999_999..=9_999_999);
    let (sign, digits) = (if unscaled < 0 { "-" } else { "" }, unscaled.unsigned_abs());
    let power = 10_u64.pow(u32::try_from(scale).expect("a small scale"));
    format!("{sign}{}.{:0scale$}", digits / power, digits % power)
}

/// A JSON document that jsonb takes as well.
pub(super) fn json(rng: &mut Rng) -> String {
    let text = TEXTS[rng.usize(..TEXTS.len())];
    let text = serde_json::Value::from(text);
    literal(&format!("{{\"n\": {}, \"t\":{text}, \"a\": [1, null, 2.50]}}", rng.i32(..)))
}

/// A uuid.
pub(super) fn uuid(rng: &mut Rng) -> String {
    format!("'{}'::uuid", uuid_text(rng))
}

/// A uuid without quotes.
pub(super) fn uuid_text(rng: &mut Rng) -> String {
    let digits = format!("{:032x}", rng.u128(..));
    let (a, b) = digits.split_at(8);
    let (b, c) = b.split_at(4);
    let (c, d) = c.split_at(4);
    let (d, e) = d.split_at(4);
    format!("{a}-{b}-{c}-{d}-{e}")
}

/// A moment of this century, to the microsecond, without a zone.
pub(super) fn moment(rng: &mut Rng) -> String {
    let (month, day) = (rng.u8(1..=12), rng.u8(1..=28));
    let (hour, minute, second) = (rng.u8(..24), rng.u8(..60), rng.u8(..60));
    let (year, micros) = (rng.u16(2000..2100), rng.u32(..1_000_000));
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}")
}

/// The columns of `shop.samples` but its key, with a value for each.
pub(super) fn sample(rng: &mut Rng) -> Vec<(&'static str, String)> {
    let moment = moment(rng);
    let (date, time) = moment.split_at(10);
    let time = time.trim_start();
    let floats = ["NaN", "Infinity", "-Infinity", "-0", "1e-7", "0.1"];
    let float = floats[rng.usize(..floats.len())];
    let float8 = if rng.bool() { f64::to_string(&rng.f64()) } else { float.to_owned() };
    let numerics =
        ["NaN", "0.000", "100.00", "-1e-20", "12345678901234567890.12345678901234567890"];
    let numeric = numerics[rng.usize(..numerics.len())];
    let interval = format!(
        "{} mons {} days {}.{:06} seconds",
        rng.i16(..),
        rng.i16(..),
        rng.i32(-1_000_000..1_000_000),
        rng.u32(..1_000_000)
    );
    let mut columns = vec![
        ("flag", rng.bool().to_string()),
        ("i2", rng.i16(..).to_string()),
        ("i4", rng.i32(..).to_string()),
        ("i8", rng.i64(..).to_string()),
        ("f4", format!("'{float}'")),
        ("f8", format!("'{float8}'")),
        ("n", format!("'{numeric}'")),
        ("n12", decimal(rng, 4)),
        ("amount", decimal(rng, 2)),
        ("d", format!("'{date}'")),
        ("t", format!("'{time}'")),
        ("t3", format!("'{time}'")),
        ("ts", format!("'{moment}'")),
        ("ts3", format!("'{moment}'")),
        ("tz", format!("'{moment}+05:30'")),
        ("tz0", format!("'{moment}-03'")),
        ("iv", format!("'{interval}'")),
        ("txt", text(rng)),
        ("vc", format!("left({}, 40)", text(rng))),
        ("ch", format!("left({}, 5)", text(rng))),
        ("u", uuid(rng)),
        ("mood", mood(rng)),
        ("ip", format!("'10.{}.0.1/8'", rng.u8(..))),
    ];
    let count = rng.usize(..40);
    columns.push(("by", bytes(rng, count)));
    columns.push(("j", json(rng)));
    columns.push(("jb", json(rng)));
    columns.push(("ints", format!("ARRAY[{}, NULL, {}]::int[]", rng.i32(..), rng.i32(..))));
    columns.push(("texts", format!("ARRAY[{}, {}]", text(rng), text_or_null(rng))));
    columns.push(("nums", format!("ARRAY[{}, NULL]", decimal(rng, 2))));
    columns.push(("days", format!("ARRAY['{date}', NULL]::date[]")));
    columns.push(("moods", format!("ARRAY[{}]::shop.mood[]", mood(rng))));
    for (_, value) in &mut columns {
        if rng.u8(..10) == 0 {
            *value = "NULL".into();
        }
    }
    columns
}

fn mood(rng: &mut Rng) -> String {
    let moods = ["sad", "ok", "happy, very", "Zoë's"];
    literal(moods[rng.usize(..moods.len())])
}

/// A text as an SQL literal; `standard_conforming_strings` is on.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A text as a value of COPY.
pub(super) fn copy_text(rng: &mut Rng) -> String {
    let text = TEXTS[rng.usize(..TEXTS.len())];
    let text = text.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n");
    text.replace('\r', "\\r")
}

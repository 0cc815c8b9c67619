//! Text, bytes and bits.

use cdc_agent::capture::change::BinaryMode;
use cdc_agent::capture::change::ValueSettings;
use fastrand::Rng;

use crate::values::Case;
use crate::values::Compare;
use crate::values::cases::Maker;
use crate::values::cases::json;
use crate::values::cases::printed;
use crate::values::random;
use crate::values::random::all_quoted;
use crate::values::random::quoted;

const EDGES: [&str; 10] =
    ["", " ", "NULL", "null", "\\", "\"", "'", "\u{1}\u{1F}\u{7F}", "\u{10FFFF}", "t\t\r\n"];

impl Maker<'_> {
    pub(super) fn texts(&mut self) -> Vec<Case> {
        let text = |length| move |random: &mut Rng| random::text(length, random);
        let mut long = all_quoted(&EDGES);
        long.push("repeat('0123456789äöü', 100000)".to_owned());
        let labels = ["sad", "happy", "it's \"complicated\", {ä} \\ 😀", " ", "NULL"];
        let uuid = |random: &mut Rng| format!("{:032x}", random.u128(..));
        let all = [
            ("text", self.values(long, |random| quoted(&random::text(40, random)))),
            ("varchar(30)", self.quoted(&EDGES, text(30))),
            ("char(12)", self.quoted(&EDGES, text(12))),
            ("name", self.quoted(&EDGES, text(40))),
            ("\"char\"", self.single_bytes()),
            ("public.citext", self.quoted(&EDGES, text(20))),
            ("uuid", self.quoted(&[&"0".repeat(32), &"f".repeat(32)], uuid)),
            ("public.mood", all_quoted(&labels)),
        ];
        let mut cases: Vec<Case> = all
            .into_iter()
            .map(|(sql_type, values)| Case::new(sql_type, values).both(Compare::Exact, &json("v")))
            .collect();
        cases.extend(self.documents());
        cases.push(self.bytea());
        cases.extend(self.bits());
        cases
    }

    fn single_bytes(&mut self) -> Vec<String> {
        let ascii = |random: &mut Rng| random.char('\u{1}'..='\u{7F}').to_string();
        let mut values = self.quoted(&["", "a", "\"", "\\"], ascii);
        // Version 14 prints the byte itself, in no encoding.
        if self.major >= 15 {
            values.extend((-128..0).map(|number| format!("({number})::\"char\"")));
        }
        values
    }

    /// JSON and XML: their text.
    fn documents(&mut self) -> Vec<Case> {
        let document = |random: &mut Rng| {
            let text = serde_json::to_string(&random::text(20, random)).unwrap();
            let sign = if random.bool() { "-" } else { "" };
            let (whole, fraction) = (random.u64(..), random.u32(..));
            let number = format!("{sign}{whole}.{fraction}0e{}", random.i8(-20..20));
            format!("{{ \"a\" : [{number}, null, true, {{}}], {text}:{text},\"a\":\"\"}}")
        };
        let edges = ["null", " 1 ", "\"\"", "[ ]", "{\"a\":{\"b\":[[]]}}"];
        let mut cases = vec![
            Case::new("json", self.quoted(&edges, document)).both(Compare::Exact, &printed()),
            Case::new("jsonb", self.quoted(&edges, document)).both(Compare::Exact, &printed()),
        ];
        if self.major == 15 {
            // The other versions here are built without it.
            let xml = all_quoted(&["<a b=\"c\">d &amp; e</a>", "text", ""]);
            cases.push(Case::new("xml", xml).both(Compare::Exact, &printed()));
        }
        cases
    }

    fn bytea(&mut self) -> Case {
        let bytea = |random: &mut Rng| format!("'\\x{}'", random::hex(80, random));
        let mut edges = all_quoted(&["\\x", "\\x00", "\\xff00"]);
        edges.push("decode(repeat('00ff10', 100000), 'hex')".to_owned());
        let mode = |binary| ValueSettings { binary, ..ValueSettings::debezium() };
        let base64 = "public.base64(v)";
        Case::new("bytea", self.values(edges, bytea))
            .both(Compare::Exact, base64)
            .under(mode(BinaryMode::Base64), Compare::Exact, base64)
            .under(mode(BinaryMode::Hex), Compare::Exact, json("encode(v, 'hex')"))
            .under(
                mode(BinaryMode::Base64UrlSafe),
                Compare::Exact,
                format!("translate({base64}, '+/', '-_')"),
            )
    }

    fn bits(&mut self) -> Vec<Case> {
        let little_endian = "public.base64(public.little_endian(v))";
        let mut cases = vec![
            Case::new("bit(1)", all_quoted(&["0", "1"]))
                .both(Compare::Exact, &json("v::text = '1'")),
        ];
        for length in [2, 7, 8, 9, 31, 32, 64, 65, 200] {
            let bits = |random: &mut Rng| random::bits(length, random);
            let values = self.quoted(&[&"0".repeat(length), &"1".repeat(length)], bits);
            let sql_type = format!("bit({length})");
            cases.push(Case::new(sql_type, values).both(Compare::Exact, little_endian));
        }
        for sql_type in ["varbit", "varbit(90)"] {
            let bits = |random: &mut Rng| {
                let length = random.usize(..90);
                random::bits(length, random)
            };
            let values = self.quoted(&["", "0", "1"], bits);
            cases.push(Case::new(sql_type, values).both(Compare::Exact, little_endian));
        }
        cases
    }
}

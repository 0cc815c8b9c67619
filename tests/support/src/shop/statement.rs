//! Statements on the shop's tables.

use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering;

use fastrand::Rng;

use super::values;

/// A table of the shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ShopTable {
    Customers,
    Products,
    Orders,
    OrderLines,
    PageViews,
    Carts,
    Documents,
    Samples,
}

use ShopTable::*;

/// Where the simulator writes how often: orders and their lines most.
const BY_WEIGHT: [ShopTable; 20] = [
    Customers, Customers, Customers, Products, Products, Orders, Orders, Orders, Orders,
    OrderLines, OrderLines, OrderLines, PageViews, PageViews, PageViews, Carts, Carts, Documents,
    Documents, Samples,
];

/// Tables with a single integer key.
const WITH_ID: [ShopTable; 5] = [Customers, Products, Orders, Documents, Samples];

/// The highest keys that may be in use, so that random ones are near what there is.
#[derive(Debug, Default)]
pub(super) struct Highest {
    ids: AtomicI64,
}

impl Highest {
    pub(super) fn set(&self, id: i64) {
        self.ids.store(id.max(1), Ordering::Relaxed);
    }

    pub(super) fn grow(&self, by: i64) {
        self.ids.fetch_add(by, Ordering::Relaxed);
    }

    fn random(&self, rng: &mut Rng) -> i64 {
        rng.i64(1..=self.ids.load(Ordering::Relaxed).max(1))
    }
}

impl ShopTable {
    pub(super) fn any(rng: &mut Rng) -> Self {
        BY_WEIGHT[rng.usize(..BY_WEIGHT.len())]
    }

    pub(super) fn any_with_id(rng: &mut Rng) -> Self {
        WITH_ID[rng.usize(..WITH_ID.len())]
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Customers => "shop.customers",
            Products => "shop.products",
            Orders => "shop.orders",
            OrderLines => "shop.order_lines",
            PageViews => "shop.page_views",
            Carts => "shop.carts",
            Documents => "shop.documents",
            Samples => "shop.samples",
        }
    }

    fn key(self) -> &'static str {
        match self {
            OrderLines => "order_id, line_no",
            PageViews => "ctid",
            _ => "id",
        }
    }

    /// Condition that some rows meet, which nobody else has locked: writers never wait for each
    /// other's rows, so they cannot deadlock.
    pub(super) fn some(self, rng: &mut Rng, highest: &Highest, count: u32) -> String {
        let (name, key) = (self.name(), self.key());
        let picked = match self {
            PageViews => format!("SELECT ctid FROM {name} OFFSET {} LIMIT {count}", rng.u8(..30)),
            Carts => {
                let from = values::uuid(rng);
                format!("SELECT id FROM {name} WHERE id >= {from} ORDER BY id LIMIT {count}")
            }
            OrderLines => {
                let from = highest.random(rng);
                let order = "ORDER BY order_id, line_no";
                format!("SELECT {key} FROM {name} WHERE order_id >= {from} {order} LIMIT {count}")
            }
            _ => {
                let from = self.random_id(rng, highest);
                format!("SELECT id FROM {name} WHERE id >= {from} ORDER BY id LIMIT {count}")
            }
        };
        format!("({key}) IN ({picked} FOR UPDATE SKIP LOCKED)")
    }

    /// Small tables have small keys.
    fn random_id(self, rng: &mut Rng, highest: &Highest) -> i64 {
        let id = highest.random(rng);
        match self {
            Products | Documents | Samples if rng.bool() => 1 + id / 10,
            _ => id,
        }
    }

    /// `INSERT` of new rows.
    pub(super) fn insert(self, rng: &mut Rng, highest: &Highest, count: u32) -> String {
        let rows: Vec<Row> = (0..count).map(|_| self.row(rng, highest)).collect();
        self.insert_rows(&rows)
    }

    /// `INSERT` of one row with this key.
    pub(super) fn insert_with_id(self, rng: &mut Rng, highest: &Highest, id: &str) -> String {
        let mut row = self.row(rng, highest);
        row.push(("id", id.to_owned()));
        self.insert_rows(&[row])
    }

    fn insert_rows(self, rows: &[Row]) -> String {
        let columns: Vec<&str> = rows[0].iter().map(|(column, _)| *column).collect();
        let values = |row: &Row| {
            let values: Vec<&str> = row.iter().map(|(_, value)| value.as_str()).collect();
            format!("({})", values.join(", "))
        };
        let values: Vec<String> = rows.iter().map(values).collect();
        let (name, columns, values) = (self.name(), columns.join(", "), values.join(", "));
        // Keys that the simulator chooses itself may be taken.
        let conflict = match self {
            OrderLines | Carts => " ON CONFLICT DO NOTHING",
            _ => "",
        };
        format!("INSERT INTO {name} ({columns}) VALUES {values}{conflict}")
    }

    /// `UPDATE` of some columns, the key never among them.
    pub(super) fn update(self, rng: &mut Rng, highest: &Highest, condition: &str) -> String {
        let mut row = self.row(rng, highest);
        row.retain(|(column, _)| !matches!(*column, "id" | "order_id" | "line_no"));
        if self == Documents && rng.u8(..4) > 0 {
            // Most updates leave the large values alone.
            row.retain(|(column, _)| matches!(*column, "revision" | "title"));
        }
        while row.len() > 1 && rng.u8(..3) == 0 {
            row.remove(rng.usize(..row.len()));
        }
        let set: Vec<String> =
            row.iter().map(|(column, value)| format!("{column} = {value}")).collect();
        format!("UPDATE {} SET {} WHERE {condition}", self.name(), set.join(", "))
    }

    /// `UPDATE` of the key, of one row or a few.
    pub(super) fn change_key(self, rng: &mut Rng, condition: &str) -> String {
        let set = match self {
            OrderLines => format!("line_no = {}", rng.u32(1_000_000..2_000_000_000)),
            PageViews => "path = path || '!'".to_owned(),
            Carts => format!("id = {}", values::uuid(rng)),
            _ => format!("id = {}", self.next_id()),
        };
        format!("UPDATE {} SET {set} WHERE {condition}", self.name())
    }

    pub(super) fn delete(self, condition: &str) -> String {
        format!("DELETE FROM {} WHERE {condition}", self.name())
    }

    /// Expression for a fresh key.
    pub(super) fn next_id(self) -> String {
        format!("nextval(pg_get_serial_sequence('{}', 'id'))", self.name())
    }

    /// Columns and literals of a new row, without a key that the table makes itself.
    fn row(self, rng: &mut Rng, highest: &Highest) -> Row {
        match self {
            Customers => vec![
                ("name", values::text(rng)),
                ("email", values::text_or_null(rng)),
                ("vip", rng.bool().to_string()),
                ("balance", values::decimal(rng, 2)),
                ("born", format!("'{}'::timestamp::date", values::moment(rng))),
                ("note", values::text_or_null(rng)),
            ],
            Products => vec![
                ("name", values::text(rng)),
                ("price", values::decimal(rng, 2)),
                ("weight", format!("{}", rng.f32())),
                ("tags", format!("ARRAY[{}, {}]", values::text(rng), values::text_or_null(rng))),
                ("attributes", values::json(rng)),
                ("updated_at", "clock_timestamp() AT TIME ZONE 'UTC'".into()),
            ],
            Orders => vec![
                ("customer_id", highest.random(rng).to_string()),
                ("status", format!("(enum_range(NULL::shop.order_status))[{}]", rng.u8(1..=5))),
                ("total", values::decimal(rng, 2)),
                ("shipped_at", "clock_timestamp()".into()),
                ("comment", values::text_or_null(rng)),
            ],
            OrderLines => vec![
                ("order_id", highest.random(rng).to_string()),
                ("line_no", rng.u32(10..1_000_000).to_string()),
                ("product_id", rng.u16(..).to_string()),
                ("quantity", rng.i16(..).to_string()),
                ("price", values::decimal(rng, 2)),
            ],
            PageViews => vec![
                ("at", "clock_timestamp() AT TIME ZONE 'UTC'".into()),
                ("customer_id", highest.random(rng).to_string()),
                ("path", values::text(rng)),
                ("took", format!("{}", rng.f64())),
            ],
            Carts => vec![
                ("id", values::uuid(rng)),
                ("customer_id", highest.random(rng).to_string()),
                ("items", values::json(rng)),
            ],
            Documents => document(rng),
            Samples => values::sample(rng),
        }
    }
}

type Row = Vec<(&'static str, String)>;

/// Large enough to be stored apart, mostly.
fn document(rng: &mut Rng) -> Row {
    let (body, image) = (rng.usize(10..12_000), rng.usize(..4_000));
    let meta = values::long_text(rng, 3_000);
    let words = values::long_text(rng, 2_500);
    vec![
        ("revision", rng.u16(..).to_string()),
        ("title", values::text(rng)),
        ("body", values::long_text(rng, body)),
        ("image", values::bytes(rng, image)),
        ("meta", format!("jsonb_build_object('text', {meta})")),
        ("words", format!("ARRAY[{words}, NULL, 'x']")),
    ]
}

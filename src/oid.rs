//! Object identifiers, and the built-in types that the code names.

use std::fmt;

/// Identifier of a database object: a relation, a type, a publication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Oid(pub u32);

impl fmt::Display for Oid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

/// Built-in types, by their fixed identifiers. Source: PostgreSQL 18, `pg_type.dat`.
#[allow(missing_docs, reason = "each constant is the type of its name")]
pub mod types {
    use super::Oid;

    pub const BOOL: Oid = Oid(16);
    pub const BYTEA: Oid = Oid(17);
    pub const CHAR: Oid = Oid(18);
    pub const NAME: Oid = Oid(19);
    pub const INT8: Oid = Oid(20);
    pub const INT2: Oid = Oid(21);
    pub const INT4: Oid = Oid(23);
    pub const TEXT: Oid = Oid(25);
    pub const OID: Oid = Oid(26);
    pub const JSON: Oid = Oid(114);
    pub const XML: Oid = Oid(142);
    pub const POINT: Oid = Oid(600);
    pub const LSEG: Oid = Oid(601);
    pub const PATH: Oid = Oid(602);
    pub const BOX: Oid = Oid(603);
    pub const POLYGON: Oid = Oid(604);
    pub const LINE: Oid = Oid(628);
    pub const CIDR: Oid = Oid(650);
    pub const FLOAT4: Oid = Oid(700);
    pub const FLOAT8: Oid = Oid(701);
    pub const CIRCLE: Oid = Oid(718);
    pub const MACADDR8: Oid = Oid(774);
    pub const MONEY: Oid = Oid(790);
    pub const MACADDR: Oid = Oid(829);
    pub const INET: Oid = Oid(869);
    pub const BPCHAR: Oid = Oid(1042);
    pub const VARCHAR: Oid = Oid(1043);
    pub const DATE: Oid = Oid(1082);
    pub const TIME: Oid = Oid(1083);
    pub const TIMESTAMP: Oid = Oid(1114);
    pub const TIMESTAMPTZ: Oid = Oid(1184);
    pub const INTERVAL: Oid = Oid(1186);
    pub const TIMETZ: Oid = Oid(1266);
    pub const BIT: Oid = Oid(1560);
    pub const VARBIT: Oid = Oid(1562);
    pub const NUMERIC: Oid = Oid(1700);
    pub const REFCURSOR: Oid = Oid(1790);
    pub const UUID: Oid = Oid(2950);
    pub const TSVECTOR: Oid = Oid(3614);
    pub const JSONB: Oid = Oid(3802);
    pub const INT4RANGE: Oid = Oid(3904);
    pub const NUMRANGE: Oid = Oid(3906);
    pub const TSRANGE: Oid = Oid(3908);
    pub const TSTZRANGE: Oid = Oid(3910);
    pub const DATERANGE: Oid = Oid(3912);
    pub const INT8RANGE: Oid = Oid(3926);
}

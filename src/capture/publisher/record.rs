//! What goes out: records in batches, each with a receipt that comes back when it is durable.

use std::ops::Range;

use crate::capture::progress::Ticket;
use crate::position::Position;

/// Where records of one version of a table go, and the headers that are the same for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouteId(pub u32);

/// What a route is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Route {
    /// Topic.
    pub topic: String,
    /// Headers before the position's.
    pub headers: Vec<(String, String)>,
    /// Value of the header `cdc.schema`, which stands last.
    pub schema: Option<String>,
    /// Records of ours, such as state: they are few and never wait for room.
    pub internal: bool,
    /// Its records go to partition 0 whatever their keys.
    pub first_partition: bool,
}

/// One record; its bytes lie in its batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it goes.
    pub route: RouteId,
    /// Key; without one the record goes to partition 0.
    pub key: Option<Range<usize>>,
    /// Value; without one it is a tombstone.
    pub value: Option<Range<usize>>,
    /// A header that stands first.
    pub header: Option<(&'static str, Range<usize>)>,
    /// Value of the header [`LITERAL_HEADER`](crate::position::LITERAL_HEADER), if it has one.
    pub literal: Option<Range<usize>>,
    /// Position; `None` for records that are not the source's.
    pub position: Option<Position>,
    /// What comes back when it is durable.
    pub receipt: Receipt,
}

/// Records whose bytes lie in one buffer.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// The records, in order.
    pub records: &'a [Record],
}

impl Batch<'_> {
    /// The bytes of a part of a record.
    pub fn slice(&self, range: &Range<usize>) -> &[u8] {
        self.bytes.get(range.clone()).unwrap_or_default()
    }
}

/// What an acknowledgement counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Receipt {
    /// A transaction of the stream.
    Transaction(Ticket),
    /// A range of a table that is read.
    Range(u32),
    /// A record that somebody waits for.
    Awaited(u32),
    /// Nothing.
    Nobody,
}

/// Two bits of kind above the number.
const KIND_SHIFT: u32 = 62;
const NUMBER_MASK: u64 = (1 << KIND_SHIFT) - 1;

impl Receipt {
    /// As one number, to travel through a C library.
    pub fn to_bits(self) -> u64 {
        match self {
            Receipt::Transaction(ticket) => ticket.0 & NUMBER_MASK,
            Receipt::Range(number) => 1 << KIND_SHIFT | u64::from(number),
            Receipt::Awaited(number) => 2 << KIND_SHIFT | u64::from(number),
            Receipt::Nobody => 3 << KIND_SHIFT,
        }
    }

    /// From that number.
    pub fn from_bits(bits: u64) -> Self {
        let number = u32::try_from(bits & NUMBER_MASK).unwrap_or(u32::MAX);
        match bits >> KIND_SHIFT {
            0 => Receipt::Transaction(Ticket(bits & NUMBER_MASK)),
            1 => Receipt::Range(number),
            2 => Receipt::Awaited(number),
            _ => Receipt::Nobody,
        }
    }
}

/// So many records with one receipt are durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Whose.
    pub receipt: Receipt,
    /// How many.
    pub records: u64,
}

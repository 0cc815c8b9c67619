//! `xmin.fetch.interval.ms`: the oldest transaction whose catalog rows the slot keeps.

use std::time::Instant;

use crate::capture::postgres::Sql;
use crate::capture::settings::CaptureSettings;

/// What the server said last, and when.
#[derive(Debug, Default)]
pub(super) struct Xmin {
    last: Option<(Instant, Option<u64>)>,
}

impl Xmin {
    /// The slot's `catalog_xmin`, asked for again when the interval is over.
    pub(super) fn get(&mut self, sql: &Sql, settings: &CaptureSettings) -> Option<u64> {
        let interval = settings.slot_options.xmin_interval;
        if interval.is_zero() {
            return None;
        }
        match self.last {
            Some((asked, xmin)) if asked.elapsed() < interval => xmin,
            _ => {
                let rows = sql.query(
                    "SELECT catalog_xmin::text::int8 FROM pg_replication_slots \
                     WHERE slot_name = $1",
                    &[&settings.slot],
                );
                let xmin = rows.ok().and_then(|rows| {
                    let xmin: Option<i64> = rows.first()?.get(0);
                    u64::try_from(xmin?).ok()
                });
                self.last = Some((Instant::now(), xmin));
                xmin
            }
        }
    }
}

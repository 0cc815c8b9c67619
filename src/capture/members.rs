//! What is captured, compared with what was captured before: a table may have left the publication
//! and come back, may have been dropped and created again, renamed or swapped with another.
//!
//! **Nothing of this shows in the stream**: whoever was away has a gap, and so has a table that was
//! out of the publication. What is stored of each table tells: its id, and how it was published.

use std::collections::HashMap;
use std::collections::HashSet;

use crate::capture::CaptureError;
use crate::capture::postgres::SourceError;
use crate::capture::postgres::Sql;
use crate::capture::postgres::partitions;
use crate::capture::postgres::publication::Membership;
use crate::capture::postgres::publication::PublishedTable;
use crate::capture::prepare::Captured;
use crate::capture::read::Reader;
use crate::capture::state::Published;
use crate::capture::state::State;
use crate::capture::state::TableState;
use crate::lsn::Lsn;
use crate::oid::Oid;
use crate::table::TableName;

impl From<&Membership> for Published {
    fn from(membership: &Membership) -> Self {
        Published {
            entries: membership.entries.clone(),
            columns: membership.columns.clone(),
            row_filter: membership.row_filter.clone(),
        }
    }
}

/// What became of a table since it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    /// It is captured as before.
    Same,
    /// It had left, and is captured again.
    Returned,
    /// It was taken out of the publication and put in again, or is published with other rows or
    /// columns.
    PublishedAnew,
    /// Another table has its name; it has another name itself, or is gone.
    Replaced(Option<TableName>),
    /// It is captured no longer.
    Left,
    /// It has another name, and nothing has its name.
    Renamed(TableName),
    /// It is gone.
    Dropped,
    /// It is captured no longer, and that is known.
    Away,
}

/// Compares what is stored of a table with the captured table of its name and with the name that
/// its id has in the database.
fn fate(
    name: &TableName,
    known: &TableState,
    captured: Option<&PublishedTable>,
    present: Option<&TableName>,
) -> Fate {
    let was_published = known.published.as_ref().is_none_or(|before| !before.entries.is_empty());
    match (captured, present) {
        (Some(table), _) if table.oid.0 == known.oid => match has_gap(known, table) {
            true if known.left_at > Lsn::ZERO => Fate::Returned,
            true => Fate::PublishedAnew,
            false => Fate::Same,
        },
        (Some(_), present) => Fate::Replaced(present.cloned()),
        (None, _) if known.gone || !was_published => Fate::Away,
        (None, Some(present)) if present != name => Fate::Renamed(present.clone()),
        (None, Some(_)) if known.left_at > Lsn::ZERO => Fate::Away,
        (None, Some(_)) => Fate::Left,
        (None, None) => Fate::Dropped,
    }
}

/// Whether changes of a captured table may be missing between what is stored of it and now.
pub(super) fn has_gap(known: &TableState, table: &PublishedTable) -> bool {
    let published = Published::from(&table.membership);
    known.oid != table.oid.0
        || known.left_at > Lsn::ZERO
        || known.published.as_ref().is_some_and(|before| !before.continues(&published))
}

impl Reader<'_> {
    /// Compares the state with what is captured: notes what is no longer, and makes sure that what
    /// has a gap counts as unread.
    pub(super) fn settle(&self, state: &mut State) -> Result<(), CaptureError> {
        let stored: Vec<u32> = state.tables.values().map(|known| known.oid).collect();
        let present = names(self.sql, &stored)?;
        let captured: HashMap<TableName, PublishedTable> = self
            .captured
            .borrow()
            .tables
            .iter()
            .map(|(table, _)| (table.name.clone(), table.clone()))
            .collect();
        // After the look: what was published until then still is.
        let looked_at = end_of_log(self.sql)?;
        for (name, known) in state.tables.clone() {
            let table = captured.get(&name);
            let fate = fate(&name, &known, table, present.get(&known.oid));
            tell(&name, &fate);
            let changed = match fate {
                Fate::Away | Fate::Replaced(_) => None,
                Fate::Same => {
                    let published = table.map(|table| Published::from(&table.membership));
                    (published != known.published).then_some(TableState { published, ..known })
                }
                Fate::Returned | Fate::PublishedAnew if self.is_read(&name) => {
                    // What is read again is stored when its reading begins.
                    if let Some(known) = state.tables.get_mut(&name) {
                        known.epoch_complete = 0;
                    }
                    None
                }
                Fate::Returned | Fate::PublishedAnew => {
                    let published = table.map(|table| Published::from(&table.membership));
                    Some(TableState { published, left_at: Lsn::ZERO, ..known })
                }
                Fate::Left => Some(TableState { left_at: looked_at, ..known }),
                Fate::Dropped => {
                    let left_at = if known.left_at > Lsn::ZERO { known.left_at } else { looked_at };
                    Some(TableState { left_at, gone: true, ..known })
                }
                Fate::Renamed(_) => Some(self.emptied(state, &name, known, looked_at)?),
            };
            if let Some(changed) = changed {
                self.store_table(&name, &changed, &|| self.goes_on())?;
                state.tables.insert(name, changed);
            }
        }
        self.settle_partitions(state)
    }

    /// Compares the partitions of tables with those that they had: rows may have come or gone with
    /// them.
    fn settle_partitions(&self, state: &mut State) -> Result<(), CaptureError> {
        let mut roots = self.captured.borrow().tables.clone();
        roots.retain(|(table, facts)| {
            let is_unread = |known: &TableState| known.oid == table.oid.0 && known.unread;
            facts.partitioned
                && (state.is_complete(&table.name, table.oid.0)
                    || state.tables.get(&table.name).is_some_and(is_unread))
        });
        let oids: Vec<u32> = roots.iter().map(|(table, _)| table.oid.0).collect();
        let mut now = partitions::partitions(self.sql, &oids)?;
        for (table, _) in &roots {
            let now = now.remove(&table.oid.0).unwrap_or_default();
            let Some(known) = state.tables.get_mut(&table.name) else { continue };
            if known.partitions == now {
                continue;
            }
            let before = std::mem::replace(&mut known.partitions, now.clone());
            let known = known.clone();
            if before.iter().any(|partition| !now.contains(partition)) {
                tracing::warn!(
                    table = %table.name,
                    "a partition was detached or dropped: PostgreSQL sends nothing of its rows, and \
                     they stay in topics and warehouses; cdc-agent snapshot reads the table again"
                );
            }
            let mut filled = None;
            for partition in now.iter().filter(|partition| !before.contains(partition)) {
                filled = partitions::came_with_rows(self.sql, *partition)?;
                if filled.is_some() {
                    break;
                }
            }
            match filled {
                Some(partition) if self.is_read(&table.name) => {
                    tracing::warn!(
                        table = %table.name, %partition,
                        "a partition was attached with rows in it, of which PostgreSQL sends \
                         nothing: the table is snapshotted again"
                    );
                    if let Some(known) = state.tables.get_mut(&table.name) {
                        known.epoch_complete = 0;
                    }
                }
                _ => self.store_table(&table.name, &known, &|| self.goes_on())?,
            }
        }
        Ok(())
    }

    /// Under its former name a renamed table is as good as read, and empty.
    fn emptied(
        &self,
        state: &State,
        name: &TableName,
        known: TableState,
        looked_at: Lsn,
    ) -> Result<TableState, CaptureError> {
        let topic = self.session.settings.naming.topic(name);
        let offsets = self.session.pipeline.publisher.end_offsets(&topic)?;
        let epoch = state.epoch_of(name) + 1;
        Ok(TableState {
            epoch_begun: epoch,
            epoch_complete: epoch,
            topic,
            begin_offsets: offsets.clone(),
            end_offsets: offsets,
            partly: false,
            published_from: looked_at,
            overtaken_until: Lsn::ZERO,
            left_at: looked_at,
            gone: true,
            ..known
        })
    }

    /// Notes tables that are streamed although nobody wants their rows read.
    pub(super) fn note_unread(&self, state: &mut State) -> Result<(), CaptureError> {
        let tables = self.captured.borrow().tables.clone();
        for (table, facts) in &tables {
            let published = Published::from(&table.membership);
            let epoch = state.epoch_of(&table.name);
            let is_known = state.tables.get(&table.name).is_some_and(|known| {
                known.oid == table.oid.0 && (known.unread || known.epoch_complete == epoch)
            });
            if is_known || published.entries.is_empty() || self.is_read(&table.name) {
                continue;
            }
            let mut partitions = Vec::new();
            if facts.partitioned {
                let mut found = partitions::partitions(self.sql, &[table.oid.0])?;
                partitions = found.remove(&table.oid.0).unwrap_or_default();
            }
            let known = state.tables.entry(table.name.clone()).or_default();
            known.oid = table.oid.0;
            known.unread = true;
            known.partitions = partitions;
            known.published = Some(published);
            (known.left_at, known.gone) = (Lsn::ZERO, false);
            let known = known.clone();
            self.store_table(&table.name, &known, &|| self.goes_on())?;
        }
        Ok(())
    }
}

/// Says what became of a table.
fn tell(table: &TableName, fate: &Fate) {
    match fate {
        Fate::Same | Fate::Away => {}
        Fate::Returned => tracing::warn!(
            %table,
            "the table is captured again; what changed in between was not published, and so it is \
             snapshotted again"
        ),
        Fate::PublishedAnew => tracing::warn!(
            %table,
            "the table was taken out of the publication and put in again, or has another row filter \
             or column list: it is snapshotted again"
        ),
        Fate::Replaced(None) => tracing::warn!(
            %table,
            "the table was dropped and created again: it is snapshotted again, and rows of the \
             former one go"
        ),
        Fate::Replaced(Some(renamed_to)) => tracing::warn!(
            %table, %renamed_to,
            "the table was renamed, and another one has its name: that one is snapshotted, and rows \
             of the former one go"
        ),
        Fate::Left => tracing::warn!(
            %table,
            "the table is captured no longer: it left the publication, or a filter excludes it; \
             once it is back it is snapshotted again"
        ),
        Fate::Renamed(renamed_to) => tracing::warn!(
            %table, %renamed_to,
            "the table was renamed: its rows go under the former name, and it is snapshotted under \
             the new one if that is captured"
        ),
        Fate::Dropped => tracing::warn!(
            %table,
            "the table was dropped: its topic stays, and so do its rows in warehouses"
        ),
    }
}

/// The names that tables of these ids have, as far as they exist.
fn names(sql: &Sql, oids: &[u32]) -> Result<HashMap<u32, TableName>, SourceError> {
    let rows = sql.query(
        "SELECT c.oid, n.nspname::text, c.relname::text FROM pg_class c \
         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY ($1)",
        &[&oids],
    )?;
    let name = |row: &tokio_postgres::Row| {
        TableName::new(row.get::<_, String>(1), row.get::<_, String>(2))
    };
    Ok(rows.iter().map(|row| (row.get(0), name(row))).collect())
}

/// The ids of all tables that the database has.
///
/// # Errors
///
/// The server cannot be asked.
pub(super) fn all_tables(sql: &Sql) -> Result<HashSet<Oid>, SourceError> {
    let rows = sql.query("SELECT oid FROM pg_class WHERE relkind IN ('r', 'p')", &[])?;
    Ok(rows.iter().map(|row| Oid(row.get(0))).collect())
}

/// Where the next change would be written.
fn end_of_log(sql: &Sql) -> Result<Lsn, SourceError> {
    let row = sql.query_one(
        "SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() \
         ELSE pg_current_wal_insert_lsn() END)::text",
        &[],
    )?;
    let text: String = row.get(0);
    text.parse().map_err(|_| SourceError::Closed {
        during: "asking for the end of the log",
        reason: format!("\"{text}\" is no position"),
    })
}

/// The partitions that captured tables have, as far as they stand for them.
pub(super) fn partitions_of(captured: &Captured, state: &State) -> HashMap<u32, Vec<u32>> {
    let tables = captured.tables.iter().filter(|(_, facts)| facts.partitioned);
    tables
        .filter_map(|(table, _)| {
            Some((table.oid.0, state.tables.get(&table.name)?.partitions.clone()))
        })
        .collect()
}

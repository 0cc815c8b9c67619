//! PostgreSQL: each table's batch is copied into a temporary table and merged in one guarded
//! INSERT … ON CONFLICT.

mod copy;
mod error;
mod load;
mod rekey;
mod stages;
mod state;
mod statements;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_postgres::Client;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::apply::merge::AppliedRange;
use crate::apply::merge::ArrayForm;
use crate::apply::merge::Cell;
use crate::apply::merge::ColumnType;
use crate::apply::merge::DeadLetter;
use crate::apply::merge::KnownTable;
use crate::apply::merge::LogPlace;
use crate::apply::merge::Moved;
use crate::apply::merge::NameRules;
use crate::apply::merge::Plan;
use crate::apply::merge::Spelling;
use crate::apply::merge::StoredMark;
use crate::apply::merge::TableId;
use crate::apply::merge::Target;
use crate::apply::merge::TargetColumn;
use crate::apply::merge::Texts;
use crate::apply::merge::plan::sortable;
use crate::apply::merge::target::NAME_BYTES_MAX;
use crate::apply::warehouse::BrokenRules;
use crate::apply::warehouse::Claim;
use crate::apply::warehouse::DeleteMode;
use crate::apply::warehouse::ForeignTable;
use crate::apply::warehouse::Loaded;
use crate::apply::warehouse::StoredRow;
use crate::apply::warehouse::Warehouse;
use crate::apply::warehouse::WarehouseError;
use crate::apply::warehouse::postgres::error::failed;
use crate::apply::warehouse::postgres::error::of_table;
use crate::apply::warehouse::postgres::load::Load;
use crate::apply::warehouse::postgres::stages::Stages;
use crate::apply::warehouse::postgres::statements::Statements;
use crate::position::Position;
use crate::table::TableName;

/// Makes a connection; called again after it was lost.
pub type Connect = Arc<dyn Fn() -> Result<Arc<Client>, WarehouseError> + Send + Sync>;

/// How long a warehouse may take to say that it is there.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// Settings that could change a value or end a session, pinned. Who waits for a lock on a table
/// keeps all others from it that come later, so that it is not waited for long.
const PINNED: &str = "\
    SET DateStyle = 'ISO, MDY'; SET TimeZone = 'UTC'; SET IntervalStyle = 'postgres'; \
    SET extra_float_digits = 3; SET client_encoding = 'UTF8'; SET bytea_output = 'hex'; \
    SET search_path = pg_catalog; SET standard_conforming_strings = on; \
    SET statement_timeout = 0; SET lock_timeout = '3s'; \
    SET idle_in_transaction_session_timeout = 0; SET row_security = off; \
    SET client_min_messages = warning; SET default_transaction_isolation = 'read committed'; \
    SET default_transaction_read_only = off";

/// A PostgreSQL as a warehouse.
pub struct PostgresWarehouse {
    connect: Connect,
    runtime: Handle,
    name: String,
    delete_mode: DeleteMode,
    broken: BrokenRules,
    session: Option<Session>,
}

/// One connection, and the staging tables that it has.
struct Session {
    client: Arc<Client>,
    stages: Stages,
    /// Tables that are as the mode of deletes wants them.
    fitting: HashSet<TableId>,
}

impl PostgresWarehouse {
    /// Connects and makes sure of the schema `_cdc`. `name` is the destination, for people.
    ///
    /// # Errors
    ///
    /// It cannot be reached, or a right is missing.
    pub fn open(
        connect: Connect,
        runtime: Handle,
        name: String,
        delete_mode: DeleteMode,
    ) -> Result<Self, WarehouseError> {
        let mut warehouse = PostgresWarehouse {
            connect,
            runtime,
            name,
            delete_mode,
            broken: BrokenRules::default(),
            session: None,
        };
        warehouse.client()?;
        Ok(warehouse)
    }

    /// With rules turned off, for the tests that show what they are for.
    #[must_use]
    pub fn with_broken_rules(mut self, broken: BrokenRules) -> Self {
        self.broken = broken;
        self
    }

    fn client(&mut self) -> Result<Arc<Client>, WarehouseError> {
        if let Some(session) = &self.session
            && !session.client.is_closed()
        {
            return Ok(Arc::clone(&session.client));
        }
        self.session = None;
        let client = (self.connect)()?;
        self.runtime.block_on(async {
            client.batch_execute(PINNED).await.map_err(|error| failed(&error))?;
            let earlier = client.query_one(state::IS_EARLIER, &[]).await;
            if earlier.map_err(|error| failed(&error))?.get(0) {
                return Err(super::earlier_layout());
            }
            // Two that start at once must not both find the schema missing.
            let create = format!(
                "BEGIN; SELECT pg_advisory_xact_lock(4851031921); {} COMMIT",
                state::CREATE
            );
            client.batch_execute(&create).await.map_err(|error| failed(&error))
        })?;
        self.session = Some(Session {
            client: Arc::clone(&client),
            stages: Stages::default(),
            fitting: HashSet::new(),
        });
        Ok(client)
    }

    /// Something else than a table may have its name.
    fn check_kind(&mut self, table: &TableName) -> Result<(), WarehouseError> {
        let kind = "SELECT CASE relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN \
                    'f' THEN 'foreign table' WHEN 'S' THEN 'sequence' WHEN 'c' THEN 'type' ELSE \
                    'index' END FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                    WHERE n.nspname = $1 AND c.relname = $2 AND relkind NOT IN ('r', 'p')";
        let rows = self.query(kind, &[&table.namespace, &table.name])?;
        let Some(kind) = rows.first().map(|row| row.get::<_, String>(0)) else { return Ok(()) };
        Err(WarehouseError::Configuration {
            message: format!("the warehouse has a {kind} named {table}, where a table has to be"),
            hint: "rename or drop it in the warehouse, and start again".to_owned(),
        })
    }

    /// Before a table is asked for rows that are marked.
    fn fit_for_soft(&mut self, target: &Target) -> Result<(), WarehouseError> {
        match self.delete_mode {
            DeleteMode::Hard => Ok(()),
            DeleteMode::Soft => self.fit_for_deletes(target),
        }
    }

    /// Before a table is asked what it holds beside rows that are marked.
    fn fit_for_deletes(&mut self, target: &Target) -> Result<(), WarehouseError> {
        let client = self.client()?;
        let fits = |session: &Session| session.fitting.contains(&target.id);
        if self.session.as_ref().is_some_and(fits) {
            return Ok(());
        }
        self.runtime.block_on(load::fit(&client, target, self.delete_mode))?;
        if let Some(session) = &mut self.session {
            session.fitting.insert(target.id);
        }
        Ok(())
    }

    fn query(
        &mut self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, WarehouseError> {
        let client = self.client()?;
        let result = self.runtime.block_on(client.query(sql, parameters));
        result.map_err(|error| failed(&error))
    }
}

impl Warehouse for PostgresWarehouse {
    fn spelling(&self) -> Spelling {
        Spelling { arrays: ArrayForm::Postgres, era: " BC" }
    }

    fn name_rules(&self) -> NameRules {
        NameRules {
            warehouse: "PostgreSQL",
            folds_case: false,
            bytes_max: NAME_BYTES_MAX,
            own_columns: &["tableoid", "ctid", "xmin", "cmin", "xmax", "cmax"],
        }
    }

    fn tables(&mut self) -> Result<Vec<KnownTable>, WarehouseError> {
        let rows = self.query("SELECT definition::text, epoch, floor FROM _cdc.tables", &[])?;
        rows.iter()
            .map(|row| {
                let definition: String = row.get(0);
                let target: Target = serde_json::from_str(&definition)
                    .map_err(|error| unreadable("_cdc.tables", &error.to_string()))?;
                let epoch: i64 = row.get(1);
                let floor: Option<String> = row.get(2);
                let floor = floor.map(|floor| parse_position(&floor)).transpose()?;
                let epoch = u64::try_from(epoch)
                    .map_err(|_| unreadable("_cdc.tables", "an epoch below zero"))?;
                Ok(KnownTable { target, epoch, floor })
            })
            .collect()
    }

    fn foreign_table(&mut self, table: &TableName) -> Result<Option<ForeignTable>, WarehouseError> {
        self.check_kind(table)?;
        let columns = self.query(
            "SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a JOIN \
             pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE \
             n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY \
             a.attnum",
            &[&table.namespace, &table.name],
        )?;
        if columns.is_empty() {
            return Ok(None);
        }
        let key = self.query(
            "SELECT a.attname FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN \
             pg_namespace n ON n.oid = c.relnamespace CROSS JOIN unnest(i.indkey) WITH ORDINALITY \
             AS k(attnum, number) JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = \
             k.attnum WHERE n.nspname = $1 AND c.relname = $2 AND i.indisprimary ORDER BY k.number",
            &[&table.namespace, &table.name],
        )?;
        let any = format!("SELECT EXISTS (SELECT FROM {})", table.quoted());
        let has_rows = self.query(&any, &[])?.first().is_some_and(|row| row.get(0));
        let names: Vec<(String, String)> =
            columns.iter().map(|row| (row.get(0), row.get(1))).collect();
        Ok(Some(ForeignTable {
            millis: names
                .iter()
                .filter(|(_, text)| (0..=3).any(|digits| text.contains(&format!("({digits})"))))
                .filter(|(_, text)| text.starts_with("time"))
                .map(|(name, _)| name.clone())
                .collect(),
            has_position: names.iter().any(|(name, _)| name == super::POSITION_COLUMN),
            columns: names
                .into_iter()
                .filter(|(name, _)| !name.starts_with("_cdc_"))
                .map(|(name, text)| {
                    let column_type = ColumnType::from_format_type(&text);
                    (name, column_type.unwrap_or(ColumnType::Text))
                })
                .collect(),
            key: key.iter().map(|row| row.get(0)).collect(),
            has_rows,
        }))
    }

    fn claim(
        &mut self,
        group: &str,
        partitions: &[(String, i32)],
    ) -> Result<Vec<Claim>, WarehouseError> {
        let topics: Vec<&str> = partitions.iter().map(|(topic, _)| topic.as_str()).collect();
        let numbers: Vec<i32> = partitions.iter().map(|(_, partition)| *partition).collect();
        let rows = self.query(state::CLAIM, &[&group, &topics, &numbers])?;
        let claim = |row: &Row| Claim {
            topic: row.get(0),
            partition: row.get(1),
            next_offset: row.get(2),
            fence: row.get(3),
            place: LogPlace { log: row.get(4), begun_at: row.get(5), last_record: row.get(6) },
        };
        Ok(rows.iter().map(claim).collect())
    }

    fn offsets(&mut self, group: &str) -> Result<Vec<(String, i32, i64)>, WarehouseError> {
        let sql = "SELECT topic, partition, coalesce(next_offset, 0) FROM _cdc.offsets WHERE \
                   \"group\" = $1";
        let rows = self.query(sql, &[&group])?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect())
    }

    fn watermarks(&mut self, topic: &str) -> Result<Vec<StoredMark>, WarehouseError> {
        let rows = self.query(state::WATERMARKS, &[&topic])?;
        let mark = |row: &Row| {
            let mark = serde_json::from_str(row.get::<_, &str>(4))
                .map_err(|error| unreadable("_cdc.watermarks", &error.to_string()))?;
            Ok(StoredMark {
                partition: row.get(0),
                prefix: row.get(1),
                table: TableName::new(row.get::<_, &str>(2), row.get::<_, &str>(3)),
                mark,
            })
        };
        rows.iter().map(mark).collect()
    }

    fn applied_ranges(&mut self, topic: &str) -> Result<Vec<AppliedRange>, WarehouseError> {
        let rows = self.query(state::APPLIED_RANGES, &[&topic])?;
        let range = |row: &Row| AppliedRange {
            partition: row.get(0),
            log: row.get(1),
            begun_at: row.get(2),
            next_offset: row.get(3),
        };
        Ok(rows.iter().map(range).collect())
    }

    fn note_partitions(
        &mut self,
        topic: &str,
        count: i32,
        below: u64,
    ) -> Result<u64, WarehouseError> {
        let below = i64::try_from(below).unwrap_or(i64::MAX);
        let rows = self.query(state::NOTE_PARTITIONS, &[&topic, &count, &below])?;
        let stored = rows.first().and_then(|row| u64::try_from(row.get::<_, i64>(0)).ok());
        stored.ok_or_else(|| unreadable("_cdc.topics", "an epoch below zero"))
    }

    fn rows(
        &mut self,
        target: &Target,
        keys: &[Vec<Cell>],
        texts: &mut Texts,
    ) -> Result<Vec<Option<StoredRow>>, WarehouseError> {
        let columns: Vec<Vec<String>> = (0..target.key.len())
            .map(|at| {
                let text = |key: &Vec<Cell>| {
                    let cell = key.get(at).copied().unwrap_or(Cell::Null);
                    String::from_utf8_lossy(texts.text(cell).unwrap_or_default()).into_owned()
                };
                keys.iter().map(text).collect()
            })
            .collect();
        let parameters: Vec<&(dyn ToSql + Sync)> =
            columns.iter().map(|column| column as &(dyn ToSql + Sync)).collect();
        self.fit_for_soft(target)?;
        let select = Statements::new(target, self.delete_mode).select();
        let rows = self.query(&select, &parameters).map_err(|error| of_table(error, target))?;
        let mut found: Vec<Option<StoredRow>> = vec![None; keys.len()];
        for row in rows {
            let number: i64 = row.get(0);
            let position = parse_position(row.get::<_, &str>(1))?;
            let gone: bool = row.get(2);
            let values: Vec<Option<&str>> = row.get(3);
            let incomplete: Vec<&str> = row.get::<_, Option<_>>(4).unwrap_or_default();
            let cells = (!gone).then(|| {
                let cell = |(column, value): (&TargetColumn, Option<&str>)| match value {
                    Some(text) => Cell::Text(texts.push(text.as_bytes())),
                    None if incomplete.contains(&column.name.as_str()) => Cell::Missing,
                    None => Cell::Null,
                };
                target.columns.iter().zip(values).map(cell).collect()
            });
            let at = usize::try_from(number).unwrap_or_default().wrapping_sub(1);
            if let Some(place) = found.get_mut(at) {
                *place = Some(StoredRow { position, cells });
            }
        }
        Ok(found)
    }

    fn tells_apart(
        &mut self,
        target: &Target,
        key: Option<&[usize]>,
    ) -> Result<bool, WarehouseError> {
        self.fit_for_deletes(target)?;
        let rows = self.query(&Statements::new(target, self.delete_mode).tells_apart(key), &[])?;
        Ok(rows.first().is_some_and(|row| row.get(0)))
    }

    fn moved(
        &mut self,
        table: TableId,
        position: Position,
    ) -> Result<Option<Moved>, WarehouseError> {
        let sql = "SELECT values::text FROM _cdc.moved WHERE table_id = $1 AND position = $2";
        let rows = self.query(sql, &[&table.0, &sortable(position)])?;
        let Some(row) = rows.first() else { return Ok(None) };
        let values = serde_json::from_str(row.get::<_, &str>(0))
            .map_err(|error| unreadable("_cdc.moved", &error.to_string()))?;
        Ok(Some(Moved { table, position, values }))
    }

    fn load(&mut self, group: &str, plan: &Plan) -> Result<Loaded, WarehouseError> {
        let client = self.client()?;
        let (delete_mode, broken) = (self.delete_mode, self.broken);
        let Some(session) = &mut self.session else {
            return Err(WarehouseError::Internal { invariant: "a client is of the session" });
        };
        let (stages, fitting) = (&mut session.stages, &mut session.fitting);
        let known = (stages.clone(), fitting.clone());
        let result = self.runtime.block_on(async {
            client.batch_execute("BEGIN").await.map_err(|error| failed(&error))?;
            let loaded = Loaded::default();
            let client = &client;
            let mut load = Load { client, stages, fitting, plan, delete_mode, broken, loaded };
            let result = load.run(group).await;
            let loaded = load.loaded;
            match result {
                Ok(()) => {
                    client.batch_execute("COMMIT").await.map_err(|error| failed(&error))?;
                    Ok(loaded)
                }
                Err(error) => {
                    // A session that cannot even roll back is closed and found so at the next use.
                    client.batch_execute("ROLLBACK").await.ok();
                    Err(error)
                }
            }
        });
        if result.is_err() {
            (session.stages, session.fitting) = known;
        }
        result
    }

    fn ping(&mut self) -> Result<(), WarehouseError> {
        let client = self.client()?;
        let asked = async { tokio::time::timeout(PING_TIMEOUT, client.batch_execute("")).await };
        match self.runtime.block_on(asked) {
            Ok(answer) => answer.map_err(|error| failed(&error)),
            Err(_) => Err(WarehouseError::Unreachable {
                message: format!("the warehouse has not answered for {} s", PING_TIMEOUT.as_secs()),
            }),
        }
    }

    fn state(&mut self) -> Result<Vec<(String, String)>, WarehouseError> {
        let rows = self.query("SELECT key, value FROM _cdc.state", &[])?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    fn dead_letters(
        &mut self,
        after: Option<&(String, i32, i64)>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, WarehouseError> {
        let start = (String::new(), -1, -1);
        let (topic, partition, offset) = after.unwrap_or(&start);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.query(
            "SELECT topic, partition, \"offset\", reason, key, value, headers::text FROM \
             _cdc.dead_letters WHERE (topic COLLATE \"C\", partition, \"offset\") > ($1::text \
             COLLATE \"C\", $2::int, $3::bigint) ORDER BY topic COLLATE \"C\", partition, \
             \"offset\" LIMIT $4",
            &[topic, partition, offset, &limit],
        )?;
        let letter = |row: &Row| DeadLetter {
            topic: row.get(0),
            partition: row.get(1),
            offset: row.get(2),
            reason: row.get(3),
            key: row.get(4),
            value: row.get(5),
            headers: row.get(6),
        };
        Ok(rows.iter().map(letter).collect())
    }

    fn parked_keys(&mut self) -> Result<Vec<(String, Vec<u8>)>, WarehouseError> {
        let sql = "SELECT DISTINCT topic, key FROM _cdc.dead_letters WHERE key IS NOT NULL";
        let rows = self.query(sql, &[])?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    fn identity(&self) -> Option<(String, String)> {
        let session = self.session.as_ref()?;
        let sql = "SELECT system_identifier::text, current_database()::text FROM \
                   pg_control_system()";
        let row = self.runtime.block_on(session.client.query_one(sql, &[])).ok()?;
        Some((row.get(0), row.get(1)))
    }

    fn describe(&self) -> String {
        self.name.clone()
    }
}

fn parse_position(text: &str) -> Result<Position, WarehouseError> {
    text.parse().map_err(|_| unreadable("a position in _cdc", text))
}

fn unreadable(place: &str, reason: &str) -> WarehouseError {
    WarehouseError::Configuration {
        message: format!("{place} cannot be read: {reason}"),
        hint:
            "it was written by another version or changed by hand: restore it, or drop the schema \
               _cdc and the tables it names and read everything again"
                .to_owned(),
    }
}

//! How the source is prepared, read and streamed: snapshots, slot, replica identities.

use std::time::Duration;

use crate::capture::IdentityRule;
use crate::capture::NameList;
use crate::capture::RowCountOrder;
use crate::capture::SlotOptions;
use crate::capture::SnapshotMode;
use crate::capture::SnapshotSettings;
use crate::capture::TablesLimit;
use crate::capture::WantedIdentity;
use crate::config::RawConfig;
use crate::config::shaping;

/// More connections bring nothing, and no server has them to give.
const MOST_THREADS: usize = 256;

/// When tables are read, and what of them.
pub(super) fn snapshot(raw: &mut RawConfig) -> SnapshotSettings {
    let millis = |raw: &RawConfig, name: &str| Duration::from_millis(raw.number(name));
    let include = shaping::list(raw, "snapshot.include.collection.list");
    let (mode, when_needed) = mode(raw);
    let mismatch = raw.text("offset.mismatch.strategy");
    SnapshotSettings {
        mode,
        starts_over: when_needed || matches!(mismatch, "trust_slot" | "trust_greater_lsn"),
        threads: usize::try_from(raw.number("snapshot.max.threads"))
            .map_or(MOST_THREADS, |given| given.min(MOST_THREADS)),
        include,
        overrides: overrides(raw),
        lock_timeout: (raw.text("snapshot.locking.mode") == "shared")
            .then(|| millis(raw, "snapshot.lock.timeout.ms")),
        order: match raw.text("snapshot.tables.order.by.row.count") {
            "ascending" => RowCountOrder::Ascending,
            "descending" => RowCountOrder::Descending,
            _ => RowCountOrder::Disabled,
        },
        delay: millis(raw, "snapshot.delay.ms"),
        streaming_delay: millis(raw, "streaming.delay.ms"),
        first_epoch: Some(raw.number("snapshot.epoch")).filter(|epoch| *epoch > 0),
    }
}

/// The mode, and whether all is read again when the slot's position does not fit.
fn mode(raw: &mut RawConfig) -> (SnapshotMode, bool) {
    let part = |raw: &RawConfig, name: &str| {
        raw.flag(&format!("snapshot.mode.configuration.based.{name}"))
    };
    match raw.text("snapshot.mode") {
        "always" => (SnapshotMode::Always, true),
        "initial_only" => (SnapshotMode::InitialOnly, false),
        "no_data" => (SnapshotMode::NoData, false),
        "when_needed" => (SnapshotMode::Initial, true),
        "configuration_based" => {
            let on_error = part(raw, "snapshot.on.data.error");
            match (part(raw, "snapshot.data"), part(raw, "start.stream")) {
                (true, true) => (SnapshotMode::Always, true),
                (true, false) => (SnapshotMode::InitialOnly, on_error),
                (false, true) => (SnapshotMode::NoData, on_error),
                (false, false) => {
                    raw.fail(
                        "snapshot.mode",
                        "found \"configuration_based\" without anything to do, expected \
                         snapshot.mode.configuration.based.snapshot.data or .start.stream",
                    );
                    (SnapshotMode::Initial, false)
                }
            }
        }
        _ => (SnapshotMode::Initial, false),
    }
}

/// `snapshot.select.statement.overrides` and the statement of each table.
fn overrides(raw: &RawConfig) -> Vec<(String, String)> {
    const NAME: &str = "snapshot.select.statement.overrides";
    let text = raw.text(NAME).to_owned();
    let statements = raw.family(&format!("{NAME}."));
    let tables: Vec<&str> =
        text.split(',').map(str::trim).filter(|table| !table.is_empty()).collect();
    // As in Debezium, one without the other has no effect.
    for (table, _) in &statements {
        if !tables.contains(&table.as_str()) {
            tracing::warn!(table, "{NAME} does not name the table of this statement");
        }
    }
    let mut all = Vec::new();
    for table in tables {
        match statements.iter().find(|(known, _)| known == table) {
            Some((_, statement)) => {
                let statement = statement.trim().trim_end_matches(';').to_owned();
                all.push((table.to_owned(), statement));
            }
            None => tracing::warn!(table, "{NAME} names a table that has no statement"),
        }
    }
    all
}

/// Options of the slot and of its stream.
pub(super) fn slot(raw: &mut RawConfig) -> SlotOptions {
    /// What would change the stream's form.
    const OURS: [&str; 5] =
        ["proto_version", "publication_names", "streaming", "binary", "two_phase"];
    let text = raw.text("slot.stream.params").to_owned();
    let mut stream_params = Vec::new();
    for pair in text.split(';').map(str::trim).filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some((name, _)) if OURS.contains(&name.trim()) => {
                let message = format!("{} is not to be chosen", name.trim());
                raw.fail("slot.stream.params", message);
            }
            Some((name, value)) => {
                stream_params.push((name.trim().to_owned(), value.trim().to_owned()));
            }
            None => {
                raw.fail("slot.stream.params", format!("found \"{pair}\", expected NAME=VALUE"));
            }
        }
    }
    let manual = raw.text("lsn.flush.mode") == "manual"
        || (raw.given("lsn.flush.mode").is_none() && raw.text("flush.lsn.source") == "false");
    SlotOptions {
        failover: raw.flag("slot.failover"),
        drop_on_stop: raw.flag("slot.drop.on.stop"),
        stream_params,
        confirms: !manual,
        xmin_interval: Duration::from_millis(raw.number("xmin.fetch.interval.ms")),
    }
}

/// Replica identities to set: `TABLES:IDENTITY,TABLES:IDENTITY`.
pub(super) fn identities(raw: &mut RawConfig) -> Vec<IdentityRule> {
    const NAME: &str = "replica.identity.autoset.values";
    let text = raw.text(NAME).to_owned();
    let mut rules = Vec::new();
    if raw.given(NAME).is_none() {
        return Vec::new();
    }
    for part in shaping::java_split(&text, ',') {
        let parsed = part.trim().split_once(':').and_then(|(tables, identity)| {
            let mut words = identity.split(' ');
            let word = words.next()?.to_ascii_uppercase();
            let identity = match (word.as_str(), words.next(), words.next()) {
                ("DEFAULT", None, _) => WantedIdentity::Default,
                ("FULL", None, _) => WantedIdentity::Full,
                ("NOTHING", None, _) => WantedIdentity::Nothing,
                ("INDEX", Some(index), None) if is_index(index) => {
                    WantedIdentity::Index(index.to_owned())
                }
                _ => return None,
            };
            let blank = tables.is_empty() || tables.contains(char::is_whitespace);
            (!blank).then_some((tables, identity))
        });
        let Some((tables, identity)) = parsed else {
            let message = format!(
                "found \"{part}\", expected TABLES:IDENTITY with DEFAULT, FULL, NOTHING or INDEX \
                 NAME"
            );
            raw.fail(NAME, message);
            continue;
        };
        match NameList::parse(tables) {
            Ok(tables) => rules.push(IdentityRule { tables, identity }),
            Err(message) => raw.fail(NAME, message),
        }
    }
    rules
}

/// A name of an index as Debezium reads it: letters, digits and underscores behind any character.
fn is_index(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some() && characters.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// How many tables may be captured.
pub(super) fn tables_limit(raw: &RawConfig) -> Option<TablesLimit> {
    let most = usize::try_from(raw.number("guardrail.collections.max")).unwrap_or(usize::MAX);
    let fails = raw.text("guardrail.collections.limit.action") == "fail";
    (most > 0).then_some(TablesLimit { most, fails })
}

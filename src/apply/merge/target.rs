//! What a version of a source table's columns changes in its table of the warehouse.
//!
//! Added columns come with what older rows have, widened ones widen, renamed ones are recognised by
//! their number, dropped ones stay and are NULL from then on. Numbers are claimed before names: a
//! column that is renamed keeps its values, and one that is added under its former name is another.
//! What cannot be derived marks the table: its rows must be read again. A version older than the
//! newest that was seen changes nothing: its columns only find their places.

use crate::apply::merge::column_type::ColumnType;
use crate::apply::merge::encoding::Encoding;
use crate::apply::merge::encoding::Unit;
use crate::apply::merge::plan::TableChange;
use crate::apply::merge::plan::TableId;
use crate::apply::merge::plan::Target;
use crate::apply::merge::plan::TargetColumn;
use crate::apply::merge::value::Spelling;
use crate::apply::merge::version::Learnt;
use crate::apply::merge::version::Version;
use crate::apply::merge::version::VersionColumn;
use crate::position::Position;

/// What a version does to a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reconciled {
    /// The table afterwards.
    pub target: Target,
    /// What is to be changed.
    pub changes: Vec<TableChange>,
    /// For each column of the version its place in the target; `None`: the source has dropped it
    /// since, and it was never in the warehouse.
    pub places: Vec<Option<usize>>,
    /// Why the table must be read again, if this version is the reason.
    pub reread: Option<String>,
    /// Rows are told apart by other columns than before: the warehouse has to be asked whether
    /// those that it has are.
    pub has_new_key: bool,
}

/// A table that is not in the warehouse yet.
pub fn create(
    id: TableId,
    prefix: &str,
    version: &Version,
    position: Position,
    spelling: Spelling,
) -> Reconciled {
    let columns: Vec<TargetColumn> =
        version.columns.iter().map(|column| new_column(column, position, spelling)).collect();
    let place = |name: &String| columns.iter().position(|column| column.name == *name);
    let target = Target {
        id,
        table: version.table.clone(),
        prefix: prefix.to_owned(),
        oid: version.oid,
        key: version.key.iter().filter_map(place).collect(),
        columns,
        is_foreign: false,
        generation: 0,
        by_look: version.learnt == Learnt::Look,
        reread: String::new(),
        reread_at: None,
        has_older: false,
        version_at: Some(position),
        keyed_at: None,
        snapshots: Vec::new(),
        commit_times: false,
        topics: Vec::new(),
    };
    Reconciled {
        places: (0..target.columns.len()).map(Some).collect(),
        changes: vec![TableChange::Create],
        target,
        reread: None,
        has_new_key: false,
    }
}

fn new_column(column: &VersionColumn, since: Position, spelling: Spelling) -> TargetColumn {
    TargetColumn {
        name: column.name.clone(),
        column_type: column.column_type.clone(),
        source_type: (!column.untyped).then(|| column.column_type.clone()),
        millis: matches!(
            column.encoding,
            Encoding::Time(Unit::Millis) | Encoding::Timestamp(Unit::Millis)
        ),
        attnum: column.attnum,
        by_name: false,
        default: Version::default_text(column, spelling),
        default_unknown: column.default_unknown,
        since: Some(since),
        dropped: false,
    }
}

/// What a version changes in a table that is there. `position` is where the source's columns were
/// like this, which for a snapshot's row is where the snapshot was taken.
pub fn reconcile(
    target: &Target,
    version: &Version,
    position: Position,
    spelling: Spelling,
) -> Reconciled {
    let newer = target.version_at.is_none_or(|at| position > at);
    let by_look = version.learnt == Learnt::Look;
    let mut work = Work {
        target: target.clone(),
        changes: Vec::new(),
        reasons: Vec::new(),
        position,
        spelling,
    };
    let mut has_new_key = false;
    let places = if version.learnt == Learnt::Target {
        places(target, version)
    } else if newer || by_look {
        let places = work.follow(version);
        let key = key_places(version, &places);
        has_new_key = newer && !is_same_key(&key, &work.target.key);
        if has_new_key {
            work.target.key = key;
        }
        places.into_iter().map(Some).collect()
    } else {
        work.find(version)
    };
    let Work { mut target, changes, mut reasons, .. } = work;
    // What is marked for the same reason is marked already.
    reasons.retain(|reason| !by_look && !target.reread.contains(reason.as_str()));
    let reread = (!reasons.is_empty()).then(|| reasons.join("; "));
    if let Some(reason) = &reread {
        let before =
            Some(&target.reread).filter(|text| (1..REASON_BYTES_MAX).contains(&text.len()));
        target.reread = before.map_or(reason.clone(), |before| format!("{before}; {reason}"));
    }
    Reconciled { target, changes, places, reread, has_new_key }
}

/// Bytes of reasons behind which no further one is noted.
const REASON_BYTES_MAX: usize = 1000;

/// Where the columns of a version stand in a table, without any change of it.
pub fn places(target: &Target, version: &Version) -> Vec<Option<usize>> {
    let numbers_count = is_same_table(target, version);
    version.columns.iter().map(|column| place_of(target, column, numbers_count)).collect()
}

/// Whether numbers of columns mean the same in both.
fn is_same_table(target: &Target, version: &Version) -> bool {
    target.oid.is_none() || version.oid.is_none() || target.oid == version.oid
}

/// By number, else by name.
fn place_of(target: &Target, column: &VersionColumn, numbers_count: bool) -> Option<usize> {
    let attnum = column.attnum.filter(|_| numbers_count);
    let of = |known: &TargetColumn| known.attnum.filter(|_| numbers_count);
    let by_number =
        attnum.and_then(|_| target.columns.iter().position(|known| of(known) == attnum));
    by_number.or_else(|| {
        target.columns.iter().position(|known| {
            known.name == column.name && (of(known).is_none() || attnum.is_none())
        })
    })
}

/// Places of the columns of a version's key.
fn key_places(version: &Version, places: &[usize]) -> Vec<usize> {
    let place = |name: &String| {
        let at = version.columns.iter().position(|column| column.name == *name)?;
        places.get(at).copied()
    };
    version.key.iter().filter_map(place).collect()
}

/// The order of a key's columns tells nothing apart.
fn is_same_key(a: &[usize], b: &[usize]) -> bool {
    a.len() == b.len() && a.iter().all(|place| b.contains(place))
}

struct Work {
    target: Target,
    changes: Vec<TableChange>,
    reasons: Vec<String>,
    position: Position,
    spelling: Spelling,
}

impl Work {
    /// Makes the table what a newer version says; gives the places of its columns.
    fn follow(&mut self, version: &Version) -> Vec<usize> {
        let by_look = version.learnt == Learnt::Look;
        let is_read_anew = self.enter_table(version);
        let claims = self.claim(version);
        self.rename(version, &claims);
        let places = self.add(version, &claims);
        if !by_look {
            self.drop_others(version, &places);
        }
        for (column, place) in version.columns.iter().zip(&places) {
            self.take_on(column, *place);
        }
        if is_read_anew {
            self.reasons.clear();
        }
        self.target.version_at = self.target.version_at.max(Some(self.position));
        places
    }

    /// Finds the places of an older version's columns. Their values must have room, too.
    fn find(&mut self, version: &Version) -> Vec<Option<usize>> {
        let places = places(&self.target, version);
        for (column, place) in version.columns.iter().zip(&places) {
            match place {
                Some(place) => self.make_room(column, *place),
                None if column.attnum.is_none() => self.note_lost(column, &places),
                // It was dropped before the table was seen.
                None => {}
            }
        }
        places
    }

    /// A column without a number that is not there may have another name since.
    fn note_lost(&mut self, column: &VersionColumn, places: &[Option<usize>]) {
        let came = self.target.columns.iter().enumerate().find(|(place, known)| {
            let is_later = known.since.is_some_and(|since| since > self.position);
            is_later && !known.dropped && !places.contains(&Some(*place))
        });
        if let Some((_, came)) = came {
            self.reasons.push(format!(
                "column \"{}\" vanished while \"{}\" came: it may have been renamed",
                column.name, came.name
            ));
        }
    }

    fn make_room(&mut self, column: &VersionColumn, place: usize) {
        let Some(known) = self.target.columns.get(place) else { return };
        let since = known.source_type.as_ref().unwrap_or(&known.column_type);
        if !self.target.is_foreign && !column.untyped && !keeps_values(&column.column_type, since) {
            self.note_type(&column.name);
        }
        self.widen(column, place);
    }

    fn note_type(&mut self, name: &str) {
        self.reasons
            .push(format!("column \"{name}\" changed its type, and its older values with it"));
    }

    /// Numbers of another source table of the same name mean nothing. Gives whether it is another
    /// one, and a new epoch brings all of its rows.
    fn enter_table(&mut self, version: &Version) -> bool {
        let is_other = !is_same_table(&self.target, version);
        self.target.oid = version.oid.or(self.target.oid);
        if !is_other {
            return false;
        }
        for column in &mut self.target.columns {
            column.attnum = None;
            column.by_name = false;
        }
        self.reasons.push(
            "the source's table was dropped and created again, or another was given its name"
                .to_owned(),
        );
        self.target.version_at.is_some_and(|at| at.epoch < self.position.epoch)
    }

    /// The columns that a version's columns are: numbers first, and names among what no number
    /// has claimed.
    fn claim(&mut self, version: &Version) -> Vec<Option<usize>> {
        let mut claims: Vec<Option<usize>> =
            version.columns.iter().map(|column| self.by_number(column, version)).collect();
        for (at, column) in version.columns.iter().enumerate() {
            // With another number it is another column of the same name.
            let is_this = |known: &TargetColumn| {
                known.name == column.name && (known.attnum.is_none() || column.attnum.is_none())
            };
            let Some(place) = self.target.columns.iter().position(is_this) else { continue };
            if claims.get(at) == Some(&None) && !claims.contains(&Some(place)) {
                if let Some(known) = self.target.columns.get_mut(place) {
                    known.by_name = known.attnum.is_some();
                }
                if let Some(claim) = claims.get_mut(at) {
                    *claim = Some(place);
                }
            }
        }
        claims
    }

    fn by_number(&mut self, column: &VersionColumn, version: &Version) -> Option<usize> {
        let attnum = column.attnum?;
        let columns = &mut self.target.columns;
        let numbered = columns.iter().position(|known| known.attnum == Some(attnum));
        // A version without numbers has brought it as a new one, and rows have their values there.
        let named = columns.iter().position(|known| {
            known.name == column.name && known.attnum.is_none() && !known.dropped
        });
        if let (Some(named), Some(former)) = (named, numbered) {
            let before = columns.get_mut(former)?;
            before.attnum = None;
            self.reasons.push(format!(
                "column \"{}\" was renamed to \"{}\" while the catalog was ahead of the WAL: the \
                 values of older rows stand under the former name",
                before.name, column.name
            ));
            return Some(named);
        }
        let place = named.or(numbered)?;
        let known = columns.get_mut(place)?;
        let goes_on = version.columns.iter().any(|other| other.name == known.name);
        if known.by_name && known.name != column.name && goes_on {
            self.reasons.push(format!(
                "columns \"{}\" and \"{}\" changed their names while the catalog was ahead of the \
                 WAL: which rows have which of them is not known",
                known.name, column.name
            ));
        }
        known.by_name = false;
        Some(place)
    }

    /// Gives claimed columns the names that the version has for them. A name that another column
    /// still holds is freed first.
    fn rename(&mut self, version: &Version, claims: &[Option<usize>]) {
        for (claim, column) in claims.iter().zip(&version.columns) {
            let Some(place) = *claim else { continue };
            if self.target.columns.get(place).is_some_and(|known| known.name != column.name) {
                self.free(&column.name, version);
                self.rename_one(place, &column.name);
            }
        }
    }

    /// Gives the column that has a name another one.
    fn free(&mut self, name: &str, version: &Version) {
        if let Some(holder) = self.target.columns.iter().position(|known| known.name == name) {
            let free = self.free_name(name, version);
            self.rename_one(holder, &free);
        }
    }

    /// A name like this one that nobody has.
    fn free_name(&self, name: &str, version: &Version) -> String {
        let taken = |free: &String| {
            self.target.columns.iter().any(|column| column.name == *free)
                || version.columns.iter().any(|column| column.name == *free)
        };
        let mut number = 1;
        loop {
            let ending = format!("_old{number}");
            let mut length = name.len().min(NAME_BYTES_MAX - ending.len());
            while !name.is_char_boundary(length) {
                length -= 1;
            }
            let free = format!("{}{ending}", name.get(..length).unwrap_or_default());
            if !taken(&free) {
                return free;
            }
            number += 1;
        }
    }

    fn rename_one(&mut self, place: usize, to: &str) {
        let in_key = self.target.key.contains(&place);
        if let Some(column) = self.target.columns.get_mut(place) {
            let from = std::mem::replace(&mut column.name, to.to_owned());
            self.changes.push(TableChange::Rename { from, to: to.to_owned(), in_key });
        }
    }

    /// Adds the columns that are not there; gives the places of all.
    fn add(&mut self, version: &Version, claims: &[Option<usize>]) -> Vec<usize> {
        let mut places = Vec::with_capacity(claims.len());
        for (claim, column) in claims.iter().zip(&version.columns) {
            places.push(claim.unwrap_or(self.target.columns.len()));
            if claim.is_some() {
                continue;
            }
            if column.default_unknown {
                self.reasons.push(format!(
                    "column \"{}\" was added with a default that may differ from row to row",
                    column.name
                ));
            }
            self.free(&column.name, version);
            let added = new_column(column, self.position, self.spelling);
            self.changes.push(TableChange::AddColumn(added.clone()));
            self.target.columns.push(added);
        }
        places
    }

    /// Columns that the version does not have are dropped at the source.
    fn drop_others(&mut self, version: &Version, places: &[usize]) {
        let numbered = version.columns.iter().all(|column| column.attnum.is_some());
        let mut unproven = None;
        for (place, column) in self.target.columns.iter_mut().enumerate() {
            if places.contains(&place) || column.dropped {
                continue;
            }
            column.dropped = true;
            if !numbered || column.attnum.is_none() {
                unproven = Some(column.name.clone());
            }
        }
        let came = self.changes.iter().find_map(|change| match change {
            TableChange::AddColumn(column) => Some(column.name.clone()),
            _ => None,
        });
        if let (Some(gone), Some(came)) = (unproven, came) {
            self.reasons.push(format!(
                "column \"{gone}\" vanished while \"{came}\" came: it may have been renamed"
            ));
        }
    }

    /// Number and type of a column that the source has.
    fn take_on(&mut self, column: &VersionColumn, place: usize) {
        let is_foreign = self.target.is_foreign;
        let Some(known) = self.target.columns.get_mut(place) else { return };
        known.attnum = column.attnum.or(known.attnum);
        if known.dropped {
            // Its older rows still have the values of the one before.
            self.reasons.push(format!("column \"{}\" was dropped and added again", column.name));
            known.dropped = false;
        }
        if is_foreign || column.untyped {
            return;
        }
        let had = known.source_type.replace(column.column_type.clone());
        let had = had.unwrap_or_else(|| known.column_type.clone());
        if !keeps_values(&had, &column.column_type) {
            self.note_type(&column.name);
        }
        self.widen(column, place);
    }

    fn widen(&mut self, column: &VersionColumn, place: usize) {
        let in_key = self.target.key.contains(&place);
        let is_fixed = self.target.is_foreign || column.untyped;
        let Some(known) = self.target.columns.get_mut(place).filter(|_| !is_fixed) else { return };
        let common = known.column_type.common(&column.column_type);
        if common != known.column_type {
            let (name, to) = (known.name.clone(), common.clone());
            let from = std::mem::replace(&mut known.column_type, common);
            self.changes.push(TableChange::Widen { name, from, to, in_key });
        }
    }
}

/// Bytes of the longest name that PostgreSQL keeps whole.
pub const NAME_BYTES_MAX: usize = 63;

/// Whether the source's older values are the same under a new type, as far as that is in the types:
/// whatever would not fit is refused there, and not made to fit.
fn keeps_values(from: &ColumnType, to: &ColumnType) -> bool {
    use ColumnType as T;
    let whole = |t: &T| matches!(t, T::Int16 | T::Int32 | T::Int64);
    let text = |t: &T| matches!(t, T::Text | T::Varchar(_));
    match (from, to) {
        _ if from == to => true,
        _ if whole(from) && whole(to) => true,
        _ if text(from) && text(to) => true,
        (_, T::Numeric) if whole(from) => true,
        (T::Float32, T::Float64) => true,
        (T::Decimal(_, old), T::Decimal(_, new)) => old == new,
        (T::Decimal(..), T::Numeric) | (T::Json, T::Jsonb) | (T::Jsonb, T::Json) => true,
        (T::Array(old), T::Array(new)) => keeps_values(old, new),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::merge::value::ArrayForm;
    use crate::lsn::Lsn;
    use crate::table::TableName;

    const SPELLING: Spelling = Spelling { arrays: ArrayForm::Postgres, era: " BC" };

    fn at(lsn: u64) -> Position {
        Position { epoch: 1, commit_lsn: Lsn(lsn), ord: 0, sub: 0 }
    }

    fn version(columns: &[(&str, i16, ColumnType)]) -> Version {
        Version {
            table: TableName::new("s", "t"),
            oid: None,
            columns: columns
                .iter()
                .map(|(name, attnum, column_type)| VersionColumn {
                    name: (*name).to_owned(),
                    encoding: Encoding::Text,
                    column_type: column_type.clone(),
                    attnum: (*attnum > 0).then_some(*attnum),
                    default: Some("\"d\"".to_owned()),
                    default_unknown: false,
                    untyped: false,
                })
                .collect(),
            key: vec!["id".to_owned()],
            learnt: Learnt::Schema,
        }
    }

    fn first(columns: &[(&str, i16, ColumnType)]) -> Target {
        create(TableId(1), "p", &version(columns), at(10), SPELLING).target
    }

    #[test]
    fn added_columns_have_their_default_and_dropped_ones_stay() {
        use ColumnType::Int32;
        use ColumnType::Text;
        let target = first(&[("id", 1, Int32), ("a", 2, Text)]);
        let newer = version(&[("id", 1, Int32), ("b", 3, Text)]);
        let done = reconcile(&target, &newer, at(20), SPELLING);
        assert_eq!(done.places, [Some(0), Some(2)]);
        assert!(done.target.columns[1].dropped && done.reread.is_none());
        let added = &done.target.columns[2];
        assert_eq!((added.default.as_deref(), added.since), (Some("d"), Some(at(20))));
        // A record of the older version, met later, changes nothing.
        let older = version(&[("id", 1, Int32), ("a", 2, Text)]);
        let again = reconcile(&done.target, &older, at(15), SPELLING);
        assert!(again.changes.is_empty() && again.target == done.target);
        assert_eq!(again.places, [Some(0), Some(1)]);
    }

    #[test]
    fn a_rename_is_seen_by_number_and_guessed_at_by_nothing_else() {
        use ColumnType::Int32;
        let target = first(&[("id", 1, Int32), ("a", 2, Int32), ("b", 3, Int32)]);
        let swapped = version(&[("id", 1, Int32), ("b", 2, Int32), ("a", 3, Int32)]);
        let done = reconcile(&target, &swapped, at(20), SPELLING);
        let names: Vec<_> = done.target.columns.iter().map(|column| &*column.name).collect();
        assert_eq!(names, ["id", "b", "a"]);
        assert!(done.reread.is_none());
        let target = first(&[("id", 0, Int32), ("a", 0, Int32)]);
        let unknown = version(&[("id", 0, Int32), ("z", 0, Int32)]);
        let done = reconcile(&target, &unknown, at(20), SPELLING);
        assert!(done.reread.unwrap().contains("may have been renamed"));
    }

    #[test]
    fn types_widen_and_another_key_is_followed() {
        use ColumnType as T;
        let target = first(&[("id", 1, T::Int32), ("a", 2, T::Int32)]);
        let wider = version(&[("id", 1, T::Int64), ("a", 2, T::Text)]);
        let done = reconcile(&target, &wider, at(20), SPELLING);
        assert_eq!(done.target.columns[0].column_type, T::Int64);
        assert_eq!(done.target.columns[1].column_type, T::Text);
        assert!(done.reread.unwrap().contains("changed its type"));
        let narrow = version(&[("id", 1, T::Int16), ("a", 2, T::Int32)]);
        assert!(reconcile(&target, &narrow, at(20), SPELLING).changes.is_empty());
        let mut keyless = version(&[("id", 1, T::Int32)]);
        keyless.key.clear();
        let done = reconcile(&target, &keyless, at(20), SPELLING);
        assert!(done.has_new_key && !done.target.is_keyed());
        // A record from before it tells nothing of the key.
        assert!(!reconcile(&target, &keyless, at(5), SPELLING).has_new_key);
        let mut wider = version(&[("id", 1, T::Int32), ("a", 2, T::Int32)]);
        wider.key.push("a".to_owned());
        let done = reconcile(&target, &wider, at(20), SPELLING);
        assert!(done.has_new_key && done.target.key == [0, 1]);
        wider.key.reverse();
        assert!(!reconcile(&done.target, &wider, at(30), SPELLING).has_new_key);
    }

    /// `Rename` as `a>b`, `AddColumn` as `+c`.
    fn shown(changes: &[TableChange]) -> Vec<String> {
        let shown = |change: &TableChange| match change {
            TableChange::Rename { from, to, .. } => format!("{from}>{to}"),
            TableChange::AddColumn(column) => format!("+{}", column.name),
            other => format!("{other:?}"),
        };
        changes.iter().map(shown).collect()
    }

    #[test]
    fn a_column_renamed_away_keeps_its_values_and_one_added_under_its_name_is_another() {
        use ColumnType::Int32;
        let target = first(&[("id", 1, Int32), ("price", 2, Int32)]);
        let newer = version(&[("id", 1, Int32), ("price_old", 2, Int32), ("price", 4, Int32)]);
        let done = reconcile(&target, &newer, at(20), SPELLING);
        assert_eq!(shown(&done.changes), ["price>price_old", "+price"]);
        assert_eq!(done.places, [Some(0), Some(1), Some(2)]);
        assert_eq!(done.reread, None);
        // The other way round, and in a cycle of three.
        let newer = version(&[("id", 1, Int32), ("price", 4, Int32), ("price_old", 2, Int32)]);
        let done = reconcile(&target, &newer, at(20), SPELLING);
        assert_eq!(shown(&done.changes), ["price>price_old", "+price"]);
        assert_eq!(done.places, [Some(0), Some(2), Some(1)]);
        let target = first(&[("a", 1, Int32), ("b", 2, Int32), ("id", 3, Int32)]);
        let newer = version(&[("b", 1, Int32), ("id", 2, Int32), ("a", 3, Int32)]);
        let done =
            reconcile(&target, &Version { key: vec!["a".to_owned()], ..newer }, at(20), SPELLING);
        let names: Vec<String> =
            done.target.columns.into_iter().map(|column| column.name).collect();
        assert_eq!(names, ["b", "id", "a"]);
    }

    #[test]
    fn a_column_dropped_and_added_again_is_another_one() {
        use ColumnType::Int32;
        let target = first(&[("id", 1, Int32), ("a", 2, Int32)]);
        let newer = version(&[("id", 1, Int32), ("a", 5, Int32)]);
        let done = reconcile(&target, &newer, at(20), SPELLING);
        assert_eq!(shown(&done.changes), ["a>a_old1", "+a"]);
        assert!(done.reread.is_none() && done.target.columns[1].dropped);
        assert_eq!(done.places, [Some(0), Some(2)]);
        // Without numbers it cannot be told from one that was never dropped.
        let target = first(&[("id", 0, Int32), ("a", 0, Int32)]);
        let without = reconcile(&target, &version(&[("id", 0, Int32)]), at(20), SPELLING);
        let again = version(&[("id", 0, Int32), ("a", 0, Int32)]);
        let done = reconcile(&without.target, &again, at(30), SPELLING);
        assert!(done.reread.unwrap().contains("dropped and added again"));
    }

    #[test]
    fn a_name_that_is_freed_is_not_longer_than_a_warehouse_keeps() {
        let long = "ä".repeat(31);
        let target = first(&[("id", 1, ColumnType::Int32), (&long, 2, ColumnType::Int32)]);
        let newer = version(&[("id", 1, ColumnType::Int32), (&long, 5, ColumnType::Int32)]);
        let done = reconcile(&target, &newer, at(20), SPELLING);
        let freed = &done.target.columns[1].name;
        assert!(freed.len() <= NAME_BYTES_MAX && freed.ends_with("ä_old1"), "{freed}");
    }

    #[test]
    fn a_column_that_a_version_without_numbers_has_brought_keeps_its_values() {
        use ColumnType::Int32;
        let target = first(&[("id", 1, Int32), ("a", 2, Int32)]);
        let ahead = version(&[("id", 0, Int32), ("a2", 0, Int32)]);
        let done = reconcile(&target, &ahead, at(20), SPELLING);
        assert!(done.reread.is_some());
        let newer = version(&[("id", 1, Int32), ("a2", 2, Int32), ("x", 3, Int32)]);
        let done = reconcile(&done.target, &newer, at(30), SPELLING);
        assert_eq!(shown(&done.changes), ["+x"]);
        assert_eq!(done.places, [Some(0), Some(2), Some(3)]);
        assert!(done.reread.unwrap().contains("\"a\" was renamed to \"a2\""));
        // A record of the former name finds the column that it was.
        assert_eq!(
            places(&done.target, &version(&[("id", 1, Int32), ("a", 2, Int32)]))[1],
            Some(2)
        );
    }

    #[test]
    fn names_that_were_swapped_while_the_catalog_was_ahead_mark_the_table() {
        use ColumnType::Int32;
        let target = first(&[("id", 1, Int32), ("a", 2, Int32), ("b", 3, Int32)]);
        let ahead = version(&[("id", 0, Int32), ("a", 0, Int32), ("b", 0, Int32)]);
        let ahead = reconcile(&target, &ahead, at(20), SPELLING).target;
        let swapped = version(&[("id", 1, Int32), ("b", 2, Int32), ("a", 3, Int32)]);
        let done = reconcile(&ahead, &swapped, at(30), SPELLING);
        assert!(done.reread.unwrap().contains("changed their names"));
        // One that was renamed after it is followed.
        let renamed = version(&[("id", 1, Int32), ("z", 2, Int32), ("b", 3, Int32)]);
        let done = reconcile(&ahead, &renamed, at(30), SPELLING);
        assert!(done.reread.is_none());
        assert_eq!(shown(&done.changes), ["a>z"]);
    }

    #[test]
    fn a_vanished_column_without_a_number_may_have_been_renamed() {
        use ColumnType::Int32;
        let target = first(&[("id", 1, Int32), ("d", 2, Int32)]);
        let ahead = version(&[("id", 0, Int32), ("d", 0, Int32), ("f", 0, Int32)]);
        let ahead = reconcile(&target, &ahead, at(20), SPELLING);
        assert!(ahead.reread.is_none());
        let newer = version(&[("id", 1, Int32), ("d", 2, Int32), ("g", 3, Int32)]);
        let done = reconcile(&ahead.target, &newer, at(30), SPELLING);
        assert!(done.reread.unwrap().contains("\"f\" vanished while \"g\" came"));
    }

    #[test]
    fn an_older_version_that_comes_late_finds_room_and_marks_what_it_cannot_tell() {
        use ColumnType as T;
        let newest = [("id", 1, T::Int32), ("a", 2, T::Int32), ("g", 3, T::Text)];
        let target = first(&newest);
        let older = version(&[("id", 1, T::Int32), ("a", 2, T::Text), ("gone", 4, T::Text)]);
        let done = reconcile(&target, &older, at(5), SPELLING);
        assert_eq!(done.target.columns[1].column_type, T::Text);
        assert_eq!(done.places, [Some(0), Some(1), None]);
        assert!(done.reread.unwrap().contains("\"a\" changed its type"));
        assert_eq!(done.target.version_at, Some(at(10)));
        // It is said once.
        assert_eq!(reconcile(&done.target, &older, at(5), SPELLING).reread, None);
        let older = version(&[("id", 0, T::Int32), ("a", 0, T::Int32), ("f", 0, T::Text)]);
        let done = reconcile(&target, &older, at(5), SPELLING);
        assert!(done.reread.unwrap().contains("\"f\" vanished while \"g\" came"));
        let older = version(&[("id", 0, T::Int32), ("a", 0, T::Int32)]);
        assert_eq!(reconcile(&target, &older, at(5), SPELLING).reread, None);
    }

    #[test]
    fn a_type_that_may_have_rounded_older_values_marks_the_table() {
        use ColumnType as T;
        let of = |column_type: T| [("id", 1, T::Int32), ("a", 2, column_type)];
        for (had, has, is_kept) in [
            (T::Decimal(10, 4), T::Decimal(10, 2), false),
            (T::Decimal(10, 2), T::Decimal(6, 2), true),
            (T::Float64, T::Float32, false),
            (T::Text, T::Int32, false),
            (T::Text, T::Varchar(5), true),
            (T::Int64, T::Int16, true),
            (T::Array(Box::new(T::Int32)), T::Array(Box::new(T::Int64)), true),
        ] {
            let done = reconcile(&first(&of(had)), &version(&of(has)), at(20), SPELLING);
            assert_eq!(done.reread.is_none(), is_kept, "{done:?}");
        }
    }

    #[test]
    fn numbers_count_within_one_source_table_only() {
        use ColumnType::Int32;
        let of = |oid, columns: &[(&str, i16, ColumnType)]| Version {
            oid: Some(oid),
            ..version(columns)
        };
        let former = of(7, &[("id", 1, Int32), ("a", 2, Int32), ("b", 3, Int32)]);
        let target = create(TableId(1), "p", &former, at(10), SPELLING).target;
        let new = of(8, &[("id", 1, Int32), ("b", 2, Int32), ("c", 3, Int32)]);
        let done = reconcile(&target, &new, at(20), SPELLING);
        assert_eq!(shown(&done.changes), ["+c"]);
        assert_eq!(done.places, [Some(0), Some(2), Some(3)]);
        assert!(done.reread.unwrap().contains("another was given its name"));
        assert_eq!(places(&done.target, &former), [Some(0), Some(1), Some(2)]);
        // Where a new epoch reads it wholly, nothing has to be read again.
        let next = Position { epoch: 2, ..at(20) };
        let done = reconcile(&target, &new, next, SPELLING);
        assert!(done.reread.is_none());
    }
}

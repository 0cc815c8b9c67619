//! What a version of a source table's columns changes in its table of the warehouse.
//!
//! Added columns come with what older rows have, widened ones widen, renamed ones are recognised by
//! their number, dropped ones stay and are NULL from then on. What cannot be derived marks the
//! table: its rows must be read again. A version older than the newest that was seen changes
//! nothing: its columns only find their places.

use crate::apply::merge::column_type::ColumnType;
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
        version.columns.iter().map(|column| new_column(column, None, spelling)).collect();
    let place = |name: &String| columns.iter().position(|column| column.name == *name);
    let target = Target {
        id,
        table: version.table.clone(),
        prefix: prefix.to_owned(),
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

fn new_column(column: &VersionColumn, since: Option<Position>, spelling: Spelling) -> TargetColumn {
    TargetColumn {
        name: column.name.clone(),
        column_type: column.column_type.clone(),
        attnum: column.attnum,
        default: since.and_then(|_| Version::default_text(column, spelling)),
        since,
        dropped: false,
    }
}

/// What a version changes in a table that is there.
pub fn reconcile(
    target: &Target,
    version: &Version,
    position: Position,
    spelling: Spelling,
) -> Reconciled {
    let newer = target.version_at.is_none_or(|at| position > at);
    let by_look = version.learnt == Learnt::Look;
    if !(newer || by_look) || version.learnt == Learnt::Target {
        let places = places(target, version);
        return Reconciled {
            target: target.clone(),
            changes: Vec::new(),
            places,
            reread: None,
            has_new_key: false,
        };
    }
    let mut work = Work {
        target: target.clone(),
        changes: Vec::new(),
        reasons: Vec::new(),
        position,
        spelling,
    };
    let places: Vec<usize> = version.columns.iter().map(|column| work.place(column)).collect();
    work.rename(version, &places);
    if !by_look {
        work.drop_others(version, &places);
    }
    for (column, place) in version.columns.iter().zip(&places) {
        work.widen(column, *place);
    }
    let mut target = work.target;
    let key = key_places(version, &places);
    let has_new_key = newer && !is_same_key(&key, &target.key);
    if has_new_key {
        target.key = key;
    }
    let reread = (!work.reasons.is_empty() && !by_look).then(|| work.reasons.join("; "));
    if let Some(reason) = &reread {
        target.reread.clone_from(reason);
        target.reread_at = Some(position);
    }
    target.version_at = target.version_at.max(Some(position));
    let places = places.into_iter().map(Some).collect();
    Reconciled { target, changes: work.changes, places, reread, has_new_key }
}

/// Where the columns of a version stand in a table, without any change of it.
pub fn places(target: &Target, version: &Version) -> Vec<Option<usize>> {
    version.columns.iter().map(|column| place_of(target, column)).collect()
}

/// By number, else by name.
fn place_of(target: &Target, column: &VersionColumn) -> Option<usize> {
    let by_number = column
        .attnum
        .and_then(|attnum| target.columns.iter().position(|known| known.attnum == Some(attnum)));
    by_number.or_else(|| {
        target.columns.iter().position(|known| {
            known.name == column.name && (known.attnum.is_none() || column.attnum.is_none())
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
    /// The place of a column, which is added if there is none.
    fn place(&mut self, column: &VersionColumn) -> usize {
        if let Some(place) = place_of(&self.target, column) {
            return place;
        }
        let same_name = |known: &TargetColumn| known.name == column.name;
        if let Some(place) = self.target.columns.iter().position(same_name) {
            // Another column of the same name: the old one was dropped and this one added.
            self.reasons.push(format!("column \"{}\" was dropped and added again", column.name));
            if let Some(known) = self.target.columns.get_mut(place) {
                known.attnum = column.attnum;
                known.dropped = false;
            }
            return place;
        }
        let added = new_column(column, Some(self.position), self.spelling);
        if column.default_unknown {
            self.reasons.push(format!(
                "column \"{}\" was added with a default that may differ from row to row",
                column.name
            ));
        }
        self.changes.push(TableChange::AddColumn(added.clone()));
        self.target.columns.push(added);
        self.target.columns.len() - 1
    }

    /// Gives columns the names that the version has for them. A name that another column still
    /// holds is freed first.
    fn rename(&mut self, version: &Version, places: &[usize]) {
        let wanted: Vec<(usize, &str)> =
            places.iter().copied().zip(version.columns.iter().map(|c| c.name.as_str())).collect();
        for (place, name) in &wanted {
            let holds = self.target.columns.iter().position(|column| column.name == *name);
            if holds == Some(*place) {
                continue;
            }
            if let Some(holder) = holds {
                let free = self.free_name(name);
                self.rename_one(holder, &free);
            }
            self.rename_one(*place, name);
        }
    }

    fn free_name(&self, name: &str) -> String {
        let taken = |free: &String| self.target.columns.iter().any(|column| column.name == *free);
        let mut number = 1;
        loop {
            let free = format!("{name}_old{number}");
            if !taken(&free) {
                return free;
            }
            number += 1;
        }
    }

    fn rename_one(&mut self, place: usize, to: &str) {
        if let Some(column) = self.target.columns.get_mut(place) {
            let from = std::mem::replace(&mut column.name, to.to_owned());
            self.changes.push(TableChange::Rename { from, to: to.to_owned() });
        }
    }

    /// Columns that the version does not have are dropped at the source.
    fn drop_others(&mut self, version: &Version, places: &[usize]) {
        let mut vanished = Vec::new();
        for (place, column) in self.target.columns.iter_mut().enumerate() {
            if !places.contains(&place) && !column.dropped {
                column.dropped = true;
                vanished.push(column.name.clone());
            }
        }
        let numbered = version.columns.iter().all(|column| column.attnum.is_some());
        let came = self.changes.iter().find_map(|change| match change {
            TableChange::AddColumn(column) => Some(column.name.clone()),
            _ => None,
        });
        if let (false, [gone, ..], Some(came)) = (numbered, vanished.as_slice(), came) {
            self.reasons.push(format!(
                "column \"{gone}\" vanished while \"{came}\" came: it may have been renamed"
            ));
        }
    }

    fn widen(&mut self, column: &VersionColumn, place: usize) {
        let is_foreign = self.target.is_foreign;
        let Some(known) = self.target.columns.get_mut(place) else { return };
        known.attnum = column.attnum.or(known.attnum);
        known.dropped = false;
        if is_foreign || column.untyped || known.column_type == column.column_type {
            return;
        }
        let common = known.column_type.common(&column.column_type);
        if common == known.column_type {
            return;
        }
        if !holds_same_text(&known.column_type, &column.column_type) {
            self.reasons.push(format!(
                "column \"{}\" changed its type, and its older values with it",
                column.name
            ));
        }
        let from = std::mem::replace(&mut known.column_type, common.clone());
        self.changes.push(TableChange::Widen { name: known.name.clone(), from, to: common });
    }
}

/// Whether older values are the same under a new type.
fn holds_same_text(from: &ColumnType, to: &ColumnType) -> bool {
    use ColumnType as T;
    let whole = |t: &T| matches!(t, T::Int16 | T::Int32 | T::Int64);
    let text = |t: &T| matches!(t, T::Text | T::Varchar(_));
    match (from, to) {
        _ if whole(from) && whole(to) => true,
        _ if text(from) && text(to) => true,
        (_, T::Numeric) if whole(from) => true,
        (T::Float32, T::Float64) => true,
        (T::Decimal(_, old), T::Decimal(_, new)) => old == new,
        (T::Decimal(..), T::Numeric) | (T::Json, T::Jsonb) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::merge::encoding::Encoding;
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
}

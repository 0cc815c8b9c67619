//! Which numbers a message's columns have, where the catalog may be ahead of the WAL.
//!
//! A message has its columns in the order of their numbers, and numbers are never used again. So
//! each of its columns is one of the catalog's, or one that has been dropped since, and every
//! column of the catalog that is older than the message's last one is among them.

use crate::capture::catalog::ColumnFacts;
use crate::capture::catalog::TableFacts;
use crate::capture::pgoutput::Relation;
use crate::capture::pgoutput::RelationColumn;

/// A number of the catalog.
struct Slot<'a> {
    attnum: i16,
    /// `None`: the column is dropped.
    column: Option<&'a ColumnFacts>,
}

/// The numbers of a message's columns; `None` where it could be more than one.
pub(super) fn numbers(relation: &Relation<'_>, facts: &TableFacts) -> Vec<Option<i16>> {
    let live = facts.columns.iter().map(|known| Slot { attnum: known.attnum, column: Some(known) });
    let mut slots: Vec<Slot<'_>> = live.collect();
    let alike = |known: &ColumnFacts, column: &RelationColumn<'_>| {
        known.name == column.name
            && known.type_oid == column.type_oid
            && known.type_modifier == column.type_modifier
    };
    // As long as all agree nothing has been dropped since.
    if let Some(found) = align(relation, &slots, alike) {
        return found;
    }
    let dropped = facts.dropped.iter().map(|attnum| Slot { attnum: *attnum, column: None });
    slots.extend(dropped);
    slots.sort_by_key(|slot| slot.attnum);
    let named = |known: &ColumnFacts, column: &RelationColumn<'_>| known.name == column.name;
    align(relation, &slots, alike)
        .or_else(|| align(relation, &slots, named))
        .or_else(|| match facts.has_column_list {
            true => listed(relation, facts),
            false => align(relation, &slots, |_, _| true),
        })
        .unwrap_or_else(|| vec![None; relation.columns.len()])
}

/// The numbers that every way gives of laying the message's columns over these in their order;
/// `None` if there is no way.
fn align(
    relation: &Relation<'_>,
    slots: &[Slot<'_>],
    agree: impl Fn(&ColumnFacts, &RelationColumn<'_>) -> bool,
) -> Option<Vec<Option<i16>>> {
    let width = relation.columns.len();
    // Generated columns need not be published.
    let passes = |slot: &Slot<'_>| slot.column.is_none_or(|known| known.generated);
    let takes = |slot: &Slot<'_>, column: &RelationColumn<'_>| {
        slot.column.is_none_or(|known| agree(known, column))
    };
    // ends[at][taken]: from that slot on there is a way for the columns that are left. Columns
    // behind the message's last one were added later.
    let mut ends = vec![vec![false; width]; slots.len() + 1];
    for row in &mut ends {
        row.push(true);
    }
    let get = |rows: &[Vec<bool>], at: usize, taken: usize| {
        rows.get(at).and_then(|row| row.get(taken)).copied().unwrap_or_default()
    };
    for (at, slot) in slots.iter().enumerate().rev() {
        for (taken, column) in relation.columns.iter().enumerate() {
            let ends_here = (takes(slot, column) && get(&ends, at + 1, taken + 1))
                || (passes(slot) && get(&ends, at + 1, taken));
            if let Some(place) = ends.get_mut(at).and_then(|row| row.get_mut(taken)) {
                *place = ends_here;
            }
        }
    }
    if !get(&ends, 0, 0) {
        return None;
    }
    let mut found: Vec<Vec<i16>> = vec![Vec::new(); width];
    let mut begins = vec![false; width + 1];
    if let Some(first) = begins.first_mut() {
        *first = true;
    }
    for (at, slot) in slots.iter().enumerate() {
        let mut next = vec![false; width + 1];
        for (taken, column) in relation.columns.iter().enumerate() {
            if !begins.get(taken).copied().unwrap_or_default() {
                continue;
            }
            if takes(slot, column) && get(&ends, at + 1, taken + 1) {
                if let Some(numbers) = found.get_mut(taken) {
                    numbers.push(slot.attnum);
                }
                if let Some(place) = next.get_mut(taken + 1) {
                    *place = true;
                }
            }
            if let (true, Some(place)) = (passes(slot), next.get_mut(taken)) {
                *place = true;
            }
        }
        begins = next;
    }
    let one = |numbers: Vec<i16>| match numbers.as_slice() {
        [number] => Some(*number),
        _ => None,
    };
    Some(found.into_iter().map(one).collect())
}

/// The numbers of columns that are all there by name and type, in their order: a publication sends
/// some only.
fn listed(relation: &Relation<'_>, facts: &TableFacts) -> Option<Vec<Option<i16>>> {
    let mut last = 0;
    relation
        .columns
        .iter()
        .map(|column| {
            let known = facts.column(column.name)?;
            let follows = known.attnum > std::mem::replace(&mut last, known.attnum);
            (follows && known.type_oid == column.type_oid).then_some(Some(known.attnum))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::catalog::OlderRows;
    use crate::capture::pgoutput::ReplicaIdentity;
    use crate::oid::Oid;
    use crate::table::TableName;

    fn facts(columns: &[(i16, &str)], dropped: &[i16]) -> TableFacts {
        TableFacts {
            oid: Oid(7),
            name: TableName::new("s", "t"),
            partitioned: false,
            replica_identity: ReplicaIdentity::Default,
            columns: columns
                .iter()
                .map(|(attnum, name)| ColumnFacts {
                    attnum: *attnum,
                    name: (*name).to_owned(),
                    type_oid: Oid(23),
                    type_modifier: -1,
                    type_name: "integer".to_owned(),
                    not_null: false,
                    default: None,
                    generated: false,
                    toastable: false,
                    older: OlderRows::Null,
                })
                .collect(),
            key: Vec::new(),
            key_is_unique: false,
            key_is_identity: false,
            has_column_list: false,
            dropped: dropped.to_vec(),
            storage: Vec::new(),
        }
    }

    fn relation<'a>(names: &[&'a str]) -> Relation<'a> {
        let column = |name: &&'a str| RelationColumn {
            is_key: false,
            name,
            type_oid: Oid(23),
            type_modifier: -1,
        };
        Relation {
            id: Oid(7),
            namespace: "s",
            name: "t",
            replica_identity: ReplicaIdentity::Default,
            columns: names.iter().map(column).collect(),
        }
    }

    #[test]
    fn numbers_are_those_that_no_other_history_gives() {
        let of = |names: &[&str], columns: &[(i16, &str)], dropped: &[i16]| {
            numbers(&relation(names), &facts(columns, dropped))
        };
        let all = [(1, "id"), (2, "a"), (3, "b")];
        assert_eq!(of(&["id", "a", "b"], &all, &[]), [Some(1), Some(2), Some(3)]);
        // A column was added since.
        assert_eq!(of(&["id", "a"], &all, &[]), [Some(1), Some(2)]);
        // One was renamed since, two have changed places.
        assert_eq!(of(&["id", "z", "b"], &all, &[]), [Some(1), Some(2), Some(3)]);
        assert_eq!(of(&["id", "b", "a"], &all, &[]), [Some(1), Some(2), Some(3)]);
        // One was dropped, and another has its name.
        let moved = [(1, "id"), (3, "a")];
        assert_eq!(of(&["id", "a", "b"], &moved, &[2]), [Some(1), Some(2), Some(3)]);
        assert_eq!(of(&["id", "a"], &moved, &[2]), [Some(1), Some(3)]);
        // Two histories.
        let added = [(1, "id"), (3, "a"), (4, "x")];
        assert_eq!(of(&["id", "a", "b"], &added, &[2]), [Some(1), None, None]);
        // Nothing fits.
        assert_eq!(of(&["id", "a", "b"], &[(1, "id")], &[]), [None, None, None]);
    }

    #[test]
    fn columns_of_a_list_have_their_numbers() {
        let mut listed = facts(&[(1, "id"), (2, "a"), (3, "b")], &[]);
        listed.has_column_list = true;
        assert_eq!(numbers(&relation(&["id", "b"]), &listed), [Some(1), Some(3)]);
        assert_eq!(numbers(&relation(&["id", "c"]), &listed), [None, None]);
    }
}

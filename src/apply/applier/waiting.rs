//! The create half of a key change whose large values were left out: they stand in the row under
//! the old key, put aside at the position of the delete half.

use crate::apply::applier::Applier;
use crate::apply::applier::Event;
use crate::apply::error::ApplyError;
use crate::apply::merge::Cell;
use crate::apply::merge::Moved;
use crate::apply::merge::Target;
use crate::apply::merge::cell::fill_missing;
use crate::apply::merge::fold::Base;
use crate::position::Position;

/// What was found of the old row.
pub(super) enum OldKey {
    /// The values are filled in as far as they are known; the rest may stand in the warehouse.
    Found(Option<Base>),
    /// The delete half is still to come in another partition.
    Waits,
    /// The create half was applied before.
    DoneBefore,
}

impl Applier {
    /// Fills in what a create half lacks.
    pub(super) fn fill_from_old_key(
        &mut self,
        event: &Event<'_>,
        target: &Target,
        cells: &mut [Cell],
        force: bool,
    ) -> Result<OldKey, ApplyError> {
        let position = Position { sub: 0, ..event.position };
        if let Some(moved) = self.batch.take_aside(event.table, position) {
            fill_missing(cells, &moved.cells);
            return Ok(OldKey::Found(moved.base));
        }
        let has_row = self.tables.contains_key(event.table) && !self.is_new(event.table);
        if !cells.contains(&Cell::Missing) {
            if has_row {
                self.moved_taken.push((target.id, position));
            }
            return Ok(OldKey::Found(None));
        }
        if has_row && let Some(moved) = self.warehouse.moved(target.id, position)? {
            self.fill_from(&moved, target, cells);
            self.moved_taken.push((target.id, position));
            return Ok(OldKey::Found(None));
        }
        if has_row && self.is_row_there(target, cells, event.position)? {
            return Ok(OldKey::DoneBefore);
        }
        if force || self.others_have_passed(event, position)? {
            // Another process may have put it aside between the two questions.
            if has_row && let Some(moved) = self.warehouse.moved(target.id, position)? {
                self.fill_from(&moved, target, cells);
                self.moved_taken.push((target.id, position));
                return Ok(OldKey::Found(None));
            }
            tracing::warn!(
                table = %event.table, position = %event.position,
                "values of a row with a new key were never received; the row is marked"
            );
            return Ok(OldKey::Found(None));
        }
        Ok(OldKey::Waits)
    }

    pub(super) fn is_new(&self, table: &crate::table::TableName) -> bool {
        matches!(self.before.get(table), Some(None))
    }

    pub(super) fn fill_from(&mut self, moved: &Moved, target: &Target, cells: &mut [Cell]) {
        for (column, cell) in target.columns.iter().zip(cells) {
            if *cell != Cell::Missing {
                continue;
            }
            let found = moved.values.iter().find(|(name, _)| *name == column.name);
            match found {
                Some((_, Some(text))) => {
                    *cell = Cell::Text(self.batch.texts.push(text.as_bytes()));
                }
                Some((_, None)) => *cell = Cell::Null,
                None => {}
            }
        }
    }

    /// Whether the warehouse has this change of the row, or a later one.
    pub(super) fn is_row_there(
        &mut self,
        target: &Target,
        cells: &[Cell],
        position: Position,
    ) -> Result<bool, ApplyError> {
        let stored = self.stored_target(target);
        let keys = [target.key_cells(cells)];
        let found = self.warehouse.rows(&stored, &keys, &mut self.batch.texts)?;
        Ok(found.into_iter().flatten().any(|row| row.position >= position))
    }

    /// The table as the warehouse has it, before this batch.
    pub(super) fn stored_target(&self, target: &Target) -> Target {
        match self.before.get(&target.table) {
            Some(Some(known)) => (*known.target).clone(),
            _ => target.clone(),
        }
    }
}

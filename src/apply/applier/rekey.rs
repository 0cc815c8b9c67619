//! A table whose key has changed at the source: it gets the new key where the record stands that
//! tells of it.
//!
//! What is older was told apart by the other key, so all of it has to be applied before: by every
//! partition of the topic, and stored. Where rows are not told apart by the new key the table is
//! marked, and emptied only if all of it is read again.

use crate::apply::applier::Applier;
use crate::apply::applier::Event;
use crate::apply::applier::Pushed;
use crate::apply::applier::record::RecordProblem;
use crate::apply::applier::tables::TableProblem;
use crate::apply::merge::TableChange;
use crate::apply::merge::Target;
use crate::apply::merge::target::Reconciled;
use crate::lsn::Lsn;
use crate::position::Position;

impl Applier {
    /// Finds out how a table gets the key that the version of a record has.
    pub(super) fn rekey(
        &mut self,
        event: &Event<'_>,
        reconciled: &mut Reconciled,
        force: bool,
    ) -> Result<(), TableProblem> {
        let Some(known) = self.tables.get(event.table) else {
            return Err(RecordProblem::new("its table is not known").into());
        };
        let stored = known.target.clone();
        let is_read = event.position.commit_lsn == Lsn::ZERO;
        // What is of an older epoch does not count any more, wherever it comes from. A streamed
        // change may come before the snapshot of its epoch, which is in other partitions.
        let is_read_anew = is_read && event.position.epoch > known.epoch;
        if !is_read_anew && !force && !self.others_have_passed(event, event.position)? {
            return Err(TableProblem::Later(Pushed::Waits));
        }
        if self.batch.touches(event.table) {
            return Err(TableProblem::Later(Pushed::CommitFirst));
        }
        let is_unique = self.are_told_apart(&stored, &reconciled.target)?;
        let names = |target: &Target| {
            let names: Vec<&str> = target.key_columns().map(|column| &*column.name).collect();
            if names.is_empty() { "none".to_owned() } else { format!("({})", names.join(", ")) }
        };
        let (had, has) = (names(&stored), names(&reconciled.target));
        let drop =
            TableChange::DropKey { had_key: stored.is_keyed(), empty: is_read_anew && !is_unique };
        reconciled.changes.insert(0, drop);
        reconciled.changes.push(TableChange::AddKey { is_unique: is_unique || is_read_anew });
        // Reads of one epoch come in any order.
        let at = if is_read {
            Position { epoch: event.position.epoch, ..Position::default() }
        } else {
            event.position
        };
        reconciled.target.keyed_at = Some(at);
        if is_unique || is_read_anew {
            tracing::info!(
                table = %event.table, had, has,
                "the primary key has changed at the source: the table follows"
            );
            return Ok(());
        }
        let reason = format!(
            "its key changed from {had} to {has}, and rows that were written before are not told \
             apart by that"
        );
        let reasons = reconciled.reread.take();
        let reason = reasons.map_or(reason.clone(), |reasons| format!("{reasons}; {reason}"));
        reconciled.target.reread.clone_from(&reason);
        reconciled.target.reread_at = Some(event.position);
        reconciled.reread = Some(reason);
        Ok(())
    }

    /// Whether the rows that are there are told apart by a key.
    fn are_told_apart(&mut self, stored: &Target, target: &Target) -> Result<bool, TableProblem> {
        let is_there = |place: &usize| *place < stored.columns.len();
        // Of a column that comes with the key nobody knows what older rows have.
        let key = target.key.iter().all(is_there).then_some(target.key.as_slice());
        Ok(self
            .warehouse
            .tells_apart(stored, key)
            .map_err(crate::apply::error::ApplyError::from)?)
    }

    /// Whether a change is from before its table got its key. Such a one was applied then; one that
    /// was not cannot be any more.
    pub(super) fn is_of_older_key(
        &mut self,
        event: &Event<'_>,
        target: &Target,
        is_read: bool,
    ) -> Result<bool, TableProblem> {
        if target.keyed_at.is_none_or(|at| event.position >= at) {
            return Ok(false);
        }
        if is_read {
            return Ok(true);
        }
        if !self.owned.contains_key(event.partition) {
            return Err(RecordProblem::new(
                "the key of its table has changed since: read the table again, then delete this \
                 dead letter",
            )
            .into());
        }
        if target.reread.is_empty() {
            let reason = "a change from before its key changed came after it";
            tracing::error!(table = %event.table, reason, "this table must be read again");
            self.change_target(event.table, |known| {
                let target = std::sync::Arc::make_mut(&mut known.target);
                reason.clone_into(&mut target.reread);
                target.reread_at = Some(event.position);
            });
        }
        Ok(true)
    }
}

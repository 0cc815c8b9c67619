//! Making a table fit its records: created, taken over, changed.

use std::sync::Arc;

use crate::apply::applier::Applier;
use crate::apply::applier::Event;
use crate::apply::applier::Known;
use crate::apply::applier::record::RecordProblem;
use crate::apply::applier::tables;
use crate::apply::applier::tables::Fitted;
use crate::apply::applier::tables::TableProblem;
use crate::apply::error::ApplyError;
use crate::apply::merge::TableChange;
use crate::apply::merge::Target;
use crate::apply::merge::target;
use crate::apply::merge::version::Version;
use crate::envelope::Operation;
use crate::table::TableName;

impl Applier {
    /// Finds the record's version and makes its table fit it.
    pub(super) fn fit(&mut self, event: &Event<'_>, force: bool) -> Result<Fitted, TableProblem> {
        let (record, envelope) = (event.record, event.envelope);
        if let Some(known) = self.tables.get(event.table)
            && envelope.operation == Operation::Truncate
        {
            // It has neither a row nor a key, and says nothing of columns.
            tables::check_owner(known, envelope.source.name.as_ref())?;
            let version = Arc::new(Version::of_target(&known.target));
            return Ok(Fitted::of_no_row(version, &known.target));
        }
        let said = self.versions.find(record, envelope, event.table, &mut *self.schemas)?;
        if let Some(known) = self.tables.get(event.table) {
            tables::check_key(record, said.as_deref(), &known.target)?;
        }
        if let (Some(version), Some(known)) = (&said, self.tables.get(event.table))
            && let Some(fitted) = self.versions.fitted(version, &known.target)
        {
            return Ok(fitted);
        }
        let prefix = envelope.source.name.as_ref();
        self.refuse_own_source(prefix)?;
        if let Some(known) = self.tables.get(event.table) {
            tables::check_owner(known, prefix)?;
        } else {
            let at = (event.table, event.seen_at(), self.spelling);
            let row = envelope.after.or(envelope.before).map(|row| row.get());
            let begun = tables::begin_table(&mut *self.warehouse, prefix, said.as_deref(), at)?;
            let begun = match begun {
                Some(begun) => begun,
                None => {
                    let version = tables::unsaid_version(None, row, record, event.table)?;
                    target::create(
                        tables::table_id(event.table),
                        prefix,
                        &version,
                        event.seen_at(),
                        self.spelling,
                    )
                }
            };
            self.check_names(&begun.target)?;
            self.add_table(begun);
        }
        let Some(known) = self.tables.get(event.table) else {
            return Err(RecordProblem::new("its table is not known").into());
        };
        let version = match said {
            Some(version) => version,
            None => {
                let row = envelope.after.or(envelope.before).map(|row| row.get());
                let known = &known.target;
                let version = self.versions.unsaid(Some(known), row, record, event.table)?;
                if let Some(fitted) = self.versions.fitted(&version, known) {
                    return Ok(fitted);
                }
                version
            }
        };
        self.reconcile(event, &version, force)
    }

    /// A name that the warehouse cannot have makes the record bad: other tables go on where bad
    /// records may be left.
    fn check_names(&self, target: &Target) -> Result<(), RecordProblem> {
        match self.warehouse.name_rules().problem(target) {
            Some(problem) => Err(RecordProblem::new(problem)),
            None => Ok(()),
        }
    }

    /// A warehouse that is the captured database itself would be fed with its own changes.
    fn refuse_own_source(&mut self, prefix: &str) -> Result<(), ApplyError> {
        if self.strangers.contains(prefix) {
            return Ok(());
        }
        if let Some(own) = self.warehouse.identity()
            && self.schemas.sources(prefix)?.contains(&own)
        {
            return Err(ApplyError::Configuration {
                message: format!(
                    "the warehouse is database {} itself, which topic prefix \"{prefix}\" captures",
                    own.1
                ),
                hint: "give another database with --to: its changes would come back for ever"
                    .to_owned(),
            });
        }
        self.strangers.insert(prefix.to_owned());
        Ok(())
    }

    pub(super) fn add_table(&mut self, begun: target::Reconciled) {
        let table = begun.target.table.clone();
        self.before.insert(table.clone(), None);
        self.forget_marks(&table);
        let commit_times = self.settings.commit_times;
        let target = Arc::new(Target { commit_times, ..begun.target.clone() });
        self.batch.set_target(&target, begun.changes);
        self.tables.insert(table, Known { target, epoch: 0, floor: None });
    }

    pub(super) fn reconcile(
        &mut self,
        event: &Event<'_>,
        version: &Arc<Version>,
        force: bool,
    ) -> Result<Fitted, TableProblem> {
        let Some(known) = self.tables.get(event.table) else {
            return Err(RecordProblem::new("its table is not known").into());
        };
        let known = known.target.clone();
        let mut reconciled = target::reconcile(&known, version, event.seen_at(), self.spelling);
        if reconciled.has_new_key {
            self.rekey(event, &mut reconciled, force)?;
        }
        if let Some(reason) = &reconciled.reread {
            tracing::error!(
                table = %event.table, reason,
                "what the rows of this table have become cannot be derived: read it again"
            );
        }
        let target = &reconciled.target;
        let changed = !reconciled.changes.is_empty()
            || reconciled.reread.is_some()
            || target.columns != known.columns;
        let by_look = !tables::looks_alike(version, &known);
        let target = if changed || by_look {
            if !reconciled.changes.is_empty() {
                self.check_names(target)?;
            }
            tell_changes(event.table, &reconciled.changes);
            let (new, changes) = (reconciled.target, reconciled.changes);
            let reread_at = reconciled.reread.is_some().then_some(event.position);
            let target = self.change_target(event.table, |known| {
                let (generation, marked_at) = (known.target.generation, known.target.reread_at);
                let reread_at = reread_at.or(marked_at);
                known.target = Arc::new(Target { generation, reread_at, ..new });
            });
            // Its generation may have been raised before in this batch.
            self.versions.unfit();
            self.batch.set_target(&target, changes);
            target
        } else {
            if let Some(known) = self.tables.get_mut(event.table) {
                Arc::make_mut(&mut known.target).version_at = target.version_at;
            }
            Arc::new(reconciled.target)
        };
        Ok(self.versions.fit(version, reconciled.places, &target))
    }
}

/// One line for each change.
fn tell_changes(table: &TableName, changes: &[TableChange]) {
    for change in changes {
        let (column, told, change) = match change {
            TableChange::AddColumn(column) => {
                (&column.name, column.column_type.to_string(), "added")
            }
            TableChange::Widen { name, to, .. } => (name, to.to_string(), "widened"),
            TableChange::Rename { from, to, .. } => {
                tracing::info!(
                    %table, column = from, to, change = "renamed", "columns of the warehouse change"
                );
                continue;
            }
            TableChange::Create
            | TableChange::Adopt
            | TableChange::DropKey { .. }
            | TableChange::AddKey { .. } => continue,
        };
        tracing::info!(%table, column, "type" = told, change, "columns of the warehouse change");
    }
}

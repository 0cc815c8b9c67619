//! The loop: collect, merge, load, and only then tell Kafka; in that order, always.

mod ends;
mod logs;
mod working;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use crate::apply::applier::Applier;
use crate::apply::applier::Done;
use crate::apply::applier::Partition;
use crate::apply::applier::Pushed;
use crate::apply::applier::Record;
use crate::apply::batch_loop::ends::Waiting;
use crate::apply::batch_loop::logs::Proof;
use crate::apply::consumer::Consumer;
use crate::apply::consumer::Polled;
use crate::apply::error::ApplyError;
use crate::apply::settings::ApplySettings;
use crate::apply::settings::Death;
use crate::apply::tables_shown::TablesShown;
use crate::apply::warehouse::WarehouseError;
use crate::stop::Stop;
use crate::telemetry::Health;
use crate::telemetry::SinkMetrics;

/// How long one wait for a record lasts.
const POLL_TIMEOUT: Duration = Duration::from_millis(10);

/// A batch that nothing is being added to is committed after so long.
const QUIET: Duration = Duration::from_millis(10);

/// How often topics that match are looked for, and how often while there are none.
const TOPICS_INTERVAL: Duration = Duration::from_secs(5);
const FIRST_TOPICS_INTERVAL: Duration = Duration::from_millis(500);

/// How often a partition that waits is tried again.
const WAITING_INTERVAL: Duration = Duration::from_millis(200);

/// How often tables are looked for that were read anew.
const WHOLE_READS_INTERVAL: Duration = Duration::from_secs(30);

/// How often lag is reckoned.
const LAG_INTERVAL: Duration = Duration::from_millis(500);

/// The group shares out its partitions within so long, unless it waits for somebody.
const PARTITIONS_DUE: Duration = Duration::from_secs(8);

/// A warehouse that was not asked for anything for so long is asked whether it is there.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// What surrounds the loop.
pub struct Surroundings<'a> {
    /// Metrics.
    pub metrics: &'a SinkMetrics,
    /// Health.
    pub health: &'a Health,
    /// The request to stop.
    pub stop: &'a Stop,
    /// What `/v1/tables` shows.
    pub tables: &'a Arc<Mutex<TablesShown>>,
    /// What the warehouse said when it took nothing the last time; it has taken nothing since.
    pub refused: Option<String>,
}

/// How the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to stop.
    Stopped,
    /// Everything up to the ends of the topics at the start is applied.
    CaughtUp,
}

/// The loop over one consumer and one warehouse.
pub struct BatchLoop<'a> {
    around: Surroundings<'a>,
    consumer: &'a mut Consumer,
    applier: &'a mut Applier,
    settings: &'a ApplySettings,
    once: bool,
    /// Next offset of each partition that is ours.
    applied: HashMap<Partition, i64>,
    /// The logs that topics stood for when partitions were assigned.
    log_ids: HashMap<Arc<str>, String>,
    /// Partitions whose log has not shown yet that it is the one of the stored offset.
    unproven: HashMap<Partition, Proof>,
    /// Ends of all partitions when the loop began, with `--once`.
    ends: HashMap<Partition, i64>,
    others_asked: Instant,
    waiting: HashMap<Partition, Waiting>,
    first_at: Option<Instant>,
    last_at: Instant,
    assigned: bool,
    /// When the warehouse answered the last time.
    answered: Instant,
    began: Instant,
    /// It was said why there are no partitions yet.
    told: bool,
}

impl<'a> BatchLoop<'a> {
    /// Over these.
    pub fn new(
        around: Surroundings<'a>,
        consumer: &'a mut Consumer,
        applier: &'a mut Applier,
        (settings, once): (&'a ApplySettings, bool),
    ) -> Self {
        BatchLoop {
            around,
            consumer,
            applier,
            settings,
            once,
            applied: HashMap::new(),
            log_ids: HashMap::new(),
            unproven: HashMap::new(),
            ends: HashMap::new(),
            others_asked: Instant::now(),
            waiting: HashMap::new(),
            first_at: None,
            last_at: Instant::now(),
            assigned: false,
            answered: Instant::now(),
            began: Instant::now(),
            told: false,
        }
    }

    /// Runs until it is asked to stop, or has caught up.
    ///
    /// # Errors
    ///
    /// What came in the way; what was not committed is not lost.
    pub fn run(&mut self) -> Result<Ended, ApplyError> {
        let result = self.turns();
        if result.is_ok() {
            self.commit()?;
            let offsets: Vec<_> = self.applied.iter().map(|(p, at)| (p.clone(), *at)).collect();
            self.consumer.show_offsets(&offsets, true);
        }
        self.applier.abandon();
        self.around.health.leave("batches");
        result
    }

    fn turns(&mut self) -> Result<Ended, ApplyError> {
        let mut looked = Instant::now();
        let mut reckoned = Instant::now();
        let mut asked = Instant::now();
        // Members of the group that lost only the warehouse have their partitions still.
        let held = self.consumer.held().to_vec();
        if !held.is_empty() {
            self.assigned(&held)?;
        }
        loop {
            self.around.health.turn("batches");
            if self.around.stop.is_requested() {
                return Ok(Ended::Stopped);
            }
            let none = self.consumer.topics().is_empty();
            let interval = if none { FIRST_TOPICS_INTERVAL } else { TOPICS_INTERVAL };
            if !self.once && looked.elapsed() >= interval {
                self.consumer.subscribe_to_matching()?;
                looked = Instant::now();
            }
            let polled = self.consumer.poll(POLL_TIMEOUT)?;
            let quiet = matches!(polled, Polled::Nothing);
            self.take(polled)?;
            if self.is_due(quiet) {
                self.commit()?;
            }
            self.try_waiting()?;
            self.tell_of_waiting();
            if reckoned.elapsed() >= LAG_INTERVAL {
                self.reckon();
                reckoned = Instant::now();
            }
            if self.answered.elapsed() >= PING_INTERVAL {
                self.work("asking the warehouse", |applier| Ok(applier.warehouse().ping()?))?;
            }
            if self.assigned && asked.elapsed() >= WHOLE_READS_INTERVAL {
                self.finish_whole_reads()?;
                asked = Instant::now();
            }
            let may_end = self.once && !self.applier.has_pending();
            // Somebody may write all the time.
            if may_end
                && (self.is_past_ends() || (quiet && self.is_caught_up()?))
                && self.is_proven(quiet)?
                && self.others_have_caught_up()?
            {
                self.finish_whole_reads()?;
                return Ok(Ended::CaughtUp);
            }
        }
    }

    /// Why the group gives us nothing.
    fn tell_of_waiting(&mut self) {
        if self.assigned || self.told || self.began.elapsed() < PARTITIONS_DUE {
            return;
        }
        if self.consumer.topics().is_empty() || self.consumer.silence().is_some() {
            return;
        }
        self.told = true;
        let reason = format!(
            "waiting for partitions: group {} shares them out once all members have answered; one \
             that was killed counts until its session ends (consumer.session.timeout.ms, 45000 \
             unless said otherwise)",
            self.settings.group
        );
        tracing::info!("{reason}");
        self.around.health.set_ready("partitions", Err(reason));
    }

    fn take(&mut self, polled: Polled) -> Result<(), ApplyError> {
        match polled {
            Polled::Nothing => Ok(()),
            Polled::Record(record) => self.record(record, false),
            Polled::Assigned(partitions) => self.assigned(&partitions),
            Polled::Revoked => {
                // What is ready is committed while the partitions are still ours; the fence stops
                // us if they are not.
                let done = match self.commit() {
                    Ok(()) | Err(ApplyError::Warehouse(WarehouseError::Fenced { .. })) => {
                        tracing::info!("the group is shared out anew");
                        self.forget_all()
                    }
                    Err(error) => Err(error),
                };
                // The group waits for the answer, whatever the warehouse says.
                self.consumer.release()?;
                done
            }
        }
    }

    fn forget_all(&mut self) -> Result<(), ApplyError> {
        self.work("letting go of partitions", |applier| applier.claim(&[]))?;
        // Another member shows the lag of partitions that are its own.
        self.around.metrics.lag_records.reset();
        // Nothing is ours now, which is not the same as having nothing to do.
        self.assigned = false;
        self.applied.clear();
        self.unproven.clear();
        self.waiting.clear();
        self.first_at = None;
        Ok(())
    }

    fn record(&mut self, record: Record, force: bool) -> Result<(), ApplyError> {
        let partition = (Arc::clone(&record.topic), record.partition);
        if self.waiting.contains_key(&partition) {
            // Fetched before the partition was stopped; it comes again.
            return Ok(());
        }
        if !self.prove(&partition, &record)? {
            return Ok(());
        }
        let offset = record.offset;
        match self.applier.push(record, force)? {
            Pushed::Taken => {
                self.applied.insert(partition, offset + 1);
                self.last_at = Instant::now();
                self.first_at.get_or_insert(self.last_at);
            }
            Pushed::CommitFirst => {
                let record = self.applier.take_back();
                if self.applier.has_pending() {
                    self.commit()?;
                } else {
                    // A record that waits has touched its table; it does so again.
                    self.applier.abandon();
                }
                return record.map_or(Ok(()), |record| self.record(record, force));
            }
            Pushed::Waits => {
                self.consumer.pause(&partition)?;
                let now = Instant::now();
                tracing::debug!(topic = %partition.0, partition = partition.1, offset, "waits");
                let position = self.applier.waits_at();
                let waiting = Waiting { offset, position, since: now, tried: now, ends: None };
                self.waiting.insert(partition, waiting);
            }
        }
        self.around.metrics.waiting.set(i64::try_from(self.waiting.len()).unwrap_or(i64::MAX));
        Ok(())
    }

    /// Partitions that wait are tried again, once others had time to come by.
    fn try_waiting(&mut self) -> Result<(), ApplyError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let due: Vec<(Partition, Waiting)> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.tried.elapsed() >= WAITING_INTERVAL)
            .map(|(partition, waiting)| (partition.clone(), waiting.clone()))
            .collect();
        for (partition, mut waiting) in due {
            // Partitions may have gone while another was tried.
            if !self.waiting.contains_key(&partition) {
                continue;
            }
            // What has come since is in the warehouse, where it is looked for.
            self.commit()?;
            self.waiting.remove(&partition);
            self.consumer.resume(&partition, waiting.offset)?;
            let record = self.next_of(&partition, waiting.clone())?;
            let Some(record) = record else { continue };
            // What an older one waits for may be what this one waits for, too.
            let oldest = self.waiting.values().all(|other| other.position >= waiting.position);
            if waiting.ends.is_none() && waiting.since.elapsed() >= self.settings.key_change_wait {
                waiting.ends = Some(Arc::new(self.ends_of_others(&partition)?));
            }
            let is_late = match &waiting.ends {
                Some(ends) => self.others_are_at(&partition, ends)?,
                None => false,
            };
            let force = oldest && (is_late || (self.once && self.others_are_done(&partition)?));
            self.record(record, force)?;
            if let Some(again) = self.waiting.get_mut(&partition) {
                again.since = waiting.since;
                again.ends = waiting.ends;
            }
        }
        Ok(())
    }

    /// The record at an offset of a partition that was just resumed; other records that come are
    /// taken on the way.
    fn next_of(
        &mut self,
        partition: &Partition,
        waiting: Waiting,
    ) -> Result<Option<Record>, ApplyError> {
        let began = Instant::now();
        while began.elapsed() < WAITING_INTERVAL * 10 {
            match self.consumer.poll(POLL_TIMEOUT)? {
                Polled::Record(record)
                    if record.topic == partition.0 && record.partition == partition.1 =>
                {
                    if record.offset == waiting.offset {
                        return Ok(Some(record));
                    }
                }
                other => {
                    let gone = matches!(other, Polled::Assigned(_) | Polled::Revoked);
                    self.take(other)?;
                    if gone {
                        return Ok(None);
                    }
                }
            }
        }
        if !self.consumer.has_record(partition, waiting.offset, waiting.offset + 1)? {
            // Compaction has removed it: the partition goes on behind it.
            self.consumer.resume(partition, waiting.offset)?;
            return Ok(None);
        }
        // Not fetched yet: it is tried again from the same place.
        self.consumer.pause(partition)?;
        let again = Waiting { tried: Instant::now(), ..waiting };
        self.waiting.insert(partition.clone(), again);
        Ok(None)
    }

    fn assigned(&mut self, partitions: &[Partition]) -> Result<(), ApplyError> {
        for (topic, count) in self.consumer.partition_counts()? {
            self.applier.set_partition_count(&topic, count);
        }
        if self.once && self.ends.is_empty() {
            self.note_ends()?;
        }
        self.log_ids = self.consumer.log_ids(partitions.iter().map(|(topic, _)| topic))?;
        self.unproven.clear();
        let claims = self.work("taking partitions", |applier| applier.claim(partitions))?;
        let mut offsets = Vec::with_capacity(partitions.len());
        let mut first = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let claim = claims
                .iter()
                .find(|claim| *claim.topic == *partition.0 && claim.partition == partition.1);
            self.around.health.turn("batches");
            let begin = self.start(partition, claim)?;
            self.applier.begin_at(partition, begin.offset, begin.place);
            if let Some(proof) = begin.proof {
                first.push((partition.clone(), proof.offset));
                self.unproven.insert(partition.clone(), proof);
            } else {
                first.push((partition.clone(), begin.offset));
            }
            offsets.push((partition.clone(), begin.offset));
        }
        self.applied = offsets.iter().cloned().collect();
        self.waiting.clear();
        self.first_at = None;
        self.assigned = true;
        if self.around.refused.is_none() {
            tracing::info!(partitions = partitions.len(), "partitions are ours");
        }
        self.around.metrics.lag_records.reset();
        self.around.health.set_ready("partitions", Ok(()));
        self.around.health.set_phase("applying");
        self.consumer.begin(&first)
    }

    fn is_due(&self, quiet: bool) -> bool {
        if !self.applier.has_records() {
            return false;
        }
        let waited = self.first_at.map_or(Duration::ZERO, |at| at.elapsed());
        self.applier.is_full()
            || waited >= self.settings.batch_time
            || (quiet && self.last_at.elapsed() >= QUIET)
    }

    fn commit(&mut self) -> Result<(), ApplyError> {
        self.first_at = None;
        if !self.applier.has_pending() {
            return Ok(());
        }
        self.check_partitions()?;
        self.check_logs()?;
        if self.settings.broken.offsets_first {
            let offsets: Vec<_> = self.applied.iter().map(|(p, at)| (p.clone(), *at)).collect();
            self.consumer.show_offsets(&offsets, true);
        }
        self.die_at(Death::BeforeLoad);
        let began = Instant::now();
        let done = self.work("loading", Applier::commit)?;
        self.die_at(Death::AfterLoad);
        let metrics = self.around.metrics;
        metrics.batches.inc();
        metrics.batch_seconds.observe(began.elapsed().as_secs_f64());
        self.note(&done);
        self.consumer.show_offsets(&done.offsets, false);
        self.takes();
        Ok(())
    }

    /// What a watermark has told is right only while a key's records stay in one partition. Who
    /// sends to another one knows of it before us, so that it is asked for after the records have
    /// come.
    fn check_partitions(&self) -> Result<(), ApplyError> {
        if !self.applier.relies_on_watermarks() {
            return Ok(());
        }
        match self.applier.shared_anew(&self.consumer.partition_counts()?) {
            None => Ok(()),
            Some(topic) => Err(ApplyError::Unreachable {
                message: format!("topic {topic} has got another number of partitions"),
            }),
        }
    }

    /// For tests: the process ends here without a word.
    fn die_at(&self, place: Death) {
        if self.settings.broken.dies == Some(place) {
            std::process::abort();
        }
    }

    fn note(&self, done: &Done) {
        note(done, self.around.metrics);
        let mut shown = self.around.tables.lock().unwrap_or_else(PoisonError::into_inner);
        shown.note(done, self.applier.tables());
    }

    fn reckon(&mut self) {
        let pending = self.applier.has_pending();
        reckon(self.consumer, &self.around, pending, |of| self.waiting.contains_key(of));
        if self.around.metrics.lag.waits() == Some(false) && self.assigned {
            // There is nothing that it could take.
            self.takes();
        }
    }

    /// The warehouse takes what it is given.
    fn takes(&mut self) {
        if self.around.refused.take().is_some() {
            tracing::info!("the warehouse takes records again");
        }
        self.around.metrics.warehouse_up.set(1);
        self.around.health.set_ready("warehouse", Ok(()));
    }
}

/// Shows how far everything is behind, and whether Kafka answers. Records are `pending` if they
/// have come and are not applied.
pub fn reckon(
    consumer: &Consumer,
    around: &Surroundings<'_>,
    pending: bool,
    waits: impl Fn(&Partition) -> bool,
) {
    let metrics = around.metrics;
    if let Some(silence) = consumer.silence() {
        metrics.set_kafka_up(false);
        metrics.lag.set_unknown();
        metrics.lag_records.reset();
        let why = consumer.trouble().map_or_else(String::new, |why| format!(": {why}"));
        let reason = format!("no Kafka broker has answered for {} s{why}", silence.as_secs());
        around.health.set_ready("kafka", Err(reason));
        return;
    }
    metrics.set_kafka_up(true);
    around.health.set_ready("kafka", Ok(()));
    let mut total = 0;
    for (partition, lag) in consumer.lags(|partition| pending || waits(partition)) {
        total += lag;
        let number = partition.1.to_string();
        metrics.lag_records.with_label_values(&[&*partition.0, &number]).set(lag);
    }
    metrics.set_waits(pending || total > 0);
}

/// Counts what a batch did.
pub fn note(done: &Done, metrics: &SinkMetrics) {
    for ((table, operation), count) in &done.changes {
        let (table, operation) = (table.to_string(), operation.letter().to_string());
        metrics.records.with_label_values(&[&table, &operation]).inc_by(*count);
    }
    for (table, rows) in &done.not_found {
        tracing::warn!(%table, rows, "rows of a table without key were to be deleted and are not there");
        metrics.not_found.with_label_values(&[&table.to_string()]).inc_by(*rows);
    }
    #[expect(clippy::cast_precision_loss, reason = "a histogram's buckets are coarse")]
    metrics.batch_records.observe(done.records as f64);
    for table in &done.read_anew {
        metrics.reread.with_label_values(&[&table.to_string()]).set(0);
    }
    metrics.dead_letters.inc_by(done.dead_letters);
    metrics.incomplete.inc_by(done.incomplete);
    if let Some(commit) = done.latest_commit_ms {
        metrics.note_commit(commit);
    }
}

//! What the client tells of the group.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use rdkafka::ClientContext;
use rdkafka::Statistics;
use rdkafka::TopicPartitionList;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::Consumer as _;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaRespErr;

use crate::apply::consumer::lock;
use crate::kafka::Outage;

/// A broker that was heard so short a time ago answers.
const ANSWERS_NOW: Duration = Duration::from_secs(1);

/// A change of the group that waits to be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rebalanced {
    /// These are ours.
    Assigned(Vec<(String, i32)>),
    /// Nothing is ours any more.
    Revoked,
}

/// Keeps the latest change of the group until the loop answers it, which may ask the warehouse
/// first: the client waits that long.
#[derive(Debug, Default)]
pub(super) struct Context {
    latest: Mutex<Option<Rebalanced>>,
    closing: AtomicBool,
    /// Ends of partitions, as the client last heard of them.
    ends: Mutex<HashMap<(String, i32), Heard>>,
    /// What is said of brokers that do not answer.
    pub(super) outage: Outage,
    /// When a broker answered the last time.
    answered: Mutex<Option<Instant>>,
}

/// What the client knows of a partition's log.
#[derive(Clone, Copy, Debug)]
struct Heard {
    end: i64,
    /// Everything before it has been given to us, or is nothing to be given: marks of transactions
    /// and aborted records.
    passed: i64,
}

impl Context {
    /// Offsets between what was given to us and the last record that can be read, as last heard
    /// of, where `applied` is the first one that is not applied. Of a partition that `waits`, what
    /// was given comes again.
    pub(super) fn lag(
        &self,
        (topic, partition): (&str, i32),
        applied: i64,
        waits: bool,
    ) -> Option<i64> {
        let heard = lock(&self.ends).get(&(topic.to_owned(), partition)).copied()?;
        let passed = if waits { applied } else { applied.max(heard.passed) };
        Some((heard.end - passed).max(0))
    }

    /// A broker has answered.
    pub(super) fn note_answer(&self) {
        self.note_answer_before(Duration::ZERO);
    }

    fn note_answer_before(&self, idle: Duration) {
        if idle < ANSWERS_NOW {
            self.outage.end();
        }
        let Some(at) = Instant::now().checked_sub(idle) else { return };
        let mut answered = lock(&self.answered);
        *answered = (*answered).max(Some(at));
    }

    /// How long no broker has answered; `None` if none ever has.
    pub(super) fn silence(&self) -> Option<Duration> {
        lock(&self.answered).map(|at| at.elapsed())
    }

    /// The change that waits.
    pub(super) fn take(&self) -> Option<Rebalanced> {
        lock(&self.latest).take()
    }

    /// From now on changes are answered at once: nobody asks for them any more.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "Kafka client");
    }

    fn stats(&self, statistics: Statistics) {
        // Members of a group are answered every few seconds, whether or not records come.
        let idle =
            statistics.brokers.values().filter_map(|broker| u64::try_from(broker.rxidle).ok());
        if let Some(idle) = idle.min() {
            self.note_answer_before(Duration::from_micros(idle));
        }
        let mut ends = lock(&self.ends);
        for (topic, known) in statistics.topics {
            for (partition, known) in known.partitions {
                // Below zero: not asked yet.
                let end = known.ls_offset.max(known.hi_offset);
                let passed = if known.fetchq_cnt == 0 { known.next_offset } else { -1 };
                if end >= 0 {
                    ends.insert((topic.clone(), partition), Heard { end, passed });
                }
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "Kafka client");
        self.outage.note(reason);
    }
}

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        error: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        if self.closing.load(Ordering::Relaxed) {
            consumer.unassign().ok();
            return;
        }
        let assigned = error == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let change = if assigned {
            let elements = partitions.elements();
            let named = elements.iter().map(|one| (one.topic().to_owned(), one.partition()));
            Rebalanced::Assigned(named.collect())
        } else {
            Rebalanced::Revoked
        };
        *lock(&self.latest) = Some(change);
    }
}

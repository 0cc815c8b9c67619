//! What may take long: the warehouse works on a thread of its own, and the loop goes on turning.
//!
//! A load may wait for somebody's lock or rewrite a large table. Meanwhile the process is alive and
//! says what it does, and the group keeps our partitions.

use std::time::Duration;
use std::time::Instant;

use crossbeam_channel::RecvTimeoutError;

use crate::apply::applier::Applier;
use crate::apply::batch_loop::BatchLoop;
use crate::apply::batch_loop::LAG_INTERVAL;
use crate::apply::batch_loop::reckon;
use crate::apply::error::ApplyError;

/// How often the loop turns while the warehouse works.
const TURN: Duration = Duration::from_millis(100);

/// After so long Kafka is polled, so that the group does not take us for dead.
const LONG: Duration = Duration::from_secs(2);

/// After so long the log says what is being waited for.
const TOLD: Duration = Duration::from_secs(30);

impl BatchLoop<'_> {
    /// Lets the applier work, and turns until it has done so.
    ///
    /// # Errors
    ///
    /// What the applier says.
    pub(super) fn work<T: Send>(
        &mut self,
        doing: &'static str,
        job: impl FnOnce(&mut Applier) -> Result<T, ApplyError> + Send,
    ) -> Result<T, ApplyError> {
        let began = Instant::now();
        let BatchLoop { around, consumer, applier, waiting, .. } = self;
        let done = std::thread::scope(|scope| {
            let (ends, wait) = crossbeam_channel::bounded::<()>(1);
            let worker = scope.spawn(move || {
                let done = job(applier);
                drop(ends);
                done
            });
            let (mut reckoned, mut told) = (began, began);
            while wait.recv_timeout(TURN) == Err(RecvTimeoutError::Timeout) {
                around.health.turn("batches");
                let taking = began.elapsed();
                if taking < LONG {
                    continue;
                }
                consumer.keep_alive();
                around.metrics.load_seconds.set(taking.as_secs_f64());
                around.health.set_phase(format!("{doing} for {} s", taking.as_secs()));
                if reckoned.elapsed() >= LAG_INTERVAL {
                    reckon(consumer, around, true, |_| true);
                    reckoned = Instant::now();
                }
                if told.elapsed() >= TOLD {
                    tracing::info!(seconds = taking.as_secs(), "still {doing}");
                    told = Instant::now();
                }
            }
            worker.join()
        });
        around.health.turn("batches");
        if began.elapsed() >= LONG {
            around.metrics.load_seconds.set(0.0);
            around.health.set_phase("applying");
        }
        let done = done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        self.answered = Instant::now();
        let mut next = self.applied.clone();
        // What proves that a log is the one that was applied comes first there.
        next.extend(
            self.unproven.iter().map(|(partition, proof)| (partition.clone(), proof.offset)),
        );
        consumer.go_on(&next, |partition| waiting.contains_key(partition))?;
        Ok(done)
    }
}

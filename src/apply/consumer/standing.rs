//! A member of the group that takes no records for a while: nothing can be applied now, or a load
//! takes long. The group must not take it for dead, and its lag is still to be known.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::Message;
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer as _;

use crate::apply::applier::Partition;
use crate::apply::consumer::Consumer;
use crate::apply::consumer::Polled;
use crate::apply::consumer::REQUEST_TIMEOUT;
use crate::apply::error::ApplyError;

impl Consumer {
    /// How many offsets each partition of ours is behind, as last heard of. Of a partition of which
    /// something that was given `waits` for the warehouse, that counts too.
    pub fn lags(&self, waits: impl Fn(&Partition) -> bool) -> Vec<(Partition, i64)> {
        let context = self.client.context();
        let lag = |(partition, applied): (&Partition, &i64)| {
            let place = (&*partition.0, partition.1);
            let lag = context.lag(place, *applied, waits(partition)).unwrap_or_default();
            (partition.clone(), lag)
        };
        self.applied.iter().map(lag).collect()
    }

    /// Stays a member of the group while nothing can be applied: no record comes, and what the
    /// group decides is kept for [`Consumer::held`].
    ///
    /// # Errors
    ///
    /// The broker refuses us.
    pub fn idle(&mut self, timeout: Duration) -> Result<(), ApplyError> {
        self.pause_all();
        match self.poll(timeout)? {
            Polled::Nothing | Polled::Record(_) => Ok(()),
            Polled::Revoked => self.release(),
            Polled::Assigned(partitions) => {
                // Where they begin is said when the warehouse can be asked.
                let mut list = TopicPartitionList::new();
                for (topic, number) in &partitions {
                    list.add_partition_offset(topic, *number, Offset::Beginning)
                        .map_err(|error| self.failed("beginning", &error))?;
                }
                let taken = self.client.assign(&list).and_then(|()| self.client.pause(&list));
                taken.map_err(|error| self.failed("beginning", &error))
            }
        }
    }

    /// Polls while a batch is being loaded, so that the group knows that we live. What the group
    /// decides waits; a record that comes comes again after [`Consumer::go_on`].
    pub fn keep_alive(&mut self) {
        self.pause_all();
        if let Some(Ok(message)) = self.client.poll(Duration::ZERO) {
            let partition = (self.name(message.topic()), message.partition());
            self.skipped.insert(partition);
        }
    }

    fn pause_all(&mut self) {
        if !self.paused {
            let list = Self::list_of(&self.held);
            if let Err(error) = self.client.pause(&list) {
                tracing::debug!(%error, "partitions are not paused");
            }
            self.paused = true;
        }
    }

    /// Records come again, but for partitions that are to stay as they are; `next` is where each
    /// partition goes on.
    ///
    /// # Errors
    ///
    /// The client refuses.
    pub fn go_on(
        &mut self,
        next: &HashMap<Partition, i64>,
        stays: impl Fn(&Partition) -> bool,
    ) -> Result<(), ApplyError> {
        if !std::mem::take(&mut self.paused) {
            return Ok(());
        }
        let skipped = std::mem::take(&mut self.skipped);
        let going: Vec<Partition> =
            self.held.iter().filter(|partition| !stays(partition)).cloned().collect();
        for partition in going.iter().filter(|partition| skipped.contains(*partition)) {
            let Some(offset) = next.get(partition) else { continue };
            self.client
                .seek(&partition.0, partition.1, Offset::Offset(*offset), REQUEST_TIMEOUT)
                .map_err(|error| self.failed("going on", &error))?;
        }
        let list = Self::list_of(&going);
        self.client.resume(&list).map_err(|error| self.failed("going on", &error))
    }
}

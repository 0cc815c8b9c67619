//! Tells of a snapshot while it goes on: `notification.*`.

use std::time::Duration;
use std::time::Instant;

use crate::capture::CaptureError;
use crate::capture::change::Notification;
use crate::capture::change::SnapshotMoment;
use crate::capture::pipeline::Pipeline;
use crate::capture::publisher::Batch;
use crate::capture::publisher::Receipt;
use crate::capture::publisher::Record;
use crate::capture::settings::CaptureSettings;
use crate::capture::tables::ReadyControl;
use crate::stop::Stop;
use crate::time::UnixMicros;

/// How long the word that reading was aborted may take: the destination may be what failed.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Sends notifications to the channels that are enabled.
pub(super) struct Notifier<'a> {
    settings: &'a CaptureSettings,
    pipeline: &'a Pipeline,
    stop: &'a Stop,
    /// The channel `sink`.
    topic: Option<ReadyControl>,
}

impl<'a> Notifier<'a> {
    /// Makes the topic ready, if there is one.
    ///
    /// # Errors
    ///
    /// It cannot be created.
    pub(super) fn new(
        settings: &'a CaptureSettings,
        pipeline: &'a Pipeline,
        stop: &'a Stop,
    ) -> Result<Self, CaptureError> {
        let topic = settings.notifications.topic.as_deref();
        let topic = topic.map(|topic| pipeline.tables.notifications(topic)).transpose()?;
        Ok(Notifier { settings, pipeline, stop, topic })
    }

    /// Reads within its beginning and its end, which are told.
    ///
    /// # Errors
    ///
    /// Those of reading, or the destination has failed.
    pub(super) fn around<T>(
        &self,
        read: impl FnOnce() -> Result<T, CaptureError>,
    ) -> Result<T, CaptureError> {
        self.tell(SnapshotMoment::Started)?;
        match read() {
            Ok(done) => {
                self.tell_last(SnapshotMoment::Completed, &|| !self.stop.is_requested())?;
                Ok(done)
            }
            Err(error) => {
                let begun = Instant::now();
                let told = self.tell_last(SnapshotMoment::Aborted, &|| begun.elapsed() < LAST_WORD);
                if let Err(untold) = told {
                    tracing::warn!(error = %untold, "that reading was aborted cannot be told");
                }
                Err(error)
            }
        }
    }

    /// Tells of a moment.
    ///
    /// # Errors
    ///
    /// The destination has failed, or we are asked to stop.
    pub(super) fn tell(&self, moment: SnapshotMoment<'_>) -> Result<(), CaptureError> {
        self.send(moment, Receipt::Nobody, &|| !self.stop.is_requested())
    }

    /// Tells of a moment after which we may end: waits until that is durable.
    fn tell_last(
        &self,
        moment: SnapshotMoment<'_>,
        go_on: &dyn Fn() -> bool,
    ) -> Result<(), CaptureError> {
        if self.topic.is_none() {
            return self.send(moment, Receipt::Nobody, go_on);
        }
        let deliveries = &self.pipeline.deliveries;
        let number = deliveries.new_awaited();
        let sent = self.send(moment, Receipt::Awaited(number), go_on);
        let told = sent.and_then(|()| Ok(deliveries.wait_for(number, go_on)?));
        told.inspect_err(|_| deliveries.forget_awaited(number))
    }

    fn send(
        &self,
        moment: SnapshotMoment<'_>,
        receipt: Receipt,
        go_on: &dyn Fn() -> bool,
    ) -> Result<(), CaptureError> {
        let to_log = self.settings.notifications.to_log;
        if !to_log && self.topic.is_none() {
            return Ok(());
        }
        let id = random_uuid();
        let prefix = &self.settings.prefix;
        let notification = Notification { id: &id, prefix, moment, time: UnixMicros::now() };
        if to_log {
            tracing::info!("[Notification Service]  {notification}");
        }
        let Some(topic) = &self.topic else { return Ok(()) };
        let mut bytes = Vec::new();
        let (key, value) = topic.writer.write_notification(&notification, &mut bytes);
        let record = Record {
            route: topic.route,
            key: Some(key),
            value: Some(value),
            header: None,
            literal: None,
            position: None,
            receipt,
        };
        Ok(self.pipeline.publisher.send(Batch { bytes: &bytes, records: &[record] }, go_on)?)
    }
}

/// A version 4 UUID.
fn random_uuid() -> String {
    use ring::rand::SecureRandom;
    let mut bytes = [0; 16];
    // Without random bytes the id is not unique, which harms nobody.
    ring::rand::SystemRandom::new().fill(&mut bytes).ok();
    crate::envelope::uuid::of_random(bytes)
}

//! Records made by hand, one topic and one warehouse.

use super::SinkOptions;
use super::Store;
use super::produce;
use super::produce::Made;
use super::scene;
use super::warehouse::Kind;

/// A topic and a warehouse of its own.
pub(crate) struct Play {
    pub(crate) topic: String,
    pub(crate) store: Store,
    pub(crate) options: SinkOptions,
}

impl Play {
    pub(crate) fn new(name: &str, kind: Kind, partitions: i32) -> Self {
        Self::configured(name, kind, (partitions, &[]))
    }

    /// With a topic of such a configuration.
    pub(crate) fn configured(
        name: &str,
        kind: Kind,
        (partitions, config): (i32, &[(&str, &str)]),
    ) -> Self {
        let name = format!("{name}_{kind:?}").to_lowercase();
        let kafka = scene::kafka();
        kafka.create_topic(&name, partitions, config);
        let store = Store::new(kind, scene::server(), &name);
        let options = SinkOptions::new(&kafka.bootstrap(), &name, &store.url()).group(&name);
        Self { topic: name, store, options }
    }

    #[track_caller]
    pub(crate) fn send(&self, records: &[Made]) {
        produce::send(scene::kafka(), &self.topic, records);
    }

    #[track_caller]
    pub(crate) fn apply(&self, records: &[Made]) {
        self.send(records);
        self.options.once();
    }

    /// Number and text of each row.
    #[track_caller]
    pub(crate) fn rows(&self) -> Vec<String> {
        self.column("SELECT CAST(id AS text) || ' ' || coalesce(a, '-') FROM made.items ORDER BY 1")
    }

    /// Number, text and large text of each row.
    #[track_caller]
    pub(crate) fn large_rows(&self) -> Vec<String> {
        self.column(
            "SELECT CAST(id AS text) || ' ' || coalesce(a, '-') || ' ' || coalesce(big, '-') \
             FROM made.items ORDER BY id, 1",
        )
    }

    #[track_caller]
    fn column(&self, sql: &str) -> Vec<String> {
        let rows = self.store.query(sql).into_iter();
        rows.map(|mut row| row.remove(0).unwrap_or_default()).collect()
    }

    pub(crate) fn one(&self, sql: &str) -> String {
        self.store.one(sql).unwrap_or_default()
    }
}

//! What both follow: SQL before and while they run, and the settings of the connector.

use super::case::Case;
use super::expected;
use super::expected::Expected;

/// One comparison.
#[derive(Clone)]
pub struct Script {
    /// Name, for people.
    pub name: String,
    /// Before they start.
    pub setup: Vec<String>,
    /// While they stream; all of a part is published before the next begins.
    pub work: Vec<Vec<String>>,
    /// Settings that are not Debezium's defaults.
    pub connector: Vec<(String, String)>,
    /// Partitions of each topic.
    pub partitions: u32,
    /// Differences that are known.
    pub expected: Vec<&'static Expected>,
}

impl Script {
    /// A recorded case.
    pub fn of_case(case: &Case) -> Self {
        let connector = case.connector().into_iter();
        Script {
            name: case.name.clone(),
            setup: case.setup(),
            work: case.work(),
            connector: connector
                .map(|(name, value)| {
                    let text = value.text().map_or_else(|| value.to_string(), str::to_owned);
                    (name, text)
                })
                .collect(),
            partitions: 1,
            expected: expected::of_case(&case.name),
        }
    }

    /// A setting.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.connector.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether a message at the end of a part would be published.
    pub fn has_messages(&self) -> bool {
        self.setting("snapshot.mode") != Some("initial_only")
            && self.connector.iter().all(|(name, _)| !name.starts_with("message.prefix"))
    }
}

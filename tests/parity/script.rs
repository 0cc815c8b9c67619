//! What both follow: SQL before and while they run, and the settings of the connector.

use std::fs;
use std::path::Path;

use super::case;
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

    /// A script in one file, to try something: lines `-- set NAME=VALUE`, `-- partitions N`, SQL
    /// before they start, a line `-- work`, SQL while they stream, with lines `-- wait`.
    pub fn of_file(file: &Path) -> Self {
        let text = fs::read_to_string(file).unwrap();
        let (setup, work) = text.split_once("\n-- work\n").unwrap_or((&text, ""));
        let said = |start: &str| {
            let rest = text.lines().filter_map(|line| line.strip_prefix(start));
            rest.map(str::to_owned).collect::<Vec<_>>()
        };
        let setting = |line: String| {
            let (name, value) = line.split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        };
        Script {
            name: file.file_stem().unwrap().to_string_lossy().into_owned(),
            setup: case::statements(setup),
            work: format!("{work}\n").split("\n-- wait\n").map(case::statements).collect(),
            connector: said("-- set ").into_iter().map(setting).collect(),
            partitions: said("-- partitions ").first().map_or(1, |text| text.parse().unwrap()),
            expected: Vec::new(),
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

//! Facts to events: Debezium's members in Debezium's order.
//!
//! An event says of whose form it is, so producer and versions are those of the release that is
//! spoken, as in a record's `source.version`.

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::envelope::DEBEZIUM_VERSION;
use crate::lineage::LineageSettings;
use crate::table::TableName;
use crate::time::CivilDate;
use crate::time::DAY_MICROS;
use crate::time::Fraction;
use crate::time::UnixMicros;
use crate::time::print_time;

/// The release of OpenLineage's client whose events these are.
const CLIENT_VERSION: &str = "1.31.0";

/// A table and its columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// The table.
    pub table: TableName,
    /// Names of columns and of their types.
    pub fields: Vec<(String, String)>,
}

/// What is told of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// It begins.
    Begun,
    /// The source is reached.
    Running,
    /// A table has these columns.
    Table(Dataset),
    /// Something went wrong.
    Failed {
        /// What.
        message: String,
        /// Why, cause after cause.
        causes: String,
    },
    /// It ended as asked.
    Ended,
}

impl Fact {
    /// From an error and what it came from.
    pub fn failed(error: &dyn std::error::Error) -> Self {
        let message = error.to_string();
        let mut causes = message.clone();
        let mut cause = error.source();
        while let Some(error) = cause {
            causes.push_str(&format!("\nCaused by: {error}"));
            cause = error.source();
        }
        Fact::Failed { message, causes }
    }

    fn event_type(&self) -> &'static str {
        match self {
            Fact::Begun => "START",
            Fact::Running | Fact::Table(_) => "RUNNING",
            Fact::Failed { .. } => "FAIL",
            Fact::Ended => "COMPLETE",
        }
    }
}

/// The event of a fact.
pub fn of_fact(settings: &LineageSettings, run_id: &str, time: UnixMicros, fact: &Fact) -> Value {
    let inputs = match fact {
        Fact::Table(dataset) => vec![input(settings, dataset)],
        Fact::Begun | Fact::Running | Fact::Failed { .. } | Fact::Ended => Vec::new(),
    };
    json!({
        "eventTime": instant(time),
        "producer": producer(),
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "eventType": fact.event_type(),
        "run": { "runId": run_id, "facets": enabled(settings, run_facets(settings, fact)) },
        "job": {
            "namespace": settings.namespace,
            "name": settings.job,
            "facets": enabled(settings, job_facets(settings)),
        },
        "inputs": inputs,
        "outputs": [],
    })
}

fn run_facets(settings: &LineageSettings, fact: &Fact) -> Map<String, Value> {
    let mut facets = Map::new();
    if let Fact::Failed { message, causes } = fact {
        let members = json!({
            "message": message, "programmingLanguage": "Rust", "stackTrace": causes,
        });
        facets.insert("errorMessage".to_owned(), facet("1-0-1", "ErrorMessageRunFacet", members));
    }
    let engine = json!({
        "version": DEBEZIUM_VERSION,
        "name": "Debezium",
        "openlineageAdapterVersion": CLIENT_VERSION,
    });
    let engine = facet("1-1-1", "ProcessingEngineRunFacet", engine);
    facets.insert("processing_engine".to_owned(), engine);
    let config = json!({
        "configs": settings.configs,
        "additionalProperties": {},
        "_producer": producer(),
        "_schemaURL": "https://github.com/debezium/debezium/tree/main/debezium-openlineage/src/main/java/io/debezium/openlineage/facets/spec/DebeziumRunFacet.json",
    });
    facets.insert("debezium_config".to_owned(), config);
    facets
}

fn job_facets(settings: &LineageSettings) -> Map<String, Value> {
    let mut facets = Map::new();
    let job_type =
        json!({ "processingType": "STREAMING", "integration": "DEBEZIUM", "jobType": "TASK" });
    facets.insert("jobType".to_owned(), facet("2-0-3", "JobTypeJobFacet", job_type));
    if !settings.owners.is_empty() {
        let owner = |(name, kind): &(String, String)| json!({ "name": name, "type": kind });
        let owners: Vec<Value> = settings.owners.iter().map(owner).collect();
        let owners = facet("1-0-1", "OwnershipJobFacet", json!({ "owners": owners }));
        facets.insert("ownership".to_owned(), owners);
    }
    if !settings.tags.is_empty() {
        let tag = |(key, value): &(String, String)| json!({ "key": key, "value": value, "source": "CONFIG" });
        let tags: Vec<Value> = settings.tags.iter().map(tag).collect();
        facets.insert("tags".to_owned(), facet("1-0-0", "TagsJobFacet", json!({ "tags": tags })));
    }
    let description = json!({ "description": settings.description });
    facets.insert("documentation".to_owned(), facet("1-0-1", "DocumentationJobFacet", description));
    facets
}

fn input(settings: &LineageSettings, dataset: &Dataset) -> Value {
    let mut facets = Map::new();
    let kind = json!({ "datasetType": "TABLE", "subType": "" });
    facets.insert("datasetType".to_owned(), facet("1-0-0", "DatasetTypeDatasetFacet", kind));
    let field = |(name, kind): &(String, String)| json!({ "name": name, "type": kind });
    let fields: Vec<Value> = dataset.fields.iter().map(field).collect();
    let schema = facet("1-1-1", "SchemaDatasetFacet", json!({ "fields": fields }));
    facets.insert("schema".to_owned(), schema);
    let TableName { namespace, name } = &dataset.table;
    json!({
        "namespace": settings.source,
        "name": format!("{}.{namespace}.{name}", settings.database),
        "facets": enabled(settings, facets),
    })
}

/// A facet of the specification: who made it, what it looks like, and its members.
fn facet(version: &str, name: &str, members: Value) -> Value {
    let schema = format!("https://openlineage.io/spec/facets/{version}/{name}.json#/$defs/{name}");
    let mut facet = json!({ "_producer": producer(), "_schemaURL": schema });
    if let (Value::Object(facet), Value::Object(members)) = (&mut facet, members) {
        facet.extend(members);
    }
    facet
}

fn enabled(settings: &LineageSettings, mut facets: Map<String, Value>) -> Map<String, Value> {
    facets.retain(|name, _| !settings.disabled_facets.contains(name));
    facets
}

fn producer() -> String {
    format!("https://github.com/debezium/debezium/tree/v{DEBEZIUM_VERSION}/debezium-openlineage")
}

/// ISO 8601 at UTC, as Java prints it.
fn instant(time: UnixMicros) -> String {
    let CivilDate { year, month, day } = CivilDate::from_days(time.0.div_euclid(DAY_MICROS));
    let mut clock = Vec::new();
    print_time(time.0.rem_euclid(DAY_MICROS), Fraction::Shortest, &mut clock);
    format!("{year:04}-{month:02}-{day:02}T{}Z", String::from_utf8_lossy(&clock))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_printed_as_java_does() {
        assert_eq!(instant(UnixMicros(0)), "1970-01-01T00:00:00Z");
        assert_eq!(instant(UnixMicros(1_700_000_000_120_000)), "2023-11-14T22:13:20.12Z");
        assert_eq!(instant(UnixMicros(-1)), "1969-12-31T23:59:59.999999Z");
    }

    #[test]
    fn an_error_is_told_with_all_its_causes() {
        #[derive(Debug)]
        struct Outer(std::num::ParseIntError);
        impl std::fmt::Display for Outer {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("no number")
            }
        }
        impl std::error::Error for Outer {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                Some(&self.0)
            }
        }
        let error = Outer("x".parse::<u8>().unwrap_err());
        let Fact::Failed { message, causes } = Fact::failed(&error) else { panic!("it failed") };
        assert_eq!(message, "no number");
        assert_eq!(causes, "no number\nCaused by: invalid digit found in string");
    }
}

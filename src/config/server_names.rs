//! Names in a Debezium Server's `application.properties`, as a connector has them.
//!
//! Source: Debezium 3.6, "Debezium Server", "Source configuration", "Format configuration".

/// What the source's, the producer's and the formats' names begin with, and what stands for it.
const PREFIXES: [(&str, &str); 5] = [
    ("debezium.source.", ""),
    ("debezium.sink.kafka.producer.", "producer."),
    ("debezium.format.key.", "key.converter."),
    ("debezium.format.value.", "value.converter."),
    ("debezium.transforms.", "transforms."),
];

/// Properties that stand for themselves.
const OWN: [&str; 3] = ["debezium.format.key", "debezium.format.value", "debezium.format.header"];

/// Whether a file with this name in it is a Debezium Server's.
pub(super) fn is_servers(name: &str) -> bool {
    name.starts_with("debezium.") || name.starts_with("quarkus.")
}

/// Takes off what says that a name is the source's or the sink's; what goes for keys and values
/// alike comes first, because each may say otherwise.
pub(super) fn as_a_connectors(settings: Vec<(String, String)>) -> Vec<(String, String)> {
    let mut general = Vec::new();
    let mut all = Vec::with_capacity(settings.len());
    for (name, value) in settings {
        match name.as_str() {
            "debezium.sink.kafka.producer.bootstrap.servers" => {
                all.push(("bootstrap.servers".to_owned(), value));
            }
            "debezium.transforms" | "debezium.predicates" => {
                all.push((name.replacen("debezium.", "", 1), value));
            }
            own if OWN.contains(&own) || own.starts_with("debezium.format.header.") => {
                all.push((name, value));
            }
            _ => {
                let replaced = PREFIXES.iter().find_map(|(prefix, replacement)| {
                    Some(format!("{replacement}{}", name.strip_prefix(prefix)?))
                });
                let both = name.strip_prefix("debezium.format.");
                match (replaced, both) {
                    (Some(replaced), _) => all.push((replaced, value)),
                    (None, Some(rest)) => general.extend([
                        (format!("key.converter.{rest}"), value.clone()),
                        (format!("value.converter.{rest}"), value),
                    ]),
                    (None, None) => all.push((name, value)),
                }
            }
        }
    }
    general.extend(all);
    general
}

#[cfg(test)]
mod tests {
    use super::as_a_connectors;

    #[test]
    fn a_servers_names_become_a_connectors() {
        let renamed = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let renamed = as_a_connectors(pairs.collect()).into_iter();
            renamed.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
        };
        assert_eq!(
            renamed(&[
                ("debezium.format.value.schemas.enable", "true"),
                ("debezium.format.schemas.enable", "false"),
                ("debezium.format.value", "json"),
                ("debezium.sink.type", "kafka"),
                ("debezium.sink.kafka.producer.bootstrap.servers", "h:1"),
                ("debezium.sink.kafka.producer.acks", "all"),
                ("debezium.source.slot.name", "s"),
                ("debezium.transforms", ""),
                ("debezium.transforms.a.type", "x"),
                ("quarkus.log.level", "INFO"),
            ]),
            [
                "key.converter.schemas.enable=false",
                "value.converter.schemas.enable=false",
                "value.converter.schemas.enable=true",
                "debezium.format.value=json",
                "debezium.sink.type=kafka",
                "bootstrap.servers=h:1",
                "producer.acks=all",
                "slot.name=s",
                "transforms=",
                "transforms.a.type=x",
                "quarkus.log.level=INFO",
            ]
        );
    }
}

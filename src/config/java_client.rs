//! Properties of Kafka clients by the Java client's names, as librdkafka has them.
//!
//! Source: Apache Kafka 4.3, "Producer Configs"; librdkafka 2.12, CONFIGURATION.md.

/// Names that librdkafka has no need of: its own queues, its own metrics, bytes that are bytes.
const WITHOUT_EFFECT: [&str; 19] = [
    "auto.include.jmx.reporter",
    "buffer.memory",
    "key.deserializer",
    "key.serializer",
    "max.block.ms",
    "metadata.max.idle.ms",
    "metric.reporters",
    "metrics.num.samples",
    "metrics.recording.level",
    "metrics.sample.window.ms",
    "partitioner.adaptive.partitioning.enable",
    "partitioner.availability.timeout.ms",
    "socket.connection.setup.timeout.max.ms",
    "ssl.keymanager.algorithm",
    "ssl.protocol",
    "ssl.secure.random.implementation",
    "ssl.trustmanager.algorithm",
    "value.deserializer",
    "value.serializer",
];

/// The same under another name.
const RENAMED: [(&str, &str); 9] = [
    ("compression.gzip.level", "compression.level"),
    ("compression.lz4.level", "compression.level"),
    ("compression.zstd.level", "compression.level"),
    ("max.request.size", "message.max.bytes"),
    ("receive.buffer.bytes", "socket.receive.buffer.bytes"),
    ("send.buffer.bytes", "socket.send.buffer.bytes"),
    ("ssl.keystore.certificate.chain", "ssl.certificate.pem"),
    ("ssl.keystore.key", "ssl.key.pem"),
    ("ssl.truststore.certificates", "ssl.ca.pem"),
];

/// Names that ask for a Java class.
const CLASSES: [&str; 7] = [
    "interceptor.classes",
    "partitioner.class",
    "sasl.client.callback.handler.class",
    "sasl.login.callback.handler.class",
    "sasl.login.class",
    "security.providers",
    "ssl.engine.factory.class",
];

/// A property that cannot be taken: its name, and what was found and expected; no value that may be
/// secret.
pub(super) type Refusal = (String, String);

/// Properties by librdkafka's names.
///
/// # Errors
///
/// Each that only a JVM can have.
pub(super) fn as_librdkafkas(
    properties: Vec<(String, String)>,
) -> Result<Vec<(String, String)>, Vec<Refusal>> {
    let kind_of = |store: &str| {
        let name = format!("ssl.{store}.type");
        let found = properties.iter().find(|(known, _)| *known == name);
        found.map_or("JKS", |(_, kind)| kind.trim()).to_ascii_uppercase()
    };
    let kinds = [kind_of("truststore"), kind_of("keystore")];
    let mut all = Vec::with_capacity(properties.len());
    let mut refused = Vec::new();
    for (name, value) in properties {
        match translated(&name, value, &kinds) {
            Ok(more) => all.extend(more),
            Err(message) => refused.push((name, message)),
        }
    }
    if refused.is_empty() { Ok(all) } else { Err(refused) }
}

fn translated(
    name: &str,
    value: String,
    [truststore, keystore]: &[String; 2],
) -> Result<Vec<(String, String)>, String> {
    let as_one = |name: &str, value: String| Ok(vec![(name.to_owned(), value)]);
    if WITHOUT_EFFECT.contains(&name) {
        return Ok(Vec::new());
    }
    if let Some((_, renamed)) = RENAMED.iter().find(|(known, _)| *known == name) {
        // Java's -1 is librdkafka's 0: what the system has.
        let of_system = renamed.starts_with("socket.") && value.trim() == "-1";
        return as_one(renamed, if of_system { "0".to_owned() } else { value });
    }
    match name {
        _ if CLASSES.contains(&name) => match value.trim() {
            "" => Ok(Vec::new()),
            _ => Err("found a Java class, and there is no JVM: leave it out".to_owned()),
        },
        "partitioner.ignore.keys" => match value.trim() {
            "false" => Ok(Vec::new()),
            _ => Err("expected false: a key decides its record's partition".to_owned()),
        },
        "sasl.jaas.config" => {
            let (user, password) = login(&value)?;
            Ok(vec![("sasl.username".to_owned(), user), ("sasl.password".to_owned(), password)])
        }
        "ssl.endpoint.identification.algorithm" if value.trim().is_empty() => {
            as_one(name, "none".to_owned())
        }
        "ssl.enabled.protocols" => {
            match value.split(',').all(|part| matches!(part.trim(), "TLSv1.2" | "TLSv1.3")) {
                true => Ok(Vec::new()),
                false => Err("expected TLSv1.2, TLSv1.3".to_owned()),
            }
        }
        "ssl.truststore.type" | "ssl.keystore.type" => Ok(Vec::new()),
        "ssl.truststore.location" if truststore == "PEM" => as_one("ssl.ca.location", value),
        "ssl.truststore.location" => Err(format!(
            "found a store of the type {truststore}, expected PEM: take the certificates out \
             (keytool -list -rfc -keystore FILE, or openssl pkcs12 -nokeys -in FILE) and set \
             ssl.truststore.type=PEM"
        )),
        // Of the store that was refused, or of PEM, which has none.
        "ssl.truststore.password" => Ok(Vec::new()),
        "ssl.keystore.location" => match keystore.as_str() {
            "PEM" => Ok(vec![
                ("ssl.certificate.location".to_owned(), value.clone()),
                ("ssl.key.location".to_owned(), value),
            ]),
            "PKCS12" => as_one(name, value),
            _ => Err(format!(
                "found a store of the type {keystore}, expected PKCS12 or PEM: keytool \
                 -importkeystore -srckeystore FILE -destkeystore NEW -deststoretype PKCS12, and \
                 set ssl.keystore.type"
            )),
        },
        _ => as_one(name, value),
    }
}

/// User and password of `org.apache.kafka.common.security.plain.PlainLoginModule required
/// username="u" password="p";`, or of the module of SCRAM.
fn login(text: &str) -> Result<(String, String), String> {
    let module = text.split_whitespace().next().unwrap_or_default();
    let module = module.rsplit('.').next().unwrap_or_default();
    if !matches!(module, "PlainLoginModule" | "ScramLoginModule") {
        return Err("expected PlainLoginModule or ScramLoginModule with username and password; \
                    others need a JVM"
            .to_owned());
    }
    let lacks = |name: &str| format!("{module} lacks {name}=\"…\"");
    let user = option(text, "username").ok_or_else(|| lacks("username"))?;
    let password = option(text, "password").ok_or_else(|| lacks("password"))?;
    Ok((user, password))
}

/// An option's value, in quotes or bare up to a blank or the semicolon.
fn option(text: &str, name: &str) -> Option<String> {
    let before = |character: char| character.is_whitespace();
    let start = text.match_indices(name).find_map(|(at, _)| {
        let is_word = text.get(..at)?.ends_with(before);
        let rest = text.get(at + name.len()..)?.trim_start().strip_prefix('=')?;
        is_word.then_some(rest.trim_start())
    })?;
    let Some(quoted) = start.strip_prefix('"') else {
        let end = start.find(|c: char| c.is_whitespace() || c == ';').unwrap_or(start.len());
        return start.get(..end).map(str::to_owned);
    };
    let mut out = String::new();
    let mut characters = quoted.chars();
    loop {
        match characters.next()? {
            '"' => return Some(out),
            '\\' => out.push(characters.next()?),
            character => out.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translate(pairs: &[(&str, &str)]) -> Result<Vec<String>, Vec<Refusal>> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let all = as_librdkafkas(pairs.collect())?;
        Ok(all.into_iter().map(|(name, value)| format!("{name}={value}")).collect())
    }

    #[test]
    fn java_names_become_librdkafkas() {
        assert_eq!(
            translate(&[
                ("key.serializer", "org.apache.kafka.common.serialization.StringSerializer"),
                ("buffer.memory", "33554432"),
                ("max.request.size", "5"),
                ("send.buffer.bytes", "-1"),
                ("linger.ms", "5"),
                ("interceptor.classes", ""),
                ("sasl.mechanism", "PLAIN"),
                (
                    "sasl.jaas.config",
                    "org.apache.kafka.common.security.plain.PlainLoginModule required\n \
                     username=\"u\" password=\"p \\\"q;\";"
                ),
                ("ssl.endpoint.identification.algorithm", ""),
                ("ssl.truststore.type", "PEM"),
                ("ssl.truststore.location", "/ca.pem"),
                ("ssl.keystore.type", "PEM"),
                ("ssl.keystore.location", "/own.pem"),
            ])
            .unwrap(),
            [
                "message.max.bytes=5",
                "socket.send.buffer.bytes=0",
                "linger.ms=5",
                "sasl.mechanism=PLAIN",
                "sasl.username=u",
                "sasl.password=p \"q;",
                "ssl.endpoint.identification.algorithm=none",
                "ssl.ca.location=/ca.pem",
                "ssl.certificate.location=/own.pem",
                "ssl.key.location=/own.pem",
            ]
        );
    }

    #[test]
    fn what_only_a_jvm_can_have_is_refused_without_a_secret() {
        for (name, value, expected) in [
            ("partitioner.class", "a.B", "Java class"),
            ("ssl.truststore.location", "/a.jks", "type JKS, expected PEM"),
            ("ssl.keystore.location", "/a.jks", "expected PKCS12 or PEM"),
            ("ssl.enabled.protocols", "TLSv1.2,TLSv1", "expected TLSv1.2"),
            (
                "sasl.jaas.config",
                "x.ScramLoginModule required username=u secret;",
                "lacks password",
            ),
            ("sasl.jaas.config", "x.Krb5LoginModule required secret=y;", "need a JVM"),
        ] {
            let refused = translate(&[(name, value)]).unwrap_err();
            assert_eq!(refused[0].0, name);
            assert!(refused[0].1.contains(expected), "{refused:?}");
            assert!(!refused[0].1.contains("secret"), "{refused:?}");
        }
    }
}

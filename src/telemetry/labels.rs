//! Labels that every metric bears beside its own.
//!
//! Source: Prometheus, "Exposition formats", text-based format; "Data model".

/// Labels of our own metrics.
const OWN: [&str; 12] = [
    "column",
    "kind",
    "le",
    "operation",
    "partition",
    "reason",
    "slot",
    "state",
    "table",
    "topic",
    "version",
    "wal_status",
];

/// Labels for every metric.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// `name="value"`, separated by commas.
    text: String,
}

impl Labels {
    /// Reads `name=value`, separated by commas.
    ///
    /// # Errors
    ///
    /// What was found and what was expected.
    pub fn parse(tags: &str) -> Result<Self, String> {
        let mut names: Vec<String> = Vec::new();
        let mut labels = Vec::new();
        for tag in tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
            let pair = tag.split_once('=').map(|(name, value)| (name.trim(), value.trim()));
            let pair = pair.filter(|(name, value)| !name.is_empty() && !value.is_empty());
            let Some((name, value)) = pair.filter(|(_, value)| !value.contains('=')) else {
                return Err(format!("found \"{tag}\", expected name=value"));
            };
            // What Prometheus does not take in a name is an underscore, as in its exporter for JMX.
            let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
            let known = |c: char| if letter(c) || c.is_ascii_digit() { c } else { '_' };
            let mut name: String = name.chars().map(known).collect();
            if !name.starts_with(letter) {
                name.insert(0, '_');
            }
            if name.starts_with("__") {
                return Err(format!("found \"{name}\", expected no two underscores first"));
            }
            if OWN.contains(&name.as_str()) || names.contains(&name) {
                return Err(format!("found \"{name}\", which is there already"));
            }
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            labels.push(format!("{name}=\"{value}\""));
            names.push(name);
        }
        Ok(Labels { text: labels.join(",") })
    }

    /// Metrics in the text format, each with these labels before its own.
    pub fn put_into(&self, metrics: String) -> String {
        if self.text.is_empty() {
            return metrics;
        }
        let mut out = String::with_capacity(metrics.len() * 2);
        for line in metrics.split_inclusive('\n') {
            match line.find(['{', ' ']).map(|at| line.split_at(at)) {
                Some((name, rest)) if !line.starts_with('#') => {
                    let rest = match rest.strip_prefix('{') {
                        Some(own) => format!(",{own}"),
                        None => format!("}}{rest}"),
                    };
                    out.extend([name, "{", &self.text, &rest]);
                }
                _ => out.push_str(line),
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::Labels;

    #[test]
    fn every_metric_bears_the_labels() {
        let labels = Labels::parse(r#"env=prod, team="a" {b}"#).unwrap();
        let metrics = "# HELP a An a {b}.\n# TYPE a counter\na 1\nb{table=\"s.t {x}\"} 2\n\n";
        assert_eq!(
            labels.put_into(metrics.to_owned()),
            "# HELP a An a {b}.\n# TYPE a counter\na{env=\"prod\",team=\"\\\"a\\\" {b}\"} 1\n\
             b{env=\"prod\",team=\"\\\"a\\\" {b}\",table=\"s.t {x}\"} 2\n\n"
        );
        assert_eq!(Labels::parse("").unwrap().put_into(metrics.to_owned()), metrics);
    }

    #[test]
    fn other_characters_of_names_are_underscores() {
        let labels = Labels::parse("a-b=1,2 c=3").unwrap();
        assert_eq!(labels.text, "a_b=\"1\",_2_c=\"3\"");
    }

    #[test]
    fn names_are_those_that_prometheus_takes_and_stand_once() {
        for (tags, expected) in [
            ("env", "expected name=value"),
            ("a=", "expected name=value"),
            ("a=b=c", "expected name=value"),
            ("__a=b", "no two underscores first"),
            ("a-b=c,a_b=c", "there already"),
            ("table=b", "there already"),
            ("a=b,a=c", "there already"),
        ] {
            let said = Labels::parse(tags).unwrap_err();
            assert!(said.contains(expected), "{tags}: {said}");
        }
    }
}

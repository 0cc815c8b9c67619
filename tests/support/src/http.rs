//! Plain HTTP on loopback: health, metrics, and Kafka Connect's REST.

use std::time::Duration;

use serde_json::Value;

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Body as text.
    pub body: String,
}

impl Answer {
    /// Whether the status is one of success.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    /// The value of a sample in Prometheus' text format: the series with its labels as it stands
    /// there, `cdc_agent_tables_left_out{reason="new",slot="s"}`; the label `slot`, which all of an
    /// agent's have, may be left out.
    pub fn metric(&self, series: &str) -> Option<f64> {
        let sample = |line: &str| {
            let (found, value) = line.rsplit_once(' ')?;
            (found == series || without_slot(found) == series).then(|| value.parse().ok())?
        };
        self.body.lines().filter(|line| !line.starts_with('#')).find_map(sample)
    }
}

/// A series without its label `slot`.
fn without_slot(series: &str) -> String {
    let Some((before, rest)) = series.split_once("slot=\"") else { return series.to_owned() };
    let after = rest.split_once('"').map_or("", |(_, after)| after);
    let is_last = after.starts_with('}');
    let before = if is_last { before.trim_end_matches(',') } else { before };
    let text = format!("{before}{}", after.trim_start_matches(','));
    text.replace("{}", "")
}

/// `GET`.
///
/// # Errors
///
/// If nobody answers within ten seconds. A status of failure is an answer.
pub fn get(url: &str) -> Result<Answer, String> {
    request("GET", url, None)
}

/// Any of GET, DELETE, POST and PUT, the latter two with a JSON body or none.
///
/// # Errors
///
/// If nobody answers within ten seconds (a minute with a body). A status of failure is an answer.
///
/// # Panics
///
/// If the method is another one.
pub fn request(method: &str, url: &str, body: Option<&Value>) -> Result<Answer, String> {
    let timeout = if body.is_some() { 60 } else { 10 };
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(timeout)))
        .http_status_as_error(false)
        .build();
    let agent = ureq::Agent::new_with_config(config);
    let sent = match method {
        "GET" => agent.get(url).call(),
        "DELETE" => agent.delete(url).call(),
        "POST" | "PUT" => {
            let request = if method == "PUT" { agent.put(url) } else { agent.post(url) };
            match body {
                Some(body) => request.content_type("application/json").send(body.to_string()),
                None => request.send_empty(),
            }
        }
        other => panic!("{other} is no method of these tests"),
    };
    let mut response = sent.map_err(|error| error.to_string())?;
    let status = response.status().as_u16();
    let body = response.body_mut().read_to_string().map_err(|error| error.to_string())?;
    Ok(Answer { status, body })
}

/// `POST` of a text.
///
/// # Errors
///
/// If nobody answers within a minute. A status of failure is an answer.
pub fn post_text(url: &str, text: &str) -> Result<Answer, String> {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(60)))
        .http_status_as_error(false)
        .build();
    let agent = ureq::Agent::new_with_config(config);
    let sent = agent.post(url).content_type("text/plain").send(text.to_owned());
    let mut response = sent.map_err(|error| error.to_string())?;
    let status = response.status().as_u16();
    let body = response
        .body_mut()
        .with_config()
        .limit(64 << 20)
        .read_to_string()
        .map_err(|error| error.to_string())?;
    Ok(Answer { status, body })
}

#[cfg(test)]
mod tests {
    use super::Answer;

    #[test]
    fn a_metric_is_found_by_its_whole_name() {
        let body = "# TYPE a gauge\na_b 3\na{x=\"1\"} 7\na 2.5\n".into();
        let answer = Answer { status: 200, body };
        assert_eq!(answer.metric("a"), Some(2.5));
        assert_eq!(answer.metric("a{x=\"1\"}"), Some(7.0));
        assert_eq!(answer.metric("b"), None);
    }

    #[test]
    fn the_label_of_a_slot_may_be_left_out() {
        let body = "a{slot=\"s\"} 1\nb{slot=\"s\",z=\"1\"} 2\nc{a=\"1\",slot=\"s\"} 3\nd{a=\"1\",slot=\"s\",z=\"2\"} 4\n";
        let answer = Answer { status: 200, body: body.into() };
        assert_eq!(answer.metric("a"), Some(1.0));
        assert_eq!(answer.metric("b{z=\"1\"}"), Some(2.0));
        assert_eq!(answer.metric("c{a=\"1\"}"), Some(3.0));
        assert_eq!(answer.metric("d{a=\"1\",z=\"2\"}"), Some(4.0));
    }
}

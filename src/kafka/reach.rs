//! The first look at the brokers: whether one answers, and if none does, why.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::Consumer;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::error::RDKafkaErrorCode;

use crate::kafka::KafkaFailure;
use crate::kafka::KafkaSettings;
use crate::kafka::client_config;

/// A topic that is asked for to see whether a broker answers; it need not exist.
const PROBE_TOPIC: &str = "__consumer_offsets";

/// The first question waits so long; each further one twice as long as the one before, so that a
/// slow broker is heard, too.
const FIRST_QUESTION: Duration = Duration::from_millis(500);

/// With several brokers, another one may answer so long after one that never will.
const OTHERS_ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// An error of a connection is known so long after it at the latest, and asked for so often.
const LAST_WORD: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(20);

/// So often a broker hangs up before it is taken for one that speaks another protocol: one that is
/// being stopped hangs up as well.
const HANG_UPS: usize = 3;

/// What a client says of brokers that it cannot use.
#[derive(Debug, Default)]
struct Heard {
    reasons: Mutex<HashMap<String, (RDKafkaErrorCode, usize)>>,
}

impl ClientContext for Heard {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "Kafka client");
        // That a connection was closed is no error to the client.
        if facility == "FAIL" && message.contains("in state APIVERSION_QUERY") {
            let times = 1 + suppressed(message);
            self.note(RDKafkaErrorCode::BrokerTransportFailure, HUNG_UP, times);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(code) = error.rdkafka_error_code() {
            self.note(code, plain(reason), 1);
        }
    }
}

impl ConsumerContext for Heard {}

/// What a listener does that expects another protocol.
const HUNG_UP: &str = "the connection is closed at the first request, as by a listener that expects \
                       another security.protocol, or by something else than Kafka";

/// How many equal lines stand behind one of the client's log.
fn suppressed(message: &str) -> usize {
    let count = message.split(" identical error(s) suppressed").next().unwrap_or_default();
    count.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or_default()
}

impl Heard {
    fn note(&self, code: RDKafkaErrorCode, reason: &str, times: usize) {
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        reasons.entry(reason.to_owned()).or_insert((code, 0)).1 += times;
    }

    /// The most definite reason, and whether waiting may not mend it.
    fn reason(&self) -> Option<(String, Blame)> {
        let reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        let said = |(text, (code, count)): (&String, &(RDKafkaErrorCode, usize))| {
            let blame = match blame(*code, text) {
                Blame::Protocol if *count < HANG_UPS => Blame::Nobody,
                blame => blame,
            };
            (text.clone(), blame)
        };
        let known =
            reasons.iter().filter(|(_, (code, _))| *code != RDKafkaErrorCode::AllBrokersDown);
        known.map(said).max_by_key(|(_, blame)| *blame)
    }

    fn all_are_down(&self) -> bool {
        let reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        reasons.values().any(|(code, _)| *code == RDKafkaErrorCode::AllBrokersDown)
    }
}

/// Whom a reason blames; the most definite last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Blame {
    /// It may pass.
    Nobody,
    Protocol,
    Name,
    Tls,
    Credentials,
}

fn blame(code: RDKafkaErrorCode, reason: &str) -> Blame {
    match code {
        RDKafkaErrorCode::Authentication
        | RDKafkaErrorCode::SaslAuthenticationFailed
        | RDKafkaErrorCode::UnsupportedSASLMechanism => Blame::Credentials,
        RDKafkaErrorCode::SSL if reason.contains("PLAINTEXT broker") => Blame::Protocol,
        RDKafkaErrorCode::SSL => Blame::Tls,
        // A name server that does not answer passes.
        RDKafkaErrorCode::Resolve if reason.contains("Temporary failure") => Blame::Nobody,
        RDKafkaErrorCode::Resolve => Blame::Name,
        _ if reason.contains("security.protocol") => Blame::Protocol,
        _ => Blame::Nobody,
    }
}

/// Without how long it took, which differs each time, and without the client's name of the broker's
/// connection, `sasl_ssl://kafka:9092/bootstrap: `.
fn plain(reason: &str) -> &str {
    let reason = reason.split(" (after ").next().unwrap_or(reason);
    match reason.split_once(": ") {
        Some((place, rest)) if place.contains("://") || place.contains(":9") => rest,
        Some((place, rest)) if place.ends_with("/bootstrap") => rest,
        _ => reason,
    }
}

/// Waits until a broker answers, not longer than `timeout`, and not at all for what no waiting
/// mends: a password, a certificate, a name, a protocol.
///
/// # Errors
///
/// No broker answers, and why.
pub fn reach(
    settings: &KafkaSettings,
    client_id: &str,
    timeout: Duration,
) -> Result<(), KafkaFailure> {
    let failed = |error: &KafkaError| KafkaFailure::new(settings, "asking for metadata", error);
    let consumer: BaseConsumer<Heard> = client_config(settings, client_id)
        // Its log tells of connections that are closed.
        .set_log_level(RDKafkaLogLevel::Info)
        .create_with_context(Heard::default())
        .map_err(|error| failed(&error))?;
    let began = Instant::now();
    let mut question = FIRST_QUESTION;
    let mut blamed: Option<Instant> = None;
    loop {
        let left = timeout.saturating_sub(began.elapsed()).max(Duration::from_millis(1));
        let asked = consumer.fetch_metadata(Some(PROBE_TOPIC), question.min(left));
        let Err(error) = asked else { return Ok(()) };
        // Its errors come with polls.
        while consumer.poll(Duration::ZERO).is_some() {}
        let heard = consumer.context();
        let reason = heard.reason();
        if let Some((text, blame)) = reason.clone().filter(|(_, blame)| *blame != Blame::Nobody) {
            let since = *blamed.get_or_insert_with(Instant::now);
            if heard.all_are_down() || since.elapsed() >= OTHERS_ANSWER_WITHIN {
                return Err(refusal(settings, text, blame));
            }
        } else {
            question *= 2;
        }
        if began.elapsed() >= timeout {
            let reason = reason.or_else(|| last_word(&consumer));
            return Err(match reason {
                Some((text, Blame::Nobody)) => {
                    KafkaFailure::Unreachable { brokers: settings.brokers.clone(), reason: text }
                }
                Some((text, blame)) => refusal(settings, text, blame),
                None => failed(&error),
            });
        }
        // An error that comes at once must not be asked for without a pause.
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What the client says of its brokers a moment later: its errors come with a delay.
fn last_word(consumer: &BaseConsumer<Heard>) -> Option<(String, Blame)> {
    let until = Instant::now() + LAST_WORD;
    while Instant::now() < until {
        if let Some(reason) = consumer.context().reason() {
            return Some(reason);
        }
        // Nothing is subscribed to: only errors come.
        consumer.poll(POLL);
    }
    None
}

fn refusal(settings: &KafkaSettings, reason: String, blame: Blame) -> KafkaFailure {
    let brokers = settings.brokers.clone();
    let hint = match blame {
        Blame::Credentials => return KafkaFailure::NotLetIn { brokers, reason },
        Blame::Tls => {
            "give the authority that signed the broker's certificate (kafka.ssl.ca.location, or the \
             truststore), and the certificate that the broker asks for"
        }
        Blame::Name => {
            "correct the name in --brokers, or the broker's advertised.listeners; both have to be \
             known here"
        }
        Blame::Protocol | Blame::Nobody => {
            "give the protocol and the port of one listener of Kafka (kafka.security.protocol: \
             PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL; --brokers)"
        }
    };
    KafkaFailure::Unusable { brokers, reason, hint: hint.to_owned() }
}

#[cfg(test)]
mod tests {
    use rdkafka::ClientContext;
    use rdkafka::config::RDKafkaLogLevel;
    use rdkafka::error::KafkaError;
    use rdkafka::error::RDKafkaErrorCode as Code;

    use super::Blame;
    use super::Heard;

    fn heard(said: &[(Code, &str)]) -> Option<(String, Blame)> {
        let heard = Heard::default();
        for (code, text) in said {
            heard.error(KafkaError::Global(*code), text);
        }
        heard.reason()
    }

    #[test]
    fn the_most_definite_reason_is_told() {
        let refused = (Code::BrokerTransportFailure, "a:9092/bootstrap: Connect failed: refused");
        let password = (Code::Authentication, "sasl_ssl://b:9093/bootstrap: Invalid password");
        let down = (Code::AllBrokersDown, "2/2 brokers are down");
        assert_eq!(heard(&[down]), None);
        let text = "Connect failed: refused".to_owned();
        assert_eq!(heard(&[refused, down]), Some((text, Blame::Nobody)));
        let text = "Invalid password".to_owned();
        assert_eq!(heard(&[refused, password, refused]), Some((text, Blame::Credentials)));
    }

    #[test]
    fn what_may_pass_blames_nobody() {
        let name = (Code::Resolve, "Failed to resolve 'x:1': Temporary failure in name resolution");
        assert_eq!(heard(&[name]).unwrap().1, Blame::Nobody);
        let name = (Code::Resolve, "Failed to resolve 'x:1': Name or service not known");
        assert_eq!(heard(&[name]).unwrap().1, Blame::Name);
        // A broker that is being stopped hangs up once.
        let heard = Heard::default();
        let line = "a:9092/bootstrap: Disconnected: closed (after 0ms in state APIVERSION_QUERY";
        heard.log(RDKafkaLogLevel::Info, "FAIL", &format!("{line})"));
        assert_eq!(heard.reason().unwrap().1, Blame::Nobody);
        let more = format!("{line}, 1 identical error(s) suppressed)");
        heard.log(RDKafkaLogLevel::Info, "FAIL", &more);
        assert_eq!(heard.reason().unwrap().1, Blame::Protocol);
    }
}

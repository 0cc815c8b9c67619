//! The producer's hot path on librdkafka's C interface.
//!
//! The safe crate looks the topic up by name for every record and allocates for every
//! acknowledgement; this does neither. Source: librdkafka 2.12, `rdkafka.h`.

#![allow(unsafe_code, reason = "calls of librdkafka")]

use std::ffi::CStr;
use std::ffi::CString;
use std::ffi::c_char;
use std::ffi::c_int;
use std::ffi::c_void;
use std::ptr;
use std::sync::Mutex;
use std::time::Duration;

use rdkafka_sys::bindings as sys;

/// Room for librdkafka's error texts.
const ERROR_TEXT_BYTES: usize = 512;

/// Most headers that one record carries.
pub(super) const HEADERS_MAX: usize = 11;

/// A producer.
#[derive(Debug)]
pub(super) struct Producer {
    client: *mut sys::rd_kafka_t,
    queue: *mut sys::rd_kafka_queue_t,
    topics: Mutex<Vec<Topic>>,
}

// SAFETY: librdkafka's handles may be used from any thread, concurrently (rdkafka.h,
// "Thread safety"); `topics` is behind a mutex.
unsafe impl Send for Producer {}
// SAFETY: as above.
unsafe impl Sync for Producer {}

/// A topic of a producer; valid as long as the producer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Topic(*mut sys::rd_kafka_topic_t);

// SAFETY: a topic handle may be used from any thread (rdkafka.h, "Thread safety").
unsafe impl Send for Topic {}
// SAFETY: as above.
unsafe impl Sync for Topic {}

/// A record to send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outgoing<'a> {
    /// Key.
    pub(super) key: Option<&'a [u8]>,
    /// Value.
    pub(super) value: Option<&'a [u8]>,
    /// Partition; negative: by the partitioner.
    pub(super) partition: i32,
    /// Headers, at most [`HEADERS_MAX`].
    pub(super) headers: &'a [(&'a CStr, &'a [u8])],
    /// Comes back with the acknowledgement.
    pub(super) opaque: u64,
}

/// Why a record was not taken.
#[derive(Debug)]
pub(super) enum Refused {
    /// No room: wait for acknowledgements.
    QueueFull,
    /// It never will be.
    Failed {
        /// librdkafka's code.
        code: i32,
        /// Its text.
        reason: String,
    },
}

/// Something that happened.
#[derive(Debug)]
pub(super) enum Event<'a> {
    /// A record is durable.
    Delivered {
        /// The record's opaque.
        opaque: u64,
        /// Size of its key and value.
        bytes: usize,
        /// From the call that sent it to now.
        latency: Duration,
    },
    /// A record will never be delivered.
    Undelivered {
        /// librdkafka's code.
        code: i32,
        /// Its text.
        reason: String,
        /// Topic.
        topic: String,
        /// Size of the value.
        bytes: usize,
    },
    /// The producer as a whole has a problem; it goes on trying unless it is fatal.
    Trouble {
        /// librdkafka's code.
        code: i32,
        /// Its text.
        reason: &'a str,
        /// It can send nothing more.
        fatal: bool,
    },
    /// A line of librdkafka's log.
    Log {
        /// syslog's level.
        level: i32,
        /// Text.
        text: &'a str,
    },
}

/// librdkafka's codes that decide something here.
pub(super) mod code {
    use super::sys::rd_kafka_resp_err_t as E;

    pub(in crate::capture::publisher) const MESSAGE_SIZE: i32 =
        E::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE as i32;
    pub(in crate::capture::publisher) const TOPIC_AUTHORIZATION: i32 =
        E::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED as i32;
    pub(in crate::capture::publisher) const CLUSTER_AUTHORIZATION: i32 =
        E::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED as i32;
    pub(in crate::capture::publisher) const INVALID_RECORD: i32 =
        E::RD_KAFKA_RESP_ERR_INVALID_RECORD as i32;
}

impl Producer {
    /// Makes a producer from librdkafka's properties.
    ///
    /// # Errors
    ///
    /// librdkafka's words about the property that it refuses.
    pub(super) fn new(properties: &[(String, String)]) -> Result<Self, String> {
        // SAFETY: takes no arguments; the result is owned until rd_kafka_new takes it over.
        let configuration = unsafe { sys::rd_kafka_conf_new() };
        let mut text = [0_u8; ERROR_TEXT_BYTES];
        for (name, value) in properties {
            if let Err(reason) = set(configuration, name, value, &mut text) {
                // SAFETY: `configuration` has not been handed over.
                unsafe { sys::rd_kafka_conf_destroy(configuration) };
                return Err(reason);
            }
        }
        let events = sys::RD_KAFKA_EVENT_DR | sys::RD_KAFKA_EVENT_ERROR | sys::RD_KAFKA_EVENT_LOG;
        // SAFETY: `configuration` is valid and ours.
        unsafe { sys::rd_kafka_conf_set_events(configuration, events) };
        // SAFETY: `configuration` is taken over if the call succeeds; `text` outlives the call.
        let client = unsafe {
            sys::rd_kafka_new(
                sys::rd_kafka_type_t::RD_KAFKA_PRODUCER,
                configuration,
                text.as_mut_ptr().cast::<c_char>(),
                text.len(),
            )
        };
        if client.is_null() {
            // SAFETY: the call failed, so `configuration` is still ours.
            unsafe { sys::rd_kafka_conf_destroy(configuration) };
            return Err(c_text(&text));
        }
        // SAFETY: `client` is valid; a null queue means the main queue, where events are polled.
        unsafe { sys::rd_kafka_set_log_queue(client, ptr::null_mut()) };
        // SAFETY: `client` is valid; the queue is given back in `drop`.
        let queue = unsafe { sys::rd_kafka_queue_get_main(client) };
        Ok(Producer { client, queue, topics: Mutex::new(Vec::new()) })
    }

    /// A handle for a topic, whether it exists or not.
    ///
    /// # Errors
    ///
    /// librdkafka refuses the name.
    pub(super) fn topic(&self, name: &str) -> Result<Topic, String> {
        let name = CString::new(name).map_err(|_| "the name holds a NUL".to_owned())?;
        // SAFETY: `client` is valid, `name` outlives the call, null means the default settings.
        let handle =
            unsafe { sys::rd_kafka_topic_new(self.client, name.as_ptr(), ptr::null_mut()) };
        if handle.is_null() {
            // SAFETY: reads the calling thread's last error.
            let code = unsafe { sys::rd_kafka_last_error() };
            return Err(error_text(code));
        }
        let topic = Topic(handle);
        if let Ok(mut topics) = self.topics.lock() {
            topics.push(topic);
        }
        Ok(topic)
    }

    /// Takes a record into the queue; its bytes are copied.
    ///
    /// # Errors
    ///
    /// There is no room, or the record will never be taken.
    pub(super) fn send(&self, topic: Topic, record: &Outgoing<'_>) -> Result<(), Refused> {
        use sys::rd_kafka_vtype_t as V;
        let mut arguments = Arguments::new();
        arguments.push(V::RD_KAFKA_VTYPE_RKT, Union { rkt: topic.0 });
        arguments.push(V::RD_KAFKA_VTYPE_PARTITION, Union { i32_: record.partition });
        arguments.push(V::RD_KAFKA_VTYPE_MSGFLAGS, Union { i: sys::RD_KAFKA_MSG_F_COPY });
        arguments.push(V::RD_KAFKA_VTYPE_VALUE, memory(record.value));
        arguments.push(V::RD_KAFKA_VTYPE_KEY, memory(record.key));
        // The number travels as a pointer that nobody follows.
        let opaque = usize::try_from(record.opaque).unwrap_or_default();
        let opaque = ptr::without_provenance_mut::<c_void>(opaque);
        arguments.push(V::RD_KAFKA_VTYPE_OPAQUE, Union { ptr: opaque });
        for (name, value) in record.headers {
            let header = sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_2 {
                name: name.as_ptr(),
                val: value.as_ptr().cast(),
                size: value.len().cast_signed(),
            };
            arguments.push(V::RD_KAFKA_VTYPE_HEADER, Union { header });
        }
        // SAFETY: `arguments` holds `count` initialised values whose pointers outlive the call;
        // librdkafka copies value, key and headers before it returns.
        let error = unsafe {
            sys::rd_kafka_produceva(self.client, arguments.values.as_ptr(), arguments.count)
        };
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: `error` is not null and ours; it is destroyed below and not used after.
        let (code, reason) = unsafe {
            let code = sys::rd_kafka_error_code(error);
            let reason = CStr::from_ptr(sys::rd_kafka_error_string(error));
            let reason = reason.to_string_lossy().into_owned();
            sys::rd_kafka_error_destroy(error);
            (code, reason)
        };
        if code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__QUEUE_FULL {
            return Err(Refused::QueueFull);
        }
        Err(Refused::Failed { code: code as i32, reason })
    }

    /// Waits for one group of events and calls `each` with them.
    pub(super) fn poll(&self, timeout: Duration, mut each: impl FnMut(Event<'_>)) {
        let millis = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: `queue` is valid until `drop`.
        let event = unsafe { sys::rd_kafka_queue_poll(self.queue, millis) };
        if event.is_null() {
            return;
        }
        // SAFETY: `event` is valid until it is destroyed below.
        match unsafe { sys::rd_kafka_event_type(event) } {
            sys::RD_KAFKA_EVENT_DR => deliveries(event, &mut each),
            sys::RD_KAFKA_EVENT_ERROR => self.trouble(event, &mut each),
            sys::RD_KAFKA_EVENT_LOG => log_line(event, &mut each),
            _ => {}
        }
        // SAFETY: `event` is ours and not used after.
        unsafe { sys::rd_kafka_event_destroy(event) };
    }

    fn trouble(&self, event: *mut sys::rd_kafka_event_t, each: &mut impl FnMut(Event<'_>)) {
        // SAFETY: `event` is valid; its string lives as long as it.
        let (mut code, reason) = unsafe {
            let code = sys::rd_kafka_event_error(event);
            (code, text_at(sys::rd_kafka_event_error_string(event)))
        };
        let fatal = code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__FATAL;
        let mut text = [0_u8; ERROR_TEXT_BYTES];
        if fatal {
            let room = text.as_mut_ptr().cast::<c_char>();
            // SAFETY: `client` is valid and `text` outlives the call.
            code = unsafe { sys::rd_kafka_fatal_error(self.client, room, text.len()) };
        }
        let reason = if fatal { c_text(&text) } else { reason };
        each(Event::Trouble { code: code as i32, reason: &reason, fatal });
    }

    /// Records that are queued or in flight, and events not polled yet.
    pub(super) fn queue_length(&self) -> usize {
        // SAFETY: `client` is valid.
        let length = unsafe { sys::rd_kafka_outq_len(self.client) };
        usize::try_from(length).unwrap_or_default()
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        let everything = sys::RD_KAFKA_PURGE_F_QUEUE | sys::RD_KAFKA_PURGE_F_INFLIGHT;
        // SAFETY: nobody else uses the handles: `self` is owned. Records that are not delivered are
        // dropped here and sent again from the confirmed position.
        unsafe {
            sys::rd_kafka_purge(self.client, everything);
            if let Ok(topics) = self.topics.get_mut() {
                for topic in topics.drain(..) {
                    sys::rd_kafka_topic_destroy(topic.0);
                }
            }
            sys::rd_kafka_queue_destroy(self.queue);
            sys::rd_kafka_destroy(self.client);
        }
    }
}

use sys::rd_kafka_vu_s__bindgen_ty_1 as Union;

/// Arguments of one call, on the stack.
struct Arguments {
    values: [sys::rd_kafka_vu_t; HEADERS_MAX + 6],
    count: usize,
}

impl Arguments {
    fn new() -> Self {
        let empty = sys::rd_kafka_vu_t {
            vtype: sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_END,
            u: Union { ptr: ptr::null_mut() },
        };
        Arguments { values: [empty; HEADERS_MAX + 6], count: 0 }
    }

    fn push(&mut self, vtype: sys::rd_kafka_vtype_t, u: Union) {
        if let Some(slot) = self.values.get_mut(self.count) {
            *slot = sys::rd_kafka_vu_t { vtype, u };
            self.count += 1;
        }
    }
}

fn memory(bytes: Option<&[u8]>) -> Union {
    let mem = match bytes {
        Some(bytes) => sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
            ptr: bytes.as_ptr().cast_mut().cast(),
            size: bytes.len(),
        },
        None => sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 { ptr: ptr::null_mut(), size: 0 },
    };
    Union { mem }
}

fn set(
    configuration: *mut sys::rd_kafka_conf_t,
    name: &str,
    value: &str,
    text: &mut [u8],
) -> Result<(), String> {
    let name = CString::new(name).map_err(|_| format!("{name:?} holds a NUL"))?;
    let value = CString::new(value).map_err(|_| format!("the value of {name:?} holds a NUL"))?;
    let room = text.as_mut_ptr().cast::<c_char>();
    // SAFETY: all pointers are valid for the duration of the call.
    let result = unsafe {
        sys::rd_kafka_conf_set(configuration, name.as_ptr(), value.as_ptr(), room, text.len())
    };
    match result {
        sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK => Ok(()),
        _ => Err(c_text(text)),
    }
}

fn deliveries(event: *mut sys::rd_kafka_event_t, each: &mut impl FnMut(Event<'_>)) {
    loop {
        // SAFETY: `event` is valid; the message lives as long as it.
        let message = unsafe { sys::rd_kafka_event_message_next(event) };
        // SAFETY: not null is valid until the event is destroyed.
        let Some(message) = (unsafe { message.as_ref() }) else { return };
        let opaque = message._private.addr() as u64;
        if message.err == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            // SAFETY: `message` is valid.
            let micros = unsafe { sys::rd_kafka_message_latency(message) };
            let latency = Duration::from_micros(u64::try_from(micros).unwrap_or_default());
            let bytes = message.key_len + message.len;
            each(Event::Delivered { opaque, bytes, latency });
        } else {
            // SAFETY: a message's topic handle is valid while the message is.
            let topic = unsafe { text_at(sys::rd_kafka_topic_name(message.rkt)) };
            let (code, reason) = (message.err as i32, error_text(message.err));
            each(Event::Undelivered { code, reason, topic, bytes: message.len });
        }
    }
}

fn log_line(event: *mut sys::rd_kafka_event_t, each: &mut impl FnMut(Event<'_>)) {
    let (mut facility, mut text, mut level) = (ptr::null(), ptr::null(), 0);
    // SAFETY: `event` is a log event, the three places are ours; the strings live as long as it.
    let found =
        unsafe { sys::rd_kafka_event_log(event, &raw mut facility, &raw mut text, &raw mut level) };
    if found == 0 && !text.is_null() {
        // SAFETY: as above.
        let text = unsafe { text_at(text) };
        each(Event::Log { level, text: &text });
    }
}

fn error_text(code: sys::rd_kafka_resp_err_t) -> String {
    // SAFETY: the text is static.
    unsafe { text_at(sys::rd_kafka_err2str(code)) }
}

/// Copies a C string; empty if there is none.
///
/// # Safety
///
/// Null, or valid and terminated.
unsafe fn text_at(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: by the caller's word.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

fn c_text(bytes: &[u8]) -> String {
    CStr::from_bytes_until_nul(bytes)
        .map(|text| text.to_string_lossy().into_owned())
        .unwrap_or_default()
}

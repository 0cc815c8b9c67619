//! Which log a topic's name stands for: the id that the broker gave it when it was created.
//!
//! A topic that is deleted and created again has another id, however many records it holds.

#![expect(unsafe_code, reason = "the safe crate does not know DescribeTopics")]

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::ffi::CString;
use std::ptr::null_mut;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::bindings as sys;
use rdkafka::client::Client;
use rdkafka::error::KafkaError;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::BorrowedMessage;

/// The ids of topics by their names. A topic that the broker does not know is absent; so is every
/// topic of a broker that is older than topic ids.
///
/// # Errors
///
/// No broker answers, or it refuses us.
pub fn log_ids<C: ClientContext>(
    client: &Client<C>,
    topics: &[&str],
    timeout: Duration,
) -> Result<BTreeMap<String, String>, KafkaError> {
    let names: Vec<CString> = topics.iter().filter_map(|name| CString::new(*name).ok()).collect();
    let mut pointers: Vec<*const std::ffi::c_char> =
        names.iter().map(|name| name.as_ptr()).collect();
    if pointers.is_empty() {
        return Ok(BTreeMap::new());
    }
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the client outlives the call; what is made here is destroyed here, and nothing that
    // an event owns is used after it.
    unsafe {
        let handle = client.native_ptr();
        let queue = sys::rd_kafka_queue_new(handle);
        let options = sys::rd_kafka_AdminOptions_new(
            handle,
            sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
        );
        sys::rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, null_mut(), 0);
        let asked =
            sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        sys::rd_kafka_DescribeTopics(handle, asked, options, queue);
        let event = sys::rd_kafka_queue_poll(queue, timeout_ms);
        let found = if event.is_null() {
            Err(KafkaError::AdminOp(RDKafkaErrorCode::OperationTimedOut))
        } else {
            ids_of(event)
        };
        if !event.is_null() {
            sys::rd_kafka_event_destroy(event);
        }
        sys::rd_kafka_TopicCollection_destroy(asked);
        sys::rd_kafka_AdminOptions_destroy(options);
        sys::rd_kafka_queue_destroy(queue);
        found
    }
}

/// # Safety
///
/// The event lives.
unsafe fn ids_of(
    event: *mut sys::rd_kafka_event_t,
) -> Result<BTreeMap<String, String>, KafkaError> {
    // SAFETY: everything that is asked belongs to the event, which lives.
    unsafe {
        let code: RDKafkaErrorCode = sys::rd_kafka_event_error(event).into();
        if code != RDKafkaErrorCode::NoError {
            return Err(KafkaError::AdminOp(code));
        }
        let result = sys::rd_kafka_event_DescribeTopics_result(event);
        let mut count = 0;
        if result.is_null() {
            return Ok(BTreeMap::new());
        }
        let described = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        let mut ids = BTreeMap::new();
        for at in 0..count {
            let topic = *described.add(at);
            let error = sys::rd_kafka_TopicDescription_error(topic);
            let id = sys::rd_kafka_TopicDescription_topic_id(topic);
            let is_known = sys::rd_kafka_error_code(error)
                == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
            if !is_known
                || id.is_null()
                || (sys::rd_kafka_Uuid_most_significant_bits(id) == 0
                    && sys::rd_kafka_Uuid_least_significant_bits(id) == 0)
            {
                continue;
            }
            let text = |pointer| CStr::from_ptr(pointer).to_string_lossy().into_owned();
            let name = text(sys::rd_kafka_TopicDescription_name(topic));
            ids.insert(name, text(sys::rd_kafka_Uuid_base64str(id)));
        }
        Ok(ids)
    }
}

/// The epoch of the leader that appended a record; −1 if the broker does not tell it. It never
/// goes down within a log: where it is higher at a lower offset, the log was truncated in between.
pub fn leader_epoch(message: &BorrowedMessage<'_>) -> i32 {
    // SAFETY: the message lives.
    unsafe { sys::rd_kafka_message_leader_epoch(message.ptr()) }
}

//! Records of the table `made.items (id int, a text, big text)`.

use super::produce::Made;

/// What stands in place of a large value that an update left out.
pub(crate) const LEFT_OUT: &str = "__debezium_unavailable_value";

pub(crate) fn row(id: i32, a: &str, big: &str) -> String {
    format!(r#"{{"id":{id},"a":"{a}","big":"{big}"}}"#)
}

pub(crate) fn create(position: &str, row: &str) -> Made {
    Made::change('c', position, [None, Some(row)])
}

pub(crate) fn update(position: &str, row: &str) -> Made {
    Made::change('u', position, [None, Some(row)])
}

pub(crate) fn delete(position: &str, row: &str) -> Made {
    Made::change('d', position, [Some(row), None])
}

/// The delete half of a key change.
pub(crate) fn leave(position: &str, row: &str) -> Made {
    delete(position, row).header("__debezium.newkey", "{}")
}

/// The create half of one.
pub(crate) fn arrive(position: &str, row: &str) -> Made {
    create(position, row).header("__debezium.oldkey", "{}")
}

pub(crate) fn truncate(position: &str) -> Made {
    Made::change('t', position, [None, None])
}

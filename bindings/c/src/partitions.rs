//! Partitions and what is known of them, for C: one struct, in both directions.

use std::{
    ffi::{CString, c_char},
    ptr,
};

use ottla_bindings::{
    BindingError, Result,
    core::{OffsetAndMetadata, TopicPartition},
};

use crate::{
    border::{borrow, ffi, list, ottla_status, take, text, write},
    error::c_text,
};

/// A partition, and what is said or asked of it. Set what a function reads to 0 or NULL where nothing is to be said, but
/// `offset`, `timestamp_ms` and `leader_epoch` to -1: OTTLA_PARTITION() does.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ottla_topic_partition {
    /// The topic's name.
    pub topic: *const c_char,
    /// An offset; -1 for none.
    pub offset: i64,
    /// Milliseconds since the epoch; -1 for none.
    pub timestamp_ms: i64,
    /// What is committed beside an offset; NULL for nothing.
    pub metadata: *const c_char,
    /// The partition's index.
    pub partition: i32,
    /// Epoch of a leader; -1 for none.
    pub leader_epoch: i32,
    /// Filled by the library: 0, or why there is no answer.
    pub status: ottla_status,
    /// 0.
    pub reserved: u32,
}

const _: () = assert!(size_of::<ottla_topic_partition>() == 48 || size_of::<usize>() != 8);

/// A list of partitions that belongs to whoever was given it. Free it with ottla_partitions_free().
pub struct ottla_partitions {
    rows: Vec<ottla_topic_partition>,
    /// What the rows point to.
    _texts: Vec<CString>,
}

// SAFETY: the rows point into texts that are owned beside them, and nothing changes after it is made.
unsafe impl Send for ottla_partitions {}
// SAFETY: as above.
unsafe impl Sync for ottla_partitions {}

/// A row before its texts are pinned down.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) partition: TopicPartition,
    pub(crate) offset: i64,
    pub(crate) timestamp_ms: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: String,
    pub(crate) status: ottla_status,
}

impl Row {
    pub(crate) fn of(partition: TopicPartition) -> Self {
        Self { partition, offset: -1, timestamp_ms: -1, leader_epoch: -1, metadata: String::new(), status: 0 }
    }

    pub(crate) fn at(partition: TopicPartition, offset: i64) -> Self {
        Self { offset, ..Self::of(partition) }
    }

    pub(crate) fn committed((partition, committed): (TopicPartition, OffsetAndMetadata)) -> Self {
        let OffsetAndMetadata { offset, leader_epoch, metadata } = committed;
        Self { offset, leader_epoch: leader_epoch.unwrap_or(-1), metadata, ..Self::of(partition) }
    }
}

impl ottla_partitions {
    pub(crate) fn new(rows: impl IntoIterator<Item = Row>) -> Self {
        let mut texts = Vec::new();
        let mut keep = |text: String| {
            let text = c_text(text);
            // The bytes stay where they are when the list of texts grows.
            let at = text.as_ptr();
            texts.push(text);
            at
        };
        let rows = rows
            .into_iter()
            .map(|row| ottla_topic_partition {
                topic: keep(row.partition.topic.to_string()),
                offset: row.offset,
                timestamp_ms: row.timestamp_ms,
                metadata: if row.metadata.is_empty() { ptr::null() } else { keep(row.metadata) },
                partition: row.partition.partition,
                leader_epoch: row.leader_epoch,
                status: row.status,
                reserved: 0,
            })
            .collect();
        Self { rows, _texts: texts }
    }

    pub(crate) fn rows(&self) -> &[ottla_topic_partition] {
        &self.rows
    }
}

/// What C says of partitions.
pub(crate) fn read(first: *const ottla_topic_partition, count: usize) -> Result<Vec<Row>> {
    let read = |given: &ottla_topic_partition| {
        let metadata = if given.metadata.is_null() { "" } else { text(given.metadata, "the metadata")? };
        Ok(Row {
            partition: TopicPartition::new(text(given.topic, "the topic of a partition")?, given.partition),
            offset: given.offset,
            timestamp_ms: given.timestamp_ms,
            leader_epoch: given.leader_epoch,
            metadata: metadata.to_owned(),
            status: 0,
        })
    };
    list(first, count)?.iter().map(read).collect()
}

/// Only which partitions.
pub(crate) fn read_names(first: *const ottla_topic_partition, count: usize) -> Result<Vec<TopicPartition>> {
    Ok(read(first, count)?.into_iter().map(|row| row.partition).collect())
}

/// With the offsets to be committed.
pub(crate) fn read_offsets(
    first: *const ottla_topic_partition,
    count: usize,
) -> Result<Vec<(TopicPartition, OffsetAndMetadata)>> {
    let offset = |row: Row| {
        if row.offset < 0 {
            let text = format!("`{}` has no offset to be committed", row.partition);
            return Err(BindingError::invalid(text));
        }
        let leader_epoch = (row.leader_epoch >= 0).then_some(row.leader_epoch);
        Ok((row.partition, OffsetAndMetadata { offset: row.offset, leader_epoch, metadata: row.metadata }))
    };
    read(first, count)?.into_iter().map(offset).collect()
}

/// The rows of a list; `*count` says how many. They live with the list. [any][cb]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_partitions_rows(
    partitions: *const ottla_partitions,
    count: *mut usize,
) -> *const ottla_topic_partition {
    ffi!(ptr::null(); {
        write(count, 0);
        let rows = borrow(partitions)?.rows();
        write(count, rows.len());
        Ok(rows.as_ptr())
    })
}

/// Frees a list. NULL does nothing. [any][cb]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_partitions_free(partitions: *mut ottla_partitions) {
    ffi!((); {
        drop(take(partitions));
        Ok(())
    });
}

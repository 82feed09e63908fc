//! Consumed records, for C.

use std::{
    ffi::{CString, c_char},
    mem::offset_of,
    ptr,
    sync::Arc,
};

use ottla_bindings::{RecordBatch, RecordView};

use crate::{
    border::{borrow, ffi, give_shared, share, take_shared, write},
    error::c_text,
    producer::{ottla_header, ottla_slice},
};

/// A consumed record: where it lies in its batch's data. See ottla_record_key() and ottla_record_value().
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ottla_record_view {
    /// Its offset in the partition.
    pub offset: i64,
    /// Milliseconds since the epoch; -1 for none.
    pub timestamp_ms: i64,
    /// Where its key begins in the batch's data.
    pub key_off: u32,
    /// Where its value begins.
    pub value_off: u32,
    /// Where its headers begin; ottla_batch_header() reads them.
    pub headers_off: u32,
    /// Bytes of the key; -1 for null.
    pub key_len: i32,
    /// Bytes of the value; -1 for null.
    pub value_len: i32,
    /// How many headers there are.
    pub header_count: u32,
    /// Epoch of the leader that wrote it; -1 where it is not known.
    pub leader_epoch: i32,
    /// Its topic; see ottla_batch_topic().
    pub topic_index: u16,
    /// 0.
    pub flags: u16,
    /// Its partition.
    pub partition: i32,
    /// Bytes of all its headers.
    pub headers_len: u32,
    /// 0.
    pub reserved: [u32; 2],
}

/// One layout under two names, as C's header is made from this crate alone.
const _: () = {
    assert!(size_of::<ottla_record_view>() == size_of::<RecordView>());
    assert!(align_of::<ottla_record_view>() == align_of::<RecordView>());
    assert!(offset_of!(ottla_record_view, key_len) == offset_of!(RecordView, key_len));
    assert!(offset_of!(ottla_record_view, leader_epoch) == offset_of!(RecordView, leader_epoch));
    assert!(offset_of!(ottla_record_view, topic_index) == offset_of!(RecordView, topic_index));
    assert!(offset_of!(ottla_record_view, partition) == offset_of!(RecordView, partition));
    assert!(offset_of!(ottla_record_view, headers_len) == offset_of!(RecordView, headers_len));
};

/// Consumed records, which never change. Counted: it lives until each holder has freed it, whatever becomes of the consumer.
pub struct ottla_batch {
    pub(crate) batch: RecordBatch,
    topic: CString,
}

impl ottla_batch {
    pub(crate) fn give(batch: RecordBatch) -> *mut Self {
        let topic = c_text(&**batch.topic());
        give_shared(Arc::new(Self { batch, topic }))
    }
}

/// The records, in the order of the log; `*count` says how many. They live with the batch. [any][cb]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_batch_records(
    batch: *const ottla_batch,
    count: *mut usize,
) -> *const ottla_record_view {
    ffi!(ptr::null(); {
        write(count, 0);
        let views = borrow(batch)?.batch.views();
        write(count, views.len());
        Ok(views.as_ptr().cast())
    })
}

/// The bytes that keys, values and headers of all records lie in. They live with the batch. [any][cb]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_batch_data(batch: *const ottla_batch) -> ottla_slice {
    ffi!(ottla_slice::NULL; Ok(ottla_slice::of(Some(borrow(batch)?.batch.data()))))
}

/// The name of the topic that records call by this index; NULL if none does. Lives with the batch. [any][cb]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_batch_topic(batch: *const ottla_batch, topic_index: u16) -> *const c_char {
    ffi!(ptr::null(); {
        let batch = borrow(batch)?;
        Ok(if topic_index == 0 { batch.topic.as_ptr() } else { ptr::null() })
    })
}

/// The offset at which the next batch of this partition goes on. [any][cb]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_batch_next_offset(batch: *const ottla_batch) -> i64 {
    ffi!(-1; Ok(borrow(batch)?.batch.next_offset()))
}

/// The offset behind the partition's last record, as of the fetch that brought this batch; -1 where it is not known. [any][cb]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_batch_high_watermark(batch: *const ottla_batch) -> i64 {
    ffi!(-1; Ok(borrow(batch)?.batch.high_watermark().unwrap_or(-1)))
}

/// The `header`-th header of the `record`-th record; false if there is none. What it points to lives with the batch. [any][cb]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_batch_header(
    batch: *const ottla_batch,
    record: usize,
    header: usize,
    out: *mut ottla_header,
) -> bool {
    ffi!(false; {
        let Some((name, value)) = borrow(batch)?.batch.headers(record).nth(header) else { return Ok(false) };
        write(out, ottla_header { name: ottla_slice::of(Some(name)), value: ottla_slice::of(value) });
        Ok(true)
    })
}

/// The same batch once more, to be freed once more. [any][cb]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_batch_ref(batch: *const ottla_batch) -> *mut ottla_batch {
    ffi!(ptr::null_mut(); Ok(give_shared(share(batch)?)))
}

/// Frees a batch. NULL does nothing. [any][cb]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_batch_free(batch: *mut ottla_batch) {
    ffi!((); {
        drop(take_shared(batch));
        Ok(())
    });
}

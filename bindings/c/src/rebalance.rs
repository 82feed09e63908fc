//! Steps of rebalances, for C.

use std::ptr;

use ottla_bindings::core::{Rebalance, RebalanceKind};

use crate::{
    border::{borrow, ffi, take, write},
    partitions::{Row, ottla_partitions, ottla_topic_partition},
};

/// What a step of a rebalance does to its partitions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum ottla_rebalance_kind {
    /// They come to the consumer, beside what it has; records follow once the step is acknowledged. There may be none.
    OTTLA_REBALANCE_ASSIGNED = 1,
    /// They go to others once the step is acknowledged: the last time to commit them.
    OTTLA_REBALANCE_REVOKED = 2,
    /// They are gone, and cannot be committed.
    OTTLA_REBALANCE_LOST = 3,
}

/// A step of a rebalance, which waits until it is acknowledged with ottla_rebalance_ack(), at most `max.poll.interval.ms`.
pub struct ottla_rebalance {
    step: Rebalance,
    partitions: ottla_partitions,
}

impl ottla_rebalance {
    pub(crate) fn new(step: Rebalance) -> Self {
        let partitions = ottla_partitions::new(step.partitions().iter().cloned().map(Row::of));
        Self { step, partitions }
    }
}

/// What the step does: an ottla_rebalance_kind. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_rebalance_get_kind(rebalance: *const ottla_rebalance) -> u32 {
    ffi!(0; Ok(match borrow(rebalance)?.step.kind() {
        RebalanceKind::Assigned => ottla_rebalance_kind::OTTLA_REBALANCE_ASSIGNED,
        RebalanceKind::Revoked => ottla_rebalance_kind::OTTLA_REBALANCE_REVOKED,
        RebalanceKind::Lost => ottla_rebalance_kind::OTTLA_REBALANCE_LOST,
    } as u32))
}

/// To which partitions; `*count` says how many. They live with the step. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_rebalance_partitions(
    rebalance: *const ottla_rebalance,
    count: *mut usize,
) -> *const ottla_topic_partition {
    ffi!(ptr::null(); {
        write(count, 0);
        let rows = borrow(rebalance)?.partitions.rows();
        write(count, rows.len());
        Ok(rows.as_ptr())
    })
}

/// Lets the rebalance go on, and frees the step. NULL does nothing. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_rebalance_ack(rebalance: *mut ottla_rebalance) {
    ffi!((); {
        drop(take(rebalance));
        Ok(())
    });
}

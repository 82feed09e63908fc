//! Where to begin, and what a fetch's error means for a position. Does no I/O.

use std::{collections::HashSet, iter::Peekable, vec};

use ottla_protocol::{
    Bytes,
    compression::{Decompressor, Limits},
    error_code::{ErrorClass, ErrorCode},
    messages::fetch::AbortedTransaction,
    record::{AnyBatch, Batch, BatchError, ControlRecord},
    types::ProducerId,
};

use crate::{
    cluster::OffsetSpec,
    config::{IsolationLevel, OffsetReset},
};

/// What `auto.offset.reset` asks for, where it asks for anything.
pub(crate) fn reset_to(policy: OffsetReset) -> Option<OffsetSpec> {
    match policy {
        OffsetReset::Earliest => Some(OffsetSpec::Earliest),
        OffsetReset::Latest => Some(OffsetSpec::Latest),
        OffsetReset::None => None,
    }
}

/// What to do about a partition's error in a fetch response.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Remedy {
    /// Fetch again after a while.
    Retry,
    /// Fetch again once metadata is new: the leader moved, or the topic is not known yet.
    Refresh,
    /// The position is not in the log: begin where `auto.offset.reset` says.
    Reset,
    /// Tell the program, and try again after a while, as the reason may be mended.
    Tell,
}

/// The remedy for a partition's error.
pub(crate) fn remedy(code: ErrorCode) -> Remedy {
    match code {
        ErrorCode::OFFSET_OUT_OF_RANGE => Remedy::Reset,
        ErrorCode::UNKNOWN_LEADER_EPOCH | ErrorCode::UNKNOWN_SERVER_ERROR => Remedy::Refresh,
        _ => match code.class() {
            ErrorClass::RefreshMetadata => Remedy::Refresh,
            ErrorClass::Retriable => Remedy::Retry,
            _ => Remedy::Tell,
        },
    }
}

/// Says which batches of one fetch's partition a program may see: no control batches, and under `read_committed` none
/// of an aborted transaction (KIP-98).
#[derive(Debug)]
pub(crate) struct Visibility {
    /// Transactions that were aborted, by their first offset; those that have begun are taken off.
    aborted: Option<Peekable<vec::IntoIter<AbortedTransaction>>>,
    /// Producers whose transaction was aborted and has not ended yet.
    aborting: HashSet<ProducerId>,
}

impl Visibility {
    /// For a response that lists these aborted transactions.
    pub(crate) fn new(isolation: IsolationLevel, aborted: Option<Vec<AbortedTransaction>>) -> Self {
        let mut aborted = (isolation == IsolationLevel::ReadCommitted).then(|| aborted.unwrap_or_default());
        if let Some(aborted) = &mut aborted {
            // Kafka sorts them; not every broker does.
            aborted.sort_unstable_by_key(|transaction| transaction.first_offset);
        }
        Self { aborted: aborted.map(|aborted| aborted.into_iter().peekable()), aborting: HashSet::new() }
    }

    /// Whether a batch may be seen. To be asked of each batch in order.
    pub(crate) fn shows(&mut self, batch: &AnyBatch) -> bool {
        let AnyBatch::Batch(batch) = batch else { return true };
        let header = batch.header();
        let attributes = header.attributes;
        if let Some(aborted) = &mut self.aborted
            && attributes.is_transactional()
        {
            while let Some(begun) = aborted.next_if(|t| t.first_offset <= header.last_offset()) {
                self.aborting.insert(begun.producer_id);
            }
            if attributes.is_control() {
                if is_abort(batch) {
                    self.aborting.remove(&header.producer_id);
                }
            } else if self.aborting.contains(&header.producer_id) {
                return false;
            }
        }
        !attributes.is_control()
    }
}

fn is_abort(batch: &Batch) -> bool {
    // Control batches are never compressed.
    let Ok(records) = batch.records(&mut Decompressor::new(), &Limits::CLIENT) else { return false };
    let first = records.iter().next().and_then(Result::ok);
    first.is_some_and(|record| matches!(ControlRecord::parse(&record), Ok(ControlRecord::Abort { .. })))
}

/// Takes the whole batches off a fetch's bytes; stops at the first that is cut off, or cannot be read.
pub(crate) fn split(mut bytes: Bytes) -> (Vec<AnyBatch>, Option<BatchError>) {
    let mut batches = Vec::new();
    loop {
        match AnyBatch::split_from(&mut bytes) {
            Ok(Some(batch)) => batches.push(batch),
            Ok(None) => return (batches, None),
            Err(error) => return (batches, Some(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use ottla_protocol::{
        compression::Compressor,
        record::{BatchBuilder, ControlBatch, Headers, Seal},
    };

    use super::*;

    fn transactional(base_offset: i64, producer: i64) -> AnyBatch {
        let mut builder = BatchBuilder::new(Vec::new(), 1_000);
        builder.push(0, None, Some(b"v"), Headers::NONE).unwrap();
        let seal = Seal {
            base_offset,
            producer_id: ProducerId(producer),
            producer_epoch: 0,
            base_sequence: 0,
            transactional: true,
            ..Seal::default()
        };
        AnyBatch::Batch(builder.seal(&seal, &mut Compressor::new()).unwrap())
    }

    fn marker(base_offset: i64, producer: i64, record: ControlRecord) -> AnyBatch {
        let control = ControlBatch {
            base_offset,
            partition_leader_epoch: 0,
            timestamp: 0,
            producer_id: ProducerId(producer),
            producer_epoch: 0,
        };
        AnyBatch::Batch(control.build(&[record]).unwrap())
    }

    fn abort(base_offset: i64, producer: i64) -> AnyBatch {
        marker(base_offset, producer, ControlRecord::Abort { coordinator_epoch: 0 })
    }

    fn commit(base_offset: i64, producer: i64) -> AnyBatch {
        marker(base_offset, producer, ControlRecord::Commit { coordinator_epoch: 0 })
    }

    fn aborted(producer: i64, first_offset: i64) -> AbortedTransaction {
        AbortedTransaction { producer_id: ProducerId(producer), first_offset }
    }

    /// Offsets that are seen of two interleaved producers, of which 1 aborts, then commits.
    fn seen(isolation: IsolationLevel, listed: Vec<AbortedTransaction>) -> Vec<i64> {
        let log = [
            transactional(0, 1),
            transactional(1, 2),
            transactional(2, 1),
            abort(3, 1),
            transactional(4, 1),
            commit(5, 2),
            commit(6, 1),
        ];
        let mut visibility = Visibility::new(isolation, Some(listed));
        log.iter().filter(|batch| visibility.shows(batch)).map(AnyBatch::last_offset).collect()
    }

    #[test]
    fn read_committed_leaves_out_what_was_aborted() {
        assert_eq!(seen(IsolationLevel::ReadCommitted, vec![aborted(1, 0)]), [1, 4]);
    }

    #[test]
    fn an_unsorted_list_means_the_same() {
        // A second transaction of producer 1 is aborted at offset 4, and named first.
        let listed = vec![aborted(1, 4), aborted(1, 0)];
        assert_eq!(seen(IsolationLevel::ReadCommitted, listed), [1]);
    }

    #[test]
    fn read_uncommitted_leaves_out_markers_only() {
        assert_eq!(seen(IsolationLevel::ReadUncommitted, vec![aborted(1, 0)]), [0, 1, 2, 4]);
    }

    #[test]
    fn a_batch_cut_off_is_left_for_the_next_fetch() {
        let AnyBatch::Batch(batch) = transactional(7, 1) else { unreachable!() };
        let mut bytes = batch.bytes().to_vec();
        bytes.extend_from_slice(&batch.bytes()[..40]);
        let (batches, error) = split(bytes.into());
        assert_eq!((batches.len(), batches[0].last_offset(), error), (1, 7, None));
    }

    #[test]
    fn errors_have_their_remedies() {
        assert_eq!(remedy(ErrorCode::OFFSET_OUT_OF_RANGE), Remedy::Reset);
        assert_eq!(remedy(ErrorCode::NOT_LEADER_OR_FOLLOWER), Remedy::Refresh);
        assert_eq!(remedy(ErrorCode::UNKNOWN_TOPIC_ID), Remedy::Refresh);
        assert_eq!(remedy(ErrorCode::FENCED_LEADER_EPOCH), Remedy::Refresh);
        assert_eq!(remedy(ErrorCode::OFFSET_NOT_AVAILABLE), Remedy::Retry);
        assert_eq!(remedy(ErrorCode::TOPIC_AUTHORIZATION_FAILED), Remedy::Tell);
    }
}

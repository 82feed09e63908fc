//! What the cleaner knows of transactions while it walks a log (`CleanedTransactionMetadata`).
//!
//! Aborted records are dropped as soon as their abort is known; the marker of a transaction goes only after all of its
//! records have. Pure state. Which transactions were aborted is the log's to say, from its transaction indexes; this
//! broker takes no transactions yet, so nobody gives any.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
};

use ottla_protocol::{
    record::{BatchHeader, ControlRecord},
    types::ProducerId,
};

/// A transaction that was aborted, as a log's transaction index has it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct AbortedTransaction {
    /// Offset of its first record in the log. First, because they are taken in this order.
    pub(crate) first_offset: i64,
    pub(crate) producer_id: ProducerId,
}

/// The transactions that are open where the walk stands.
#[derive(Debug, Default)]
pub(crate) struct CleanedTransactions {
    /// Aborted ones that begin further on.
    aborted: BinaryHeap<Reverse<AbortedTransaction>>,
    /// Producers whose open transaction ends with an abort, and whether records of it were seen.
    ongoing_aborted: HashMap<ProducerId, bool>,
    /// Producers whose open transaction ends with a commit, and of which records were seen.
    ongoing_committed: HashSet<ProducerId>,
}

impl CleanedTransactions {
    /// Tells of aborted transactions, before the walk comes to them.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "logs hold no transactions yet; their index will tell of them")
    )]
    pub(crate) fn add_aborted(&mut self, aborted: impl IntoIterator<Item = AbortedTransaction>) {
        self.aborted.extend(aborted.into_iter().map(Reverse));
    }

    /// The walk came to a batch of records: says whether they were aborted and go.
    pub(crate) fn on_batch(&mut self, header: &BatchHeader) -> bool {
        self.begin_until(header.last_offset());
        if !header.attributes.is_transactional() {
            return false;
        }
        match self.ongoing_aborted.get_mut(&header.producer_id) {
            Some(seen) => *seen = true,
            None => {
                self.ongoing_committed.insert(header.producer_id);
                return false;
            }
        }
        true
    }

    /// The walk came to a control batch with this first record: says whether no record of its transaction is left, so
    /// that it may go.
    pub(crate) fn on_control_batch(&mut self, header: &BatchHeader, record: Option<&ControlRecord>) -> bool {
        self.begin_until(header.last_offset());
        match record {
            // It was emptied before.
            None => true,
            Some(ControlRecord::Abort { .. }) => {
                self.ongoing_aborted.remove(&header.producer_id) != Some(true)
            }
            Some(ControlRecord::Commit { .. }) => !self.ongoing_committed.remove(&header.producer_id),
            Some(_) => false,
        }
    }

    fn begin_until(&mut self, offset: i64) {
        while let Some(Reverse(next)) = self.aborted.peek()
            && next.first_offset <= offset
        {
            self.ongoing_aborted.entry(next.producer_id).or_insert(false);
            self.aborted.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use ottla_protocol::record::Attributes;

    use super::*;

    const ABORT: Option<&ControlRecord> = Some(&ControlRecord::Abort { coordinator_epoch: 0 });
    const COMMIT: Option<&ControlRecord> = Some(&ControlRecord::Commit { coordinator_epoch: 0 });

    fn batch(producer_id: i64, offset: i64) -> BatchHeader {
        BatchHeader {
            base_offset: offset,
            last_offset_delta: 0,
            producer_id: ProducerId(producer_id),
            attributes: Attributes::default().with_transactional(true),
            ..BatchHeader::default()
        }
    }

    #[test]
    fn aborted_records_go_at_once_and_their_marker_only_when_none_was_met() {
        let mut transactions = CleanedTransactions::default();
        let aborted = |first_offset, id| AbortedTransaction { first_offset, producer_id: ProducerId(id) };
        transactions.add_aborted([aborted(20, 1), aborted(10, 1), aborted(11, 2)]);
        assert!(!transactions.on_batch(&batch(1, 5)), "that transaction was committed");
        assert!(!transactions.on_control_batch(&batch(1, 6), COMMIT), "its records were met");
        assert!(transactions.on_batch(&batch(1, 10)));
        assert!(!transactions.on_control_batch(&batch(1, 12), ABORT));
        assert!(transactions.on_control_batch(&batch(2, 13), ABORT), "none of its records is left");
        assert!(!transactions.on_batch(&batch(1, 15)), "the next of that producer begins at 20");
        assert!(transactions.on_batch(&batch(1, 20)));
    }

    #[test]
    fn the_marker_of_a_transaction_without_records_goes_and_other_control_records_stay() {
        let mut transactions = CleanedTransactions::default();
        assert!(transactions.on_control_batch(&batch(1, 3), COMMIT));
        assert!(transactions.on_control_batch(&batch(1, 4), ABORT));
        assert!(transactions.on_control_batch(&batch(1, 5), None), "emptied before");
        assert!(
            !transactions.on_control_batch(&batch(1, 6), Some(&ControlRecord::Unknown { record_type: 9 }))
        );
        let plain = BatchHeader { attributes: Attributes::default(), ..batch(1, 7) };
        assert!(!transactions.on_batch(&plain));
        assert!(
            transactions.on_control_batch(&batch(1, 8), COMMIT),
            "a record of no transaction counts for none"
        );
    }
}

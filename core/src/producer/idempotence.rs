//! Sequence numbers of batches, so that a retry neither repeats nor reorders records (KIP-98, KIP-360). Does no I/O.
//!
//! A producer has one identity, an id and an epoch, from InitProducerId. Each partition numbers its records under
//! it. A batch gets its numbers when it is first sent and keeps them through every retry: a broker that has
//! already written them says so, and one that misses those before refuses.
//!
//! Where a number will never be written (the batch failed for good, or the broker lost what it knew of us), the
//! partition is *broken*: what follows would be refused as out of order. It then waits until each batch that has
//! numbers was either acknowledged or refused, so that none of them can still be written, and starts again from 0
//! under the next epoch. A producer without transactions is alone with its id and so raises the epoch by itself.

use std::collections::VecDeque;

use ottla_protocol::{error_code::ErrorCode, record::BatchHeader, types::ProducerId};

/// Who numbers the batches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Identity {
    /// The producer's id.
    pub id: ProducerId,
    /// Raised to start numbering anew.
    pub epoch: i16,
}

/// The identity of a producer, and what it takes to get the next one.
#[derive(Debug, Default)]
pub(crate) struct Idempotence {
    current: Option<Identity>,
}

impl Idempotence {
    /// Takes the answer of InitProducerId.
    pub(crate) fn initialized(&mut self, identity: Identity) {
        self.current = Some(identity);
    }

    /// The identity, unless InitProducerId has to be asked.
    pub(crate) fn current(&self) -> Option<Identity> {
        self.current
    }

    /// An identity other than `used`, for a partition that starts anew: the next epoch, or the one that another
    /// partition has already moved on to. `None` where the epochs are used up and a new id has to be asked for.
    fn after(&mut self, used: Identity) -> Option<Identity> {
        let current = self.current?;
        if current == used {
            self.current = current.epoch.checked_add(1).map(|epoch| Identity { epoch, ..current });
        }
        self.current
    }
}

/// The numbers of one partition's batches.
#[derive(Debug, Default)]
pub(crate) struct Sequences {
    identity: Option<Identity>,
    next: i32,
    /// Numbers given out, in their order, from the first that is open: neither acknowledged nor taken back. Those
    /// behind it that are no longer open stay, so that the length tells how many a broker has to remember.
    window: VecDeque<Given>,
    /// Some number will never be written.
    broken: bool,
    /// The leader has acknowledged a batch under this identity. Until then only one batch is under way: a leader
    /// that knows nothing of us takes whatever number comes first, also the second batch's.
    confirmed: bool,
}

/// The numbers of one batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Numbers {
    /// Under which identity they count.
    pub identity: Identity,
    /// The first record's number.
    pub base: i32,
    /// How many records there are.
    pub count: i32,
}

#[derive(Debug)]
struct Given {
    numbers: Numbers,
    open: bool,
}

/// What becomes of a batch that a broker answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// It is in the log, maybe since an earlier attempt.
    Written,
    /// It is to be sent again as it is.
    Retry,
    /// It is surely not in the log, and is to be sent with other numbers.
    Renumber,
    /// The refusal is not about numbers.
    Other,
}

/// The most batches of a partition from the first that is open to the last that has numbers: a broker remembers as
/// many (`ProducerStateEntry.NUM_BATCHES_TO_RETAIN`). Were there more, it might take the first, sent again, for a
/// gap though it had written it.
pub(crate) const WINDOW_MAX: usize = 5;

impl Sequences {
    /// Whether another batch may be given numbers now.
    pub(crate) fn may_number(&self) -> bool {
        let most = if self.confirmed { WINDOW_MAX } else { 1 };
        (!self.broken || self.window.is_empty()) && self.window.len() < most
    }

    /// Numbers for a batch of `count` records; `None` where InitProducerId has to be asked first.
    /// Only if [`Self::may_number`].
    pub(crate) fn number(&mut self, idempotence: &mut Idempotence, count: i32) -> Option<Numbers> {
        debug_assert!(self.may_number());
        let identity = match self.identity {
            Some(identity) if !self.broken => identity,
            Some(used) => idempotence.after(used)?,
            None => idempotence.current()?,
        };
        if self.identity != Some(identity) {
            *self = Self { identity: Some(identity), ..Self::default() };
        }
        let numbers = Numbers { identity, base: self.next, count };
        self.next = BatchHeader::sequence_after(self.next, count);
        self.window.push_back(Given { numbers, open: true });
        Some(numbers)
    }

    /// Batches that have numbers and no answer, under way or not.
    pub(crate) fn open(&self) -> usize {
        self.window.iter().filter(|given| given.open).count()
    }

    /// Whether a batch may be sent again: only the first that is open may, as the broker would refuse the
    /// others, or, knowing nothing of us, take one of them for the first.
    pub(crate) fn may_retry(&self, numbers: &Numbers) -> bool {
        self.window.front().is_some_and(|first| first.numbers == *numbers)
    }

    /// The partition has another leader, which may know less of us.
    pub(crate) fn leader_changed(&mut self) {
        self.confirmed = false;
    }

    /// Judges a broker's answer to a batch. But for [`Verdict::Retry`] and [`Verdict::Other`], its numbers are
    /// no longer open.
    pub(crate) fn judge(&mut self, numbers: &Numbers, code: ErrorCode) -> Verdict {
        match code {
            // A duplicate older than the broker's memory can name no offset; written it is.
            ErrorCode::NONE | ErrorCode::DUPLICATE_SEQUENCE_NUMBER => {
                self.confirmed |= self.identity == Some(numbers.identity);
                self.settle(numbers);
                Verdict::Written
            }
            // Those before it are still to be sent again.
            ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER if !self.broken && !self.may_retry(numbers) => {
                Verdict::Retry
            }
            // The broker lost what it knew of us, by retention or by an election of a replica that lagged.
            ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER
            | ErrorCode::UNKNOWN_PRODUCER_ID
            | ErrorCode::INVALID_PRODUCER_EPOCH
            | ErrorCode::INVALID_PRODUCER_ID_MAPPING => {
                self.broken = true;
                self.settle(numbers);
                Verdict::Renumber
            }
            _ => Verdict::Other,
        }
    }

    /// The broker refused the batch for good: it is surely not in the log. If nothing was numbered after it, its
    /// numbers are used again.
    pub(crate) fn refused(&mut self, numbers: &Numbers) {
        let is_last = self.window.back().is_some_and(|last| last.numbers == *numbers);
        if is_last && !self.broken {
            self.next = numbers.base;
            self.window.pop_back();
        } else {
            self.broken = true;
            self.settle(numbers);
        }
    }

    /// The batch was given up without an answer: it may be in the log or not.
    pub(crate) fn abandoned(&mut self, numbers: &Numbers) {
        self.broken = true;
        self.settle(numbers);
    }

    fn settle(&mut self, numbers: &Numbers) {
        if let Some(given) = self.window.iter_mut().find(|given| given.numbers == *numbers) {
            given.open = false;
        }
        while self.window.pop_front_if(|first| !first.open).is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready() -> (Idempotence, Sequences) {
        let mut idempotence = Idempotence::default();
        idempotence.initialized(Identity { id: ProducerId(7), epoch: 0 });
        (idempotence, Sequences::default())
    }

    /// As [`ready`], with ten records written, so that several batches may be under way.
    fn confirmed() -> (Idempotence, Sequences) {
        let (mut idempotence, mut sequences) = ready();
        let first = sequences.number(&mut idempotence, 10).unwrap();
        assert_eq!(sequences.judge(&first, ErrorCode::NONE), Verdict::Written);
        (idempotence, sequences)
    }

    #[test]
    fn nothing_is_numbered_without_an_identity() {
        assert_eq!(Sequences::default().number(&mut Idempotence::default(), 1), None);
    }

    #[test]
    fn numbers_follow_each_other_and_wrap() {
        let (mut idempotence, mut sequences) = confirmed();
        assert_eq!(sequences.number(&mut idempotence, i32::MAX - 10).unwrap().base, 10);
        assert_eq!(sequences.number(&mut idempotence, 5).unwrap().base, i32::MAX);
        assert_eq!(sequences.number(&mut idempotence, 1).unwrap().base, 4);
    }

    #[test]
    fn one_batch_is_under_way_until_a_leader_confirmed_one() {
        let (mut idempotence, mut sequences) = ready();
        let first = sequences.number(&mut idempotence, 10).unwrap();
        assert!(!sequences.may_number());
        sequences.judge(&first, ErrorCode::NONE);
        for _ in 0..WINDOW_MAX {
            assert!(sequences.may_number());
            sequences.number(&mut idempotence, 10).unwrap();
        }
        assert!(!sequences.may_number(), "a broker remembers no more");
        let (mut idempotence, mut sequences) = confirmed();
        sequences.leader_changed();
        sequences.number(&mut idempotence, 10).unwrap();
        assert!(!sequences.may_number());
    }

    #[test]
    fn a_batch_that_hangs_holds_up_what_a_broker_could_not_remember_beside_it() {
        let (mut idempotence, mut sequences) = confirmed();
        let hangs = sequences.number(&mut idempotence, 10).unwrap();
        for _ in 1..WINDOW_MAX {
            let written = sequences.number(&mut idempotence, 10).unwrap();
            sequences.judge(&written, ErrorCode::NONE);
        }
        assert_eq!(sequences.open(), 1);
        assert!(!sequences.may_number());
        sequences.judge(&hangs, ErrorCode::NONE);
        assert!(sequences.may_number());
    }

    #[test]
    fn out_of_order_behind_a_lost_batch_is_a_retry_of_both_in_order() {
        let (mut idempotence, mut sequences) = confirmed();
        let lost = sequences.number(&mut idempotence, 10).unwrap();
        let refused = sequences.number(&mut idempotence, 10).unwrap();
        let out_of_order = ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER;
        assert_eq!(sequences.judge(&refused, out_of_order), Verdict::Retry);
        assert!(sequences.may_retry(&lost) && !sequences.may_retry(&refused));
        assert_eq!(sequences.judge(&lost, ErrorCode::NONE), Verdict::Written);
        assert!(sequences.may_retry(&refused));
    }

    #[test]
    fn out_of_order_at_the_front_starts_a_new_epoch() {
        let (mut idempotence, mut sequences) = confirmed();
        let first = sequences.number(&mut idempotence, 10).unwrap();
        let second = sequences.number(&mut idempotence, 10).unwrap();
        let out_of_order = ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER;
        assert_eq!(sequences.judge(&first, out_of_order), Verdict::Renumber);
        assert!(!sequences.may_number(), "the second may still be written under its old number");
        assert_eq!(sequences.judge(&second, out_of_order), Verdict::Renumber);
        let again = sequences.number(&mut idempotence, 10).unwrap();
        assert_eq!((again.identity.epoch, again.base), (1, 0));
    }

    #[test]
    fn a_refused_last_batch_gives_its_numbers_back() {
        let (mut idempotence, mut sequences) = confirmed();
        let too_large = sequences.number(&mut idempotence, 10).unwrap();
        assert_eq!(sequences.judge(&too_large, ErrorCode::MESSAGE_TOO_LARGE), Verdict::Other);
        sequences.refused(&too_large);
        let next = sequences.number(&mut idempotence, 4).unwrap();
        assert_eq!((next.identity.epoch, next.base), (0, 10));
    }

    #[test]
    fn a_gap_is_closed_by_a_new_epoch_once_all_are_answered() {
        let (mut idempotence, mut sequences) = confirmed();
        let given_up = sequences.number(&mut idempotence, 10).unwrap();
        let behind = sequences.number(&mut idempotence, 10).unwrap();
        sequences.abandoned(&given_up);
        assert!(!sequences.may_number());
        assert!(
            sequences.may_retry(&behind),
            "the given up one may have been written, then this one is next"
        );
        assert_eq!(sequences.judge(&behind, ErrorCode::NONE), Verdict::Written);
        assert_eq!(sequences.number(&mut idempotence, 1).unwrap().identity.epoch, 1);
    }

    #[test]
    fn partitions_that_break_together_share_the_next_epoch() {
        let (mut idempotence, mut one) = confirmed();
        let mut other = Sequences::default();
        for sequences in [&mut one, &mut other] {
            let numbers = sequences.number(&mut idempotence, 1).unwrap();
            sequences.abandoned(&numbers);
        }
        assert_eq!(one.number(&mut idempotence, 1).unwrap().identity.epoch, 1);
        assert_eq!(other.number(&mut idempotence, 1).unwrap().identity.epoch, 1);
    }

    #[test]
    fn used_up_epochs_ask_for_a_new_id() {
        let mut idempotence = Idempotence::default();
        idempotence.initialized(Identity { id: ProducerId(7), epoch: i16::MAX });
        let mut sequences = Sequences::default();
        let numbers = sequences.number(&mut idempotence, 1).unwrap();
        sequences.abandoned(&numbers);
        assert_eq!(sequences.number(&mut idempotence, 1), None);
        assert_eq!(idempotence.current(), None, "so InitProducerId is asked");
        idempotence.initialized(Identity { id: ProducerId(8), epoch: 0 });
        assert_eq!(sequences.number(&mut idempotence, 1).unwrap().identity.id, ProducerId(8));
    }
}

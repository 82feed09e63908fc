//! The latest offset of each key, for one round of cleaning.
//!
//! A key is known by its hash alone, 128 bits of SipHash under a random key: two keys with one hash would be taken
//! for one, and the older of them deleted, so no producer may be able to find such a pair. An entry is 24 bytes. Nothing
//! is ever removed; the map is made anew for each round, and no larger than the round can fill.

use std::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher24};

/// Bytes that a key takes: its hash, and its latest offset.
pub(crate) const ENTRY_BYTES: usize = size_of::<Entry>();

/// The share of slots that may be taken, in percent, unless `log.cleaner.io.buffer.load.factor` says otherwise.
/// Beyond, the way to a free slot gets long.
pub(crate) const LOAD_PERCENT: usize = 90;

/// Hash, and offset plus one: a slot that is zero is free.
type Entry = [u64; 3];

const _: () = assert!(ENTRY_BYTES == 24);

/// A random key for a broker's maps, new at each start.
#[derive(Clone, Copy, Debug)]
pub struct HashKey(pub u128);

/// Where each key was last seen.
#[derive(Debug)]
pub(crate) struct OffsetMap {
    key: HashKey,
    slots: Vec<Entry>,
    len: usize,
    len_max: usize,
    latest_offset: i64,
}

/// The map has no room for another key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Full;

impl OffsetMap {
    /// An empty map of at most `bytes`, filled to `load_percent` at most; no larger than `keys_max` keys need.
    pub(crate) fn new(key: HashKey, bytes: usize, load_percent: usize, keys_max: usize) -> Self {
        let percent = load_percent.clamp(1, 100);
        let allowed = bytes / ENTRY_BYTES;
        let len_max = (allowed as u128 * percent as u128 / 100) as usize;
        // One slot more than entries, so that every search ends at a free one.
        let needed = keys_max.saturating_mul(100).saturating_div(percent).saturating_add(2);
        let slots = allowed.min(needed).max(2);
        Self {
            key,
            slots: vec![[0; 3]; slots],
            len: 0,
            len_max: len_max.clamp(1, slots - 1),
            latest_offset: -1,
        }
    }

    /// Notes that `key` was seen at `offset`, which lies behind all offsets given before. A full map takes no key any
    /// more, not even one that it knows: Kafka's round ends there (`Cleaner.buildOffsetMapForSegment`).
    pub(crate) fn put(&mut self, key: &[u8], offset: i64) -> Result<(), Full> {
        if self.len >= self.len_max {
            return Err(Full);
        }
        let ([h1, h2], at) = self.find(key);
        let Some(entry) = self.slots.get_mut(at) else { return Err(Full) };
        self.len += usize::from(entry[2] == 0);
        *entry = [h1, h2, (offset as u64).wrapping_add(1)];
        self.latest_offset = offset;
        Ok(())
    }

    /// Where `key` was seen last.
    pub(crate) fn get(&self, key: &[u8]) -> Option<i64> {
        let (_, at) = self.find(key);
        self.slots.get(at).filter(|entry| entry[2] != 0).map(|entry| (entry[2] - 1) as i64)
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Up to where the map knows the log: it says nothing of later records.
    pub(crate) fn latest_offset(&self) -> i64 {
        self.latest_offset
    }

    /// The log was looked at up to `offset`, whether there was a key or not.
    pub(crate) fn looked_at(&mut self, offset: i64) {
        self.latest_offset = offset;
    }

    /// The key's hash, and its slot or the free one that it would take.
    fn find(&self, key: &[u8]) -> ([u64; 2], usize) {
        let mut hasher = SipHasher24::new_with_key(&self.key.0.to_ne_bytes());
        hasher.write(key);
        let hash = hasher.finish128();
        let wanted = [hash.h1, hash.h2];
        let slots = self.slots.len();
        let mut at = (wanted[0] % slots as u64) as usize;
        for _ in 0..slots {
            match self.slots.get(at) {
                Some([h1, h2, offset]) if *offset != 0 && [*h1, *h2] != wanted => {
                    at = if at + 1 == slots { 0 } else { at + 1 };
                }
                _ => break,
            }
        }
        (wanted, at)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const KEY: HashKey = HashKey(0x0123_4567_89ab_cdef_0011_2233_4455_6677);

    fn map(entries: usize) -> OffsetMap {
        OffsetMap::new(KEY, entries * ENTRY_BYTES, LOAD_PERCENT, usize::MAX)
    }

    #[test]
    fn a_map_takes_nine_tenths_of_its_slots_and_then_says_that_it_is_full() {
        let mut map = map(100);
        for i in 0..90_i64 {
            map.put(&i.to_be_bytes(), i).unwrap();
        }
        for key in [b"another".as_slice(), &0_i64.to_be_bytes()] {
            assert_eq!(map.put(key, 90), Err(Full));
        }
        assert_eq!(
            (map.get(&0_i64.to_be_bytes()), map.get(b"another"), map.latest_offset()),
            (Some(0), None, 89)
        );
        assert_eq!(map.len(), 90);
    }

    #[test]
    fn a_map_is_no_larger_than_its_round_needs_nor_than_it_may_be() {
        let small = OffsetMap::new(KEY, 128 << 20, LOAD_PERCENT, 9);
        assert!(small.slots.len() <= 12 && small.len_max >= 9, "{} {}", small.slots.len(), small.len_max);
        let large = OffsetMap::new(KEY, 1000 * ENTRY_BYTES, LOAD_PERCENT, 1 << 40);
        assert_eq!((large.slots.len(), large.len_max), (1000, 900));
        let least = OffsetMap::new(KEY, 0, LOAD_PERCENT, 1 << 40);
        assert_eq!(least.len_max, 1);
    }

    #[test]
    fn keys_of_two_brokers_hash_differently() {
        let other = OffsetMap::new(HashKey(KEY.0 + 1), 1 << 10, LOAD_PERCENT, usize::MAX);
        assert_ne!(other.find(b"key").0, map(100).find(b"key").0);
    }

    proptest! {
        #[test]
        fn a_map_knows_what_a_hash_map_knows(
            keys in proptest::collection::vec(proptest::collection::vec(0_u8..4, 0..5), 0..400)
        ) {
            let (mut map, mut model) = (map(500), HashMap::new());
            for (offset, key) in (10_i64..).zip(&keys) {
                map.put(key, offset).unwrap();
                model.insert(key.clone(), offset);
            }
            prop_assert_eq!(map.len(), model.len());
            for (key, offset) in &model {
                prop_assert_eq!(map.get(key), Some(*offset));
            }
            prop_assert_eq!(map.get(b"absent"), None);
        }
    }
}

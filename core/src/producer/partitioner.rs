//! Which partition a record goes to. Does no I/O.
//!
//! With a key: murmur2 of the key, as Java's client does, so that programs in all languages meet on the same
//! partition. Without: sticky and adaptive (KIP-480, KIP-794): a topic's records go to one partition until it was
//! given a batch's worth of bytes; the next is drawn at random, and the longer the queue of a partition, the
//! smaller its chance.

/// The partition of a key among `partitions`, at least one, as Java's `BuiltInPartitioner.partitionForKey`.
pub(crate) fn partition_for_key(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % partitions.max(1)
}

/// MurmurHash2, 32 bits, with the seed of Kafka's `Utils.murmur2`.
pub(crate) fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;

    let mut h = SEED ^ data.len() as u32;
    let (blocks, tail) = data.as_chunks::<4>();
    for block in blocks {
        let mut k = u32::from_le_bytes(*block).wrapping_mul(M);
        k ^= k >> R;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        let mut last = 0;
        for (i, &byte) in tail.iter().enumerate() {
            last |= u32::from(byte) << (8 * i);
        }
        h = (h ^ last).wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

/// Draws the next partition for records without a key.
///
/// `queued` has, for each partition, how many batches wait for its leader, or `None` if it has no leader. The
/// chance of a partition is the longest queue plus one, less its own (KIP-794). If none has a leader, all have the
/// same chance: records may wait in any of them. `random` is drawn evenly from all of `u32`.
pub(crate) fn next_partition(queued: impl Iterator<Item = Option<u32>> + Clone, random: u32) -> u32 {
    let longest = queued.clone().flatten().max();
    let weight = |queued: Option<u32>| match (queued, longest) {
        (Some(queued), Some(longest)) => u64::from(longest - queued) + 1,
        (None, None) => 1,
        (None, Some(_)) | (Some(_), None) => 0,
    };
    let total: u64 = queued.clone().map(weight).sum();
    let mut drawn = (u64::from(random) * total) >> 32;
    for (partition, queued) in queued.enumerate() {
        let weight = weight(queued);
        if drawn < weight {
            return partition as u32;
        }
        drawn -= weight;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_is_javas() {
        for (key, wanted) in [
            ("", 275_646_681),
            ("a", -1_563_381_124),
            ("ab", 316_155_434),
            ("abc", 479_470_107),
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("kafka", -798_503_068),
            ("hello", 2_132_663_229),
            ("key", -1_079_937_367),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, wanted, "{key:?}");
        }
        assert_eq!(murmur2(&[0xff, 0x00, 0x80, 0x7f]) as i32, 2_015_219_808, "bytes beyond ASCII");
    }

    /// Keys of 0 to 64 random bytes with what `Utils.murmur2` of kafka-clients makes of them.
    #[test]
    fn murmur2_is_javas_for_random_keys() {
        let vectors = include_str!("../../tests/fixtures/murmur2.txt");
        let mut checked = 0;
        for line in vectors.lines().filter(|line| !line.starts_with('#')) {
            let (key, wanted) = line.split_once(' ').unwrap();
            let key: Vec<u8> =
                (0..key.len() / 2).map(|i| u8::from_str_radix(&key[2 * i..2 * i + 2], 16).unwrap()).collect();
            assert_eq!(murmur2(&key) as i32, wanted.parse::<i32>().unwrap(), "{line}");
            checked += 1;
        }
        assert!(checked >= 1_000, "{checked} vectors");
    }

    #[test]
    fn a_key_goes_to_the_same_partition_as_in_java() {
        assert_eq!(partition_for_key(b"a", 10), (-1_563_381_124_i32 & 0x7fff_ffff) as u32 % 10);
        assert_eq!(partition_for_key(b"anything", 1), 0);
    }

    /// How often each partition is drawn in a thousand even steps through the random numbers.
    fn draws(queued: &[Option<u32>]) -> Vec<u32> {
        let mut counts = vec![0; queued.len()];
        for step in 0..1_000_u64 {
            let random = (step * (u64::from(u32::MAX) + 1) / 1_000) as u32;
            counts[next_partition(queued.iter().copied(), random) as usize] += 1;
        }
        counts
    }

    #[test]
    fn short_queues_are_drawn_more_often() {
        // KIP-794's own example: queues of 0, 3 and 1 have chances of 4, 1 and 3 in 8.
        assert_eq!(draws(&[Some(0), Some(3), Some(1)]), [500, 125, 375]);
        assert_eq!(draws(&[Some(2), Some(2)]), [500, 500]);
    }

    #[test]
    fn a_partition_without_leader_is_not_drawn() {
        assert_eq!(draws(&[None, Some(5), None]), [0, 1_000, 0]);
    }

    #[test]
    fn without_any_leader_all_are_drawn() {
        assert_eq!(draws(&[None, None, None, None]), [250; 4]);
    }
}

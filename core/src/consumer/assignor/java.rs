//! The order in which Java's `HashMap` and `HashSet` are walked, as far as an assignment depends on it: by bucket, and
//! within a bucket by insertion.

use ottla_protocol::types::TopicName;

/// Buckets of a map that was made without a size.
const BUCKETS_FIRST: u32 = 16;

/// `String.hashCode`.
pub(crate) fn hash(text: &str) -> i32 {
    text.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

/// `TopicPartition.hashCode`.
pub(crate) fn partition_hash(topic: &TopicName, partition: i32) -> i32 {
    31_i32.wrapping_add(partition).wrapping_mul(31).wrapping_add(hash(topic))
}

/// Buckets of a map that has held up to `len` keys.
pub(crate) fn buckets(len: usize) -> u32 {
    let mut buckets = BUCKETS_FIRST;
    // A map doubles once it is more than three quarters full.
    while len as u64 * 4 > u64::from(buckets) * 3 && buckets < 1 << 30 {
        buckets *= 2;
    }
    buckets
}

/// The bucket of a key.
pub(crate) fn bucket(hash: i32, buckets: u32) -> u32 {
    let hash = hash as u32;
    (hash ^ (hash >> 16)) & (buckets - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_and_buckets_are_javas() {
        assert_eq!(hash(""), 0);
        assert_eq!(hash("orders"), -1_008_770_331);
        assert_eq!(partition_hash(&"orders".into(), 3), -1_008_769_277);
        assert_eq!([buckets(0), buckets(12), buckets(13), buckets(25)], [16, 16, 32, 64]);
    }
}

//! Random ids: the only place in the broker that throws dice. All else is given what fell.

use std::hash::{BuildHasher, RandomState};

use ottla_protocol::types::Uuid;

/// Unique and unpredictable enough for an id: the keys of the standard library's hash maps come from the system's
/// random numbers, and differ from one to the next.
pub(crate) fn random_id() -> Uuid {
    let half = || u128::from(RandomState::new().hash_one(0));
    const VERSION_AND_VARIANT: u128 = 0xf000 << 64 | 0xc000 << 48;
    // A random UUID of RFC 9562: version 4, variant 2.
    Uuid((half() << 64 | half()) & !VERSION_AND_VARIANT | 0x4000 << 64 | 0x8000 << 48)
}

//! Whether racks matter, by Kafka's rule (KIP-881).

use std::collections::BTreeSet;

use ottla_protocol::types::Str;

/// Whether partitions are to go to members in their racks: some member is where some replica is, and not every partition
/// is everywhere.
pub(super) fn matter<'a>(
    members: impl IntoIterator<Item = &'a Str>,
    partitions: impl Iterator<Item = &'a Vec<Str>> + Clone,
) -> bool {
    let everywhere: BTreeSet<&Str> = partitions.clone().flatten().collect();
    if !members.into_iter().any(|rack| everywhere.contains(rack)) {
        return false;
    }
    let mut partitions = partitions;
    !partitions.all(|racks| racks.iter().collect::<BTreeSet<_>>() == everywhere)
}

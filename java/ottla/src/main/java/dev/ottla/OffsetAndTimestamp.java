package dev.ottla;

import java.util.Optional;

/**
 * A record that was found by its time.
 *
 * @param offset its offset
 * @param timestamp its timestamp, in milliseconds since the epoch
 * @param leaderEpoch epoch of the leader that wrote it, if that is known
 */
public record OffsetAndTimestamp(long offset, long timestamp, Optional<Integer> leaderEpoch) {}

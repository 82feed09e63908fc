package dev.ottla;

import java.util.Optional;

/**
 * An offset that a group has committed, or is to commit: that of the next record to be read.
 *
 * @param offset the offset, 0 or more
 * @param leaderEpoch epoch of the leader that wrote the record before it, if that is known
 * @param metadata text that goes with it
 */
public record OffsetAndMetadata(long offset, Optional<Integer> leaderEpoch, String metadata) {
    /**
     * Checks that the offset can be one.
     *
     * @param offset the offset, 0 or more
     * @param leaderEpoch epoch of the leader that wrote the record before it, if that is known
     * @param metadata text that goes with it; null for none
     */
    public OffsetAndMetadata {
        if (offset < 0) {
            throw new IllegalArgumentException("an offset to be committed is 0 or more, not `" + offset + "`");
        }
        metadata = metadata == null ? "" : metadata;
    }

    /**
     * An offset without more.
     *
     * @param offset the offset, 0 or more
     */
    public OffsetAndMetadata(long offset) {
        this(offset, Optional.empty(), "");
    }

    /**
     * An offset with text.
     *
     * @param offset the offset, 0 or more
     * @param metadata text that goes with it
     */
    public OffsetAndMetadata(long offset, String metadata) {
        this(offset, Optional.empty(), metadata);
    }
}

package dev.ottla;

import java.time.Instant;

/** A place in a partition's log. */
public final class OffsetSpec {
    private final long place;

    private OffsetSpec(long place) {
        this.place = place;
    }

    /**
     * The first record that is still there.
     *
     * @return the place
     */
    public static OffsetSpec earliest() {
        return new OffsetSpec(-2);
    }

    /**
     * Behind the last record.
     *
     * @return the place
     */
    public static OffsetSpec latest() {
        return new OffsetSpec(-1);
    }

    /**
     * The record of the latest timestamp.
     *
     * @return the place
     */
    public static OffsetSpec maxTimestamp() {
        return new OffsetSpec(-3);
    }

    /**
     * The first record of a time, or later.
     *
     * @param timestamp milliseconds since the epoch
     * @return the place
     */
    public static OffsetSpec forTimestamp(long timestamp) {
        if (timestamp < 0) {
            throw new IllegalArgumentException("a timestamp is 0 or more, not `" + timestamp + "`");
        }
        return new OffsetSpec(timestamp);
    }

    /**
     * The first record of a time, or later.
     *
     * @param time the time
     * @return the place
     */
    public static OffsetSpec forTime(Instant time) {
        return forTimestamp(time.toEpochMilli());
    }

    long place() {
        return place;
    }
}

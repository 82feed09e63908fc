package dev.ottla;

/**
 * Where a record was written.
 *
 * @param topic the topic
 * @param partition the partition's number
 * @param offset the record's offset; -1 where the broker did not tell, as with {@code acks=0}
 * @param timestamp the record's timestamp, in milliseconds since the epoch
 */
public record RecordMetadata(String topic, int partition, long offset, long timestamp) {
    /**
     * Whether the broker told the offset.
     *
     * @return whether {@link #offset()} is one
     */
    public boolean hasOffset() {
        return offset >= 0;
    }
}

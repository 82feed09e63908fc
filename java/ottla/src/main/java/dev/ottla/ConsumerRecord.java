package dev.ottla;

import java.nio.ByteBuffer;
import java.util.Optional;

/**
 * A record that was read. Its key and value are looked at when they are asked for; they stay what they are as long as the record is
 * kept, which keeps its batch in memory.
 *
 * @param <K> what keys are
 * @param <V> what values are
 */
public final class ConsumerRecord<K, V> {
    /** What is not looked at yet. */
    private static final Object UNREAD = new Object();

    private final RecordBatch batch;
    private final int index;
    private final Deserializers<K, V> of;
    private Object key = UNREAD;
    private Object value = UNREAD;

    ConsumerRecord(RecordBatch batch, int index, Deserializers<K, V> of) {
        this.batch = batch;
        this.index = index;
        this.of = of;
    }

    /** What makes keys and values. */
    record Deserializers<K, V>(Deserializer<K> key, Deserializer<V> value) {}

    /**
     * The topic.
     *
     * @return its name
     */
    public String topic() {
        return batch.partition.topic();
    }

    /**
     * The partition.
     *
     * @return its number
     */
    public int partition() {
        return batch.partition.partition();
    }

    /**
     * The topic and the partition.
     *
     * @return both
     */
    public TopicPartition topicPartition() {
        return batch.partition;
    }

    /**
     * Its offset in the partition.
     *
     * @return the offset
     */
    public long offset() {
        return batch.offset(index);
    }

    /**
     * Its timestamp.
     *
     * @return milliseconds since the epoch; -1 for none
     */
    public long timestamp() {
        return batch.timestamp(index);
    }

    /**
     * Epoch of the leader that wrote it.
     *
     * @return the epoch, where it is known
     */
    public Optional<Integer> leaderEpoch() {
        int epoch = batch.leaderEpoch(index);
        return epoch < 0 ? Optional.empty() : Optional.of(epoch);
    }

    /**
     * The key.
     *
     * @return the key, or null
     * @throws SerializationException if it cannot be deserialized
     */
    @SuppressWarnings("unchecked")
    public K key() {
        Object made = key;
        if (made == UNREAD) {
            made = made(of.key(), batch.key(index), "key");
            key = made;
        }
        return (K) made;
    }

    /**
     * The value.
     *
     * @return the value, or null
     * @throws SerializationException if it cannot be deserialized
     */
    @SuppressWarnings("unchecked")
    public V value() {
        Object made = value;
        if (made == UNREAD) {
            made = made(of.value(), batch.value(index), "value");
            value = made;
        }
        return (V) made;
    }

    /**
     * The key's bytes, without a copy.
     *
     * @return a read-only view; null for null
     */
    public ByteBuffer keyBuffer() {
        ByteBuffer bytes = batch.key(index);
        return bytes == null ? null : bytes.slice().asReadOnlyBuffer();
    }

    /**
     * The value's bytes, without a copy.
     *
     * @return a read-only view; null for null
     */
    public ByteBuffer valueBuffer() {
        ByteBuffer bytes = batch.value(index);
        return bytes == null ? null : bytes.slice().asReadOnlyBuffer();
    }

    /**
     * How many bytes the key has.
     *
     * @return their number; -1 for null
     */
    public int serializedKeySize() {
        return batch.keyLength(index);
    }

    /**
     * How many bytes the value has.
     *
     * @return their number; -1 for null
     */
    public int serializedValueSize() {
        return batch.valueLength(index);
    }

    /**
     * The headers, in their order.
     *
     * @return the headers, made anew
     */
    public Headers headers() {
        return batch.headers(index);
    }

    private <T> T made(Deserializer<T> deserializer, ByteBuffer bytes, String what) {
        if (bytes == null && !deserializer.handlesNull()) {
            return null;
        }
        try {
            return deserializer.deserialize(topic(), deserializer.usesHeaders() ? headers() : null, bytes);
        } catch (RuntimeException e) {
            String text = "the " + what + " of the record at offset " + offset() + " of `" + batch.partition + "` could not be deserialized";
            throw new SerializationException(ErrorCode.CORRUPT, text, e);
        }
    }

    @Override
    public String toString() {
        return "ConsumerRecord(topic=" + topic() + ", partition=" + partition() + ", offset=" + offset() + ", timestamp=" + timestamp()
                + ", key=" + key() + ", value=" + value() + ")";
    }
}

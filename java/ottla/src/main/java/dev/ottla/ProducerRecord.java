package dev.ottla;

import java.util.Objects;

/**
 * A record to be sent.
 *
 * @param <K> what keys are
 * @param <V> what values are
 */
public final class ProducerRecord<K, V> {
    private final String topic;
    private final Integer partition;
    private final Long timestamp;
    private final K key;
    private final V value;
    private Headers headers;

    /**
     * A record without a key.
     *
     * @param topic the topic
     * @param value the value, or null
     */
    public ProducerRecord(String topic, V value) {
        this(topic, null, null, null, value, null);
    }

    /**
     * A record with a key, which decides its partition.
     *
     * @param topic the topic
     * @param key the key, or null
     * @param value the value, or null
     */
    public ProducerRecord(String topic, K key, V value) {
        this(topic, null, null, key, value, null);
    }

    /**
     * A record for a partition.
     *
     * @param topic the topic
     * @param partition the partition, or null for the one of its key
     * @param key the key, or null
     * @param value the value, or null
     */
    public ProducerRecord(String topic, Integer partition, K key, V value) {
        this(topic, partition, null, key, value, null);
    }

    /**
     * A record with headers.
     *
     * @param topic the topic
     * @param partition the partition, or null for the one of its key
     * @param key the key, or null
     * @param value the value, or null
     * @param headers the headers, or null for none
     */
    public ProducerRecord(String topic, Integer partition, K key, V value, Iterable<Header> headers) {
        this(topic, partition, null, key, value, headers);
    }

    /**
     * A record with all it can have.
     *
     * @param topic the topic
     * @param partition the partition, or null for the one of its key
     * @param timestamp milliseconds since the epoch, or null for now
     * @param key the key, or null
     * @param value the value, or null
     * @param headers the headers, or null for none
     */
    public ProducerRecord(String topic, Integer partition, Long timestamp, K key, V value, Iterable<Header> headers) {
        this.topic = Objects.requireNonNull(topic, "topic");
        if (partition != null && partition < 0) {
            throw new IllegalArgumentException("a partition is 0 or more, or null for that of the key; not `" + partition + "`");
        }
        if (timestamp != null && timestamp < 0) {
            throw new IllegalArgumentException("a timestamp is 0 or more, or null for now; not `" + timestamp + "`");
        }
        this.partition = partition;
        this.timestamp = timestamp;
        this.key = key;
        this.value = value;
        this.headers = headers == null ? null : new Headers(headers);
    }

    /**
     * The topic.
     *
     * @return its name
     */
    public String topic() {
        return topic;
    }

    /**
     * The partition.
     *
     * @return its number; null where the key decides
     */
    public Integer partition() {
        return partition;
    }

    /**
     * The timestamp.
     *
     * @return milliseconds since the epoch; null for now
     */
    public Long timestamp() {
        return timestamp;
    }

    /**
     * The key.
     *
     * @return the key, or null
     */
    public K key() {
        return key;
    }

    /**
     * The value.
     *
     * @return the value, or null
     */
    public V value() {
        return value;
    }

    /**
     * The headers, which can be added to.
     *
     * @return the headers
     */
    public Headers headers() {
        if (headers == null) {
            headers = new Headers();
        }
        return headers;
    }

    boolean hasHeaders() {
        return headers != null && headers.size() > 0;
    }

    @Override
    public String toString() {
        return "ProducerRecord(topic=" + topic + ", partition=" + partition + ", timestamp=" + timestamp + ", key=" + key
                + ", value=" + value + ", headers=" + (headers == null ? "[]" : headers) + ")";
    }
}

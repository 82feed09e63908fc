package dev.ottla;

import java.util.Objects;

/**
 * A partition of a topic.
 *
 * @param topic the topic's name
 * @param partition the partition's number, from 0
 */
public record TopicPartition(String topic, int partition) implements Comparable<TopicPartition> {
    /**
     * Checks that there is a topic.
     *
     * @param topic the topic's name
     * @param partition the partition's number, from 0
     */
    public TopicPartition {
        Objects.requireNonNull(topic, "topic");
    }

    @Override
    public int compareTo(TopicPartition other) {
        int byTopic = topic.compareTo(other.topic);
        return byTopic != 0 ? byTopic : Integer.compare(partition, other.partition);
    }

    /** As Kafka writes it: {@code orders-0}. */
    @Override
    public String toString() {
        return topic + "-" + partition;
    }
}

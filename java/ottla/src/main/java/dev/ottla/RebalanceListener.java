package dev.ottla;

import java.util.Collection;

/**
 * Is told what comes and goes when partitions are shared anew. Called by {@link OttlaConsumer#poll}, {@link OttlaConsumer#unsubscribe} and
 * {@link OttlaConsumer#close()}, on their threads; the group waits for it.
 */
public interface RebalanceListener {
    /**
     * These come, beside what the consumer has; also where none come, at the end of a rebalance.
     *
     * @param partitions the partitions
     */
    void onPartitionsAssigned(Collection<TopicPartition> partitions);

    /**
     * These go: the last time to commit them.
     *
     * @param partitions the partitions
     */
    void onPartitionsRevoked(Collection<TopicPartition> partitions);

    /**
     * These are gone, and cannot be committed any more.
     *
     * @param partitions the partitions
     */
    default void onPartitionsLost(Collection<TopicPartition> partitions) {
        onPartitionsRevoked(partitions);
    }
}

package dev.ottla;

import java.util.List;

/**
 * A topic with its partitions.
 *
 * @param name its name
 * @param isInternal whether it is one of Kafka's own
 * @param partitions its partitions, by number
 */
public record TopicDescription(String name, boolean isInternal, List<Partition> partitions) {
    /**
     * A partition. Brokers are named by their ids.
     *
     * @param partition its number
     * @param leader its leader; -1 for none
     * @param leaderEpoch its leader's epoch; -1 where it is not known
     * @param replicas who has it
     * @param isr who is in sync
     * @param offline who is not there
     */
    public record Partition(
            int partition, int leader, int leaderEpoch, List<Integer> replicas, List<Integer> isr, List<Integer> offline) {}
}

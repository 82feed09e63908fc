package dev.ottla;

/**
 * A topic, as it is listed.
 *
 * @param name its name
 * @param isInternal whether it is one of Kafka's own
 * @param partitions how many it has
 */
public record TopicListing(String name, boolean isInternal, int partitions) {}

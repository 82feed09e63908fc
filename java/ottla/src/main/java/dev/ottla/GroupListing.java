package dev.ottla;

/**
 * A group, as it is listed.
 *
 * @param groupId its name
 * @param state its state, as Kafka names it; null where the broker does not tell
 * @param type {@code classic}, {@code consumer} ...; null where the broker does not tell
 * @param protocolType what it is for: {@code consumer} for those that read
 */
public record GroupListing(String groupId, String state, String type, String protocolType) {}

package dev.ottla;

import java.util.Map;

/**
 * Makes bytes of keys or values.
 *
 * @param <T> what it takes
 */
@FunctionalInterface
public interface Serializer<T> extends AutoCloseable {
    /**
     * The bytes of a key or value.
     *
     * @param topic the topic that it goes to
     * @param data the key or value; never null, unless {@link #handlesNull()}
     * @return the bytes, or null for null
     */
    byte[] serialize(String topic, T data);

    /**
     * The bytes, where headers matter too.
     *
     * @param topic the topic that it goes to
     * @param headers the record's headers, which may be added to
     * @param data the key or value
     * @return the bytes, or null for null
     */
    default byte[] serialize(String topic, Headers headers, T data) {
        return serialize(topic, data);
    }

    /**
     * Whether it looks at headers: then each record has some to look at.
     *
     * @return whether the form with headers is the one to call
     */
    default boolean usesHeaders() {
        return false;
    }

    /**
     * Whether it is asked about null, too, which is null otherwise.
     *
     * @return whether it is
     */
    default boolean handlesNull() {
        return false;
    }

    /**
     * Called once, before all else, with the client's configuration.
     *
     * @param configs the configuration
     * @param isKey whether it is for keys
     */
    default void configure(Map<String, ?> configs, boolean isKey) {}

    /** Called when the client is closed. */
    @Override
    default void close() {}
}

package dev.ottla;

import java.nio.ByteBuffer;
import java.util.Map;

/**
 * Makes keys or values of bytes.
 *
 * @param <T> what it makes
 */
@FunctionalInterface
public interface Deserializer<T> extends AutoCloseable {
    /**
     * A key or value.
     *
     * @param topic the topic that it comes from
     * @param data the bytes, an array of its own; never null, unless {@link #handlesNull()}
     * @return the key or value
     */
    T deserialize(String topic, byte[] data);

    /**
     * A key or value, read where its bytes lie. The built-in ones have no array made for them.
     *
     * @param topic the topic that it comes from
     * @param headers the record's headers
     * @param data the bytes, of an array that other records have, too; never null, unless {@link #handlesNull()}
     * @return the key or value
     */
    default T deserialize(String topic, Headers headers, ByteBuffer data) {
        if (data == null) {
            return deserialize(topic, null);
        }
        byte[] bytes = new byte[data.remaining()];
        data.get(bytes);
        return deserialize(topic, bytes);
    }

    /**
     * Whether it looks at headers: else it is given none.
     *
     * @return whether it does
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

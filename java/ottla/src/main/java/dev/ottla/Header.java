package dev.ottla;

import java.util.Objects;

/**
 * A header of a record.
 *
 * @param key its name; may occur again in the same record
 * @param value its bytes; may be null
 */
public record Header(String key, byte[] value) {
    /**
     * Checks that there is a name.
     *
     * @param key its name
     * @param value its bytes; may be null
     */
    public Header {
        Objects.requireNonNull(key, "key");
    }
}

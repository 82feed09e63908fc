package dev.ottla;

/**
 * A change of a key of a configuration.
 *
 * @param type what happens to it
 * @param name the key
 * @param value the value; null for {@link Type#DELETE}
 */
public record AlterConfigOp(Type type, String name, String value) {
    /** What can happen to a key, in the order of Kafka's numbers. */
    public enum Type {
        /** It is set. */
        SET,
        /** It goes back to its default. */
        DELETE,
        /** A list gets more. */
        APPEND,
        /** A list loses some. */
        SUBTRACT
    }

    /**
     * Sets a key.
     *
     * @param name the key
     * @param value its value
     * @return the change
     */
    public static AlterConfigOp set(String name, String value) {
        return new AlterConfigOp(Type.SET, name, value);
    }

    /**
     * Takes a key back to its default.
     *
     * @param name the key
     * @return the change
     */
    public static AlterConfigOp delete(String name) {
        return new AlterConfigOp(Type.DELETE, name, null);
    }
}

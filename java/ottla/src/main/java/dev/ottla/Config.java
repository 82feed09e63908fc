package dev.ottla;

/** Settings, for programs that hand on what they do not know. */
public final class Config {
    private Config() {}

    /** What a setting may be of, in the order of the native half's numbers. */
    public enum Of {
        /** Producers. */
        PRODUCERS,
        /** Consumers. */
        CONSUMERS,
        /** Admin clients. */
        ADMINS
    }

    /**
     * Whether clients of a kind have a setting of this name.
     *
     * @param of which clients
     * @param name the name: Kafka's, or the same as {@code lingerMs} or {@code linger_ms}
     * @return whether it is known, with an effect or without
     */
    public static boolean isKnown(Of of, String name) {
        return In.answer(Native.isKnownKey(new Out().i32(of.ordinal()).text(name).bytes())).bool();
    }
}

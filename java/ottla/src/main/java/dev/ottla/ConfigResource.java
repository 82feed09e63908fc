package dev.ottla;

/**
 * Something that has a configuration.
 *
 * @param type what it is
 * @param name its name; a broker's id, or nothing for the defaults of all brokers
 */
public record ConfigResource(Type type, String name) {
    /** What can have a configuration. */
    public enum Type {
        /** A topic. */
        TOPIC(2),
        /** A broker, or the defaults of all. */
        BROKER(4),
        /** A group. */
        GROUP(32);

        private final int number;

        Type(int number) {
            this.number = number;
        }

        int number() {
            return number;
        }

        static Type of(int number) {
            for (Type type : values()) {
                if (type.number == number) {
                    return type;
                }
            }
            throw new IllegalArgumentException("there is no kind of resource `" + number + "`");
        }
    }

    /**
     * A topic.
     *
     * @param name its name
     * @return the resource
     */
    public static ConfigResource topic(String name) {
        return new ConfigResource(Type.TOPIC, name);
    }

    /**
     * A broker.
     *
     * @param id its id
     * @return the resource
     */
    public static ConfigResource broker(int id) {
        return new ConfigResource(Type.BROKER, Integer.toString(id));
    }

    /**
     * A group.
     *
     * @param name its name
     * @return the resource
     */
    public static ConfigResource group(String name) {
        return new ConfigResource(Type.GROUP, name);
    }
}

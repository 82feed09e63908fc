package dev.ottla;

import java.util.Map;
import java.util.Objects;

/**
 * A topic to be created.
 *
 * @param name its name
 * @param partitions how many; -1 for the broker's default
 * @param replicationFactor how many replicas of each; -1 for the broker's default
 * @param configs its configuration, but for defaults
 */
public record NewTopic(String name, int partitions, short replicationFactor, Map<String, String> configs) {
    /**
     * Checks that there is a name.
     *
     * @param name its name
     * @param partitions how many; -1 for the broker's default
     * @param replicationFactor how many replicas of each; -1 for the broker's default
     * @param configs its configuration, but for defaults; null for none
     */
    public NewTopic {
        Objects.requireNonNull(name, "name");
        configs = configs == null ? Map.of() : Map.copyOf(configs);
    }

    /**
     * With the broker's defaults.
     *
     * @param name its name
     */
    public NewTopic(String name) {
        this(name, -1, (short) -1, Map.of());
    }

    /**
     * With the broker's default of replicas.
     *
     * @param name its name
     * @param partitions how many
     */
    public NewTopic(String name, int partitions) {
        this(name, partitions, (short) -1, Map.of());
    }

    /**
     * Without a configuration.
     *
     * @param name its name
     * @param partitions how many; -1 for the broker's default
     * @param replicationFactor how many replicas of each; -1 for the broker's default
     */
    public NewTopic(String name, int partitions, short replicationFactor) {
        this(name, partitions, replicationFactor, Map.of());
    }

    /**
     * The same with a configuration.
     *
     * @param settings its configuration
     * @return another
     */
    public NewTopic configs(Map<String, String> settings) {
        return new NewTopic(name, partitions, replicationFactor, settings);
    }
}

package dev.ottla.kafka;

import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Properties;
import java.util.Set;

import dev.ottla.Config;
import org.apache.kafka.common.config.ConfigException;
import org.apache.kafka.common.utils.Utils;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** What a client of Kafka's is configured with, shared out: to the core, and to what has Kafka's types. */
final class Configs {
    private static final Logger LOG = LoggerFactory.getLogger("dev.ottla.kafka");
    /** Kafka's types, which are dealt with here. */
    private static final Set<String> OURS =
            Set.of("key.serializer", "value.serializer", "key.deserializer", "value.deserializer");

    private Configs() {}

    static Map<String, Object> of(Properties properties) {
        Map<String, Object> configs = new HashMap<>();
        properties.stringPropertyNames().forEach(name -> configs.put(name, properties.getProperty(name)));
        properties.forEach((name, value) -> configs.put(name.toString(), value));
        return configs;
    }

    /** What clients of the core know. What they do not may be a serializer's: Kafka's clients ignore it, too. */
    static Map<String, Object> forCore(Map<String, Object> configs, Config.Of of) {
        Map<String, Object> known = new LinkedHashMap<>();
        configs.forEach((name, value) -> {
            if (OURS.contains(name)) {
                return;
            }
            if (Config.isKnown(of, name)) {
                known.put(name, value);
            } else {
                LOG.debug("`{}` is handed to serializers alone", name);
            }
        });
        return known;
    }

    /** A serializer or deserializer: the one that is handed over, or one that is named. */
    static <S> S made(String name, S handed, Map<String, Object> configs, Class<S> kind) {
        if (handed != null) {
            return handed;
        }
        Object named = configs.get(name);
        if (named == null) {
            throw new ConfigException("Missing required configuration \"" + name + "\" which has no default value.");
        }
        if (kind.isInstance(named)) {
            return kind.cast(named);
        }
        try {
            return named instanceof Class<?> type
                    ? kind.cast(Utils.newInstance(type))
                    : Utils.newInstance(named.toString(), kind);
        } catch (ClassNotFoundException | ClassCastException e) {
            throw new ConfigException(name, named, e.toString());
        }
    }
}

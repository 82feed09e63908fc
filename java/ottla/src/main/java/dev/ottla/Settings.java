package dev.ottla;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.function.Supplier;

/** What a client is configured with: Kafka's keys, of which those that name Java's classes are for this half. */
final class Settings {
    private static final Set<String> OURS = Set.of(
            "key.serializer", "value.serializer", "key.deserializer", "value.deserializer", OAuthBearerProvider.CONFIG);

    /** As they were given, for serializers. */
    private final Map<String, Object> given = new LinkedHashMap<>();
    /** By Kafka's name. */
    private final Map<String, Object> byName = new LinkedHashMap<>();

    private Settings() {}

    static Settings of(Map<?, ?> configs) {
        Settings settings = new Settings();
        if (configs instanceof Properties properties) {
            // With what it has as defaults.
            properties.stringPropertyNames().forEach(name -> settings.put(name, properties.getProperty(name)));
        }
        configs.forEach((name, value) -> settings.put(String.valueOf(name), value));
        return settings;
    }

    private void put(String name, Object value) {
        // Null is as good as not given, so that options can be passed through.
        if (value != null) {
            given.put(name, value);
            byName.put(kafkasName(name), value);
        }
    }

    /** A number; what is none, the native half refuses. */
    long number(String name, long otherwise) {
        Object value = byName.get(name);
        if (value == null) {
            return otherwise;
        }
        try {
            return (long) Double.parseDouble(text(value).trim());
        } catch (NumberFormatException e) {
            return otherwise;
        }
    }

    String text(String name) {
        Object value = byName.get(name);
        return value == null ? null : text(value);
    }

    Map<String, Object> given() {
        return given;
    }

    /** For the native half. */
    byte[] encoded() {
        Map<String, String> pairs = new LinkedHashMap<>();
        given.forEach((name, value) -> {
            if (!OURS.contains(kafkasName(name))) {
                pairs.put(name, text(value));
            }
        });
        Out out = new Out().map(pairs, Out::text, Out::text);
        OAuthBearerProvider provider = provider();
        if (provider == null) {
            return out.i64(0).bytes();
        }
        return out.i64(Completions.SHARED.number(provider)).i64(Completions.SHARED.queue()).bytes();
    }

    /** Who gives the client its tokens; null for nobody of the program. */
    OAuthBearerProvider provider() {
        Object provider = byName.get(OAuthBearerProvider.CONFIG);
        if (provider == null || provider instanceof OAuthBearerProvider) {
            return (OAuthBearerProvider) provider;
        }
        throw new IllegalArgumentException("`" + OAuthBearerProvider.CONFIG + "` is an OAuthBearerProvider, not " + provider.getClass().getName());
    }

    <T> Serializer<T> serializer(String name, Serializer<T> handed) {
        Serializer<T> serializer = made(name, handed, Serializer.class, Serdes::bytesSerializer);
        serializer.configure(given, name.startsWith("key"));
        return serializer;
    }

    <T> Deserializer<T> deserializer(String name, Deserializer<T> handed) {
        Deserializer<T> deserializer = made(name, handed, Deserializer.class, Serdes::bytesDeserializer);
        deserializer.configure(given, name.startsWith("key"));
        return deserializer;
    }

    /** The one that was handed over, or is named; without one, bytes stay bytes. */
    @SuppressWarnings("unchecked")
    private <S> S made(String name, S handed, Class<?> kind, Supplier<?> otherwise) {
        Object named = byName.get(name);
        if (handed != null) {
            return handed;
        }
        if (named == null) {
            return (S) otherwise.get();
        }
        if (kind.isInstance(named)) {
            return (S) named;
        }
        Object kafkas = Serdes.ofKafkas(named instanceof Class<?> of ? of.getName() : named.toString());
        if (kafkas != null) {
            return (S) kafkas;
        }
        try {
            Class<?> type = named instanceof Class<?> of ? of : load(named.toString());
            if (!kind.isAssignableFrom(type)) {
                throw OttlaException.of(ErrorCode.CONFIG, "`" + name + "` is `" + type.getName() + "`, which is no " + kind.getName())
                        .hint("hand over an object, or use `ottla-kafka-clients`, which takes Kafka's own");
            }
            return (S) type.getDeclaredConstructor().newInstance();
        } catch (ReflectiveOperationException e) {
            throw OttlaException.of(ErrorCode.CONFIG, "`" + name + "` names `" + named + "`, of which none can be made", e);
        }
    }

    private static Class<?> load(String name) throws ClassNotFoundException {
        ClassLoader context = Thread.currentThread().getContextClassLoader();
        return Class.forName(name, true, context == null ? Settings.class.getClassLoader() : context);
    }

    /** {@code lingerMs} and {@code linger_ms} are {@code linger.ms}. */
    static String kafkasName(String name) {
        if (name.indexOf('.') >= 0) {
            return name;
        }
        StringBuilder dotted = new StringBuilder();
        for (char letter : name.toCharArray()) {
            if (Character.isUpperCase(letter)) {
                dotted.append('.').append(Character.toLowerCase(letter));
            } else {
                dotted.append(letter == '_' ? '.' : letter);
            }
        }
        return dotted.toString();
    }

    /** A value as Kafka's files have it. */
    private static String text(Object value) {
        if (value instanceof Class<?> type) {
            return type.getName();
        }
        if (value instanceof Duration duration) {
            return Long.toString(duration.toMillis());
        }
        if (value instanceof Collection<?> several) {
            List<String> parts = new ArrayList<>();
            several.forEach(each -> parts.add(text(each)));
            return String.join(",", parts);
        }
        if (value instanceof Enum<?> member) {
            // As the builders have them.
            return member.name().toLowerCase(Locale.ROOT);
        }
        return value.toString();
    }
}

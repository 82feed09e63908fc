package dev.ottla;

import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;

import dev.ottla.testing.OttlaBroker;

/** What the tests have in common. */
final class Names {
    private static final AtomicInteger LAST = new AtomicInteger();

    private Names() {}

    /** A name that no other test has. */
    static String name(String stem) {
        return stem + "-" + LAST.incrementAndGet();
    }

    static OttlaProducer<String, String> producer(OttlaBroker broker, Object... settings) {
        var builder = OttlaProducer.<String, String>builder()
                .bootstrapServers(broker.bootstrapServers())
                .keySerializer(Serdes.stringSerializer())
                .valueSerializer(Serdes.stringSerializer());
        for (int i = 0; i < settings.length; i += 2) {
            builder.config((String) settings[i], settings[i + 1]);
        }
        return builder.build();
    }

    static OttlaConsumer<String, String> consumer(OttlaBroker broker, Object... settings) {
        var builder = OttlaConsumer.<String, String>builder()
                .bootstrapServers(broker.bootstrapServers())
                .startFrom("earliest")
                .keyDeserializer(Serdes.stringDeserializer())
                .valueDeserializer(Serdes.stringDeserializer());
        for (int i = 0; i < settings.length; i += 2) {
            builder.config((String) settings[i], settings[i + 1]);
        }
        return builder.build();
    }

    static OttlaAdmin admin(OttlaBroker broker) {
        return OttlaAdmin.create(Map.of("bootstrap.servers", broker.bootstrapServers()));
    }
}

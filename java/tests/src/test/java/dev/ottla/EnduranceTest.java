package dev.ottla;

import static dev.ottla.Names.name;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;

import dev.ottla.testing.OttlaBroker;
import dev.ottla.testing.WithOttlaBroker;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Many records through one producer and one consumer; {@code OTTLA_RECORDS=10000000} is the full form. */
@WithOttlaBroker
@Timeout(1_800)
class EnduranceTest {
    private static final int RECORDS = Integer.parseInt(System.getenv().getOrDefault("OTTLA_RECORDS", "1000000"));
    /** What the peak of the last quarter may be above that of the second. */
    private static final long GROWTH_BYTES_MAX = 48L << 20;

    private final OttlaBroker broker;

    EnduranceTest(OttlaBroker broker) {
        this.broker = broker;
    }

    /** Reads on until there are so many, and looks at each. */
    private static long read(OttlaConsumer<byte[], byte[]> consumer, long before, long until) {
        long read = before;
        while (read < until) {
            for (var record : consumer.poll(Duration.ofSeconds(30))) {
                assertEquals(read, record.offset());
                assertEquals(100, record.value().length);
                read++;
            }
        }
        return read;
    }

    /** What is resident of this JVM, its heap and all else. */
    private static long residentBytes() throws Exception {
        Path status = Path.of("/proc/self/statm");
        assumeTrue(Files.exists(status), "this system tells it");
        return Long.parseLong(Files.readString(status).split(" ")[1]) * 4_096;
    }

    @Test
    void memoryStaysFlatWhateverGoesThrough() throws Exception {
        String topic = name("endurance");
        byte[] value = new byte[100];
        // Of the second quarter, and of the last.
        long early = 0;
        long late = 0;
        long read = 0;
        try (var producer = OttlaProducer.<byte[], byte[]>builder().bootstrapServers(broker.bootstrapServers()).build();
                var consumer = new OttlaConsumer<byte[], byte[]>(
                        Map.of("bootstrap.servers", broker.bootstrapServers(), "auto.offset.reset", "earliest"))) {
            consumer.assign(List.of(new TopicPartition(topic, 0)));
            for (int i = 0; i < RECORDS; i++) {
                if (i % 3 == 0) {
                    producer.send(new ProducerRecord<>(topic, 0, null, value), (written, failure) -> {});
                } else {
                    producer.sendAndForget(new ProducerRecord<>(topic, 0, null, value));
                }
                if (i % 10_000 == 0) {
                    read = read(consumer, read, i - 50_000);
                    switch (i / (RECORDS / 4)) {
                        case 1 -> early = Math.max(early, residentBytes());
                        case 3 -> late = Math.max(late, residentBytes());
                        default -> {}
                    }
                }
            }
            producer.flush();
            read = read(consumer, read, RECORDS);
            assertEquals(RECORDS, read);
            long grown = late - early;
            assertTrue(grown < GROWTH_BYTES_MAX, "memory grew by " + (grown >> 20) + " MiB from " + (early >> 20) + " MiB");
        }
    }
}

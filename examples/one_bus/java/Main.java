import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.zip.CRC32;

import dev.ottla.ConsumerRecord;
import dev.ottla.ConsumerRecords;
import dev.ottla.OttlaConsumer;
import dev.ottla.OttlaProducer;
import dev.ottla.RecordMetadata;
import dev.ottla.Serdes;

/**
 * Billing: reads orders that have a price, and writes an invoice for each.
 *
 * <pre>java -cp '*' Main.java localhost:9092</pre>
 */
public final class Main {
    /** What is added for the state, in percent. */
    private static final int TAX = 19;
    /** How long it waits for records before it looks whether it is to end. */
    private static final Duration POLL_TIMEOUT = Duration.ofMillis(500);

    private static volatile boolean ending;

    private Main() {}

    /** What was read from a topic, or written to it: how many records, and the sum of their CRC-32s, whatever their order. */
    private static final class Tally {
        private final String what;
        private long count;
        private long checksum;

        Tally(String what) {
            this.what = what;
        }

        void add(String value) {
            CRC32 crc = new CRC32();
            crc.update(value.getBytes(StandardCharsets.UTF_8));
            count++;
            checksum += crc.getValue();
        }

        void say() {
            System.out.println(what + " " + count + " " + checksum);
        }
    }

    public static void main(String[] args) {
        String servers = args.length > 0 ? args[0] : "localhost:9092";
        Thread billing = Thread.currentThread();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            ending = true;
            try {
                billing.join();
            } catch (InterruptedException ignored) {
                // Then it ends without.
            }
        }));
        try (OttlaProducer<String, String> producer = OttlaProducer.<String, String>builder()
                        .bootstrapServers(servers)
                        .keySerializer(Serdes.stringSerializer())
                        .valueSerializer(Serdes.stringSerializer())
                        .build();
                OttlaConsumer<String, String> consumer = OttlaConsumer.<String, String>builder()
                        .bootstrapServers(servers)
                        .groupId("billing")
                        .topics("priced")
                        .startFrom("earliest")
                        .config("enable.auto.commit", false)
                        .keyDeserializer(Serdes.stringDeserializer())
                        .valueDeserializer(Serdes.stringDeserializer())
                        .build()) {
            bill(producer, consumer);
        }
    }

    private static void bill(OttlaProducer<String, String> producer, OttlaConsumer<String, String> consumer) {
        Tally read = new Tally("read priced");
        Tally wrote = new Tally("wrote invoices");
        while (!ending) {
            ConsumerRecords<String, String> records = consumer.poll(POLL_TIMEOUT);
            if (records.isEmpty()) {
                continue;
            }
            List<CompletableFuture<RecordMetadata>> sends = new ArrayList<>();
            for (ConsumerRecord<String, String> record : records) {
                String invoice = invoice(record.value());
                sends.add(producer.send("invoices", record.key(), invoice));
                read.add(record.value());
                wrote.add(invoice);
            }
            sends.forEach(CompletableFuture::join);
            // Only now: had it failed before, others would bill these again.
            consumer.commitSync(records.nextOffsets());
            read.say();
            wrote.say();
        }
    }

    /** {@code 17 3 apples 117} comes to 139 cents with the tax: {@code 17 3 apples 117 139}. */
    private static String invoice(String order) {
        long cents = Long.parseLong(order.substring(order.lastIndexOf(' ') + 1));
        return order + " " + (cents + cents * TAX / 100);
    }
}

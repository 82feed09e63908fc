import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.zip.CRC32;

import dev.ottla.OttlaConsumer;
import dev.ottla.OttlaProducer;
import dev.ottla.ProducerRecord;
import dev.ottla.RecordMetadata;
import dev.ottla.Serdes;

/**
 * A shop: sends its orders to a topic, and reads every shop's orders in a group of its own.
 *
 * <pre>java -cp '*' Main.java localhost:9092 orders java 20000 20000</pre>
 */
public final class Main {
    /** Orders that are on their way at once. */
    private static final int UNDERWAY_MAX = 1_000;

    private final String servers;
    private final String topic;
    private final String name;

    private Main(String servers, String topic, String name) {
        this.servers = servers;
        this.topic = topic;
        this.name = name;
    }

    private static final class Total {
        long count;
        long checksum;

        void add(String value) {
            CRC32 crc = new CRC32();
            crc.update(value.getBytes(StandardCharsets.UTF_8));
            count++;
            checksum += crc.getValue();
        }
    }

    public static void main(String[] args) {
        if (args.length != 5) {
            System.err.println("usage: Main <bootstrap servers> <topic> <name> <orders to send> <orders to read>");
            System.exit(2);
        }
        Main shop = new Main(args[0], args[1], args[2]);
        var reading = CompletableFuture.supplyAsync(() -> shop.read(Long.parseLong(args[4])), task -> new Thread(task).start());
        Total sent = shop.send(Long.parseLong(args[3]));
        Total read = reading.join();
        System.out.printf("total sent %d %d%n", sent.count, sent.checksum);
        System.out.printf("total read %d %d%n", read.count, read.checksum);
    }

    private Total send(long orders) {
        Total total = new Total();
        try (OttlaProducer<String, String> producer = OttlaProducer.<String, String>builder()
                .bootstrapServers(servers)
                .keySerializer(Serdes.stringSerializer())
                .valueSerializer(Serdes.stringSerializer())
                .build()) {
            while (total.count < orders) {
                List<CompletableFuture<RecordMetadata>> underway = new ArrayList<>();
                while (underway.size() < UNDERWAY_MAX && total.count < orders) {
                    String key = name + "-" + total.count;
                    String value = key + ": " + (total.count % 12 + 1) + " apples";
                    underway.add(producer.send(new ProducerRecord<>(topic, key, value)));
                    total.add(value);
                }
                underway.forEach(CompletableFuture::join);
                System.out.printf("sent %d%n", total.count);
            }
        }
        return total;
    }

    private Total read(long orders) {
        Total total = new Total();
        try (OttlaConsumer<String, String> consumer = OttlaConsumer.<String, String>builder()
                .bootstrapServers(servers)
                .groupId(name)
                .topics(topic)
                .startFrom("earliest")
                .keyDeserializer(Serdes.stringDeserializer())
                .valueDeserializer(Serdes.stringDeserializer())
                .build()) {
            while (total.count < orders) {
                for (var record : consumer.poll(Duration.ofSeconds(10))) {
                    total.add(record.value());
                }
                System.out.printf("read %d%n", total.count);
            }
        }
        return total;
    }
}

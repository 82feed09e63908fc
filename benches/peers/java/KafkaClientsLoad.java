import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.IntStream;

import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** kafka-clients as a load: ../README.md says how it and its driver talk. */
public final class Load {
    private static final Map<String, String> FLAGS = new HashMap<>();
    private static final BufferedReader DRIVER =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));

    public static void main(String[] arguments) throws Exception {
        for (int i = 1; i < arguments.length; i++) {
            String[] parts = arguments[i].substring(2).split("=", 2);
            FLAGS.put(parts[0], parts[1]);
        }
        switch (arguments[0]) {
            case "produce" -> produce();
            case "consume" -> consume();
            default -> throw new IllegalArgumentException("there is no verb " + arguments[0]);
        }
    }

    private static void produce() throws Exception {
        Map<String, Object> config = Map.of(
            "bootstrap.servers", FLAGS.get("bootstrap"),
            "compression.type", FLAGS.get("codec"),
            "linger.ms", number("linger-ms", 5),
            "batch.size", number("batch-bytes", 128 * 1024));
        byte[] value = new byte[number("value-bytes", 100)];
        var failure = new AtomicReference<Exception>();
        try (var producer = new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer())) {
            // The connection, the producer id and the topic's metadata are there before the clock starts.
            producer.send(new ProducerRecord<>(FLAGS.get("topic"), value)).get();
            send(producer, value, number("warm-up", 0), failure);
            tell("ready");
            long began = System.nanoTime();
            int records = number("records", 0);
            send(producer, value, records, failure);
            if (failure.get() != null) {
                throw failure.get();
            }
            done(records, began);
        }
    }

    private static void send(KafkaProducer<byte[], byte[]> producer, byte[] value, int records, AtomicReference<Exception> failure) {
        for (int i = 0; i < records; i++) {
            producer.send(new ProducerRecord<>(FLAGS.get("topic"), value), (written, e) -> failure.compareAndSet(null, e));
        }
        producer.flush();
    }

    private static void consume() throws Exception {
        if (number("warm-up", 0) > 0) {
            readTopic(-1);
        }
        tell("ready");
        long began = System.nanoTime();
        long read = 0;
        for (int pass = 0; pass < number("passes", 1); pass++) {
            read += readTopic(pass);
        }
        done(read, began);
    }

    /** Reads from the beginning until all records came. */
    private static long readTopic(int pass) {
        Map<String, Object> config = new HashMap<>(Map.of(
            "bootstrap.servers", FLAGS.get("bootstrap"),
            "auto.offset.reset", "earliest",
            "max.poll.records", 10_000));
        String group = FLAGS.getOrDefault("group", "");
        if (!group.isEmpty()) {
            config.put("group.id", group + "-" + pass);
        }
        long records = number("records", 0);
        int bytes = number("value-bytes", 100);
        long read = 0;
        try (var consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            if (group.isEmpty()) {
                consumer.assign(IntStream.range(0, number("partitions", 6))
                    .mapToObj(partition -> new TopicPartition(FLAGS.get("topic"), partition)).toList());
            } else {
                consumer.subscribe(List.of(FLAGS.get("topic")));
            }
            while (read < records) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
                    if (record.value().length != bytes) {
                        throw new IllegalStateException("a value of " + record.value().length + " bytes");
                    }
                    read++;
                }
            }
        }
        return read;
    }

    private static int number(String flag, int otherwise) {
        return FLAGS.containsKey(flag) ? Integer.parseInt(FLAGS.get(flag)) : otherwise;
    }

    private static void done(long records, long began) throws Exception {
        tell("{\"records\": " + records + ", \"wall_s\": " + (System.nanoTime() - began) / 1e9 + "}");
    }

    /** Prints a line and waits until the driver has looked at the clocks. */
    private static void tell(String line) throws Exception {
        System.out.println(line);
        DRIVER.readLine();
    }
}

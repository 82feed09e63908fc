import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.IntStream;

import com.sun.management.ThreadMXBean;
import dev.ottla.ConsumerRecord;
import dev.ottla.OttlaConsumer;
import dev.ottla.OttlaProducer;
import dev.ottla.ProducerRecord;
import dev.ottla.TopicPartition;

/**
 * Ours in Java as a load: ../README.md says how it and its driver talk. With `--forget` nobody asks what becomes of a record, and values
 * are not copied when they are read.
 */
public final class LoadOttla {
    private static final Map<String, String> FLAGS = new HashMap<>();
    private static final BufferedReader DRIVER =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));

    public static void main(String[] arguments) throws Exception {
        for (int i = 1; i < arguments.length; i++) {
            String[] parts = arguments[i].substring(2).split("=", 2);
            FLAGS.put(parts[0], parts.length == 2 ? parts[1] : "");
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
        try (var producer = new OttlaProducer<byte[], byte[]>(config)) {
            // The connection, the producer id and the topic's metadata are there before the clock starts.
            producer.send(new ProducerRecord<>(FLAGS.get("topic"), value)).get();
            send(producer, value, number("warm-up", 0), failure);
            tell("ready");
            long began = System.nanoTime();
            int records = number("records", 0);
            long allocated = allocated();
            send(producer, value, records, failure);
            System.err.println((allocated() - allocated) / Math.max(1, records) + " bytes allocated for a record, by the thread that sends");
            if (failure.get() != null) {
                throw failure.get();
            }
            done(records, began);
        }
    }

    private static void send(OttlaProducer<byte[], byte[]> producer, byte[] value, int records, AtomicReference<Exception> failure) {
        boolean forget = FLAGS.containsKey("forget");
        String topic = FLAGS.get("topic");
        for (int i = 0; i < records; i++) {
            if (forget) {
                producer.sendAndForget(topic, null, value);
            } else {
                producer.send(new ProducerRecord<>(topic, value), (written, e) -> failure.compareAndSet(null, e));
            }
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
        boolean forget = FLAGS.containsKey("forget");
        long read = 0;
        try (var consumer = new OttlaConsumer<byte[], byte[]>(config)) {
            if (group.isEmpty()) {
                consumer.assign(IntStream.range(0, number("partitions", 6))
                    .mapToObj(partition -> new TopicPartition(FLAGS.get("topic"), partition)).toList());
            } else {
                consumer.subscribe(List.of(FLAGS.get("topic")));
            }
            while (read < records) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
                    int length = forget ? record.serializedValueSize() : record.value().length;
                    if (length != bytes) {
                        throw new IllegalStateException("a value of " + length + " bytes");
                    }
                    read++;
                }
            }
        }
        return read;
    }

    private static long allocated() {
        return ((ThreadMXBean) ManagementFactory.getThreadMXBean()).getCurrentThreadAllocatedBytes();
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

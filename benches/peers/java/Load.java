import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;

import com.sun.management.ThreadMXBean;

/** A client in Java as a load: ../README.md says how it and its driver talk. What is the client's own, a subclass does. */
abstract class Load {
    private static final BufferedReader DRIVER =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));

    /** Awaited sends before any is measured: they take their time, and the code is hot long before. */
    private static final int AWAITED_WARM_UP = 20_000;

    private final Map<String, String> flags = new HashMap<>();

    /** A producer; {@code config} is kafka-clients' and ours. */
    abstract Writer writer(Map<String, Object> config);

    /** Reads {@code records} records of a topic from its beginning, and answers how many came. */
    abstract long read(Map<String, Object> config, long records);

    /** What a load asks of a producer. */
    interface Writer extends AutoCloseable {
        /** Writes a record and waits until it is acknowledged. */
        void sendAndWait(String topic, byte[] value) throws Exception;

        /** Sends many, waits for all, and throws what became of one that failed. */
        void sendAll(String topic, byte[] value, int records) throws Exception;

        @Override
        void close();
    }

    void run(String[] arguments) throws Exception {
        for (int i = 1; i < arguments.length; i++) {
            String[] parts = arguments[i].substring(2).split("=", 2);
            flags.put(parts[0], parts.length == 2 ? parts[1] : "");
        }
        switch (arguments[0]) {
            case "produce" -> produce();
            case "await" -> await();
            case "consume" -> consume();
            default -> throw new IllegalArgumentException("there is no verb " + arguments[0]);
        }
    }

    private void produce() throws Exception {
        byte[] value = new byte[number("value-bytes", 100)];
        try (Writer writer = writer(producing(number("linger-ms", 5)))) {
            // The connection, the producer id and the topic's metadata are there before the clock starts.
            writer.sendAndWait(text("topic"), value);
            writer.sendAll(text("topic"), value, number("warm-up", 0));
            int records = number("records", 0);
            tell("ready");
            long began = System.nanoTime();
            long allocated = allocated();
            writer.sendAll(text("topic"), value, records);
            long each = (allocated() - allocated) / Math.max(1, records);
            tell("{\"records\": " + records + ", \"wall_s\": " + since(began) + ", \"allocated_bytes\": " + each + "}");
        }
    }

    /** Sends one after the other, each when the one before it is acknowledged. */
    private void await() throws Exception {
        byte[] value = new byte[number("value-bytes", 100)];
        try (Writer writer = writer(producing(0))) {
            for (int i = 0; i < AWAITED_WARM_UP; i++) {
                writer.sendAndWait(text("topic"), value);
            }
            long[] took = new long[number("records", 0)];
            tell("ready");
            long began = System.nanoTime();
            for (int i = 0; i < took.length; i++) {
                long sent = System.nanoTime();
                writer.sendAndWait(text("topic"), value);
                took[i] = System.nanoTime() - sent;
            }
            String wall = since(began);
            Arrays.sort(took);
            tell("{\"records\": " + took.length + ", \"wall_s\": " + wall + ", \"p50_us\": " + quantile(took, 0.5)
                + ", \"p99_us\": " + quantile(took, 0.99) + ", \"p999_us\": " + quantile(took, 0.999) + "}");
        }
    }

    private void consume() throws Exception {
        if (number("warm-up", 0) > 0) {
            read(reading(-1), number("records", 0));
        }
        tell("ready");
        long began = System.nanoTime();
        long read = 0;
        for (int pass = 0; pass < number("passes", 1); pass++) {
            read += read(reading(pass), number("records", 0));
        }
        tell("{\"records\": " + read + ", \"wall_s\": " + since(began) + "}");
    }

    private Map<String, Object> producing(int lingerMs) {
        return Map.of(
            "bootstrap.servers", text("bootstrap"),
            "compression.type", text("codec"),
            "linger.ms", lingerMs,
            "batch.size", number("batch-bytes", 128 * 1024));
    }

    private Map<String, Object> reading(int pass) {
        Map<String, Object> config = new HashMap<>(Map.of(
            "bootstrap.servers", text("bootstrap"),
            "auto.offset.reset", "earliest",
            "max.poll.records", 10_000));
        if (isInGroup()) {
            config.put("group.id", text("group") + "-" + pass);
        }
        return config;
    }

    final boolean isInGroup() {
        return !text("group").isEmpty();
    }

    final boolean has(String flag) {
        return flags.containsKey(flag);
    }

    final String text(String flag) {
        return flags.getOrDefault(flag, "");
    }

    final int number(String flag, int otherwise) {
        return flags.containsKey(flag) ? Integer.parseInt(flags.get(flag)) : otherwise;
    }

    /** A value of another length would be another's. */
    static void check(int length, int wanted) {
        if (length != wanted) {
            throw new IllegalStateException("a value of " + length + " bytes");
        }
    }

    /** By this thread, which sends. */
    private static long allocated() {
        return ((ThreadMXBean) ManagementFactory.getThreadMXBean()).getCurrentThreadAllocatedBytes();
    }

    private static String since(long began) {
        return Double.toString((System.nanoTime() - began) / 1e9);
    }

    private static long quantile(long[] sorted, double part) {
        return sorted.length == 0 ? 0 : sorted[(int) Math.min(sorted.length - 1, sorted.length * part)] / 1_000;
    }

    /** Prints a line and waits until the driver has looked at the clocks. */
    private static void tell(String line) throws Exception {
        System.out.println(line);
        DRIVER.readLine();
    }
}

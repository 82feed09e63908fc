import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.Future;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** kafka-clients behind the verbs of ../README.md. */
public final class Peer {
    private static final Duration DEADLINE = Duration.ofSeconds(60);
    /** As short as a broker takes by default, so that a dead member is soon known. */
    private static final int SESSION_MS = 6000;
    private static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] args) throws Exception {
        switch (args[0]) {
            case "codecs" -> List.of("none", "gzip", "snappy", "lz4", "zstd").forEach(System.out::println);
            case "produce" -> produce(args[1], args[2], args[3]);
            case "consume" -> consume(args[1], args[2], Integer.parseInt(args[3]));
            case "member" -> member(args[1], args[2], args[3], args.length > 4 ? args[4] : "classic");
            default -> throw new IllegalArgumentException(args[0]);
        }
    }

    /** How to connect, if that is not by plain text. */
    private static Map<String, Object> security() throws IOException {
        Map<String, Object> config = new HashMap<>();
        String path = System.getenv("PEER_PROPERTIES");
        if (path != null) {
            var properties = new Properties();
            try (var file = Files.newBufferedReader(Path.of(path))) {
                properties.load(file);
            }
            properties.forEach((key, value) -> config.put((String) key, value));
        }
        return config;
    }

    private static void produce(String bootstrap, String topic, String codec) throws Exception {
        Map<String, Object> config = security();
        config.put("bootstrap.servers", bootstrap);
        config.put("compression.type", codec);
        config.put("linger.ms", 20);
        config.put("max.request.size", 2_000_000);
        var input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        try (var producer = new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer())) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (String line = input.readLine(); line != null; line = input.readLine()) {
                JsonNode r = JSON.readTree(line);
                List<Header> headers = new ArrayList<>();
                for (JsonNode pair : r.get("headers")) {
                    headers.add(new RecordHeader(pair.get(0).asText(), bytes(pair.get(1))));
                }
                sent.add(producer.send(new ProducerRecord<>(topic, r.get("partition").asInt(),
                    r.get("timestamp").asLong(), bytes(r.get("key")), bytes(r.get("value")), headers)));
            }
            for (Future<RecordMetadata> future : sent) {
                future.get();
            }
        }
    }

    private static void consume(String bootstrap, String topic, int count) throws IOException {
        Map<String, Object> config = security();
        config.put("bootstrap.servers", bootstrap);
        config.put("enable.auto.commit", false);
        var out = new PrintWriter(new BufferedWriter(new OutputStreamWriter(System.out, StandardCharsets.UTF_8)));
        try (var consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            var partitions = consumer.partitionsFor(topic).stream()
                .map(p -> new TopicPartition(topic, p.partition())).toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            long end = System.nanoTime() + DEADLINE.toNanos();
            while (count > 0 && System.nanoTime() < end) {
                for (ConsumerRecord<byte[], byte[]> m : consumer.poll(Duration.ofSeconds(1))) {
                    ObjectNode r = JSON.createObjectNode();
                    r.put("partition", m.partition()).put("timestamp", m.timestamp());
                    r.set("key", text(m.key()));
                    r.set("value", text(m.value()));
                    ArrayNode headers = r.putArray("headers");
                    for (Header h : m.headers()) {
                        headers.addArray().add(h.key()).add(text(h.value()));
                    }
                    out.println(r);
                    count--;
                }
            }
        }
        out.flush();
        if (count > 0) {
            throw new IllegalStateException(count + " records did not come");
        }
    }

    private static void member(String bootstrap, String topic, String group, String protocol) throws Exception {
        Map<String, Object> config = new HashMap<>(Map.of(
            "bootstrap.servers", bootstrap,
            "group.id", group,
            "group.protocol", protocol,
            "auto.offset.reset", "earliest",
            "enable.auto.commit", false));
        if (protocol.equals("classic")) {
            // In the consumer protocol the broker says how long a session is.
            config.put("session.timeout.ms", SESSION_MS);
            config.put("heartbeat.interval.ms", SESSION_MS / 10);
        }
        var ended = new Thread(() -> {
            try {
                System.in.readAllBytes();
            } catch (IOException e) {
                // Nothing more comes either way.
            }
        });
        ended.setDaemon(true);
        ended.start();
        try (var consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of(topic));
            while (ended.isAlive()) {
                var given = consumer.poll(Duration.ofMillis(100));
                long now = microseconds();
                given.forEach(m -> System.out.println(m.partition() + " " + m.offset() + " " + now));
                System.out.flush();
                if (!given.isEmpty()) {
                    try {
                        consumer.commitSync();
                        System.out.println("committed " + microseconds());
                    } catch (CommitFailedException | RebalanceInProgressException e) {
                        // The group rebalances: whoever gets the partition reads the records again.
                        System.out.println("uncommitted");
                    }
                }
            }
        }
    }

    private static long microseconds() {
        return ChronoUnit.MICROS.between(Instant.EPOCH, Instant.now());
    }

    private static byte[] bytes(JsonNode text) {
        return text.isNull() ? null : Base64.getDecoder().decode(text.asText());
    }

    private static JsonNode text(byte[] bytes) {
        return bytes == null ? JSON.nullNode() : JSON.getNodeFactory().textNode(Base64.getEncoder().encodeToString(bytes));
    }
}

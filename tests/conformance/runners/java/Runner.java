import dev.ottla.AlterConfigOp;
import dev.ottla.ConfigResource;
import dev.ottla.ConsumerRecord;
import dev.ottla.ConsumerRecords;
import dev.ottla.ErrorCode;
import dev.ottla.GroupDescription;
import dev.ottla.GroupListing;
import dev.ottla.Header;
import dev.ottla.Headers;
import dev.ottla.NewTopic;
import dev.ottla.OffsetAndMetadata;
import dev.ottla.OffsetAndTimestamp;
import dev.ottla.OttlaAdmin;
import dev.ottla.OttlaConsumer;
import dev.ottla.OttlaException;
import dev.ottla.OttlaProducer;
import dev.ottla.ProducerRecord;
import dev.ottla.RecordMetadata;
import dev.ottla.TopicListing;
import dev.ottla.TopicPartition;
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;
import java.util.function.Supplier;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/** The runner of Java: the jar, as a program would use it. */
final class Runner {
    /** How long is waited where a step does not say. */
    private static final int PATIENCE_MS = 30_000;
    private static final int LOOK_MS = 10;

    private final Map<String, Client> clients = new HashMap<>();

    private Runner() {}

    public static void main(String[] arguments) throws Exception {
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        Runner runner = new Runner();
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            runner.answer(line).forEach(answer -> out.print(answer + "\n"));
            out.flush();
        }
    }

    private List<String> answer(String line) {
        List<String> out = new ArrayList<>();
        try {
            Map<String, Object> said = step(new Step(line), out);
            out.add(line("ok", said));
        } catch (Exception e) {
            out.clear();
            out.add(refused(e));
        }
        return out;
    }

    private Map<String, Object> step(Step step, List<String> out) throws Exception {
        String name = step.need("client");
        switch (step.verb) {
            case "producer" -> clients.put(name, new Producer(new OttlaProducer<>(step.prefixed("set."))));
            case "consumer" -> {
                Map<String, String> settings = step.prefixed("set.");
                // A record counts as done when the next is asked for, as scenarios have it.
                settings.putIfAbsent("max.poll.records", "1");
                clients.put(name, new Consumer(new OttlaConsumer<>(settings)));
            }
            case "admin" -> clients.put(name, new Admin(OttlaAdmin.create(step.prefixed("set."))));
            default -> {
                return clients.get(name).step(step, out);
            }
        }
        return Map.of();
    }

    private interface Client {
        Map<String, Object> step(Step step, List<String> out) throws Exception;
    }

    private static final class Producer implements Client {
        private final OttlaProducer<byte[], byte[]> producer;
        private List<CompletableFuture<RecordMetadata>> later = new ArrayList<>();

        Producer(OttlaProducer<byte[], byte[]> producer) {
            this.producer = producer;
        }

        @Override
        public Map<String, Object> step(Step step, List<String> out) throws Exception {
            switch (step.verb) {
                case "send" -> {
                    RecordMetadata written = send(step).get();
                    return Map.of("partition", written.partition(), "offset", written.offset(), "timestamp", written.timestamp());
                }
                case "send_later" -> later.add(send(step));
                case "send_many" -> {
                    int count = step.number("count", 0);
                    int keys = step.number("keys", 0);
                    int bytes = step.number("value_bytes", 0);
                    Integer partition = step.has("partition") ? step.number("partition", 0) : null;
                    List<CompletableFuture<RecordMetadata>> sent = new ArrayList<>();
                    for (int number = 0; number < count; number++) {
                        byte[] key = keys == 0 ? null : ("key-" + number % keys).getBytes(StandardCharsets.UTF_8);
                        byte[] value = Arrays.copyOf(String.format("%010d", number).getBytes(StandardCharsets.UTF_8), Math.max(bytes, 10));
                        Arrays.fill(value, 10, value.length, (byte) 'x');
                        sent.add(producer.send(new ProducerRecord<>(step.need("topic"), partition, key, value)));
                    }
                    return outcomes(sent);
                }
                case "outcomes" -> {
                    List<CompletableFuture<RecordMetadata>> sent = later;
                    later = new ArrayList<>();
                    return outcomes(sent);
                }
                case "flush" -> producer.flush(step.patience());
                case "close" -> producer.close(step.patience());
                default -> throw new UnknownVerb(step.verb);
            }
            return Map.of();
        }

        private CompletableFuture<RecordMetadata> send(Step step) {
            Integer partition = step.has("partition") ? step.number("partition", 0) : null;
            Long timestamp = step.has("timestamp") ? Long.valueOf(step.need("timestamp")) : null;
            return producer.send(new ProducerRecord<>(
                    step.need("topic"), partition, timestamp, step.pairs.get("key"), step.pairs.get("value"), step.headers()));
        }

        /** One that was not taken, for want of room, is a failure of the step, and the others are not waited for. */
        private static void taken(List<CompletableFuture<RecordMetadata>> sent) {
            CompletableFuture<RecordMetadata> refused = new CompletableFuture<>();
            for (CompletableFuture<RecordMetadata> future : sent) {
                future.whenComplete((ok, failure) -> {
                    if (failure instanceof OttlaException ours && ours.error() == ErrorCode.QUEUE_FULL) {
                        refused.completeExceptionally(failure);
                    }
                });
            }
            CompletableFuture<Void> ended = CompletableFuture.allOf(sent.toArray(CompletableFuture[]::new));
            CompletableFuture.anyOf(ended.exceptionally(counted -> null), refused).join();
        }

        private static Map<String, Object> outcomes(List<CompletableFuture<RecordMetadata>> sent) {
            taken(sent);
            int failed = 0;
            String first = null;
            for (CompletableFuture<RecordMetadata> future : sent) {
                try {
                    future.join();
                } catch (CompletionException e) {
                    failed++;
                    first = first == null && e.getCause() instanceof OttlaException ours ? ours.name() : first;
                }
            }
            Map<String, Object> said = new LinkedHashMap<>();
            said.put("acknowledged", sent.size() - failed);
            said.put("failed", failed);
            said.put("error", first);
            return said;
        }
    }

    private static final class Consumer implements Client {
        private final OttlaConsumer<byte[], byte[]> consumer;
        /** What was read and not asked for yet. */
        private final Deque<ConsumerRecord<byte[], byte[]>> inHand = new ArrayDeque<>();

        Consumer(OttlaConsumer<byte[], byte[]> consumer) {
            this.consumer = consumer;
        }

        @Override
        public Map<String, Object> step(Step step, List<String> out) throws Exception {
            switch (step.verb) {
                case "poll" -> {
                    return Map.of("count", poll(step, out));
                }
                case "assign" -> {
                    String[] wanted = step.need("partitions").split(",");
                    consumer.assign(Arrays.stream(wanted).map(Step::partitionAt).toList());
                    for (String text : wanted) {
                        if (text.contains("@")) {
                            consumer.seek(Step.partitionAt(text), Long.parseLong(text.substring(text.indexOf('@') + 1)));
                        }
                    }
                }
                case "subscribe" -> consumer.subscribe(List.of(step.need("topics").split(",")));
                case "subscribe_pattern" -> consumer.subscribe(Pattern.compile(step.need("pattern")));
                case "unsubscribe" -> consumer.unsubscribe();
                case "seek" -> {
                    TopicPartition partition = step.partition();
                    inHand.removeIf(record -> record.topicPartition().equals(partition));
                    switch (step.need("offset")) {
                        case "earliest" -> consumer.seekToBeginning(List.of(partition));
                        case "latest" -> consumer.seekToEnd(List.of(partition));
                        default -> consumer.seek(partition, Long.parseLong(step.need("offset")));
                    }
                }
                case "pause" -> consumer.pause(step.partitions());
                case "resume" -> consumer.resume(step.partitions());
                case "position" -> {
                    return Map.of("offset", position(step));
                }
                case "commit" -> {
                    if (step.has("offset")) {
                        consumer.commitSync(Map.of(step.partition(), new OffsetAndMetadata(Long.parseLong(step.need("offset")))));
                    } else {
                        consumer.commitSync();
                    }
                }
                case "committed" -> {
                    OffsetAndMetadata found = consumer.committed(Set.of(step.partition())).get(step.partition());
                    return found == null ? Map.of() : Map.of("offset", found.offset());
                }
                case "await_assignment" -> {
                    int count = step.number("count", 0);
                    return Map.of("partitions", until(step.patience(), () -> {
                        take(Duration.ofMillis(LOOK_MS));
                        List<String> assigned = consumer.assignment().stream().sorted().map(TopicPartition::toString).toList();
                        return assigned.size() == count ? String.join(",", assigned) : null;
                    }));
                }
                case "offset_for_time" -> {
                    long timestamp = Long.parseLong(step.need("timestamp"));
                    OffsetAndTimestamp found =
                            consumer.offsetsForTimes(Map.of(step.partition(), timestamp)).get(step.partition());
                    return found == null ? Map.of() : Map.of("offset", found.offset());
                }
                case "watermarks" -> {
                    List<TopicPartition> one = List.of(step.partition());
                    return Map.of(
                            "low", consumer.beginningOffsets(one).get(step.partition()),
                            "high", consumer.endOffsets(one).get(step.partition()));
                }
                case "close" -> consumer.close(step.patience());
                default -> throw new UnknownVerb(step.verb);
            }
            return Map.of();
        }

        /** Takes what comes; a record is asked for one by one. */
        private void take(Duration timeout) {
            ConsumerRecords<byte[], byte[]> records = consumer.poll(timeout);
            records.forEach(inHand::add);
        }

        private int poll(Step step, List<String> out) {
            int count = step.number("count", Integer.MAX_VALUE);
            long deadline = System.nanoTime() + step.patience().toNanos();
            int came = 0;
            while (came < count) {
                if (inHand.isEmpty()) {
                    take(Duration.ofNanos(Math.max(0, deadline - System.nanoTime())));
                }
                if (inHand.isEmpty()) {
                    break;
                }
                out.add(told(inHand.remove()));
                came++;
            }
            return came;
        }

        private long position(Step step) {
            TopicPartition partition = step.partition();
            return inHand.stream()
                    .filter(record -> record.topicPartition().equals(partition))
                    .findFirst()
                    .map(ConsumerRecord::offset)
                    .orElseGet(() -> consumer.position(partition, step.patience()));
        }
    }

    private static final class Admin implements Client {
        private final OttlaAdmin admin;

        Admin(OttlaAdmin admin) {
            this.admin = admin;
        }

        @Override
        public Map<String, Object> step(Step step, List<String> out) {
            String topic = step.pairs.containsKey("topic") ? step.need("topic") : "";
            ConfigResource resource = ConfigResource.topic(topic);
            switch (step.verb) {
                case "create_topic" -> admin.createTopics(
                                List.of(new NewTopic(topic, step.number("partitions", 1)).configs(step.prefixed("config."))))
                        .join();
                case "delete_topic" -> admin.deleteTopics(List.of(topic)).join();
                case "describe_topic" -> {
                    return Map.of("partitions", admin.describeTopics(List.of(topic)).join().get(topic).partitions().size());
                }
                case "list_topics" -> {
                    return Map.of("topics", admin.listTopics().join().stream()
                            .filter(listed -> !listed.isInternal())
                            .map(TopicListing::name)
                            .sorted()
                            .collect(Collectors.joining(",")));
                }
                case "create_partitions" -> admin.createPartitions(Map.of(topic, step.number("partitions", 1))).join();
                case "topic_config" -> {
                    String value = admin.describeConfigs(List.of(resource)).join().get(resource).get(step.need("key")).value();
                    return Map.of("value", value);
                }
                case "alter_topic_config" -> {
                    String key = step.need("key");
                    AlterConfigOp change = step.has("value") ? AlterConfigOp.set(key, step.need("value")) : AlterConfigOp.delete(key);
                    admin.incrementalAlterConfigs(Map.of(resource, List.of(change))).join();
                }
                case "list_groups" -> {
                    return Map.of("groups", admin.listGroups().join().stream()
                            .map(GroupListing::groupId)
                            .sorted()
                            .collect(Collectors.joining(",")));
                }
                case "describe_group" -> {
                    String group = step.need("group");
                    GroupDescription described = admin.describeGroups(List.of(group)).join().get(group);
                    return Map.of("state", described.state(), "members", described.members().size());
                }
                case "delete_group" -> admin.deleteGroups(List.of(step.need("group"))).join();
                case "close" -> admin.close();
                default -> throw new UnknownVerb(step.verb);
            }
            return Map.of();
        }
    }

    private static final class UnknownVerb extends RuntimeException {
        private static final long serialVersionUID = 1L;

        UnknownVerb(String verb) {
            super("there is no verb `" + verb + "`");
        }
    }

    /** A line: a verb and pairs. */
    private static final class Step {
        final String verb;
        final Map<String, byte[]> pairs = new LinkedHashMap<>();

        Step(String line) {
            String[] words = line.split(" ");
            verb = words[0];
            for (int i = 1; i < words.length; i++) {
                int equals = words[i].indexOf('=');
                pairs.put(text(decoded(words[i].substring(0, equals))), decoded(words[i].substring(equals + 1)));
            }
        }

        boolean has(String name) {
            return pairs.containsKey(name);
        }

        String need(String name) {
            return text(pairs.get(name));
        }

        int number(String name, int otherwise) {
            return has(name) ? Integer.parseInt(need(name)) : otherwise;
        }

        Duration patience() {
            return Duration.ofMillis(number("timeout_ms", PATIENCE_MS));
        }

        Map<String, String> prefixed(String prefix) {
            Map<String, String> found = new LinkedHashMap<>();
            pairs.forEach((name, value) -> {
                if (name.startsWith(prefix)) {
                    found.put(name.substring(prefix.length()), text(value));
                }
            });
            return found;
        }

        TopicPartition partition() {
            return partitionAt(need("partition"));
        }

        List<TopicPartition> partitions() {
            return Arrays.stream(need("partitions").split(",")).map(Step::partitionAt).toList();
        }

        /** {@code orders-0}, or {@code orders-0@5}. */
        static TopicPartition partitionAt(String text) {
            String place = text.split("@")[0];
            int dash = place.lastIndexOf('-');
            return new TopicPartition(place.substring(0, dash), Integer.parseInt(place.substring(dash + 1)));
        }

        Headers headers() {
            Headers headers = new Headers();
            pairs.forEach((name, header) -> {
                if (name.startsWith("header.")) {
                    String of = text(header);
                    int colon = of.indexOf(':');
                    headers.add(
                            text(decoded(colon < 0 ? of : of.substring(0, colon))),
                            colon < 0 ? null : decoded(of.substring(colon + 1)));
                }
            });
            return headers;
        }
    }

    private static String told(ConsumerRecord<byte[], byte[]> record) {
        Map<String, Object> pairs = new LinkedHashMap<>();
        pairs.put("topic", record.topic());
        pairs.put("partition", record.partition());
        pairs.put("offset", record.offset());
        pairs.put("timestamp", record.timestamp());
        pairs.put("key", record.key());
        pairs.put("value", record.value());
        int number = 0;
        for (Header header : record.headers()) {
            String name = encoded(header.key().getBytes(StandardCharsets.UTF_8));
            pairs.put("header." + number++, header.value() == null ? name : name + ":" + encoded(header.value()));
        }
        return line("record", pairs);
    }

    private static String refused(Exception e) {
        Throwable failure = e instanceof ExecutionException || e instanceof CompletionException ? e.getCause() : e;
        Map<String, Object> pairs = new LinkedHashMap<>();
        if (failure instanceof OttlaException ours) {
            pairs.put("name", ours.name());
            pairs.put("code", ours.code());
            pairs.put("retriable", ours.isRetriable());
            pairs.put("fatal", ours.isFatal());
        } else {
            pairs.put("name", failure instanceof UnknownVerb ? "UNKNOWN_VERB" : "RUNNER");
        }
        pairs.put("message", String.valueOf(failure.getMessage()));
        return line("error", pairs);
    }

    private static String line(String word, Map<String, Object> pairs) {
        StringBuilder line = new StringBuilder(word);
        pairs.forEach((name, value) -> {
            if (value != null) {
                byte[] bytes = value instanceof byte[] already ? already : value.toString().getBytes(StandardCharsets.UTF_8);
                line.append(' ').append(name).append('=').append(encoded(bytes));
            }
        });
        return line.toString();
    }

    private static <T> T until(Duration patience, Supplier<T> look) throws InterruptedException {
        long began = System.nanoTime();
        while (true) {
            T found = look.get();
            if (found != null) {
                return found;
            }
            if (System.nanoTime() - began > patience.toNanos()) {
                throw new IllegalStateException("it did not come about");
            }
            Thread.sleep(LOOK_MS);
        }
    }

    private static String text(byte[] bytes) {
        return new String(bytes, StandardCharsets.UTF_8);
    }

    private static String encoded(byte[] bytes) {
        StringBuilder out = new StringBuilder();
        for (byte each : bytes) {
            if (each >= '0' && each <= '9' || each >= 'a' && each <= 'z' || each >= 'A' && each <= 'Z' || each == '-' || each == '_' || each == '.') {
                out.append((char) each);
            } else {
                out.append(String.format("%%%02X", each));
            }
        }
        return out.toString();
    }

    private static byte[] decoded(String text) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        for (int i = 0; i < text.length(); i++) {
            if (text.charAt(i) == '%') {
                out.write(Integer.parseInt(text.substring(i + 1, i + 3), 16));
                i += 2;
            } else {
                out.writeBytes(String.valueOf(text.charAt(i)).getBytes(StandardCharsets.UTF_8));
            }
        }
        return out.toByteArray();
    }
}

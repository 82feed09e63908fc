package dev.ottla.kafka;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.StreamSupport;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.ottla.NewTopic;
import dev.ottla.OttlaAdmin;
import dev.ottla.testing.OttlaBroker;
import dev.ottla.testing.WithOttlaBroker;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** The programs with which Kafka's system tests write and read while they shake a cluster, with our clients inside. */
@WithOttlaBroker
@Timeout(180)
class KafkasToolsTest {
    private static final int RECORDS = 20_000;
    private static final ObjectMapper JSON = new ObjectMapper();

    @TempDir
    private Path dir;

    @Test
    void kafkasVerifiableProducerAndConsumerRunOnOurClients(OttlaBroker broker) throws Exception {
        String topic = "verifiable";
        try (var admin = OttlaAdmin.create(Map.of("bootstrap.servers", broker.bootstrapServers()))) {
            admin.createTopics(List.of(new NewTopic(topic, 3))).join();
        }
        String count = Integer.toString(RECORDS);

        List<JsonNode> produced = run(
                "VerifiableProducer", "--bootstrap-server", broker.bootstrapServers(), "--topic", topic, "--max-messages", count,
                "--acks", "-1", "--repeating-keys", "7", "--value-prefix", "3");
        List<JsonNode> written = of("producer_send_success", produced);
        assertEquals(RECORDS, written.size());
        assertEquals(RECORDS, places(written).size(), "each is somewhere else");
        assertEquals(RECORDS, written.stream().map(it -> it.get("value").asText()).distinct().count());
        JsonNode summary = of("tool_data", produced).get(0);
        assertEquals(RECORDS, summary.get("sent").asInt());
        assertEquals(RECORDS, summary.get("acked").asInt());

        List<JsonNode> consumed = run(
                "VerifiableConsumer", "--bootstrap-server", broker.bootstrapServers(), "--topic", topic, "--max-messages", count,
                "--group-id", "verifiers", "--reset-policy", "earliest", "--verbose");
        assertEquals(places(written), places(of("record_data", consumed)));
        int read = of("records_consumed", consumed).stream().mapToInt(it -> it.get("count").asInt()).sum();
        assertEquals(RECORDS, read);
        assertEquals(3, of("partitions_assigned", consumed).stream().mapToInt(it -> it.get("partitions").size()).sum());
        List<JsonNode> commits = of("offsets_committed", consumed);
        assertTrue(commits.stream().allMatch(it -> it.get("success").asBoolean()), commits::toString);
        Map<Integer, Long> committed = commits.stream()
                .flatMap(it -> StreamSupport.stream(it.get("offsets").spliterator(), false))
                .collect(Collectors.toMap(it -> it.get("partition").asInt(), it -> it.get("offset").asLong(), Math::max));
        assertEquals(RECORDS, committed.values().stream().mapToLong(Long::longValue).sum(), committed::toString);
        assertEquals(1, of("shutdown_complete", consumed).size());
    }

    /** What a tool says, an event a line, until it ends of itself. */
    private List<JsonNode> run(String... tool) throws Exception {
        List<String> command = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-cp",
                System.getProperty("java.class.path"),
                KafkasTools.class.getName()));
        command.addAll(List.of(tool));
        Path said = dir.resolve(tool[0] + ".out");
        Path complained = dir.resolve(tool[0] + ".err");
        Process process =
                new ProcessBuilder(command).redirectOutput(said.toFile()).redirectError(complained.toFile()).start();
        try {
            assertTrue(process.waitFor(120, TimeUnit.SECONDS), () -> "it does not end: " + text(complained));
        } finally {
            process.destroyForcibly();
        }
        assertEquals(0, process.exitValue(), () -> text(complained));
        List<JsonNode> events = new ArrayList<>();
        for (String line : Files.readAllLines(said)) {
            if (line.startsWith("{")) {
                events.add(JSON.readTree(line));
            }
        }
        return events;
    }

    private static String text(Path file) {
        try {
            return Files.readString(file, StandardCharsets.UTF_8);
        } catch (IOException e) {
            return e.toString();
        }
    }

    private static List<JsonNode> of(String name, List<JsonNode> events) {
        return events.stream().filter(it -> it.path("name").asText().equals(name)).toList();
    }

    private static TreeSet<String> places(List<JsonNode> records) {
        return records.stream()
                .map(it -> it.get("partition").asInt() + "@" + it.get("offset").asLong() + " " + it.get("value").asText())
                .collect(Collectors.toCollection(TreeSet::new));
    }
}

package dev.ottla;

import static dev.ottla.Names.name;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;

import dev.ottla.testing.OttlaBroker;
import dev.ottla.testing.WithOttlaBroker;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

@WithOttlaBroker
@Timeout(120)
class ExamplesTest {
    private static final Path EXAMPLES = Path.of("..", "..", "examples");

    @ParameterizedTest
    @CsvSource({
        "first_producer, at offset 0;at offset 1;at offset 2",
        "first_consumer, '0: hello, Ada;1: hello, Grace;2: hello, Barbara'",
        "group, 'assigned: ;hello, Ada;hello, Grace;hello, Barbara'"
    })
    void anExampleDoesWhatItSays(String task, String lines, OttlaBroker broker) throws Exception {
        String topic = name("greetings");
        // The one who reads needs somebody who has written.
        String written = run("first_producer", broker, topic);
        String said = task.equals("first_producer") ? written : run(task, broker, topic);
        for (String line : List.of(lines.split(";"))) {
            assertTrue(said.contains(line), said);
        }
    }

    private static String run(String task, OttlaBroker broker, String topic) throws Exception {
        Process process = new ProcessBuilder(
                        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "-cp",
                        System.getProperty("java.class.path"),
                        EXAMPLES.resolve(task).resolve("java/Main.java").toString(),
                        broker.bootstrapServers(),
                        topic)
                .redirectErrorStream(true)
                .start();
        String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertTrue(process.waitFor(60, TimeUnit.SECONDS));
        assertEquals(0, process.exitValue(), said);
        return said;
    }
}

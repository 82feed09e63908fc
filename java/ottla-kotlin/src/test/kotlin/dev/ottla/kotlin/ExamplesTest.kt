package dev.ottla.kotlin

import dev.ottla.testing.OttlaBroker
import dev.ottla.testing.WithOttlaBroker
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Timeout
import org.junit.jupiter.params.ParameterizedTest
import org.junit.jupiter.params.provider.CsvSource
import java.nio.file.Path
import java.util.concurrent.TimeUnit

@WithOttlaBroker
@Timeout(120)
class ExamplesTest {
    @ParameterizedTest
    @CsvSource(
        "FirstProducer, at offset 0;at offset 1;at offset 2",
        "FirstConsumer, '0: hello, Ada;1: hello, Grace;2: hello, Barbara'",
        "Group, 'assigned: ;hello, Ada;hello, Grace;hello, Barbara'",
    )
    fun `an example does what it says`(example: String, lines: String, broker: OttlaBroker) {
        val topic = "kotlin-$example"
        // The one who reads needs somebody who has written.
        val written = run("FirstProducer", broker, topic)
        val said = if (example == "FirstProducer") written else run(example, broker, topic)
        for (line in lines.split(';')) {
            assertTrue(line in said, said)
        }
    }

    private fun run(example: String, broker: OttlaBroker, topic: String): String {
        val java = Path.of(System.getProperty("java.home"), "bin", "java").toString()
        val process = ProcessBuilder(
            java, "-cp", System.getProperty("java.class.path"), "${example}Kt", broker.bootstrapServers(), topic,
        ).redirectErrorStream(true).start()
        val said = process.inputStream.readAllBytes().decodeToString()
        assertTrue(process.waitFor(60, TimeUnit.SECONDS))
        assertEquals(0, process.exitValue(), said)
        return said
    }
}

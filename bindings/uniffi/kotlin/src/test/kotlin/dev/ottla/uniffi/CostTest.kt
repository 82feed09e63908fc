package dev.ottla.uniffi

import dev.ottla.testing.OttlaBroker
import dev.ottla.testing.WithOttlaBroker
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.Timeout
import java.lang.management.ManagementFactory
import kotlin.time.TimeSource

/** What calls cost, printed: times on the clock, and of the processor's in this process. The README has them of one machine. */
@WithOttlaBroker
@Timeout(120)
class CostTest(private val broker: OttlaBroker) {
    @Test
    fun `what calls cost`(): Unit = runBlocking {
        val topic = "uniffi-cost"
        broker.producer().use { producer ->
            val value = ByteArray(100)
            repeat(3_000) { producer.send(ProducerRecord(topic, value)) }
            cost("a send awaited, one after the other", 5_000) { repeat(5_000) { producer.send(ProducerRecord(topic, value)) } }
            cost("a send awaited, 10,000 at a time", 50_000) {
                repeat(5) { List(10_000) { async { producer.send(ProducerRecord(topic, value)) } }.awaitAll() }
            }
            cost("a send that nobody awaits", 50_000) {
                repeat(50_000) { producer.sendAndForget(ProducerRecord(topic, value)) }
                producer.flush()
            }
        }
        val large = "uniffi-cost-of-reading"
        broker.producer("linger.ms" to "200", "batch.size" to "1000000").use { producer ->
            repeat(5) { List(10_000) { async { producer.send(ProducerRecord(large, ByteArray(100))) } }.awaitAll() }
        }
        broker.consumer().use { consumer ->
            val partition = TopicPartition(large, 0)
            consumer.assign(listOf(partition))
            var read = consumer.read(10_000).size
            val (before, began) = read to times()
            var polls = 0
            while (read < 50_000) {
                read += consumer.poll(PATIENCE).size
                polls++
            }
            tell("a poll, of ${(read - before) / polls} records on average", polls, began)
            tell("a record of it", read - before, began)
            cost("a call that waits for nothing", 20_000) { repeat(20_000) { consumer.position(partition) } }
        }
    }

    private inline fun cost(what: String, count: Int, body: () -> Unit) {
        val began = times()
        body()
        tell(what, count, began)
    }

    private fun times() = TimeSource.Monotonic.markNow() to processorNanos()

    private fun tell(what: String, count: Int, began: Pair<TimeSource.Monotonic.ValueTimeMark, Long>) {
        val (wall, processor) = began.first.elapsedNow().inWholeNanoseconds to processorNanos() - began.second
        println("%-40s %8.1f µs, %8.1f µs of the processor's".format(what, wall / 1e3 / count, processor / 1e3 / count))
        assertEquals(true, count > 0 && processor > 0)
    }

    private fun processorNanos(): Long =
        (ManagementFactory.getOperatingSystemMXBean() as com.sun.management.OperatingSystemMXBean).processCpuTime
}

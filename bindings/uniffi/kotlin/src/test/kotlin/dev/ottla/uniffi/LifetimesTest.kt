package dev.ottla.uniffi

import dev.ottla.testing.OttlaBroker
import dev.ottla.testing.WithOttlaBroker
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.delay
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import kotlinx.coroutines.withTimeoutOrNull
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.Timeout
import org.junit.jupiter.api.assertThrows
import kotlin.random.Random
import kotlin.time.Duration
import kotlin.time.Duration.Companion.microseconds
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds

/** Records that are sent at the same time. */
private const val SENDS = 10_000

/** How often, before memory is looked at, and again. */
private const val ROUNDS = 7

/** How much more may be in memory then, in KiB: less than a kilobyte for each of so many sends. */
private const val GROWTH_KIB_MAX = 64 * 1024L

@WithOttlaBroker
@Timeout(120)
class LifetimesTest(private val broker: OttlaBroker) {
    @Test
    fun `a poll that waits for ever is cancelled at once`(): Unit = runBlocking(Dispatchers.Default) {
        broker.consumer().use { consumer ->
            consumer.assign(listOf(TopicPartition("uniffi-quiet", 0)))
            val waiting = launch(start = CoroutineStart.UNDISPATCHED) { consumer.poll(Duration.INFINITE) }
            withTimeout(10.seconds) { waiting.cancelAndJoin() }
            assertEquals(0, uniffiContinuationHandleMap.size, "nobody waits for an answer any more")
        }
    }

    @Test
    fun `polls that are cancelled at any moment lose no record`(): Unit = runBlocking(Dispatchers.Default) {
        val topic = "uniffi-cancelled"
        val count = 3_000
        val producer = broker.producer("linger.ms" to "0")
        val sending = launch { repeat(count) { producer.send(record(topic, "$it")) } }
        val consumer = broker.consumer()
        consumer.assign(listOf(TopicPartition(topic, 0)))
        val read = mutableListOf<Int>()
        var cancelled = 0
        withTimeout(60.seconds) {
            while (read.size < count) {
                val polling = launch { consumer.poll(Duration.INFINITE, maxRecords = 7).mapTo(read) { it.text.toInt() } }
                delay(Random.nextInt(400).microseconds)
                polling.cancelAndJoin()
                if (polling.isCancelled) cancelled++
            }
        }
        assertEquals((0 until count).toList(), read)
        assertTrue(cancelled > 0, "some polls were cancelled")
        sending.join()
        consumer.close()
        producer.close()
    }

    @Test
    fun `whoever polls is told when the consumer is shut down`(): Unit = runBlocking(Dispatchers.Default) {
        val consumer = broker.consumer("group.id" to "uniffi-shut")
        consumer.subscribe(listOf("uniffi-shut"))
        val polling = async { runCatching { while (true) consumer.poll(Duration.INFINITE) } }
        withTimeoutOrNull(300.milliseconds) { polling.await() }
        withTimeout(PATIENCE) { consumer.shutdown(PATIENCE) }
        val told = withTimeout(10.seconds) { polling.await() }.exceptionOrNull()
        assertEquals("CLOSED", (told as OttlaException.Closed).info.name)
        consumer.shutdown(PATIENCE)
        consumer.close()
        assertThrows<IllegalStateException>("UniFFI's own, of an object that was let go") { consumer.assignment() }
    }

    @Test
    fun `a client that is let go while somebody waits with it lives until they are done`(): Unit = runBlocking(Dispatchers.Default) {
        val topic = "uniffi-let-go"
        val producer = broker.producer("linger.ms" to "200")
        producer.partitionCount(topic)
        val sending = List(100) { async(start = CoroutineStart.UNDISPATCHED) { producer.send(record(topic, "$it")) } }
        producer.close()
        assertEquals((0L until 100L).toList(), withTimeout(PATIENCE) { sending.awaitAll() }.map { it.offset }.sorted())
    }

    @Test
    fun `clients that nobody has shut down go with the collector, and their threads with them`(): Unit = runBlocking {
        val before = threadsOfClients().size
        repeat(10) {
            broker.producer()
            broker.consumer()
            broker.admin()
        }
        assertTrue(threadsOfClients().size > before, "each has a thread")
        withTimeout(60.seconds) {
            while (threadsOfClients().size > before) {
                System.gc()
                delay(20.milliseconds)
            }
        }
    }

    @Test
    fun `ten thousand sends at a time leave nothing behind`(): Unit = runBlocking(Dispatchers.Default) {
        val topic = "uniffi-many"
        broker.producer().use { producer ->
            suspend fun round(): Long {
                val written = List(SENDS) { async { producer.send(record(topic, "value $it")) } }.awaitAll()
                assertEquals(SENDS, written.map { it.offset }.toSet().size)
                System.gc()
                return residentKib()
            }
            // The JVM takes its heap, and compiles. What is collected late makes peaks.
            val before = List(ROUNDS) { round() }.takeLast(3).min()
            val grown = List(ROUNDS) { round() }.takeLast(3).min() - before
            assertTrue(grown < GROWTH_KIB_MAX, "$grown KiB more after ${ROUNDS * SENDS} sends")
            assertEquals(0, uniffiContinuationHandleMap.size, "every answer was taken")
        }
    }
}

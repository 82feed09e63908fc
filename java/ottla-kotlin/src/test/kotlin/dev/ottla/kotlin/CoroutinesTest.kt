package dev.ottla.kotlin

import dev.ottla.NewTopic
import dev.ottla.OttlaAdmin
import dev.ottla.OttlaConsumer
import dev.ottla.OttlaProducer
import dev.ottla.Serdes
import dev.ottla.TopicPartition
import dev.ottla.errors.TopicAlreadyExistsException
import dev.ottla.testing.OttlaBroker
import dev.ottla.testing.WithOttlaBroker
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.flow.map
import kotlinx.coroutines.flow.take
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.Timeout
import org.junit.jupiter.api.assertThrows
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds

@WithOttlaBroker
@Timeout(120)
class CoroutinesTest(private val broker: OttlaBroker) {
    private fun producer(): OttlaProducer<String, String> =
        OttlaProducer.builder<String, String>()
            .bootstrapServers(broker.bootstrapServers())
            .keySerializer(Serdes.stringSerializer())
            .valueSerializer(Serdes.stringSerializer())
            .build()

    private fun consumer(vararg settings: Pair<String, Any>): OttlaConsumer<String, String> =
        OttlaConsumer.builder<String, String>()
            .bootstrapServers(broker.bootstrapServers())
            .startFrom("earliest")
            .config(settings.toMap())
            .keyDeserializer(Serdes.stringDeserializer())
            .valueDeserializer(Serdes.stringDeserializer())
            .build()

    @Test
    fun `sends suspend, many at a time on one thread`(): Unit = runBlocking {
        producer().use { producer ->
            val written = (1..1_000).map { async { producer.sendAndAwait("kotlin-sends", "key", "value $it") } }.awaitAll()
            assertEquals((0L until 1_000L).toSet(), written.map { it.offset() }.toSet())
            producer.awaitFlush()
        }
    }

    @Test
    fun `a flow of records goes on where the collector before it stopped`(): Unit = runBlocking {
        val topic = "kotlin-flow"
        producer().use { producer -> repeat(100) { producer.sendAndForget(topic, null, "$it") } }
        consumer("group.id" to topic).use { consumer ->
            consumer.subscribe(listOf(topic))
            val first = withTimeout(30.seconds) { consumer.asFlow().map { it.value() }.take(30).toList() }
            assertEquals((0 until 30).map(Int::toString), first)
            consumer.awaitCommit()
            val partition = TopicPartition(topic, 0)
            // The collector was stopped in the midst of the last.
            assertEquals(29L, consumer.committed(setOf(partition))[partition]!!.offset())
            val rest = withTimeout(30.seconds) { consumer.asFlow().map { it.value() }.take(71).toList() }
            assertEquals((29 until 100).map(Int::toString), rest)
        }
    }

    @Test
    fun `batches come until the consumer is closed`(): Unit = runBlocking(Dispatchers.Default) {
        val topic = "kotlin-batches"
        producer().use { producer -> repeat(100) { producer.sendAndForget(topic, null, "$it") } }
        val consumer = consumer()
        consumer.assign(listOf(TopicPartition(topic, 0)))
        var count = 0
        val collecting = launch(start = CoroutineStart.UNDISPATCHED) { consumer.batches().collect { count += it.count() } }
        withTimeout(30.seconds) { while (count < 100) kotlinx.coroutines.delay(5.milliseconds) }
        consumer.close()
        withTimeout(30.seconds) { collecting.join() }
        assertEquals(100, count)
    }

    @Test
    fun `a coroutine that waits for records is cancelled at once`(): Unit = runBlocking(Dispatchers.Default) {
        consumer().use { consumer ->
            consumer.assign(listOf(TopicPartition("kotlin-quiet", 0)))
            val waiting = launch { consumer.awaitRecords(60.seconds) }
            withTimeout(10.seconds) { waiting.cancelAndJoin() }
        }
    }

    @Test
    fun `an admin client's outcomes are awaited`(): Unit = runBlocking {
        OttlaAdmin.create(mapOf("bootstrap.servers" to broker.bootstrapServers())).use { admin ->
            admin.createTopics(listOf(NewTopic("kotlin-made", 2))).await()
            assertThrows<TopicAlreadyExistsException> { runBlocking { admin.createTopics(listOf(NewTopic("kotlin-made", 2))).await() } }
        }
        Unit
    }
}

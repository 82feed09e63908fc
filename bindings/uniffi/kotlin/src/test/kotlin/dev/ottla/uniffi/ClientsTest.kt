package dev.ottla.uniffi

import dev.ottla.testing.OttlaBroker
import dev.ottla.testing.WithOttlaBroker
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.flow.transformWhile
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import kotlinx.coroutines.yield
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.Timeout
import java.io.File
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds

@WithOttlaBroker
@Timeout(120)
class ClientsTest(private val broker: OttlaBroker) {
    @Test
    fun `a record comes back with its key, its headers and its nulls`(): Unit = runBlocking {
        val topic = "uniffi-round-trip"
        val headers = listOf(Header("trace", byteArrayOf(0, -1)), Header("trace", null), Header("straße", byteArrayOf()))
        broker.producer().use { producer ->
            val whole = producer.send(ProducerRecord(topic, byteArrayOf(1, 2), "key".toByteArray(), headers, 0, 1_234))
            assertEquals(RecordMetadata(topic, 0, 0, 1_234), whole)
            assertEquals(1, producer.send(ProducerRecord(topic, null, byteArrayOf(), partition = 0)).offset)
            assertEquals(1, producer.partitionCount(topic))
            producer.shutdown(PATIENCE)
        }
        broker.consumer().use { consumer ->
            consumer.assign(listOf(TopicPartition(topic, 0)))
            val (whole, bare) = consumer.read(2)
            assertEquals(listOf(topic, 0, 0L, 1_234L), whole.run { listOf<Any>(this.topic, partition, offset, timestamp) })
            assertArrayEquals("key".toByteArray(), whole.key)
            assertArrayEquals(byteArrayOf(1, 2), whole.value)
            assertEquals(headers.map { it.name }, whole.headers.map { it.name })
            whole.headers.zip(headers).forEach { (read, sent) -> assertArrayEquals(sent.value, read.value) }
            assertNull(bare.value)
            assertArrayEquals(byteArrayOf(), bare.key)
            assertEquals(emptyList<Header>(), bare.headers)
        }
    }

    @Test
    fun `what was sent without waiting is there after a flush`(): Unit = runBlocking {
        val topic = "uniffi-forgotten"
        broker.producer("linger.ms" to "60000").use { producer ->
            producer.partitionCount(topic)
            repeat(100) { producer.sendAndForget(record(topic, "$it")) }
            withTimeout(PATIENCE) { producer.flush() }
        }
        broker.consumer().use { consumer ->
            consumer.assign(listOf(TopicPartition(topic, 0)))
            assertEquals((0 until 100).map(Int::toString), consumer.read(100).map { it.text })
        }
    }

    @Test
    fun `a consumer goes where it is told, stands still when it is held, and reads on`(): Unit = runBlocking {
        val topic = "uniffi-places"
        val partition = TopicPartition(topic, 0)
        broker.producer().use { producer ->
            (0 until 10).map { async { producer.send(ProducerRecord(topic, "$it".toByteArray(), timestamp = 1_000L + it)) } }.awaitAll()
        }
        broker.consumer().use { consumer ->
            consumer.assign(listOf(partition))
            assertEquals(listOf(partition), consumer.assignment())
            consumer.seek(partition, 7)
            assertEquals(listOf("7", "8", "9"), consumer.read(3).map { it.text })
            assertEquals(10L, consumer.position(partition))
            consumer.pause(listOf(partition))
            consumer.seekTo(partition, OffsetSpec.Earliest)
            assertEquals(listOf(partition), consumer.paused())
            assertEquals(emptyList<ConsumerRecord>(), consumer.poll(300.milliseconds))
            consumer.resume(listOf(partition))
            assertEquals("0", consumer.poll(PATIENCE, maxRecords = 1).single().text)
            consumer.seekTo(partition, OffsetSpec.Timestamp(1_004))
            assertEquals("4", consumer.poll(PATIENCE).first().text)
            assertEquals(listOf(0L), consumer.beginningOffsets(listOf(partition)).map { it.offset })
            assertEquals(listOf(10L), consumer.endOffsets(listOf(partition)).map { it.offset })
        }
    }

    @Test
    fun `records are taken in the order of the calls, also where they wait for room`(): Unit = runBlocking {
        val topic = "uniffi-order"
        val size = 10_000
        // Room for a few: the others wait for their turn.
        broker.producer("buffer.memory" to "65536", "batch.size" to "16384", "max.block.ms" to "60000").use { producer ->
            val sending = List(200) { async { producer.send(ProducerRecord(topic, ByteArray(size) { _ -> it.toByte() })) } }
            assertEquals((0L until 200L).toList(), withTimeout(PATIENCE) { sending.awaitAll() }.map { it.offset })
            broker.admin().use { admin ->
                suspend fun end() = admin.listOffsets(listOf(TopicPartition(topic, 0)), OffsetSpec.Latest).single().offset!!
                // On a busy machine all of them may have had their turn before they are given up.
                withTimeout(PATIENCE) {
                    do {
                        val before = end()
                        val given = List(200) { launch { producer.send(ProducerRecord(topic, ByteArray(size))) } }
                        // All have been called, and most wait.
                        yield()
                        given.forEach { it.cancelAndJoin() }
                        producer.flush()
                        val sent = end() - before
                    } while (sent == 200L)
                }
            }
        }
    }

    @Test
    fun `two members of a group read everything once, and what they committed is kept`(): Unit = runBlocking(Dispatchers.Default) {
        val (topic, group) = "uniffi-group" to "uniffi-group"
        broker.admin().use { admin ->
            admin.createTopics(listOf(NewTopic(topic, partitions = 4)))
            val settings = arrayOf("group.id" to group, "enable.auto.commit" to "false")
            val members = List(2) { broker.consumer(*settings).also { it.subscribe(listOf(topic)) } }
            val read = List(2) { mutableListOf<ConsumerRecord>() }
            withTimeout(60.seconds) {
                while (members.any { it.assignment().size != 2 }) members.forEach { it.poll(20.milliseconds) }
                broker.producer().use { producer ->
                    (0 until 400).map { async { producer.send(record(topic, "$it", partition = it % 4)) } }.awaitAll()
                }
                while (read.sumOf { it.size } < 400) members.zip(read).forEach { (member, its) -> its += member.poll(20.milliseconds) }
            }
            assertEquals((0 until 400).toSet(), read.flatten().map { it.text.toInt() }.toSet())
            assertTrue(read.all { it.size == 200 }, "each has read its half: ${read.map { it.size }}")
            members.forEach { it.commit() }
            val described = admin.describeGroups(listOf(group)).single()
            assertEquals("Stable", described.state)
            assertEquals(listOf(2, 2), described.members.map { it.assignment.size })
            assertEquals(List(4) { 100L }, members[0].committed(List(4) { TopicPartition(topic, it) }).map { it.offset })
            members.forEach { it.shutdown(PATIENCE); it.close() }
            assertEquals(List(4) { 100L }, admin.groupOffsets(group).sortedBy { it.partition.partition }.map { it.offset })
            admin.alterGroupOffsets(group, listOf(OffsetAndMetadata(TopicPartition(topic, 3), 7, metadata = "by hand")))
            broker.consumer(*settings).use { consumer ->
                val committed = consumer.committed(listOf(TopicPartition(topic, 3))).single()
                assertEquals(7L to "by hand", committed.offset to committed.metadata)
            }
            admin.deleteGroups(listOf(group))
            assertTrue(admin.listGroups().none { it.groupId == group })
        }
    }

    @Test
    fun `an admin client makes, changes and takes away`(): Unit = runBlocking {
        val topic = "uniffi-admin"
        broker.admin().use { admin ->
            val made = admin.createTopics(listOf(NewTopic(topic, 2, configs = mapOf("segment.ms" to "60000")))).single()
            assertEquals(topic to 2, made.name to made.partitions)
            admin.createPartitions(mapOf(topic to 3))
            assertEquals(3, admin.listTopics().single { it.name == topic }.partitions)
            val described = admin.describeTopics(listOf(topic)).single()
            val cluster = admin.describeCluster()
            assertEquals(List(3) { cluster.brokers.single().id }, described.partitions.map { it.leader })
            suspend fun age() = admin.topicConfig(topic).single { it.name == "segment.ms" }
            assertEquals("60000", age().value)
            admin.alterTopicConfig(topic, listOf(ConfigChange("segment.ms", "90000")), validateOnly = true)
            assertEquals("60000", age().value)
            admin.alterTopicConfig(topic, listOf(ConfigChange("segment.ms", null)))
            assertEquals("Default", age().source)
            assertTrue(admin.brokerConfig(cluster.brokers.single().id).any { it.name == "log.dirs" })
            val ends = admin.listOffsets(List(3) { TopicPartition(topic, it) }, OffsetSpec.Latest)
            assertEquals(List(3) { 0L }, ends.map { it.offset })
            admin.deleteTopics(listOf(topic))
            assertTrue(admin.listTopics().none { it.name == topic })
        }
    }

    @Test
    fun `batches flow until the collector has enough`(): Unit = runBlocking {
        val topic = "uniffi-flow"
        broker.producer().use { producer -> (0 until 90).map { async { producer.send(record(topic, "$it")) } }.awaitAll() }
        broker.consumer().use { consumer ->
            consumer.assign(listOf(TopicPartition(topic, 0)))
            var read = 0
            val enough = consumer.batches(maxRecords = 30).transformWhile { batch ->
                emit(batch)
                read += batch.size
                read < 90
            }
            val batches = withTimeout(PATIENCE) { enough.toList() }
            assertEquals((0 until 90).map(Int::toString), batches.flatten().map { it.text })
            assertTrue(batches.all { it.size <= 30 }, batches.map { it.size }.toString())
        }
    }

    @Test
    fun `the library and its sources are of one release`() {
        val parent = File("../../../java/pom.xml").readText()
        assertTrue(parent.contains("<version>${ottlaVersion()}</version>"), ottlaVersion())
    }

    @Test
    fun `the README's example does what it says`(): Unit = runBlocking {
        val bootstrapServers = broker.bootstrapServers()
        val printed = mutableListOf<String>()
        fun println(line: String) = printed.add(line)

        // README
        val settings = mapOf("bootstrap.servers" to bootstrapServers)

        OttlaProducer(settings).use { producer ->
            val written = producer.send(ProducerRecord("orders", "two apples".toByteArray(), key = "42".toByteArray()))
            println("written at offset ${written.offset}")
            producer.shutdown(10.seconds)
        }

        OttlaConsumer(settings + mapOf("group.id" to "kitchen", "auto.offset.reset" to "earliest")).use { consumer ->
            consumer.subscribe(listOf("orders"))
            for (record in consumer.poll(10.seconds)) {
                println("${record.key?.decodeToString()}: ${record.value?.decodeToString()}")
            }
            consumer.shutdown(10.seconds)
        }

        try {
            OttlaAdmin(settings).use { it.createTopics(listOf(NewTopic("orders"))) }
        } catch (refused: OttlaException.Broker) {
            println("${refused.info.name}: ${refused.info.detail}")
        }
        // README

        assertEquals(listOf("written at offset 0", "42: two apples"), printed.take(2))
        assertTrue(printed[2].startsWith("TOPIC_ALREADY_EXISTS: "), printed[2])
        val source = File("src/test/kotlin/dev/ottla/uniffi/ClientsTest.kt").readText()
        val shown = source.split("        // README\n")[1].trimIndent()
        assertTrue(File("../README.md").readText().contains("```kotlin\n$shown\n```"), "the README shows this:\n$shown")
    }
}

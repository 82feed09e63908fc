package dev.ottla.uniffi

import dev.ottla.testing.OttlaBroker
import java.io.File
import kotlin.time.Duration.Companion.seconds

/** Longest that anything here may take. */
val PATIENCE = 30.seconds

fun OttlaBroker.producer(vararg settings: Pair<String, String>) =
    OttlaProducer(mapOf("bootstrap.servers" to bootstrapServers()) + settings)

/** One that reads from the beginning. */
fun OttlaBroker.consumer(vararg settings: Pair<String, String>) =
    OttlaConsumer(mapOf("bootstrap.servers" to bootstrapServers(), "auto.offset.reset" to "earliest") + settings)

fun OttlaBroker.admin(vararg settings: Pair<String, String>) = OttlaAdmin(mapOf("bootstrap.servers" to bootstrapServers()) + settings)

fun record(topic: String, value: String, key: String? = null, partition: Int? = null) =
    ProducerRecord(topic, value.toByteArray(), key = key?.toByteArray(), partition = partition)

val ConsumerRecord.text: String get() = value!!.decodeToString()

/** Reads until there are so many. */
suspend fun OttlaConsumer.read(count: Int): List<ConsumerRecord> {
    val read = mutableListOf<ConsumerRecord>()
    while (read.size < count) {
        val records = poll(PATIENCE)
        check(records.isNotEmpty()) { "only ${read.size} of $count records came" }
        read += records
    }
    return read
}

/** The threads of this process that the clients have made. */
fun threadsOfClients(): List<String> =
    File("/proc/self/task").listFiles()!!.mapNotNull { task -> runCatching { task.resolve("comm").readText().trim() }.getOrNull() }
        .filter { it.startsWith("ottla-") }

/** What this process has in memory, in KiB. */
fun residentKib(): Long =
    File("/proc/self/status").readLines().first { it.startsWith("VmRSS:") }.filter(Char::isDigit).toLong()

import dev.ottla.OttlaConsumer
import dev.ottla.Serdes
import dev.ottla.TopicPartition
import dev.ottla.kotlin.awaitRecords
import kotlinx.coroutines.runBlocking
import kotlin.time.Duration.Companion.seconds

/** Reads a topic's partition from its beginning, until nothing has come for two seconds. */
fun main(arguments: Array<String>): Unit = runBlocking {
    val address = arguments.getOrElse(0) { "localhost:9092" }
    val topic = arguments.getOrElse(1) { "greetings" }

    OttlaConsumer.builder<String, String>()
        .bootstrapServers(address)
        .startFrom("earliest")
        .keyDeserializer(Serdes.stringDeserializer())
        .valueDeserializer(Serdes.stringDeserializer())
        .build()
        .use { consumer ->
            consumer.assign(listOf(TopicPartition(topic, 0)))
            var records = consumer.awaitRecords(10.seconds)
            while (!records.isEmpty) {
                for (record in records) {
                    println("${record.offset()}: ${record.value()}")
                }
                records = consumer.awaitRecords(2.seconds)
            }
        }
}

import dev.ottla.OttlaConsumer
import dev.ottla.RebalanceListener
import dev.ottla.Serdes
import dev.ottla.TopicPartition
import dev.ottla.kotlin.awaitCommit
import dev.ottla.kotlin.awaitRecords
import kotlinx.coroutines.runBlocking
import kotlin.time.Duration.Companion.seconds

/**
 * A member of a group: reads what the group gives it until nothing has come for two seconds, commits what it is done with, and is told of
 * rebalances.
 */
fun main(arguments: Array<String>): Unit = runBlocking {
    val address = arguments.getOrElse(0) { "localhost:9092" }
    val topic = arguments.getOrElse(1) { "greetings" }

    OttlaConsumer.builder<String, String>()
        .bootstrapServers(address)
        .groupId(topic)
        .topics(topic)
        .startFrom("earliest")
        .config("enable.auto.commit", false)
        .keyDeserializer(Serdes.stringDeserializer())
        .valueDeserializer(Serdes.stringDeserializer())
        .onRebalance(Told)
        .build()
        .use { consumer ->
            var records = consumer.awaitRecords(10.seconds)
            while (!records.isEmpty) {
                for (record in records) {
                    println(record.value())
                }
                consumer.awaitCommit(records.nextOffsets())
                records = consumer.awaitRecords(2.seconds)
            }
        }
}

private object Told : RebalanceListener {
    override fun onPartitionsAssigned(partitions: Collection<TopicPartition>) {
        partitions.forEach { println("assigned: $it") }
    }

    override fun onPartitionsRevoked(partitions: Collection<TopicPartition>) {
        partitions.forEach { println("revoked: $it") }
    }
}

import dev.ottla.Headers
import dev.ottla.OttlaProducer
import dev.ottla.ProducerRecord
import dev.ottla.Serdes
import dev.ottla.kotlin.sendAndAwait
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.runBlocking

/** Writes a few records and says where they are. */
fun main(arguments: Array<String>): Unit = runBlocking {
    val address = arguments.getOrElse(0) { "localhost:9092" }
    val topic = arguments.getOrElse(1) { "greetings" }

    OttlaProducer.builder<String, String>()
        .bootstrapServers(address)
        .keySerializer(Serdes.stringSerializer())
        .valueSerializer(Serdes.stringSerializer())
        .build()
        .use { producer ->
            val headers = Headers().add("language", "kotlin".encodeToByteArray())
            // All are under way together; each coroutine goes on when its own record is written.
            val sends = listOf("Ada", "Grace", "Barbara").map { name ->
                async { producer.sendAndAwait(ProducerRecord(topic, null, name, "hello, $name", headers)) }
            }
            for (written in sends.awaitAll()) {
                println("written to ${written.topic()}-${written.partition()} at offset ${written.offset()}")
            }
        }
}

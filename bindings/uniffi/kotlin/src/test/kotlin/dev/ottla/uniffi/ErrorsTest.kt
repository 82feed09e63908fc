package dev.ottla.uniffi

import dev.ottla.testing.OttlaBroker
import dev.ottla.testing.WithOttlaBroker
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.Timeout
import org.junit.jupiter.api.assertThrows
import java.net.ServerSocket

@WithOttlaBroker
@Timeout(120)
class ErrorsTest(private val broker: OttlaBroker) {
    @Test
    fun `a key that is not there is refused, with the one that was meant`() {
        val refused = assertThrows<OttlaException.Config> { broker.producer("linger.sm" to "5") }.info
        assertEquals(-11 to "CONFIG", refused.code to refused.name)
        assertEquals("unknown key `linger.sm`", refused.detail)
        assertEquals("did you mean `linger.ms`?", refused.hint)
        assertTrue(refused.fatal)
        assertFalse(refused.retriable)
    }

    @Test
    fun `a value that will not do, and a setting that is missing, are named`() {
        val value = assertThrows<OttlaException.Config> { broker.consumer("auto.offset.reset" to "sometime") }
        assertTrue("`auto.offset.reset`" in value.info.detail && "`sometime`" in value.info.detail, value.info.detail)
        val missing = assertThrows<OttlaException.Config> { OttlaAdmin(mapOf()) }
        assertTrue("`bootstrap.servers`" in missing.message, missing.message)
    }

    @Test
    fun `a secret is in no error`() {
        val settings = arrayOf("sasl.mechanism" to "PLAIN", "sasl.username" to "anna", "sasl.password" to "hunter-two", "acks" to "most")
        val refused = assertThrows<OttlaException.Config> { broker.producer(*settings) }
        assertFalse("hunter-two" in refused.toString(), refused.toString())
    }

    @Test
    fun `what a broker refuses has Kafka's code`(): Unit = runBlocking {
        broker.admin().use { admin ->
            val topic = listOf(NewTopic("uniffi-twice"))
            admin.createTopics(topic)
            val refused = assertThrows<OttlaException.Broker> { runBlocking { admin.createTopics(topic) } }.info
            assertEquals(36 to "TOPIC_ALREADY_EXISTS", refused.code to refused.name)
            assertTrue("uniffi-twice" in refused.detail, refused.detail)
            val unknown = assertThrows<OttlaException.Broker> { runBlocking { admin.describeTopics(listOf("uniffi-nowhere")) } }.info
            assertEquals(3 to true, unknown.code to unknown.retriable)
        }
    }

    @Test
    fun `what the client knows by itself is told before anything is sent`(): Unit = runBlocking {
        broker.producer("max.request.size" to "1000").use { producer ->
            val large = ProducerRecord("uniffi-large", ByteArray(2_000))
            val refused = assertThrows<OttlaException.Client> { runBlocking { producer.send(large) } }.info
            assertEquals("RECORD_TOO_LARGE", refused.name)
            producer.shutdown(PATIENCE)
            val closed = assertThrows<OttlaException.Closed> { runBlocking { producer.send(large) } }.info
            assertEquals("CLOSED", closed.name)
        }
    }

    @Test
    fun `a wrong password is told as such, and is in no error`(): Unit = runBlocking {
        val guarded = mapOf(
            "listener.security.protocol.map" to "PLAINTEXT:SASL_PLAINTEXT",
            "sasl.enabled.mechanisms" to "SCRAM-SHA-256",
            "ottla.initial.scram.credentials" to "SCRAM-SHA-256=[name=anna,password=hunter-one]",
        )
        OttlaBroker(guarded).use { guarded ->
            fun admin(password: String) = guarded.admin(
                "security.protocol" to "SASL_PLAINTEXT",
                "sasl.mechanism" to "SCRAM-SHA-256",
                "sasl.username" to "anna",
                "sasl.password" to password,
            )
            admin("hunter-one").use { it.listTopics() }
            admin("hunter-two").use { admin ->
                val refused = assertThrows<OttlaException.Security> { runBlocking { admin.listTopics() } }
                assertEquals("AUTHENTICATION", refused.info.name)
                assertFalse("hunter" in refused.toString(), refused.toString())
            }
        }
    }

    @Test
    fun `where nobody listens is told, and where nobody answers too`(): Unit = runBlocking {
        val free = ServerSocket(0).use { it.localPort }
        val nowhere = mapOf("bootstrap.servers" to "127.0.0.1:$free", "default.api.timeout.ms" to "1000", "request.timeout.ms" to "500")
        OttlaAdmin(nowhere).use { admin ->
            val refused = assertThrows<OttlaException> { runBlocking { admin.listTopics() } }
            assertTrue(refused is OttlaException.Connection, refused.toString())
            assertTrue(refused.info.retriable && "127.0.0.1:$free" in refused.info.detail, refused.toString())
        }
        ServerSocket(0).use { silent ->
            OttlaAdmin(nowhere + mapOf("bootstrap.servers" to "127.0.0.1:${silent.localPort}")).use { admin ->
                val late = assertThrows<OttlaException> { runBlocking { admin.listTopics() } }
                assertTrue(late is OttlaException.Timeout && late.info.retriable, late.toString())
            }
        }
    }
}

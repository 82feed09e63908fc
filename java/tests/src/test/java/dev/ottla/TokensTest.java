package dev.ottla;

import static dev.ottla.Names.name;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.net.ConnectException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.CompletionException;
import java.util.concurrent.atomic.AtomicInteger;

import dev.ottla.errors.AuthenticationException;
import dev.ottla.testing.OttlaBroker;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Tokens of the program's own, by which clients log in at a broker that checks them. */
@Timeout(120)
class TokensTest {
    private static final Path TOKENS = Path.of("..", "..", "tests", "tokens").toAbsolutePath().normalize();
    private static OttlaBroker broker;
    private static String alice;

    @BeforeAll
    static void start() throws IOException {
        alice = Files.readString(TOKENS.resolve("alice.jwt")).strip();
        broker = new OttlaBroker(Map.of(
                "listener.security.protocol.map", "PLAINTEXT:SASL_PLAINTEXT",
                "sasl.enabled.mechanisms", "OAUTHBEARER",
                "sasl.oauthbearer.jwks.endpoint.url", TOKENS.resolve("keys.json").toUri().toString(),
                "sasl.oauthbearer.expected.audience", "kafka",
                "sasl.oauthbearer.expected.issuer", "https://issuer.test",
                "ottla.sasl.plain.without.tls", "true"));
    }

    @AfterAll
    static void stop() {
        broker.close();
    }

    private static Map<String, Object> bearer(OAuthBearerProvider provider) {
        Map<String, Object> configs = new HashMap<>(Map.of(
                "bootstrap.servers", broker.bootstrapServers(),
                "security.protocol", "SASL_PLAINTEXT",
                "sasl.mechanism", "OAUTHBEARER",
                "ottla.sasl.plain.without.tls", "true"));
        configs.put(OAuthBearerProvider.CONFIG, provider);
        return configs;
    }

    @Test
    void aClientLogsInByWhatTheProgramGives() {
        String topic = name("tokens");
        OAuthBearerProvider provider = () ->
                new OAuthBearerToken(alice, Instant.parse("2100-01-01T00:00:00Z"), "alice", Map.of("tenant", "a"));
        byte[] value = "two apples".getBytes();
        try (var producer = new OttlaProducer<byte[], byte[]>(bearer(() -> new OAuthBearerToken(alice)))) {
            assertEquals(0, producer.send(topic, null, value).join().offset());
        }
        Map<String, Object> reading = bearer(provider);
        reading.put("auto.offset.reset", "earliest");
        try (var consumer = new OttlaConsumer<byte[], byte[]>(reading)) {
            consumer.assign(java.util.List.of(new TopicPartition(topic, 0)));
            var records = consumer.poll(Duration.ofSeconds(20));
            assertArrayEquals(value, records.iterator().next().value());
        }
        try (var admin = OttlaAdmin.create(bearer(provider))) {
            assertEquals(1, admin.describeCluster().join().nodes().size());
        }
    }

    @Test
    void whatItThrowsIsPartOfTheErrorAndWhatPassesIsTriedAgain() {
        try (var admin = OttlaAdmin.create(bearer(() -> {
            throw new IllegalStateException("the vault is sealed");
        }))) {
            var failure = assertThrows(CompletionException.class, () -> admin.describeCluster().join()).getCause();
            assertEquals(AuthenticationException.class, failure.getClass());
            assertTrue(failure.getMessage().contains("the vault is sealed"), failure.getMessage());
        }
        AtomicInteger asked = new AtomicInteger();
        try (var admin = OttlaAdmin.create(bearer(() -> {
            if (asked.incrementAndGet() < 3) {
                throw new ConnectException("the vault is away");
            }
            return new OAuthBearerToken(alice);
        }))) {
            assertEquals(1, admin.describeCluster().join().nodes().size());
        }
        assertEquals(3, asked.get());
    }

    @Test
    void aTokenThatIsNoGoodIsToldAsSuch() {
        String forged = alice.substring(0, alice.length() - 8) + "AAAAAAAA";
        assertFalse(new OAuthBearerToken(forged).toString().contains(forged));
        try (var admin = OttlaAdmin.create(bearer(() -> new OAuthBearerToken(forged)))) {
            var failure = assertThrows(CompletionException.class, () -> admin.describeCluster().join()).getCause();
            assertTrue(failure.getMessage().contains("invalid_token"), failure.getMessage());
            assertFalse(failure.getMessage().contains(forged), failure.getMessage());
        }
    }

    @Test
    void noFunctionAndNoSettingIsAMistake() {
        var failure = assertThrows(OttlaException.class, () -> OttlaAdmin.create(bearer(null)));
        assertTrue(failure.getMessage().contains("sasl.oauthbearer.token.endpoint.url"), failure.getMessage());
        Map<String, Object> wrong = bearer(null);
        wrong.put(OAuthBearerProvider.CONFIG, "token");
        assertThrows(IllegalArgumentException.class, () -> OttlaAdmin.create(wrong));
    }
}

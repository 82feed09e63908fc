package dev.ottla;

import static dev.ottla.Names.admin;
import static dev.ottla.Names.consumer;
import static dev.ottla.Names.name;
import static dev.ottla.Names.producer;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;

import dev.ottla.errors.ClosedException;
import dev.ottla.errors.ConfigException;
import dev.ottla.errors.MessageTooLargeException;
import dev.ottla.errors.RecordTooLargeException;
import dev.ottla.testing.OttlaBroker;
import dev.ottla.testing.WithOttlaBroker;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@WithOttlaBroker
@Timeout(120)
class ProducerTest {
    private final OttlaBroker broker;

    ProducerTest(OttlaBroker broker) {
        this.broker = broker;
    }

    @Test
    void aRecordComesBackAsItWasSent() {
        String topic = name("orders");
        try (var producer = producer(broker); var consumer = consumer(broker)) {
            var headers = new Headers().add("trace", new byte[] {0x7f, (byte) 0xff}).add("leer", new byte[0]).add("größe", null);
            RecordMetadata written =
                    producer.send(new ProducerRecord<>(topic, 0, 1_700_000_000_000L, "42", "zwei Äpfel", headers)).join();
            assertEquals(new RecordMetadata(topic, 0, 0, 1_700_000_000_000L), written);

            consumer.assign(List.of(new TopicPartition(topic, 0)));
            ConsumerRecord<String, String> record = consumer.poll(Duration.ofSeconds(30)).asList().get(0);
            assertEquals("42", record.key());
            assertEquals("zwei Äpfel", record.value());
            assertEquals(1_700_000_000_000L, record.timestamp());
            assertEquals(headers, record.headers());
            assertArrayEquals("42".getBytes(StandardCharsets.UTF_8), bytes(record.keyBuffer()));
        }
    }

    private static byte[] bytes(java.nio.ByteBuffer buffer) {
        byte[] bytes = new byte[buffer.remaining()];
        buffer.get(bytes);
        return bytes;
    }

    @Test
    void recordsOfManySlabsKeepTheirOrderAndEachHasItsOffset() {
        String topic = name("order");
        int count = 50_000;
        try (var producer = producer(broker); var consumer = consumer(broker)) {
            List<CompletableFuture<RecordMetadata>> written = new ArrayList<>();
            for (int i = 0; i < count; i++) {
                written.add(producer.send(new ProducerRecord<>(topic, 0, null, "value " + i)));
            }
            for (int i = 0; i < count; i++) {
                assertEquals(i, written.get(i).join().offset());
            }
            consumer.assign(List.of(new TopicPartition(topic, 0)));
            int next = 0;
            while (next < count) {
                for (var record : consumer.poll(Duration.ofSeconds(30))) {
                    assertEquals(next, record.offset());
                    assertEquals("value " + next, record.value());
                    next++;
                }
            }
        }
    }

    @Test
    void whatNobodyWaitsForIsSentAndFlushed() {
        String topic = name("forgotten");
        try (var producer = producer(broker); var admin = admin(broker)) {
            for (int i = 0; i < 3_000; i++) {
                producer.sendAndForget(new ProducerRecord<>(topic, 0, null, "value"));
            }
            producer.flush();
            TopicPartition partition = new TopicPartition(topic, 0);
            var ends = admin.listOffsets(Map.of(partition, OffsetSpec.latest())).join();
            assertEquals(3_000, ends.get(partition).offset());
        }
    }

    @Test
    void aFutureEndsThoughNobodyFlushesOrWaits() throws Exception {
        try (var producer = producer(broker)) {
            CountDownLatch told = new CountDownLatch(1);
            producer.send(name("lonely"), null, "value").thenRun(told::countDown);
            assertTrue(told.await(30, TimeUnit.SECONDS));
        }
    }

    @Test
    void aCallbackIsCalledOnceBeforeItsFutureEnds() {
        try (var producer = producer(broker)) {
            AtomicReference<RecordMetadata> told = new AtomicReference<>();
            RecordMetadata written = producer.send(new ProducerRecord<>(name("told"), "value"), (metadata, failure) -> {
                assertNull(failure);
                assertNull(told.getAndSet(metadata));
            }).join();
            assertEquals(written, told.get());
        }
    }

    @Test
    void aCallbackThatThrowsHarmsNobody() {
        String topic = name("careless");
        try (var producer = producer(broker)) {
            var careless = producer.send(new ProducerRecord<>(topic, "one"), (metadata, failure) -> {
                throw new IllegalStateException("as it should");
            });
            var after = producer.send(new ProducerRecord<>(topic, "two"));
            assertTrue(careless.join().hasOffset());
            assertTrue(after.join().hasOffset());
        }
    }

    @Test
    void aCallbackMaySendToATopicThatIsNew() {
        String one = name("first");
        String other = name("second");
        try (var producer = producer(broker)) {
            var second = producer.send(one, null, "value").thenCompose(written -> producer.send(other, null, "value"));
            assertEquals(other, second.join().topic());
        }
    }

    @Test
    void aCallbackThatWouldWaitForItselfIsTold() {
        try (var producer = producer(broker)) {
            var flushed = new CompletableFuture<Void>();
            producer.send(new ProducerRecord<>(name("eager"), "value"), (written, failure) -> {
                try {
                    producer.flush();
                    flushed.complete(null);
                } catch (RuntimeException told) {
                    flushed.completeExceptionally(told);
                }
            });
            var failure = assertThrows(CompletionException.class, flushed::join);
            assertInstanceOf(IllegalStateException.class, failure.getCause());
        }
    }

    @Test
    void aRecordThatIsTooLargeFailsAlone() {
        String topic = name("large");
        try (var admin = admin(broker); var producer = producer(broker)) {
            admin.createTopics(List.of(new NewTopic(topic, 1).configs(Map.of("max.message.bytes", "1000")))).join();
            var small = producer.send(topic, null, "small");
            var large = producer.send(topic, null, "x".repeat(5_000));
            var huge = producer.send(topic, null, "x".repeat(2 << 20));
            assertTrue(small.join().hasOffset());
            var ofBroker = assertThrows(ExecutionException.class, large::get).getCause();
            assertInstanceOf(MessageTooLargeException.class, ofBroker);
            assertEquals(ErrorCode.MESSAGE_TOO_LARGE, ((OttlaException) ofBroker).error());
            assertInstanceOf(RecordTooLargeException.class, assertThrows(ExecutionException.class, huge::get).getCause());
        }
    }

    @Test
    void aRecordLargerThanASlabIsSent() {
        String topic = name("bulky");
        String value = "x".repeat(500_000);
        try (var producer = producer(broker); var consumer = consumer(broker)) {
            producer.send(topic, "k", value).join();
            consumer.assign(List.of(new TopicPartition(topic, 0)));
            assertEquals(value, consumer.poll(Duration.ofSeconds(30)).asList().get(0).value());
        }
    }

    @Test
    void whereThereIsNoRoomASendWaitsForIt() {
        String topic = name("narrow");
        int count = 20_000;
        try (var producer = producer(broker, "buffer.memory", 1 << 20, "batch.size", 64 << 10)) {
            List<CompletableFuture<RecordMetadata>> written = new ArrayList<>();
            for (int i = 0; i < count; i++) {
                written.add(producer.send(new ProducerRecord<>(topic, 0, null, "x".repeat(1_000))));
            }
            for (int i = 0; i < count; i++) {
                assertEquals(i, written.get(i).join().offset());
            }
        }
    }

    @Test
    void withoutABrokerASendFailsInItsTime() {
        try (var producer = OttlaProducer.<byte[], byte[]>builder().bootstrapServers("127.0.0.1:1").config("max.block.ms", 200).build()) {
            var failure = assertThrows(ExecutionException.class, () -> producer.send("nowhere", null, new byte[1]).get()).getCause();
            assertTrue(((OttlaException) failure).isRetriable(), failure.toString());
        }
    }

    @Test
    void closingSendsWhatWasTakenAndAClosedOneTakesNothing() {
        String topic = name("closing");
        var producer = producer(broker, "linger.ms", 60_000);
        var written = producer.send(topic, null, "value");
        producer.close();
        producer.close();
        assertTrue(written.isDone());
        assertEquals(0, written.join().offset());
        assertThrows(ClosedException.class, () -> producer.send(topic, null, "value"));
    }

    @Test
    void settingsAreReadAsKafkasFilesHaveThem() {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", broker.bootstrapServers());
        properties.put("key.serializer", "org.apache.kafka.common.serialization.StringSerializer");
        properties.put("value.serializer", "org.apache.kafka.common.serialization.LongSerializer");
        properties.put("linger.ms", 1);
        try (var producer = new OttlaProducer<String, Long>(properties)) {
            assertTrue(producer.send(name("properties"), "k", 5L).join().hasOffset());
        }
    }

    @Test
    void aSettingThatIsWrongIsRefusedWithWhatToDo() {
        var failure = assertThrows(ConfigException.class, () -> producer(broker, "linger.sm", 5));
        assertEquals("did you mean `linger.ms`?", failure.hint());
        assertTrue(failure.isFatal());
    }

    @Test
    void aSerializerThatFailsIsSaidSo() {
        try (var producer = new OttlaProducer<String, String>(
                Map.of("bootstrap.servers", broker.bootstrapServers()),
                Serdes.stringSerializer(),
                (topic, data) -> {
                    throw new IllegalArgumentException("as it should");
                })) {
            var failure = assertThrows(SerializationException.class, () -> producer.send("t", "k", "v"));
            assertEquals("as it should", failure.getCause().getMessage());
        }
    }

    @Test
    void manyThreadsShareAProducer() throws Exception {
        String topic = name("shared");
        int threads = 8;
        int each = 5_000;
        try (var producer = producer(broker); var admin = admin(broker)) {
            List<Thread> running = new ArrayList<>();
            for (int t = 0; t < threads; t++) {
                Thread thread = new Thread(() -> {
                    for (int i = 0; i < each; i++) {
                        producer.send(new ProducerRecord<>(topic, 0, null, "value"));
                    }
                });
                thread.start();
                running.add(thread);
            }
            for (Thread thread : running) {
                thread.join();
            }
            producer.flush();
            TopicPartition partition = new TopicPartition(topic, 0);
            assertEquals(threads * each, admin.listOffsets(Map.of(partition, OffsetSpec.latest())).join().get(partition).offset());
        }
    }

    @Test
    void itCountsWhatItDoes() {
        try (var producer = producer(broker)) {
            producer.send(name("counted"), null, "value").join();
            assertEquals(1.0, producer.metrics().get("record-send-total"));
            assertTrue(producer.partitionCount(name("partitions")) >= 1);
        }
    }
}

package dev.ottla.kafka;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicInteger;

import dev.ottla.NewTopic;
import dev.ottla.OttlaAdmin;
import dev.ottla.testing.OttlaBroker;
import dev.ottla.testing.WithOttlaBroker;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigException;
import org.apache.kafka.common.errors.RecordDeserializationException;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.LongDeserializer;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@WithOttlaBroker
@Timeout(120)
class KafkaClientsTest {
    private static final AtomicInteger LAST = new AtomicInteger();

    private final OttlaBroker broker;

    KafkaClientsTest(OttlaBroker broker) {
        this.broker = broker;
    }

    private String topic(int partitions) {
        String topic = "facade-" + LAST.incrementAndGet();
        try (var admin = OttlaAdmin.create(Map.of("bootstrap.servers", broker.bootstrapServers()))) {
            admin.createTopics(List.of(new NewTopic(topic, partitions))).join();
        }
        return topic;
    }

    private Map<String, Object> producers(Object... more) {
        return settings(
                new HashMap<>(Map.of("key.serializer", StringSerializer.class, "value.serializer", StringSerializer.class.getName())), more);
    }

    private Map<String, Object> consumers(Object... more) {
        return settings(
                new HashMap<>(Map.of(
                        "key.deserializer", StringDeserializer.class.getName(),
                        "value.deserializer", StringDeserializer.class,
                        "auto.offset.reset", "earliest",
                        "enable.auto.commit", false)),
                more);
    }

    private Map<String, Object> settings(Map<String, Object> settings, Object... more) {
        settings.put("bootstrap.servers", broker.bootstrapServers());
        for (int i = 0; i < more.length; i += 2) {
            settings.put((String) more[i], more[i + 1]);
        }
        return settings;
    }

    @Test
    void aProgramOfKafkasInterfacesSeesTheSameBehindBothConstructors() throws Exception {
        String one = topic(2);
        String other = topic(2);
        List<String> kafkas = new KafkasProgram(one)
                .run(new KafkaProducer<>(producers()), new KafkaConsumer<>(consumers("group.id", one)));
        List<String> ours = new KafkasProgram(other)
                .run(new OttlaKafkaProducer<>(producers()), new OttlaKafkaConsumer<>(consumers("group.id", other)));
        assertEquals(String.join("\n", kafkas), String.join("\n", ours));
        assertTrue(ours.contains("again 4 value 8"), ours.toString());
    }

    /** Has settings of its own, as Spring's and those of schema registries have. */
    public static final class Marking implements Serializer<String> {
        private String mark;

        @Override
        public void configure(Map<String, ?> configs, boolean isKey) {
            mark = (String) configs.get("marking.mark");
        }

        @Override
        public byte[] serialize(String topic, String data) {
            return (mark + data).getBytes(java.nio.charset.StandardCharsets.UTF_8);
        }
    }

    @Test
    void keysThatTheClientDoesNotKnowComeToSerializers() {
        String topic = topic(1);
        try (var producer = new OttlaKafkaProducer<String, String>(producers(
                "value.serializer", Marking.class.getName(), "marking.mark", "marked ", "group.id", "of a consumer"))) {
            producer.send(new ProducerRecord<>(topic, "value"));
        }
        try (var consumer = new OttlaKafkaConsumer<String, String>(consumers("linger.ms", "of a producer"))) {
            consumer.assign(List.of(new TopicPartition(topic, 0)));
            assertEquals("marked value", consumer.poll(Duration.ofSeconds(30)).iterator().next().value());
        }
    }

    @Test
    void propertiesServeAndWhatIsMissingIsSaidAsKafkaDoes() {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", broker.bootstrapServers());
        assertThrows(ConfigException.class, () -> new OttlaKafkaProducer<String, String>(properties));
        properties.put("key.serializer", StringSerializer.class.getName());
        properties.put("value.serializer", StringSerializer.class.getName());
        new OttlaKafkaProducer<String, String>(properties).close();
    }

    @Test
    void aRecordThatCannotBeDeserializedStopsAPollUntilItIsSoughtPast() {
        String topic = topic(1);
        TopicPartition partition = new TopicPartition(topic, 0);
        try (var producer = new OttlaKafkaProducer<String, String>(producers())) {
            producer.send(new ProducerRecord<>(topic, "8 bytes!"));
            producer.send(new ProducerRecord<>(topic, "odd"));
            producer.send(new ProducerRecord<>(topic, "8 again!"));
        }
        try (var consumer =
                new OttlaKafkaConsumer<String, Long>(consumers("value.deserializer", LongDeserializer.class.getName()))) {
            consumer.assign(List.of(partition));
            Duration patience = Duration.ofSeconds(30);
            assertEquals(1, consumer.poll(patience).count());
            for (int i = 0; i < 2; i++) {
                var failure = assertThrows(RecordDeserializationException.class, () -> consumer.poll(patience));
                assertEquals(1, failure.offset());
            }
            consumer.seek(partition, 2);
            assertEquals(2, consumer.poll(patience).iterator().next().offset());
        }
    }

    @Test
    void aPollIsWoken() {
        try (var consumer = new OttlaKafkaConsumer<String, String>(consumers())) {
            consumer.assign(List.of(new TopicPartition(topic(1), 0)));
            consumer.wakeup();
            assertThrows(WakeupException.class, () -> consumer.poll(Duration.ofSeconds(30)));
        }
    }

    @Test
    void whatIsNotThereIsSaid() {
        try (var producer = new OttlaKafkaProducer<String, String>(producers())) {
            assertThrows(UnsupportedOperationException.class, producer::initTransactions);
        }
    }
}

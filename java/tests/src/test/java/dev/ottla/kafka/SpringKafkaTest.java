package dev.ottla.kafka;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

import dev.ottla.NewTopic;
import dev.ottla.OttlaAdmin;
import dev.ottla.testing.OttlaBroker;
import dev.ottla.testing.WithOttlaBroker;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.springframework.kafka.core.DefaultKafkaConsumerFactory;
import org.springframework.kafka.core.DefaultKafkaProducerFactory;
import org.springframework.kafka.core.KafkaTemplate;
import org.springframework.kafka.listener.ConcurrentMessageListenerContainer;
import org.springframework.kafka.listener.ContainerProperties;
import org.springframework.kafka.listener.MessageListener;

/** Spring Kafka from its repository, whose factories make our clients. */
@WithOttlaBroker
@Timeout(120)
class SpringKafkaTest {
    private static final class Producers extends DefaultKafkaProducerFactory<String, String> {
        Producers(Map<String, Object> configs) {
            super(configs);
        }

        @Override
        protected Producer<String, String> createRawProducer(Map<String, Object> configs) {
            return new OttlaKafkaProducer<>(configs, getKeySerializer(), getValueSerializer());
        }
    }

    private static final class Consumers extends DefaultKafkaConsumerFactory<String, String> {
        Consumers(Map<String, Object> configs) {
            super(configs);
        }

        @Override
        protected Consumer<String, String> createRawConsumer(Map<String, Object> configs) {
            return new OttlaKafkaConsumer<>(configs, getKeyDeserializer(), getValueDeserializer());
        }
    }

    @Test
    void templateAndListenerContainersRunOnIt(OttlaBroker broker) throws Exception {
        String topic = "spring";
        try (var admin = OttlaAdmin.create(Map.of("bootstrap.servers", broker.bootstrapServers()))) {
            admin.createTopics(List.of(new NewTopic(topic, 4))).join();
            BlockingQueue<String> received = new LinkedBlockingQueue<>();
            ContainerProperties properties = new ContainerProperties(topic);
            properties.setGroupId("spring");
            properties.setAckMode(ContainerProperties.AckMode.RECORD);
            properties.setMessageListener((MessageListener<String, String>) record -> received.add(record.key() + "=" + record.value()));
            Properties settings = new Properties();
            settings.setProperty("spring.deserializer.value.delegate.class", "of Spring's own");
            properties.setKafkaConsumerProperties(settings);
            var consumers = new Consumers(Map.of(
                    "bootstrap.servers", broker.bootstrapServers(),
                    "auto.offset.reset", "earliest",
                    "key.deserializer", StringDeserializer.class,
                    "value.deserializer", StringDeserializer.class));
            var container = new ConcurrentMessageListenerContainer<>(consumers, properties);
            container.setConcurrency(2);
            container.start();
            var producers = new Producers(Map.of(
                    "bootstrap.servers", broker.bootstrapServers(),
                    "key.serializer", StringSerializer.class,
                    "value.serializer", StringSerializer.class));
            var template = new KafkaTemplate<>(producers);
            Set<String> sent = new HashSet<>();
            for (int i = 0; i < 100; i++) {
                template.send(topic, "key " + i, "value " + i).get(30, TimeUnit.SECONDS);
                sent.add("key " + i + "=value " + i);
            }
            Set<String> got = new HashSet<>();
            while (got.size() < 100) {
                String next = received.poll(30, TimeUnit.SECONDS);
                assertEquals(true, next != null && got.add(next), "it is there, once: " + next);
            }
            assertEquals(sent, got);
            container.stop();
            producers.destroy();
            long committed = admin.listGroupOffsets(List.of("spring")).join().get("spring").entrySet().stream()
                    .filter(entry -> entry.getKey().topic().equals(topic))
                    .mapToLong(entry -> entry.getValue().offset())
                    .sum();
            assertEquals(100, committed);
        }
    }
}

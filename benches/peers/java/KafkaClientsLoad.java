import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.IntStream;

import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** kafka-clients as a load. */
final class KafkaClientsLoad extends Load {
    public static void main(String[] arguments) throws Exception {
        new KafkaClientsLoad().run(arguments);
    }

    @Override
    Writer writer(Map<String, Object> config) {
        return new Kafkas(new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer()));
    }

    private record Kafkas(KafkaProducer<byte[], byte[]> producer) implements Writer {
        @Override
        public void sendAndWait(String topic, byte[] value) throws Exception {
            producer.send(new ProducerRecord<>(topic, value)).get();
        }

        @Override
        public void sendAll(String topic, byte[] value, int records) throws Exception {
            var failure = new AtomicReference<Exception>();
            for (int i = 0; i < records; i++) {
                producer.send(new ProducerRecord<>(topic, value), (written, e) -> failure.compareAndSet(null, e));
            }
            producer.flush();
            if (failure.get() != null) {
                throw failure.get();
            }
        }

        @Override
        public void close() {
            producer.close();
        }
    }

    @Override
    long read(Map<String, Object> config, long records) {
        int bytes = number("value-bytes", 100);
        long read = 0;
        try (var consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            if (isInGroup()) {
                consumer.subscribe(List.of(text("topic")));
            } else {
                consumer.assign(IntStream.range(0, number("partitions", 6))
                    .mapToObj(partition -> new TopicPartition(text("topic"), partition)).toList());
            }
            while (read < records) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
                    check(record.value().length, bytes);
                    read++;
                }
            }
        }
        return read;
    }
}

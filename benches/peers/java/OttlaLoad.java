import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.IntStream;

import dev.ottla.ConsumerRecord;
import dev.ottla.OttlaConsumer;
import dev.ottla.OttlaProducer;
import dev.ottla.ProducerRecord;
import dev.ottla.TopicPartition;

/** Ours as a load. With `--forget` nobody asks what becomes of a record, and values are not copied when they are read. */
final class OttlaLoad extends Load {
    public static void main(String[] arguments) throws Exception {
        new OttlaLoad().run(arguments);
    }

    @Override
    Writer writer(Map<String, Object> config) {
        return new Ours(new OttlaProducer<>(config), has("forget"));
    }

    private record Ours(OttlaProducer<byte[], byte[]> producer, boolean forget) implements Writer {
        @Override
        public void sendAndWait(String topic, byte[] value) throws Exception {
            producer.send(new ProducerRecord<>(topic, value)).get();
        }

        @Override
        public void sendAll(String topic, byte[] value, int records) throws Exception {
            var failure = new AtomicReference<Exception>();
            for (int i = 0; i < records; i++) {
                if (forget) {
                    producer.sendAndForget(topic, null, value);
                } else {
                    producer.send(new ProducerRecord<>(topic, value), (written, e) -> failure.compareAndSet(null, e));
                }
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
        boolean forget = has("forget");
        long read = 0;
        try (var consumer = new OttlaConsumer<byte[], byte[]>(config)) {
            if (isInGroup()) {
                consumer.subscribe(List.of(text("topic")));
            } else {
                consumer.assign(IntStream.range(0, number("partitions", 6))
                    .mapToObj(partition -> new TopicPartition(text("topic"), partition)).toList());
            }
            while (read < records) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
                    check(forget ? record.serializedValueSize() : record.value().length, bytes);
                    read++;
                }
            }
        }
        return read;
    }
}

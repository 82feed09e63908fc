package dev.ottla.kafka;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;

import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.header.Header;

/** A program that knows Kafka's interfaces, and nothing of what is behind them; it says what it has seen, line by line. */
final class KafkasProgram {
    private final String topic;
    private final List<String> seen = new ArrayList<>();

    KafkasProgram(String topic) {
        this.topic = topic;
    }

    List<String> run(Producer<String, String> producer, Consumer<String, String> consumer) throws Exception {
        produce(producer);
        consume(consumer);
        return seen;
    }

    private void produce(Producer<String, String> producer) throws Exception {
        seen.add("partitions " + producer.partitionsFor(topic).size());
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        List<String> told = new ArrayList<>();
        for (int i = 0; i < 10; i++) {
            ProducerRecord<String, String> record = new ProducerRecord<>(topic, i % 2, 1_000L + i, "key " + i, "value " + i);
            record.headers().add("n", Integer.toString(i).getBytes(StandardCharsets.UTF_8));
            sent.add(producer.send(record, (metadata, failure) -> {
                synchronized (told) {
                    told.add(metadata.partition() + "@" + metadata.offset() + " " + failure);
                }
            }));
        }
        producer.flush();
        for (Future<RecordMetadata> future : sent) {
            RecordMetadata written = future.get();
            seen.add("written " + written.topic().equals(topic) + " " + written.partition() + "@" + written.offset() + " "
                    + written.timestamp() + " " + written.serializedValueSize());
        }
        seen.add("told " + new TreeSet<>(told));
        try {
            producer.send(new ProducerRecord<>(topic, "x".repeat(3 << 20))).get();
        } catch (ExecutionException e) {
            seen.add("too large " + (e.getCause() instanceof RecordTooLargeException));
        }
        seen.add("counts " + producer.metrics().keySet().stream().anyMatch(name -> name.name().equals("record-send-total")));
        producer.close();
        try {
            producer.send(new ProducerRecord<>(topic, "late"));
        } catch (IllegalStateException e) {
            seen.add("closed");
        }
    }

    private void consume(Consumer<String, String> consumer) {
        try {
            consumer.poll(Duration.ZERO);
        } catch (IllegalStateException e) {
            seen.add("nothing to read");
        }
        List<String> rebalances = new ArrayList<>();
        consumer.subscribe(List.of(topic), new ConsumerRebalanceListener() {
            @Override
            public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
                if (!partitions.isEmpty()) {
                    rebalances.add("revoked " + partitions.size());
                    consumer.commitSync(Map.of(new TopicPartition(topic, 0), new OffsetAndMetadata(3, "three")));
                }
            }

            @Override
            public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
                if (!partitions.isEmpty()) {
                    rebalances.add("assigned " + partitions.size());
                }
            }
        });
        seen.add("subscribed " + consumer.subscription().equals(java.util.Set.of(topic)));
        Map<Integer, List<String>> read = new HashMap<>();
        int count = 0;
        while (count < 10) {
            for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofSeconds(1))) {
                Header header = record.headers().lastHeader("n");
                read.computeIfAbsent(record.partition(), partition -> new ArrayList<>())
                        .add(record.offset() + " " + record.timestamp() + " " + record.key() + " " + record.value() + " "
                                + new String(header.value(), StandardCharsets.UTF_8));
                count++;
            }
        }
        seen.add("read " + read);
        TopicPartition first = new TopicPartition(topic, 0);
        seen.add("position " + consumer.position(first) + " of " + consumer.endOffsets(List.of(first)).get(first));
        consumer.seek(first, 4);
        ConsumerRecord<String, String> again = consumer.poll(Duration.ofSeconds(30)).records(first).get(0);
        seen.add("again " + again.offset() + " " + again.value());
        consumer.commitSync();
        seen.add("committed " + consumer.committed(java.util.Set.of(first)).get(first).offset());
        consumer.pause(consumer.assignment());
        seen.add("paused " + consumer.paused().size() + " " + consumer.poll(Duration.ofMillis(500)).count());
        List<String> told = new ArrayList<>();
        consumer.commitAsync((offsets, failure) -> told.add("committed at leisure " + offsets.get(first).offset() + " " + failure));
        while (told.isEmpty()) {
            consumer.poll(Duration.ofMillis(10));
        }
        seen.addAll(told);
        seen.add("at a time " + consumer.offsetsForTimes(Map.of(first, 1_005L)).get(first).offset());
        consumer.unsubscribe();
        seen.add("rebalances " + rebalances);
        seen.add("last " + consumer.committed(java.util.Set.of(first)).get(first).metadata());
        consumer.close();
    }
}

package dev.ottla.kafka;

import java.util.Collection;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Function;

import dev.ottla.Headers;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.Metric;
import org.apache.kafka.common.MetricName;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.header.internals.RecordHeaders;

/** Kafka's types of ours, and ours of Kafka's. */
final class Converted {
    private Converted() {}

    static dev.ottla.TopicPartition ours(TopicPartition partition) {
        return new dev.ottla.TopicPartition(partition.topic(), partition.partition());
    }

    static List<dev.ottla.TopicPartition> ours(Collection<TopicPartition> partitions) {
        return partitions.stream().map(Converted::ours).toList();
    }

    static dev.ottla.OffsetAndMetadata ours(OffsetAndMetadata offset) {
        return new dev.ottla.OffsetAndMetadata(offset.offset(), offset.leaderEpoch(), offset.metadata());
    }

    static Map<dev.ottla.TopicPartition, dev.ottla.OffsetAndMetadata> ours(Map<TopicPartition, OffsetAndMetadata> offsets) {
        Map<dev.ottla.TopicPartition, dev.ottla.OffsetAndMetadata> ours = new HashMap<>();
        offsets.forEach((partition, offset) -> ours.put(ours(partition), ours(offset)));
        return ours;
    }

    static TopicPartition kafkas(dev.ottla.TopicPartition partition) {
        return new TopicPartition(partition.topic(), partition.partition());
    }

    static Set<TopicPartition> kafkas(Collection<dev.ottla.TopicPartition> partitions) {
        Set<TopicPartition> kafkas = new LinkedHashSet<>();
        partitions.forEach(partition -> kafkas.add(kafkas(partition)));
        return kafkas;
    }

    static OffsetAndMetadata kafkas(dev.ottla.OffsetAndMetadata offset) {
        return new OffsetAndMetadata(offset.offset(), offset.leaderEpoch(), offset.metadata());
    }

    static OffsetAndTimestamp kafkas(dev.ottla.OffsetAndTimestamp found) {
        return found == null ? null : new OffsetAndTimestamp(found.offset(), found.timestamp(), found.leaderEpoch());
    }

    static RecordMetadata kafkas(dev.ottla.RecordMetadata written, int keySize, int valueSize) {
        TopicPartition partition = new TopicPartition(written.topic(), written.partition());
        return new RecordMetadata(partition, written.offset(), 0, written.timestamp(), keySize, valueSize);
    }

    static <T, U> Map<TopicPartition, U> kafkas(Map<dev.ottla.TopicPartition, T> values, Function<T, U> value) {
        Map<TopicPartition, U> kafkas = new HashMap<>();
        values.forEach((partition, of) -> kafkas.put(kafkas(partition), value.apply(of)));
        return kafkas;
    }

    static RecordHeaders kafkas(Headers headers) {
        RecordHeaders kafkas = new RecordHeaders();
        headers.forEach(header -> kafkas.add(new RecordHeader(header.key(), header.value())));
        return kafkas;
    }

    static Headers ours(org.apache.kafka.common.header.Headers headers) {
        Headers ours = new Headers();
        headers.forEach(header -> ours.add(header.key(), header.value()));
        return ours;
    }

    /** By Kafka's names, in a group of ours. */
    static Map<MetricName, Metric> kafkas(Map<String, Double> metrics, String group) {
        Map<MetricName, Metric> kafkas = new HashMap<>();
        metrics.forEach((name, value) -> {
            MetricName of = new MetricName(name, group, "", Map.of());
            kafkas.put(of, new Value(of, value));
        });
        return kafkas;
    }

    private record Value(MetricName metricName, Object metricValue) implements Metric {}

}

package dev.ottla.kafka;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

import dev.ottla.ClusterDescription;
import dev.ottla.OttlaAdmin;
import dev.ottla.TopicDescription;
import dev.ottla.TopicListing;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.PartitionInfo;

/** What a client's program asks of the cluster besides; an admin client that is made when it first does. */
final class Cluster implements AutoCloseable {
    private final Map<String, Object> configs;
    private OttlaAdmin admin;

    /** Settings of producers and consumers alone are left out: an admin client does not have them. */
    Cluster(Map<String, Object> configs) {
        this.configs = new HashMap<>(configs);
    }

    private synchronized OttlaAdmin admin() {
        if (admin == null) {
            admin = OttlaAdmin.create(configs);
        }
        return admin;
    }

    List<PartitionInfo> partitions(String topic, Duration timeout) {
        Map<Integer, Node> nodes = nodes(timeout);
        return partitions(awaited(admin().describeTopics(List.of(topic)).all(), timeout).get(topic), nodes);
    }

    Map<String, List<PartitionInfo>> topics(Duration timeout) {
        Map<Integer, Node> nodes = nodes(timeout);
        List<String> names = awaited(admin().listTopics(), timeout).stream().map(TopicListing::name).toList();
        Map<String, List<PartitionInfo>> topics = new HashMap<>();
        awaited(admin().describeTopics(names).all(), timeout).forEach((name, topic) -> topics.put(name, partitions(topic, nodes)));
        return topics;
    }

    private Map<Integer, Node> nodes(Duration timeout) {
        ClusterDescription cluster = awaited(admin().describeCluster(), timeout);
        Map<Integer, Node> nodes = new HashMap<>();
        cluster.nodes().forEach(node -> nodes.put(node.id(), new Node(node.id(), node.host(), node.port(), node.rack())));
        return nodes;
    }

    private static List<PartitionInfo> partitions(TopicDescription topic, Map<Integer, Node> nodes) {
        List<PartitionInfo> partitions = new ArrayList<>();
        for (TopicDescription.Partition partition : topic.partitions()) {
            partitions.add(new PartitionInfo(
                    topic.name(),
                    partition.partition(),
                    nodes.get(partition.leader()),
                    nodes(partition.replicas(), nodes),
                    nodes(partition.isr(), nodes),
                    nodes(partition.offline(), nodes)));
        }
        return partitions;
    }

    private static Node[] nodes(List<Integer> ids, Map<Integer, Node> nodes) {
        return ids.stream().map(id -> nodes.getOrDefault(id, new Node(id, "", -1))).toArray(Node[]::new);
    }

    private static <T> T awaited(CompletableFuture<T> future, Duration timeout) {
        try {
            return future.get(timeout.toMillis(), TimeUnit.MILLISECONDS);
        } catch (InterruptedException e) {
            throw new org.apache.kafka.common.errors.InterruptException(e);
        } catch (TimeoutException e) {
            throw new org.apache.kafka.common.errors.TimeoutException("the cluster did not tell in the time given");
        } catch (ExecutionException e) {
            throw Failures.kafkas(e);
        }
    }

    @Override
    public synchronized void close() {
        if (admin != null) {
            admin.close();
        }
    }
}

package dev.ottla;

import static dev.ottla.Names.admin;
import static dev.ottla.Names.consumer;
import static dev.ottla.Names.name;
import static dev.ottla.Names.producer;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Set;

import dev.ottla.errors.ClosedException;
import dev.ottla.errors.TopicAlreadyExistsException;
import dev.ottla.errors.UnknownTopicOrPartitionException;
import dev.ottla.testing.OttlaBroker;
import dev.ottla.testing.WithOttlaBroker;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@WithOttlaBroker
@Timeout(120)
class AdminTest {
    private final OttlaBroker broker;

    AdminTest(OttlaBroker broker) {
        this.broker = broker;
    }

    @Test
    void topicsAreMadeSeenChangedAndDeleted() {
        String topic = name("orders");
        try (var admin = admin(broker)) {
            admin.createTopics(List.of(new NewTopic(topic, 3))).join();
            assertTrue(admin.listTopics().join().contains(new TopicListing(topic, false, 3)));
            admin.createPartitions(Map.of(topic, 5)).join();
            assertEquals(5, admin.describeTopics(List.of(topic)).join().get(topic).partitions().size());
            admin.deleteTopics(List.of(topic)).join();
            assertFalse(admin.listTopics().join().stream().anyMatch(listed -> listed.name().equals(topic)));
        }
    }

    @Test
    void eachThingHasItsOwnOutcome() {
        String there = name("there");
        String missing = name("missing");
        try (var admin = admin(broker)) {
            admin.createTopics(List.of(new NewTopic(there, 1))).join();
            assertThrows(TopicAlreadyExistsException.class, () -> admin.createTopics(List.of(new NewTopic(there, 1))).join());
            var described = admin.describeTopics(List.of(there, missing)).each().join();
            assertEquals(there, described.get(there).join().name());
            assertEquals(
                    UnknownTopicOrPartitionException.class,
                    described.get(missing).handle((ok, failure) -> failure).join().getClass());
        }
    }

    @Test
    void configurationsAreReadAndChanged() {
        String topic = name("configured");
        ConfigResource resource = ConfigResource.topic(topic);
        try (var admin = admin(broker)) {
            admin.createTopics(List.of(new NewTopic(topic, 1).configs(Map.of("retention.ms", "1000")))).join();
            assertEquals("1000", admin.describeConfigs(List.of(resource)).join().get(resource).get("retention.ms").value());
            admin.incrementalAlterConfigs(Map.of(resource, List.of(AlterConfigOp.delete("retention.ms")))).join();
            // A broker for tests keeps what is old.
            assertEquals("-1", admin.describeConfigs(List.of(resource)).join().get(resource).get("retention.ms").value());
        }
    }

    @Test
    void groupsAndTheirOffsetsAreLookedAfter() {
        String topic = name("read");
        String group = name("group");
        TopicPartition partition = new TopicPartition(topic, 0);
        try (var admin = admin(broker)) {
            admin.createTopics(List.of(new NewTopic(topic, 1))).join();
            try (var producer = producer(broker)) {
                producer.send(topic, null, "value").join();
            }
            try (var consumer = consumer(broker, "group.id", group)) {
                consumer.subscribe(List.of(topic));
                assertEquals(1, consumer.poll(Duration.ofSeconds(30)).count());
                var described = admin.describeGroups(List.of(group)).join().get(group);
                assertEquals("Stable", described.state());
                assertEquals(List.of(partition), described.members().get(0).assignment());
                consumer.commitSync();
            }
            assertTrue(admin.listGroups().join().stream().anyMatch(listed -> listed.groupId().equals(group)));
            assertEquals(1, admin.listGroupOffsets(List.of(group)).join().get(group).get(partition).offset());
            admin.alterGroupOffsets(group, Map.of(partition, new OffsetAndMetadata(0, "again"))).join();
            assertEquals("again", admin.listGroupOffsets(List.of(group)).join().get(group).get(partition).metadata());
            admin.deleteGroupOffsets(group, Set.of(partition)).join();
            assertEquals(Map.of(), admin.listGroupOffsets(List.of(group)).join().get(group));
            admin.deleteGroups(List.of(group)).join();
            assertFalse(admin.listGroups().join().stream().anyMatch(listed -> listed.groupId().equals(group)));
        }
    }

    @Test
    void theClusterIsDescribed() {
        try (var admin = admin(broker)) {
            ClusterDescription cluster = admin.describeCluster().join();
            assertEquals(1, cluster.nodes().size());
            assertEquals(cluster.controller(), cluster.nodes().get(0).id());
            assertTrue(broker.bootstrapServers().endsWith(":" + cluster.nodes().get(0).port()));
        }
    }

    @Test
    void aClosedOneIsAskedNothing() {
        var admin = admin(broker);
        admin.close();
        admin.close();
        var failure = admin.listTopics().handle((ok, e) -> e).join();
        assertEquals(ClosedException.class, failure.getClass());
    }
}

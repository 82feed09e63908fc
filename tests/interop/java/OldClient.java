import java.time.Duration;
import java.util.Arrays;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import java.util.UUID;
import java.util.concurrent.Callable;

import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;
import org.apache.kafka.common.security.token.delegation.DelegationToken;

/** What clients have always been able to do, with any release from 2.1 to 3.9: OldClient PLAINTEXT_ADDRESS SASL_ADDRESS. */
public final class OldClient {
    private static final int RECORDS = 3;

    private final String bootstrap;
    private final String topic = "t-" + UUID.randomUUID().toString().substring(0, 4);
    private final String group = "g-" + topic;

    private OldClient(String bootstrap) {
        this.bootstrap = bootstrap;
    }

    public static void main(String[] args) {
        OldClient client = new OldClient(args[0]);
        try (AdminClient admin = AdminClient.create(client.properties())) {
            client.topics(admin);
            for (String codec : Arrays.asList("none", "gzip", "snappy", "lz4", "zstd")) {
                step("produce " + codec, () -> client.produce(codec, "all"));
            }
            step("transaction", client::transaction);
            step("consume", () -> client.consume("read_uncommitted"));
            step("consume committed", () -> client.consume("read_committed"));
            client.groups(admin);
            client.end(admin);
        }
        step("tokens", () -> client.tokens(args[1]));
    }

    /** Goes on whatever happens: what is recorded is what the clients say, and what the broker answers. */
    private static void step(String name, Callable<?> body) {
        try {
            body.call();
        } catch (Exception error) {
            System.err.println(name + ": " + error);
        }
    }

    private void topics(AdminClient admin) {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        step("createTopics", () -> admin.createTopics(Collections.singleton(
            new NewTopic(topic, 2, (short) 1).configs(Collections.singletonMap("retention.ms", "-1")))).all().get());
        step("createPartitions", () -> admin.createPartitions(
            Collections.singletonMap(topic, NewPartitions.increaseTo(3))).all().get());
        step("listTopics", () -> admin.listTopics().names().get());
        step("describeTopics", () -> admin.describeTopics(Collections.singleton(topic)).all().get());
        step("describeCluster", () -> admin.describeCluster().nodes().get());
        step("describeConfigs", () -> admin.describeConfigs(Collections.singleton(resource)).all().get());
        step("alterConfigs", () -> admin.alterConfigs(Collections.singletonMap(resource,
            new Config(Collections.singleton(new ConfigEntry("cleanup.policy", "compact,delete"))))).all().get());
        step("describeLogDirs", () -> admin.describeLogDirs(Collections.singleton(1)).all().get());
        AclBinding acl = new AclBinding(
            new ResourcePattern(ResourceType.TOPIC, "acl-" + topic, PatternType.PREFIXED),
            new AccessControlEntry("User:carol", "*", AclOperation.READ, AclPermissionType.ALLOW));
        step("createAcls", () -> admin.createAcls(Collections.singleton(acl)).all().get());
        step("describeAcls", () -> admin.describeAcls(AclBindingFilter.ANY).values().get());
        step("deleteAcls", () -> admin.deleteAcls(Collections.singleton(acl.toFilter())).all().get());
    }

    private Object produce(String codec, String acks) throws Exception {
        Properties properties = properties();
        properties.put("compression.type", codec);
        properties.put("acks", acks);
        properties.put("enable.idempotence", "false");
        properties.put("linger.ms", "50");
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(properties)) {
            for (int i = 0; i < RECORDS; i++) {
                ProducerRecord<String, String> record = new ProducerRecord<>(topic, i, 1_760_000_000_000L + i, "key-" + i, codec);
                record.headers().add("codec", codec.getBytes()).add("codec", null);
                producer.send(record);
            }
            producer.flush();
        }
        return null;
    }

    @SuppressWarnings("deprecation")
    private Object transaction() {
        Properties properties = properties();
        properties.put("transactional.id", "tx-" + topic);
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(properties)) {
            producer.initTransactions();
            for (boolean commit : new boolean[] {true, false}) {
                producer.beginTransaction();
                producer.send(new ProducerRecord<>(topic, 0, "key", commit ? "kept" : "dropped"));
                producer.sendOffsetsToTransaction(Collections.singletonMap(
                    new TopicPartition(topic, 0), new OffsetAndMetadata(1, "in a transaction")), group + "-tx");
                if (commit) {
                    producer.commitTransaction();
                } else {
                    producer.abortTransaction();
                }
            }
        }
        return null;
    }

    private Object consume(String isolation) {
        Properties properties = properties();
        properties.put("group.id", group);
        properties.put("auto.offset.reset", "earliest");
        properties.put("enable.auto.commit", "false");
        properties.put("isolation.level", isolation);
        properties.put("fetch.max.wait.ms", "100");
        properties.put("heartbeat.interval.ms", "100");
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(properties)) {
            consumer.subscribe(Collections.singleton(topic));
            int found = 0;
            long deadline = System.nanoTime() + Duration.ofSeconds(5).toNanos();
            while (found < 5 * RECORDS && System.nanoTime() < deadline) {
                ConsumerRecords<String, String> records = consumer.poll(Duration.ofMillis(200));
                for (ConsumerRecord<String, String> ignored : records) {
                    found++;
                }
            }
            consumer.commitSync();
            Collection<TopicPartition> partitions = consumer.assignment();
            consumer.beginningOffsets(partitions);
            consumer.endOffsets(partitions);
            Map<TopicPartition, Long> times = new HashMap<>();
            partitions.forEach(partition -> times.put(partition, 1_760_000_000_000L));
            consumer.offsetsForTimes(times);
            partitions.forEach(consumer::committed);
            // A few heartbeats, and fetches that find nothing.
            for (int i = 0; i < 4; i++) {
                consumer.poll(Duration.ofMillis(100));
            }
            // The second round then begins anew.
            consumer.seekToBeginning(partitions);
            partitions.forEach(consumer::position);
            consumer.commitSync();
        }
        return null;
    }

    private void groups(AdminClient admin) {
        step("listConsumerGroups", () -> admin.listConsumerGroups().all().get());
        step("describeConsumerGroups", () -> admin.describeConsumerGroups(Collections.singleton(group)).all().get());
        step("listConsumerGroupOffsets", () -> admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get());
        step("deleteConsumerGroups", () -> admin.deleteConsumerGroups(Collections.singleton(group)).all().get());
    }

    private void end(AdminClient admin) {
        step("deleteRecords", () -> admin.deleteRecords(Collections.singletonMap(
            new TopicPartition(topic, 1), RecordsToDelete.beforeOffset(1))).all().get());
        step("deleteTopics", () -> admin.deleteTopics(Collections.singleton(topic)).all().get());
    }

    private Object tokens(String sasl) throws Exception {
        Properties properties = properties();
        properties.put("bootstrap.servers", sasl);
        properties.put("security.protocol", "SASL_PLAINTEXT");
        properties.put("sasl.mechanism", "PLAIN");
        properties.put("sasl.jaas.config",
            "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"alice\" password=\"secret\";");
        try (AdminClient admin = AdminClient.create(properties)) {
            DelegationToken token = admin.createDelegationToken().delegationToken().get();
            // Until the controller's record of it has reached the broker that is asked.
            long deadline = System.nanoTime() + Duration.ofSeconds(5).toNanos();
            while (admin.describeDelegationToken().delegationTokens().get().isEmpty() && System.nanoTime() < deadline) {
                Thread.sleep(20);
            }
            step("renewDelegationToken", () -> admin.renewDelegationToken(token.hmac()).expiryTimestamp().get());
            step("expireDelegationToken", () -> admin.expireDelegationToken(token.hmac()).expiryTimestamp().get());
        }
        return null;
    }

    private Properties properties() {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        properties.put("client.id", "recorder");
        properties.put("key.serializer", "org.apache.kafka.common.serialization.StringSerializer");
        properties.put("value.serializer", "org.apache.kafka.common.serialization.StringSerializer");
        properties.put("key.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        properties.put("value.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        return properties;
    }
}

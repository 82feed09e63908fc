import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.Callable;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.CreateTopicsOptions;
import org.apache.kafka.clients.admin.DescribeClusterOptions;
import org.apache.kafka.clients.admin.DescribeConfigsOptions;
import org.apache.kafka.clients.admin.DescribeTopicsOptions;
import org.apache.kafka.clients.admin.FeatureUpdate;
import org.apache.kafka.clients.admin.ListConfigResourcesOptions;
import org.apache.kafka.clients.admin.ListConsumerGroupOffsetsSpec;
import org.apache.kafka.clients.admin.ListShareGroupOffsetsSpec;
import org.apache.kafka.clients.admin.ListTransactionsOptions;
import org.apache.kafka.clients.admin.NewPartitionReassignment;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RaftVoterEndpoint;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions;
import org.apache.kafka.clients.admin.ScramCredentialInfo;
import org.apache.kafka.clients.admin.ScramMechanism;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.admin.UpdateFeaturesOptions;
import org.apache.kafka.clients.admin.UserScramCredentialUpsertion;
import org.apache.kafka.clients.consumer.AcknowledgeType;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.KafkaShareConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.TopicCollection;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionReplica;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.quota.ClientQuotaAlteration;
import org.apache.kafka.common.quota.ClientQuotaEntity;
import org.apache.kafka.common.quota.ClientQuotaFilter;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;
import org.apache.kafka.common.security.token.delegation.DelegationToken;

/** Calls whatever the clients of 4.3 and later can call, well or in vain: AllApis PLAINTEXT_ADDRESS SASL_ADDRESS. */
public final class AllApis {
    private static final int RECORDS = 3;
    private static final Duration PATIENCE = Duration.ofSeconds(10);
    private static final List<String> CODECS = List.of("none", "gzip", "snappy", "lz4", "zstd");

    private final String bootstrap;
    private final String sasl;
    private final String run = UUID.randomUUID().toString().substring(0, 4);
    private final String topic = "orders-" + run;
    private final TopicPartition first = new TopicPartition(topic, 0);

    private AllApis(String bootstrap, String sasl) {
        this.bootstrap = bootstrap;
        this.sasl = sasl;
    }

    public static void main(String[] args) {
        AllApis apis = new AllApis(args[0], args[1]);
        Map<String, Object> properties = Map.of(
            "bootstrap.servers", args[0], "client.id", "recorder", "default.api.timeout.ms", 15000, "request.timeout.ms", 10000);
        try (Admin admin = Admin.create(properties)) {
            apis.topics(admin);
            apis.configs(admin);
            for (String codec : CODECS) {
                for (String acks : List.of("all", "1", "0")) {
                    step("produce", () -> apis.produce(codec, acks));
                }
            }
            step("transactions", () -> apis.transactions(admin));
            for (String protocol : List.of("classic", "consumer")) {
                step("consume " + protocol, () -> apis.consume(admin, protocol));
            }
            step("share", () -> apis.share(admin));
            apis.streams(admin);
            apis.partitions(admin);
            apis.security(admin);
            apis.cluster(admin);
            step("deleteTopics", () -> admin.deleteTopics(List.of(apis.topic, "missing")).all().get());
        }
        step("tokens", apis::tokens);
    }

    /** Goes on whatever happens: an error is as good a frame as another. */
    private static void step(String name, Callable<?> body) {
        try {
            body.call();
        } catch (Exception | NoSuchMethodError error) {
            System.err.println(name + ": " + error);
        }
    }

    private void topics(Admin admin) {
        NewTopic rich = new NewTopic(topic, Map.of(0, List.of(1, 2), 1, List.of(2, 1)))
            .configs(Map.of("retention.ms", "-1", "min.insync.replicas", "1"));
        step("createTopics", () -> admin.createTopics(List.of(rich, new NewTopic("audit-" + run, 1, (short) 2))).all().get());
        step("validate", () -> admin.createTopics(
            List.of(new NewTopic("..", 1, (short) 1)), new CreateTopicsOptions().validateOnly(true)).all().get());
        step("createPartitions", () -> admin.createPartitions(
            Map.of(topic, NewPartitions.increaseTo(3, List.of(List.of(1, 2))))).all().get());
        step("listTopics", () -> admin.listTopics().names().get());
        DescribeTopicsOptions options = new DescribeTopicsOptions().includeAuthorizedOperations(true).partitionSizeLimitPerResponse(2);
        step("describeTopics", () -> {
            TopicDescription found = admin.describeTopics(List.of(topic), options).allTopicNames().get().get(topic);
            return admin.describeTopics(TopicCollection.ofTopicIds(List.of(found.topicId()))).allTopicIds().get();
        });
        step("missing topic", () -> admin.describeTopics(List.of("missing")).allTopicNames().get());
    }

    private void configs(Admin admin) {
        ConfigResource ofTopic = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        ConfigResource ofGroup = new ConfigResource(ConfigResource.Type.GROUP, "group-" + run);
        ConfigResource ofMetrics = new ConfigResource(ConfigResource.Type.CLIENT_METRICS, "metrics-" + run);
        step("incrementalAlterConfigs", () -> admin.incrementalAlterConfigs(Map.of(
            ofTopic, List.of(
                new AlterConfigOp(new ConfigEntry("cleanup.policy", "compact"), AlterConfigOp.OpType.APPEND),
                new AlterConfigOp(new ConfigEntry("retention.ms", null), AlterConfigOp.OpType.DELETE)),
            ofGroup, List.of(
                new AlterConfigOp(new ConfigEntry("consumer.session.timeout.ms", "50000"), AlterConfigOp.OpType.SET)),
            ofMetrics, List.of(
                new AlterConfigOp(new ConfigEntry("interval.ms", "1000"), AlterConfigOp.OpType.SET)))).all().get());
        step("describeConfigs", () -> admin.describeConfigs(List.of(ofGroup, ofMetrics),
            new DescribeConfigsOptions().includeSynonyms(true).includeDocumentation(true)).all().get());
        step("describeConfigs of a topic", () -> admin.describeConfigs(List.of(ofTopic)).all().get());
        step("listConfigResources", () -> admin.listConfigResources().all().get());
        step("listClientMetricsResources", () -> admin.listConfigResources(
            Set.of(ConfigResource.Type.CLIENT_METRICS), new ListConfigResourcesOptions()).all().get());
    }

    private Object produce(String codec, String acks) {
        Properties properties = properties();
        properties.put("compression.type", codec);
        properties.put("acks", acks);
        properties.put("enable.idempotence", String.valueOf("all".equals(acks)));
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

    private Object transactions(Admin admin) throws Exception {
        Properties properties = properties();
        properties.put("transactional.id", "tx-" + run);
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(properties);
             Consumer<String, String> consumer = consumer("classic", "tx-group-" + run)) {
            consumer.subscribe(List.of(topic));
            poll(consumer, 1);
            producer.initTransactions();
            for (boolean commit : new boolean[] {true, false}) {
                producer.beginTransaction();
                producer.send(new ProducerRecord<>(topic, 0, "key", commit ? "kept" : "dropped"));
                producer.sendOffsetsToTransaction(
                    Map.of(first, new OffsetAndMetadata(1, Optional.of(0), "in a transaction")), consumer.groupMetadata());
                producer.flush();
                step("describeTransactions", () -> admin.describeTransactions(List.of("tx-" + run, "missing")).all().get());
                step("listTransactions", () -> admin.listTransactions(
                    new ListTransactionsOptions().filterOnDuration(0).filterOnTransactionalIdPattern("tx-.*")).all().get());
                step("describeProducers", () -> admin.describeProducers(List.of(first)).all().get());
                if (commit) {
                    producer.commitTransaction();
                } else {
                    producer.abortTransaction();
                }
            }
            producer.beginTransaction();
            producer.send(new ProducerRecord<>(topic, 0, "key", "fenced"));
            producer.flush();
            step("forceTerminateTransaction", () -> admin.forceTerminateTransaction("tx-" + run).result().get());
            step("fenceProducers", () -> admin.fenceProducers(List.of("tx-" + run)).all().get());
            step("abort of the fenced", () -> {
                producer.abortTransaction();
                return null;
            });
        }
        return null;
    }

    private Object consume(Admin admin, String protocol) throws Exception {
        String group = protocol + "-" + run;
        try (Consumer<String, String> consumer = consumer(protocol, group)) {
            consumer.subscribe(List.of(topic));
            poll(consumer, 5 * RECORDS);
            consumer.commitSync();
            Set<TopicPartition> all = consumer.assignment();
            step("endOffsets", () -> consumer.endOffsets(all));
            step("offsetsForTimes", () -> consumer.offsetsForTimes(Map.of(first, 1_760_000_000_000L)));
            step("committed", () -> consumer.committed(all));
            // A position that the epoch of its leader must confirm.
            consumer.seek(first, new OffsetAndMetadata(1, Optional.of(0), ""));
            poll(consumer, 1000);
            step("describeConsumerGroups", () -> admin.describeConsumerGroups(List.of(group)).all().get());
            step("describeClassicGroups", () -> admin.describeClassicGroups(List.of(group)).all().get());
            step("removeMembers", () -> admin.removeMembersFromConsumerGroup(group, new RemoveMembersFromConsumerGroupOptions()).all().get());
        }
        step("listGroups", () -> admin.listGroups().all().get());
        step("listConsumerGroupOffsets", () -> admin.listConsumerGroupOffsets(
            Map.of(group, new ListConsumerGroupOffsetsSpec(), "missing", new ListConsumerGroupOffsetsSpec())).all().get());
        step("alterConsumerGroupOffsets", () -> admin.alterConsumerGroupOffsets(
            group, Map.of(first, new OffsetAndMetadata(2, Optional.empty(), "set"))).all().get());
        step("deleteConsumerGroupOffsets", () -> admin.deleteConsumerGroupOffsets(group, Set.of(first)).all().get());
        step("deleteConsumerGroups", () -> admin.deleteConsumerGroups(List.of(group, "missing")).all().get());
        return null;
    }

    private Object share(Admin admin) throws Exception {
        String group = "share-" + run;
        ConfigResource ofGroup = new ConfigResource(ConfigResource.Type.GROUP, group);
        step("share from the start", () -> admin.incrementalAlterConfigs(Map.of(ofGroup, List.of(new AlterConfigOp(
            new ConfigEntry("share.auto.offset.reset", "earliest"), AlterConfigOp.OpType.SET)))).all().get());
        Properties properties = properties();
        properties.put("group.id", group);
        properties.put("share.acknowledgement.mode", "explicit");
        try (KafkaShareConsumer<String, String> consumer = new KafkaShareConsumer<>(properties)) {
            consumer.subscribe(List.of(topic));
            int found = 0;
            long deadline = System.nanoTime() + PATIENCE.toNanos();
            while (found < 2 * RECORDS && System.nanoTime() < deadline) {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(300))) {
                    AcknowledgeType[] types = {AcknowledgeType.ACCEPT, AcknowledgeType.RELEASE, AcknowledgeType.REJECT};
                    consumer.acknowledge(record, types[found++ % types.length]);
                }
                consumer.commitSync();
            }
            step("describeShareGroups", () -> admin.describeShareGroups(List.of(group)).all().get());
        }
        step("listShareGroupOffsets", () -> admin.listShareGroupOffsets(Map.of(group, new ListShareGroupOffsetsSpec())).all().get());
        step("alterShareGroupOffsets", () -> admin.alterShareGroupOffsets(group, Map.of(first, 0L)).all().get());
        step("deleteShareGroupOffsets", () -> admin.deleteShareGroupOffsets(group, Set.of(topic)).all().get());
        step("deleteShareGroups", () -> admin.deleteShareGroups(List.of(group)).all().get());
        return null;
    }

    private void streams(Admin admin) {
        step("describeStreamsGroups", () -> admin.describeStreamsGroups(List.of("streams-" + run)).all().get());
    }

    private void partitions(Admin admin) {
        TopicPartition third = new TopicPartition(topic, 2);
        step("listOffsets", () -> admin.listOffsets(Map.of(first, OffsetSpec.maxTimestamp(), third, OffsetSpec.latest())).all().get());
        step("deleteRecords", () -> admin.deleteRecords(Map.of(third, RecordsToDelete.beforeOffset(1))).all().get());
        step("electLeaders", () -> admin.electLeaders(ElectionType.PREFERRED, Set.of(first)).all().get());
        step("electLeaders everywhere", () -> admin.electLeaders(ElectionType.UNCLEAN, null).all().get());
        step("reassign", () -> admin.alterPartitionReassignments(
            Map.of(third, Optional.of(new NewPartitionReassignment(List.of(2, 3))), first, Optional.empty())).all().get());
        step("listPartitionReassignments", () -> admin.listPartitionReassignments().reassignments().get());
        step("describeLogDirs", () -> admin.describeLogDirs(List.of(1)).allDescriptions().get());
        step("alterReplicaLogDirs", () -> admin.alterReplicaLogDirs(
            Map.of(new TopicPartitionReplica(topic, 0, 1), "/nowhere")).all().get());
    }

    private void security(Admin admin) {
        AclBinding acl = new AclBinding(
            new ResourcePattern(ResourceType.TOPIC, "acl-" + run, PatternType.PREFIXED),
            new AccessControlEntry("User:carol", "*", AclOperation.READ, AclPermissionType.ALLOW));
        step("createAcls", () -> admin.createAcls(List.of(acl)).all().get());
        step("describeAcls", () -> admin.describeAcls(AclBindingFilter.ANY).values().get());
        step("deleteAcls", () -> admin.deleteAcls(List.of(acl.toFilter())).all().get());
        ClientQuotaEntity entity = new ClientQuotaEntity(Map.of("user", "carol", "client-id", "app"));
        step("alterClientQuotas", () -> admin.alterClientQuotas(List.of(new ClientQuotaAlteration(
            entity, List.of(new ClientQuotaAlteration.Op("producer_byte_rate", 1e6))))).all().get());
        step("describeClientQuotas", () -> admin.describeClientQuotas(ClientQuotaFilter.all()).entities().get());
        step("alterUserScramCredentials", () -> admin.alterUserScramCredentials(List.of(new UserScramCredentialUpsertion(
            "bob", new ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096), "secret"))).all().get());
        step("describeUserScramCredentials", () -> admin.describeUserScramCredentials(List.of("bob", "missing")).all().get());
    }

    private void cluster(Admin admin) {
        step("describeCluster", () -> admin.describeCluster(
            new DescribeClusterOptions().includeFencedBrokers(true).includeAuthorizedOperations(true)).nodes().get());
        step("describeFeatures", () -> admin.describeFeatures().featureMetadata().get());
        step("updateFeatures", () -> admin.updateFeatures(
            Map.of("group.version", new FeatureUpdate((short) 1, FeatureUpdate.UpgradeType.UPGRADE)),
            new UpdateFeaturesOptions().validateOnly(true)).all().get());
        step("describeMetadataQuorum", () -> admin.describeMetadataQuorum().quorumInfo().get());
        step("unregisterBroker", () -> admin.unregisterBroker(99).all().get());
        step("addRaftVoter", () -> admin.addRaftVoter(
            9, Uuid.ONE_UUID, Set.of(new RaftVoterEndpoint("CONTROLLER", "127.0.0.1", 9))).all().get());
        step("removeRaftVoter", () -> admin.removeRaftVoter(9, Uuid.ONE_UUID).all().get());
    }

    private Object tokens() throws Exception {
        for (String[] login : new String[][] {
            {"PLAIN", "org.apache.kafka.common.security.plain.PlainLoginModule", "alice"},
            {"SCRAM-SHA-256", "org.apache.kafka.common.security.scram.ScramLoginModule", "bob"}}) {
            Properties properties = properties();
            properties.put("bootstrap.servers", sasl);
            properties.put("security.protocol", "SASL_PLAINTEXT");
            properties.put("sasl.mechanism", login[0]);
            properties.put("sasl.jaas.config", login[1] + " required username=\"" + login[2] + "\" password=\"secret\";");
            try (Admin admin = Admin.create(properties)) {
                DelegationToken token = admin.createDelegationToken().delegationToken().get();
                // Until the controller's record of it has reached the broker that is asked.
                long deadline = System.nanoTime() + Duration.ofSeconds(5).toNanos();
                while (admin.describeDelegationToken().delegationTokens().get().isEmpty() && System.nanoTime() < deadline) {
                    Thread.sleep(20);
                }
                step("renewDelegationToken", () -> admin.renewDelegationToken(token.hmac()).expiryTimestamp().get());
                step("expireDelegationToken", () -> admin.expireDelegationToken(token.hmac()).expiryTimestamp().get());
            }
        }
        return null;
    }

    private Consumer<String, String> consumer(String protocol, String group) {
        Properties properties = properties();
        properties.put("group.id", group);
        properties.put("group.protocol", protocol);
        properties.put("auto.offset.reset", "earliest");
        properties.put("enable.auto.commit", "false");
        properties.put("isolation.level", "read_committed");
        properties.put("fetch.max.wait.ms", "100");
        if (protocol.equals("classic")) {
            properties.put("heartbeat.interval.ms", "100");
            properties.put("group.instance.id", "one");
        }
        return new KafkaConsumer<>(properties);
    }

    /** Polls until `wanted` records came, or for a while. */
    private static void poll(Consumer<String, String> consumer, int wanted) {
        int found = 0;
        Duration patience = wanted > 100 ? Duration.ofSeconds(1) : PATIENCE;
        long deadline = System.nanoTime() + patience.toNanos();
        while (found < wanted && System.nanoTime() < deadline) {
            found += consumer.poll(Duration.ofMillis(200)).count();
        }
    }

    private Properties properties() {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        properties.put("client.id", "recorder");
        properties.put("max.block.ms", "10000");
        properties.put("key.serializer", "org.apache.kafka.common.serialization.StringSerializer");
        properties.put("value.serializer", "org.apache.kafka.common.serialization.StringSerializer");
        properties.put("key.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        properties.put("value.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        return properties;
    }
}

package org.apache.kafka.common.test.junit;

import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ExecutionException;

import kafka.server.ControllerServer;
import kafka.server.KafkaBroker;
import kafka.server.KafkaConfig;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.GroupProtocol;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.network.ListenerName;
import org.apache.kafka.common.security.auth.SecurityProtocol;
import org.apache.kafka.common.test.ClusterInstance;
import org.apache.kafka.common.test.JaasUtils;

import org.apache.kafka.common.test.api.ClusterConfig;
import org.apache.kafka.common.test.api.Type;
import org.apache.kafka.server.common.Feature;
import org.apache.kafka.server.fault.FaultHandlerException;
import org.apache.kafka.test.TestUtils;
import org.junit.jupiter.api.extension.AfterTestExecutionCallback;
import org.junit.jupiter.api.extension.BeforeEachCallback;
import org.junit.jupiter.api.extension.Extension;
import org.junit.jupiter.api.extension.TestTemplateInvocationContext;
import org.opentest4j.TestAbortedException;
import ottla.cluster.Node;
import ottla.cluster.Outside;

/**
 * Stands where Kafka's own class of this name stands, earlier on the class path: gives a test one Ottla broker, a
 * process with the properties that the test asks for, instead of brokers and controllers in the JVM.
 *
 * A test that asks for several brokers gets one too, and topics of one replica where the harness creates them.
 */
public class RaftClusterInvocationContext implements TestTemplateInvocationContext {
    private final String name;
    private final ClusterConfig config;
    private final boolean isCombined;

    public RaftClusterInvocationContext(String name, ClusterConfig config, boolean isCombined) {
        this.name = name;
        this.config = config;
        this.isCombined = isCombined;
    }

    @Override
    public String getDisplayName(int index) {
        return name + "[" + index + "]";
    }

    @Override
    public List<Extension> getAdditionalExtensions() {
        OneNode cluster = new OneNode(config, isCombined);
        return List.of(
            (BeforeEachCallback) context -> {
                if (isCombined && config.clusterTypes().contains(Type.KRAFT)) {
                    throw new TestAbortedException("once is enough: broker and controller are always one");
                }
                if (config.isAutoStart()) {
                    cluster.start();
                }
            },
            (AfterTestExecutionCallback) context -> cluster.stop(),
            new ClusterInstanceParameterResolver(cluster));
    }

    private static final class OneNode implements ClusterInstance {
        private final ClusterConfig config;
        private final boolean isCombined;
        private Map<Integer, KafkaBroker> brokers = Map.of();
        private Node node;
        private Admin admin;
        private boolean isStopped;

        OneNode(ClusterConfig config, boolean isCombined) {
            this.config = config;
            this.isCombined = isCombined;
        }

        /**
         * What the test asks of its brokers, with as many replicas as there can be. Some tests give keys of topics, which
         * Kafka's broker passes over, and ours takes for mistakes.
         */
        private Map<String, String> asked() {
            Map<String, String> asked = new HashMap<>(config.serverProperties());
            asked.putAll(config.perServerOverrideProperties().getOrDefault(0, Map.of()));
            asked.keySet().retainAll(KafkaConfig.configDef().names());
            if (config.features().getOrDefault(Feature.GROUP_VERSION, (short) 1) == 0) {
                // Kafka's switch for the groups of KIP-848 is a feature of the cluster; ours is this key alone.
                asked.put("group.coordinator.rebalance.protocols", "classic");
            }
            asked.replaceAll((key, value) -> key.endsWith("replication.factor") || key.endsWith(".min.isr") ? "1" : value);
            if (config.brokerSecurityProtocol() == SecurityProtocol.SASL_PLAINTEXT) {
                guard(asked);
            }
            return asked;
        }

        /** Kafka's harness has these users, of whom one may do all, wherever clients log in. */
        private void guard(Map<String, String> asked) {
            asked.putIfAbsent("sasl.enabled.mechanisms", "PLAIN");
            asked.put("ottla.sasl.plain.without.tls", "true");
            asked.put(config.brokerListenerName().saslMechanismConfigPrefix("PLAIN") + "sasl.jaas.config", String.format(
                "org.apache.kafka.common.security.plain.PlainLoginModule required user_%s=\"%s\" user_%s=\"%s\";",
                JaasUtils.KAFKA_PLAIN_USER1, JaasUtils.KAFKA_PLAIN_USER1_PASSWORD,
                JaasUtils.KAFKA_PLAIN_ADMIN, JaasUtils.KAFKA_PLAIN_ADMIN_PASSWORD));
            asked.putIfAbsent("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer");
            asked.putIfAbsent("super.users", "User:" + JaasUtils.KAFKA_PLAIN_ADMIN);
        }

        private Admin own() {
            if (admin == null) {
                admin = admin();
            }
            return admin;
        }

        @Override
        public void start() {
            if (node == null) {
                String listener = config.brokerListenerName().value();
                node = new Node(listener, config.brokerSecurityProtocol(), config.numDisksPerBroker(), asked());
                brokers = Map.of(0, Outside.broker(node, listener, asked(), this::own));
            }
            node.start();
        }

        @Override
        public void stop() {
            isStopped = true;
            if (admin != null) {
                admin.close();
            }
            if (node != null) {
                node.delete();
            }
        }

        @Override
        public boolean started() {
            return node != null;
        }

        @Override
        public boolean stopped() {
            return isStopped;
        }

        @Override
        public void shutdownBroker(int id) {
            needsNoOther();
            node.stop();
        }

        @Override
        public void startBroker(int id) {
            needsNoOther();
            node.start();
        }

        /** Who stops one broker of several wants the others to go on. */
        private void needsNoOther() {
            if (config.numBrokers() > 1) {
                throw new TestAbortedException("needs several brokers");
            }
        }

        @Override
        public Type type() {
            return isCombined ? Type.CO_KRAFT : Type.KRAFT;
        }

        @Override
        public ClusterConfig config() {
            return config;
        }

        @Override
        public Map<Integer, KafkaBroker> brokers() {
            return brokers;
        }

        @Override
        public Map<Integer, ControllerServer> controllers() {
            return Outside.nobody("controllers");
        }

        @Override
        public Set<Integer> controllerIds() {
            return Set.of(0);
        }

        @Override
        public Set<Integer> brokerIds() {
            return Set.of(0);
        }

        @Override
        public List<Integer> brokerBoundPorts() {
            return List.of(node.port());
        }

        @Override
        public List<Integer> controllerBoundPorts() {
            throw new TestAbortedException("needs a controller's port");
        }

        @Override
        public ListenerName clientListener() {
            return config.brokerListenerName();
        }

        @Override
        public ListenerName controllerListenerName() {
            return config.controllerListenerName();
        }

        @Override
        public String bootstrapServers() {
            return "localhost:" + node.port();
        }

        @Override
        public String bootstrapControllers() {
            throw new TestAbortedException("needs a controller's port");
        }

        @Override
        public String clusterId() {
            try {
                return own().describeCluster().clusterId().get();
            } catch (InterruptedException | ExecutionException e) {
                throw new IllegalStateException(e);
            }
        }

        @Override
        public Set<GroupProtocol> supportedGroupProtocols() {
            String protocols = asked().getOrDefault("group.coordinator.rebalance.protocols", "classic,consumer");
            return protocols.contains("consumer")
                ? Set.of(GroupProtocol.CLASSIC, GroupProtocol.CONSUMER)
                : Set.of(GroupProtocol.CLASSIC);
        }

        @Override
        public Optional<FaultHandlerException> firstFatalException() {
            return Optional.empty();
        }

        @Override
        public Optional<FaultHandlerException> firstNonFatalException() {
            return Optional.empty();
        }

        @Override
        public void createTopic(String topic, int partitions, short replicas, Map<String, String> configs)
                throws InterruptedException {
            Map<String, String> here = new HashMap<>(configs);
            here.computeIfPresent("min.insync.replicas", (key, value) -> "1");
            try {
                own().createTopics(List.of(new NewTopic(topic, partitions, (short) 1).configs(here))).all().get();
            } catch (ExecutionException e) {
                // Kafka's harness creates what is there without a word, too.
                if (!(e.getCause() instanceof TopicExistsException)) {
                    throw new AssertionError(e.getCause());
                }
            }
            waitTopicCreation(topic, partitions);
        }

        @Override
        public void waitTopicCreation(String topic, int partitions) throws InterruptedException {
            TestUtils.waitForCondition(
                () -> brokers.get(0).metadataCache().numPartitions(topic).filter(count -> count == partitions).isPresent(),
                "topic " + topic + " is not there");
        }

        @Override
        public void waitTopicDeletion(String topic) throws InterruptedException {
            TestUtils.waitForCondition(() -> brokers.get(0).metadataCache().numPartitions(topic).isEmpty(),
                "topic " + topic + " is still there");
        }

        @Override
        public void waitAcls(AclBindingFilter filter, Collection<AccessControlEntry> entries) throws InterruptedException {
            TestUtils.waitForCondition(() -> {
                Set<AccessControlEntry> there = new HashSet<>();
                own().describeAcls(filter).values().get().forEach(binding -> there.add(binding.entry()));
                return there.equals(new HashSet<>(entries));
            }, "the access rules are not " + entries);
        }

        @Override
        public void waitForReadyBrokers() { }

        @Override
        public void ensureConsistentMetadata() { }

        @Override
        public void ensureConsistentMetadata(Collection<KafkaBroker> brokers, Collection<ControllerServer> controllers) { }
    }
}

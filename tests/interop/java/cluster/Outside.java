package ottla.cluster;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.util.AbstractMap;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.function.Supplier;

import kafka.server.KafkaBroker;
import kafka.server.KafkaConfig;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.coordinator.group.GroupCoordinator;
import org.apache.kafka.metadata.LeaderAndIsr;
import org.apache.kafka.metadata.LeaderRecoveryState;
import org.apache.kafka.metadata.MetadataCache;
import org.opentest4j.TestAbortedException;

/**
 * What tests ask of the objects of a broker in their own JVM and what can be told, or done, from outside: its
 * configuration, what its Metadata says, its end. Whatever else they ask aborts the test.
 */
public final class Outside {
    private Outside() { }

    /** The broker of `node`. */
    public static KafkaBroker broker(Node node, String listener, Map<String, String> asked, Supplier<Admin> admin) {
        Cache cache = new Cache(admin);
        Coordinator coordinator = new Coordinator();
        Broker broker = new Broker(node, config(listener, asked), as(MetadataCache.class, cache),
            as(GroupCoordinator.class, coordinator));
        return as(KafkaBroker.class, broker);
    }

    /** A map without entries: to ask it for one aborts the test. */
    public static <V> Map<Integer, V> nobody(String what) {
        return new AbstractMap<>() {
            @Override
            public Set<Entry<Integer, V>> entrySet() {
                return Set.of();
            }

            @Override
            public V get(Object key) {
                throw new TestAbortedException("reaches into the JVM: " + what);
            }
        };
    }

    /** Answers the methods that `target` has by name and number of parameters. */
    private static <T> T as(Class<T> type, Object target) {
        Object proxy = Proxy.newProxyInstance(type.getClassLoader(), new Class<?>[] {type}, (self, called, arguments) -> {
            int count = arguments == null ? 0 : arguments.length;
            for (Method method : target.getClass().getDeclaredMethods()) {
                if (method.getName().equals(called.getName()) && method.getParameterCount() == count) {
                    method.setAccessible(true);
                    try {
                        return method.invoke(target, arguments);
                    } catch (InvocationTargetException e) {
                        throw e.getCause();
                    }
                }
            }
            throw new TestAbortedException("reaches into the JVM: " + type.getSimpleName() + "." + called.getName());
        });
        return type.cast(proxy);
    }

    private static KafkaConfig config(String listener, Map<String, String> asked) {
        Properties properties = new Properties();
        properties.put("process.roles", "broker,controller");
        properties.put("node.id", "0");
        properties.put("listeners", listener + "://localhost:0,CONTROLLER://localhost:0");
        properties.put("advertised.listeners", listener + "://localhost:0");
        properties.put("listener.security.protocol.map", listener + ":PLAINTEXT,CONTROLLER:PLAINTEXT");
        properties.put("inter.broker.listener.name", listener);
        properties.put("controller.listener.names", "CONTROLLER");
        properties.put("controller.quorum.voters", "0@localhost:0");
        properties.putAll(asked);
        return KafkaConfig.fromProps(properties);
    }

    private record Broker(Node node, KafkaConfig settings, MetadataCache cache, GroupCoordinator groups) {
        KafkaConfig config() {
            return settings;
        }

        MetadataCache metadataCache() {
            return cache;
        }

        GroupCoordinator groupCoordinator() {
            return groups;
        }

        int boundPort(Object listener) {
            return node.port();
        }

        boolean isShutdown() {
            return !node.isAlive();
        }

        void shutdown() {
            node.stop();
        }

        /** It has ended when {@link #shutdown} returns. */
        void awaitShutdown() { }

        void startup() {
            node.start();
        }
    }

    private record Coordinator() {
        Properties groupMetadataTopicConfigs() {
            Properties properties = new Properties();
            properties.put("cleanup.policy", "compact");
            return properties;
        }
    }

    private record Cache(Supplier<Admin> admin) {
        Optional<Integer> numPartitions(String topic) {
            return describe(topic).map(description -> description.partitions().size());
        }

        Optional<LeaderAndIsr> getLeaderAndIsr(String topic, int partition) {
            return describe(topic).map(description -> new LeaderAndIsr(
                description.partitions().get(partition).leader().id(), 0, List.of(0), LeaderRecoveryState.RECOVERED, 0));
        }

        boolean contains(String topic) {
            return describe(topic).isPresent();
        }

        Map<String, org.apache.kafka.common.Uuid> topicNamesToIds() {
            try {
                Map<String, org.apache.kafka.common.Uuid> ids = new HashMap<>();
                admin.get().listTopics().listings().get().forEach(listing -> ids.put(listing.name(), listing.topicId()));
                return ids;
            } catch (InterruptedException | ExecutionException e) {
                throw new IllegalStateException(e);
            }
        }

        private Optional<TopicDescription> describe(String topic) {
            try {
                return Optional.of(admin.get().describeTopics(List.of(topic)).allTopicNames().get().get(topic));
            } catch (ExecutionException e) {
                if (e.getCause() instanceof UnknownTopicOrPartitionException) {
                    return Optional.empty();
                }
                throw new IllegalStateException(e);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                throw new IllegalStateException(e);
            }
        }
    }
}

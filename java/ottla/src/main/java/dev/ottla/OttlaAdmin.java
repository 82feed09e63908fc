package dev.ottla;

import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.stream.Collectors;

/**
 * Looks at a cluster and changes it: topics, configurations, groups, offsets. Thread-safe.
 *
 * <pre>{@code
 * try (var admin = OttlaAdmin.create(Map.of("bootstrap.servers", "localhost:9092"))) {
 *     admin.createTopics(List.of(new NewTopic("orders", 6))).join();
 * }
 * }</pre>
 *
 * <p>A call about several things gives an {@link Outcomes}, whose {@code join} throws the first failure; its {@code each()} tells of each
 * thing by itself. {@code default.api.timeout.ms} ends a call that takes too long.
 */
public final class OttlaAdmin implements AutoCloseable {
    /** Nothing is told to it: calls end by themselves. */
    private static final Completions.Client NOBODY = new Completions.Client() {};

    private final long number;
    private final Forgotten forgotten;
    private final AtomicBoolean isClosed = new AtomicBoolean();

    private OttlaAdmin(Map<?, ?> configs) {
        Settings settings = Settings.of(configs);
        number = In.answer(Native.adminNew(settings.encoded())).i64();
        Completions.SHARED.add(number, NOBODY, settings.provider());
        long freed = number;
        forgotten = Forgotten.watch(this, () -> free(freed));
    }

    /**
     * Makes one.
     *
     * @param configs Kafka's keys; a {@link java.util.Properties} is one
     * @return a new one
     */
    public static OttlaAdmin create(Map<?, ?> configs) {
        return new OttlaAdmin(configs);
    }

    /**
     * What becomes of several things: a future of all, and one of each.
     *
     * @param <K> what the things are named by
     * @param <V> what comes of each
     */
    public static final class Outcomes<K, V> {
        private final CompletableFuture<Map<K, CompletableFuture<V>>> told;

        private Outcomes(CompletableFuture<Map<K, CompletableFuture<V>>> told) {
            this.told = told;
        }

        /**
         * Of all; fails if any has failed.
         *
         * @return the values, by name
         */
        public CompletableFuture<Map<K, V>> all() {
            return told.thenCompose(each -> {
                CompletableFuture<?>[] futures = each.values().toArray(CompletableFuture[]::new);
                return CompletableFuture.allOf(futures).thenApply(ok -> {
                    Map<K, V> values = new LinkedHashMap<>();
                    each.forEach((key, value) -> values.put(key, value.join()));
                    return values;
                });
            });
        }

        /**
         * Of each by itself; fails only where nobody could be asked.
         *
         * @return what became of it, by name: futures that have ended
         */
        public CompletableFuture<Map<K, CompletableFuture<V>>> each() {
            return told;
        }

        /**
         * Waits for all.
         *
         * @return the values, by name
         * @throws OttlaException the first failure
         */
        public Map<K, V> join() {
            try {
                return Completions.SHARED.await(all(), Long.MAX_VALUE);
            } catch (java.util.concurrent.CompletionException e) {
                throw OttlaException.rethrown(e.getCause());
            }
        }
    }

    // ---- topics

    /**
     * Creates topics.
     *
     * @param topics the topics
     * @return done for each when it is there
     */
    public Outcomes<String, Void> createTopics(Collection<NewTopic> topics) {
        return createTopics(topics, false);
    }

    /**
     * Creates topics, or says whether they could be.
     *
     * @param topics the topics
     * @param validateOnly whether to create none
     * @return done for each when it is there
     */
    public Outcomes<String, Void> createTopics(Collection<NewTopic> topics, boolean validateOnly) {
        return each(
                "createTopics",
                out -> out.bool(validateOnly).list(topics, (to, topic) -> to.text(topic.name())
                        .i32(topic.partitions())
                        .i16(topic.replicationFactor())
                        .map(topic.configs(), Out::text, Out::text)),
                In::text,
                in -> null);
    }

    /**
     * Deletes topics with all their records.
     *
     * @param topics their names
     * @return done for each when it is gone
     */
    public Outcomes<String, Void> deleteTopics(Collection<String> topics) {
        return each("deleteTopics", out -> out.texts(topics), In::text, in -> null);
    }

    /**
     * Raises the number of partitions of topics.
     *
     * @param totals how many there are to be, by name
     * @return done for each when they are there
     */
    public Outcomes<String, Void> createPartitions(Map<String, Integer> totals) {
        return each("createPartitions", out -> out.bool(false).map(totals, Out::text, Out::i32), In::text, in -> null);
    }

    /**
     * Topics with their partitions.
     *
     * @param topics their names
     * @return a description of each
     */
    public Outcomes<String, TopicDescription> describeTopics(Collection<String> topics) {
        return each("describeTopics", out -> out.texts(topics), In::text, OttlaAdmin::topic);
    }

    /**
     * All topics that this client may see.
     *
     * @return the topics, Kafka's own among them
     */
    public CompletableFuture<List<TopicListing>> listTopics() {
        return call("listTopics", out -> {}, in -> in.list(each -> new TopicListing(each.text(), each.bool(), each.i32())));
    }

    // ---- configurations

    /**
     * Configurations: every key with its value, and where that is from.
     *
     * @param resources of which
     * @return of each its entries by key
     */
    public Outcomes<ConfigResource, Map<String, ConfigEntry>> describeConfigs(Collection<ConfigResource> resources) {
        return each(
                "describeConfigs",
                out -> out.list(resources, OttlaAdmin::resource),
                OttlaAdmin::resource,
                in -> in.list(each -> new ConfigEntry(each.text(), each.text(), each.text(), each.bool(), each.bool())).stream()
                        .collect(Collectors.toMap(ConfigEntry::name, entry -> entry, (one, same) -> one, LinkedHashMap::new)));
    }

    /**
     * Changes single keys.
     *
     * @param changes the changes, by what is changed
     * @return done for each when it is changed
     */
    public Outcomes<ConfigResource, Void> incrementalAlterConfigs(Map<ConfigResource, ? extends Collection<AlterConfigOp>> changes) {
        return each(
                "alterConfigs",
                out -> out.bool(false).map(changes, OttlaAdmin::resource, (to, each) -> to.list(
                        each, (Out one, AlterConfigOp change) ->
                                one.text(change.name()).i32(change.type().ordinal()).text(change.value()))),
                OttlaAdmin::resource,
                in -> null);
    }

    // ---- groups

    /**
     * All groups of the cluster, of any type.
     *
     * @return the groups
     */
    public CompletableFuture<List<GroupListing>> listGroups() {
        return call("listGroups", out -> {}, in -> in.list(each -> new GroupListing(each.text(), each.text(), each.text(), each.text())));
    }

    /**
     * Groups with their members.
     *
     * @param groups their names
     * @return a description of each
     */
    public Outcomes<String, GroupDescription> describeGroups(Collection<String> groups) {
        return each("describeGroups", out -> out.texts(groups), In::text, OttlaAdmin::group);
    }

    /**
     * Deletes groups without members, with the offsets they have committed.
     *
     * @param groups their names
     * @return done for each when it is gone
     */
    public Outcomes<String, Void> deleteGroups(Collection<String> groups) {
        return each("deleteGroups", out -> out.texts(groups), In::text, in -> null);
    }

    /**
     * All offsets that groups have committed.
     *
     * @param groups their names
     * @return of each its offsets by partition
     */
    public Outcomes<String, Map<TopicPartition, OffsetAndMetadata>> listGroupOffsets(Collection<String> groups) {
        return each("listGroupOffsets", out -> out.texts(groups), In::text, in -> in.map(In::partition, In::offset));
    }

    /**
     * Commits offsets in the name of a group that has no members.
     *
     * @param group its name
     * @param offsets the offsets, by partition
     * @return done for each when it is committed
     */
    public Outcomes<TopicPartition, Void> alterGroupOffsets(String group, Map<TopicPartition, OffsetAndMetadata> offsets) {
        return each("alterGroupOffsets", out -> out.text(group).map(offsets, Out::partition, Out::offset), In::partition, in -> null);
    }

    /**
     * Forgets offsets that a group has committed, of topics that no member of it reads.
     *
     * @param group its name
     * @param partitions of which partitions
     * @return done for each when it is forgotten
     */
    public Outcomes<TopicPartition, Void> deleteGroupOffsets(String group, Set<TopicPartition> partitions) {
        return each("deleteGroupOffsets", out -> out.text(group).partitions(partitions), In::partition, in -> null);
    }

    // ---- offsets, and the cluster

    /**
     * Offsets by place.
     *
     * @param places the places, by partition
     * @return what is there; null where nothing is
     */
    public Outcomes<TopicPartition, OffsetAndTimestamp> listOffsets(Map<TopicPartition, OffsetSpec> places) {
        return each(
                "listOffsets",
                out -> out.map(places, Out::partition, (to, place) -> to.i64(place.place())),
                In::partition,
                OttlaConsumer::listed);
    }

    /**
     * The cluster's id, controller and brokers.
     *
     * @return the cluster
     */
    public CompletableFuture<ClusterDescription> describeCluster() {
        return call("describeCluster", out -> {}, in -> new ClusterDescription(
                in.text(),
                in.i32(),
                in.list(each -> new ClusterDescription.Node(each.i32(), each.text(), each.i32(), each.text()))));
    }

    /** Ends it; calls under way fail. */
    @Override
    public void close() {
        if (isClosed.compareAndSet(false, true)) {
            forgotten.cancel();
            free(number);
        }
    }

    private static void free(long number) {
        Native.adminFree(number);
        Completions.SHARED.remove(number);
    }

    // ---- helpers

    private <T> CompletableFuture<T> call(String what, Consumer<Out> arguments, Function<In, T> read) {
        Out request = new Out().text(what);
        arguments.accept(request);
        byte[] bytes = request.bytes();
        return Completions.SHARED.start((queue, token) -> Native.adminCall(number, bytes, queue, token), read);
    }

    private <K, V> Outcomes<K, V> each(String what, Consumer<Out> arguments, Function<In, K> key, Function<In, V> value) {
        return new Outcomes<>(call(what, arguments, in -> in.map(key, each -> {
            OttlaException failure = each.failure();
            return failure == null
                    ? CompletableFuture.completedFuture(value.apply(each))
                    : CompletableFuture.<V>failedFuture(failure);
        })));
    }

    private static void resource(Out out, ConfigResource resource) {
        out.i32(resource.type().number()).text(resource.name());
    }

    private static ConfigResource resource(In in) {
        return new ConfigResource(ConfigResource.Type.of(in.i32()), in.text());
    }

    private static TopicDescription topic(In in) {
        return new TopicDescription(in.text(), in.bool(), in.list(each -> new TopicDescription.Partition(
                each.i32(), each.i32(), each.i32(), each.list(In::i32), each.list(In::i32), each.list(In::i32))));
    }

    private static GroupDescription group(In in) {
        return new GroupDescription(
                in.text(),
                in.text(),
                in.text(),
                in.text(),
                in.text(),
                in.i32(),
                in.i32(),
                in.list(each -> new GroupDescription.Member(
                        each.text(), each.text(), each.text(), each.text(), each.partitions())));
    }
}

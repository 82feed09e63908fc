package dev.ottla;

import static dev.ottla.Names.admin;
import static dev.ottla.Names.consumer;
import static dev.ottla.Names.name;
import static dev.ottla.Names.producer;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Flow;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import java.util.regex.Pattern;

import dev.ottla.errors.ClosedException;
import dev.ottla.errors.NoOffsetException;
import dev.ottla.testing.OttlaBroker;
import dev.ottla.testing.WithOttlaBroker;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@WithOttlaBroker
@Timeout(120)
class ConsumerTest {
    private static final Duration PATIENCE = Duration.ofSeconds(30);

    private final OttlaBroker broker;

    ConsumerTest(OttlaBroker broker) {
        this.broker = broker;
    }

    /**
     * Writes one batch to each partition. A producer with nothing under way sends what is there: if that was not all yet, the topic is
     * made anew.
     */
    private void fill(String topic, int partitions, int count) {
        try (var admin = admin(broker)) {
            admin.createTopics(List.of(new NewTopic(topic, partitions))).join();
            while (write(topic, partitions, count) > partitions) {
                admin.deleteTopics(List.of(topic)).join();
                admin.createTopics(List.of(new NewTopic(topic, partitions))).join();
            }
        }
    }

    /** Answers how many batches there were. */
    private double write(String topic, int partitions, int count) {
        try (var producer = producer(broker, "batch.size", 1_000_000)) {
            for (int i = 0; i < count; i++) {
                producer.sendAndForget(new ProducerRecord<>(topic, i % partitions, "key " + i, "value " + i));
            }
            producer.flush();
            return producer.metrics().get("batch-send-total");
        }
    }

    /** Polls until so many records came. */
    private static List<ConsumerRecord<String, String>> read(OttlaConsumer<String, String> consumer, int count) {
        List<ConsumerRecord<String, String>> records = new ArrayList<>();
        long began = System.nanoTime();
        while (records.size() < count && System.nanoTime() - began < PATIENCE.toNanos()) {
            consumer.poll(Duration.ofSeconds(1)).forEach(records::add);
        }
        assertEquals(count, records.size());
        return records;
    }

    @Test
    void aGroupGoesOnWhereItCommitted() {
        String topic = name("orders");
        String group = name("group");
        fill(topic, 2, 100);
        try (var consumer = consumer(broker, "group.id", group)) {
            consumer.subscribe(List.of(topic));
            read(consumer, 100);
            consumer.commitSync();
            var partitions = Set.of(new TopicPartition(topic, 0), new TopicPartition(topic, 1));
            assertEquals(partitions, consumer.assignment());
            assertEquals(50, consumer.committed(partitions).get(new TopicPartition(topic, 1)).offset());
        }
        fill2(topic, 10);
        try (var consumer = consumer(broker, "group.id", group)) {
            consumer.subscribe(List.of(topic));
            assertEquals("more 0", read(consumer, 10).stream().map(ConsumerRecord::value).sorted().findFirst().orElseThrow());
        }
    }

    private void fill2(String topic, int count) {
        try (var producer = producer(broker)) {
            for (int i = 0; i < count; i++) {
                producer.sendAndForget(topic, null, "more " + i);
            }
        }
    }

    @Test
    void recordsStayWhatTheyAreWhateverBecomesOfTheirConsumer() {
        String topic = name("kept");
        fill(topic, 1, 1_000);
        List<ConsumerRecord<String, String>> records;
        try (var consumer = consumer(broker)) {
            consumer.assign(List.of(new TopicPartition(topic, 0)));
            records = read(consumer, 1_000);
        }
        System.gc();
        for (int i = 0; i < 1_000; i++) {
            assertEquals("key " + i, records.get(i).key());
            assertEquals("value " + i, records.get(i).value());
        }
    }

    @Test
    void aPollGivesNoMoreThanItIsAllowed() {
        String topic = name("few");
        fill(topic, 1, 100);
        try (var consumer = consumer(broker, "max.poll.records", 7)) {
            consumer.assign(List.of(new TopicPartition(topic, 0)));
            assertEquals(7, consumer.poll(PATIENCE).count());
            assertEquals(7, consumer.position(new TopicPartition(topic, 0)));
            assertEquals(93, consumer.currentLag(new TopicPartition(topic, 0)).orElseThrow());
        }
    }

    @Test
    void aListenerIsToldWhatComesAndGoesBeforeThePartitionsDo() {
        String topic = name("shared");
        String group = name("group");
        fill(topic, 2, 10);
        List<String> told = new ArrayList<>();
        Set<TopicPartition> lost = new HashSet<>();
        try (var consumer = consumer(broker, "group.id", group)) {
            consumer.subscribe(List.of(topic), new RebalanceListener() {
                @Override
                public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
                    told.add("assigned " + partitions.size());
                }

                @Override
                public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
                    lost.addAll(partitions);
                    consumer.commitSync();
                    told.add("revoked " + partitions.size());
                }
            });
            read(consumer, 10);
            assertEquals(List.of("assigned 2"), told.stream().filter(line -> !line.endsWith(" 0")).toList());
        }
        assertEquals("revoked 2", told.get(told.size() - 1));
        assertEquals(2, lost.size());
    }

    @Test
    void whatAListenerThrowsComesOutOfPoll() {
        String topic = name("thrown");
        fill(topic, 1, 1);
        try (var consumer = consumer(broker, "group.id", name("group"))) {
            consumer.subscribe(List.of(topic), new RebalanceListener() {
                @Override
                public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
                    if (!partitions.isEmpty()) {
                        throw new IllegalStateException("as it should");
                    }
                }

                @Override
                public void onPartitionsRevoked(Collection<TopicPartition> partitions) {}
            });
            var failure = assertThrows(IllegalStateException.class, () -> {
                while (true) {
                    consumer.poll(PATIENCE);
                }
            });
            assertEquals("as it should", failure.getMessage());
            read(consumer, 1);
        }
    }

    @Test
    void readingGoesOnWhereItIsSought() {
        String topic = name("sought");
        TopicPartition partition = new TopicPartition(topic, 0);
        fill(topic, 1, 100);
        try (var consumer = consumer(broker)) {
            consumer.assign(List.of(partition));
            consumer.seek(partition, 90);
            assertEquals("value 90", read(consumer, 10).get(0).value());
            consumer.seekToBeginning(List.of(partition));
            assertEquals(0, consumer.position(partition));
            consumer.seekToEnd(List.of(partition));
            assertEquals(100, consumer.position(partition));
            assertEquals(Map.of(partition, 0L), consumer.beginningOffsets(List.of(partition)));
            assertEquals(Map.of(partition, 100L), consumer.endOffsets(List.of(partition)));
            assertEquals(0, consumer.offsetsForTimes(Map.of(partition, 0L)).get(partition).offset());
            assertNull(consumer.offsetsForTimes(Map.of(partition, Long.MAX_VALUE / 2)).get(partition));
        }
    }

    @Test
    void aPausedPartitionGivesNothing() {
        String topic = name("paused");
        TopicPartition partition = new TopicPartition(topic, 0);
        fill(topic, 1, 10);
        try (var consumer = consumer(broker)) {
            consumer.assign(List.of(partition));
            consumer.pause(List.of(partition));
            assertEquals(Set.of(partition), consumer.paused());
            assertTrue(consumer.poll(Duration.ofMillis(200)).isEmpty());
            consumer.resume(List.of(partition));
            read(consumer, 10);
        }
    }

    @Test
    void topicsAreFoundByAPattern() {
        String topic = name("pattern-of-mine");
        fill(topic, 1, 5);
        try (var consumer = consumer(broker, "group.id", name("group"))) {
            consumer.subscribe(Pattern.compile("pattern-of-mine-.*"));
            read(consumer, 5);
        }
    }

    @Test
    void aPollThatWaitsIsWokenAndInterrupted() throws Exception {
        try (var consumer = consumer(broker)) {
            consumer.assign(List.of(new TopicPartition(name("quiet"), 0)));
            assertThrows(WakeupException.class, () -> {
                consumer.wakeup();
                consumer.poll(PATIENCE);
            });
            AtomicReference<Throwable> failure = new AtomicReference<>();
            CountDownLatch polls = new CountDownLatch(1);
            Thread thread = new Thread(() -> {
                polls.countDown();
                try {
                    consumer.poll(PATIENCE);
                } catch (OttlaException e) {
                    failure.set(Thread.currentThread().isInterrupted() ? e : null);
                }
            });
            thread.start();
            polls.await();
            thread.interrupt();
            thread.join();
            assertEquals(InterruptException.class, failure.get().getClass());
        }
    }

    @Test
    void withoutAPositionThereIsAnError() {
        String topic = name("nowhere");
        fill(topic, 1, 1);
        try (var consumer = consumer(broker, "auto.offset.reset", "none")) {
            consumer.assign(List.of(new TopicPartition(topic, 0)));
            assertThrows(NoOffsetException.class, () -> consumer.poll(PATIENCE));
        }
    }

    @Test
    void closingEndsAPollOfAnotherThread() throws Exception {
        var consumer = consumer(broker);
        consumer.assign(List.of(new TopicPartition(name("closed"), 0)));
        AtomicReference<Throwable> failure = new AtomicReference<>();
        Thread thread = new Thread(() -> {
            try {
                consumer.poll(PATIENCE);
            } catch (OttlaException e) {
                failure.set(e);
            }
        });
        thread.start();
        consumer.close();
        consumer.close();
        thread.join();
        assertEquals(ClosedException.class, failure.get().getClass());
        assertThrows(ClosedException.class, consumer::assignment);
    }

    @Test
    void whatCannotBeDeserializedIsSaidWithItsPlace() {
        String topic = name("odd");
        fill(topic, 1, 1);
        try (var consumer = new OttlaConsumer<String, Long>(
                Map.of("bootstrap.servers", broker.bootstrapServers(), "auto.offset.reset", "earliest"),
                Serdes.stringDeserializer(),
                Serdes.longDeserializer())) {
            consumer.assign(List.of(new TopicPartition(topic, 0)));
            var record = consumer.poll(PATIENCE).asList().get(0);
            assertEquals("key 0", record.key());
            var failure = assertThrows(SerializationException.class, record::value);
            assertTrue(failure.getMessage().contains("`" + topic + "-0`"), failure.getMessage());
        }
    }

    /** Asks for so many records, one by one, and then for no more. */
    private static final class Taking implements Flow.Subscriber<ConsumerRecord<String, String>> {
        final List<String> values = new ArrayList<>();
        final CompletableFuture<Void> ended = new CompletableFuture<>();
        private final int count;
        private Flow.Subscription subscription;

        Taking(int count) {
            this.count = count;
        }

        @Override
        public void onSubscribe(Flow.Subscription given) {
            subscription = given;
            given.request(1);
        }

        @Override
        public void onNext(ConsumerRecord<String, String> record) {
            values.add(record.value());
            if (values.size() == count) {
                subscription.cancel();
                ended.complete(null);
            } else {
                subscription.request(1);
            }
        }

        @Override
        public void onError(Throwable failure) {
            ended.completeExceptionally(failure);
        }

        @Override
        public void onComplete() {
            ended.complete(null);
        }
    }

    @Test
    void aPublisherGivesWhatIsAskedForAndTheRestIsNotDone() throws Exception {
        String topic = name("published");
        String group = name("group");
        fill(topic, 1, 100);
        TopicPartition partition = new TopicPartition(topic, 0);
        try (var consumer = consumer(broker, "group.id", group, "enable.auto.commit", true)) {
            consumer.subscribe(List.of(topic));
            Taking taking = new Taking(30);
            consumer.records().subscribe(taking);
            taking.ended.get(60, TimeUnit.SECONDS);
            assertEquals(30, taking.values.size());
            assertEquals("value 29", taking.values.get(29));
        }
        try (var consumer = consumer(broker, "group.id", group)) {
            assertEquals(30, consumer.committed(Set.of(partition)).get(partition).offset());
            consumer.subscribe(List.of(topic));
            assertEquals("value 30", read(consumer, 70).get(0).value());
        }
    }

    @Test
    void aPublisherEndsWithItsConsumer() throws Exception {
        String topic = name("published");
        fill(topic, 1, 10);
        var consumer = consumer(broker);
        consumer.assign(List.of(new TopicPartition(topic, 0)));
        Taking taking = new Taking(100);
        consumer.records().subscribe(taking);
        long began = System.nanoTime();
        while (consumer.position(new TopicPartition(topic, 0)) < 10 && System.nanoTime() - began < PATIENCE.toNanos()) {
            Thread.onSpinWait();
        }
        consumer.close();
        taking.ended.get(60, TimeUnit.SECONDS);
        assertEquals(10, taking.values.size());
    }

    @Test
    void whatIsGivenBackIsGivenAgainUnlessTheProgramGoesElsewhere() {
        String topic = name("returned");
        TopicPartition partition = new TopicPartition(topic, 0);
        fill(topic, 1, 100);
        try (var consumer = consumer(broker, "group.id", name("group"), "enable.auto.commit", false)) {
            consumer.assign(List.of(partition));
            var records = consumer.poll(PATIENCE);
            consumer.giveBack(records.skip(5));
            consumer.commitSync();
            assertEquals(5, consumer.committed(Set.of(partition)).get(partition).offset());
            assertEquals(5, consumer.poll(PATIENCE).asList().get(0).offset());
            consumer.commitSync();
            assertEquals(records.count(), consumer.committed(Set.of(partition)).get(partition).offset());
            consumer.seek(partition, 0);
            consumer.giveBack(consumer.poll(PATIENCE).skip(50));
            consumer.seek(partition, 7);
            assertEquals(7, consumer.poll(PATIENCE).asList().get(0).offset());
        }
    }
}

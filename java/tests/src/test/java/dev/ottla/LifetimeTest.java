package dev.ottla;

import static dev.ottla.Names.admin;
import static dev.ottla.Names.consumer;
import static dev.ottla.Names.name;
import static dev.ottla.Names.producer;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNotSame;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.File;
import java.lang.ref.WeakReference;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.BooleanSupplier;

import dev.ottla.testing.OttlaBroker;
import dev.ottla.testing.WithOttlaBroker;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** What programs do to clients that they should not; none of it may end the JVM, hang it, or keep what it had. */
@WithOttlaBroker
@Timeout(300)
class LifetimeTest {
    private final OttlaBroker broker;

    LifetimeTest(OttlaBroker broker) {
        this.broker = broker;
    }

    /** Waits, with collections, until it is so. */
    private static void collectUntil(BooleanSupplier isSo, java.util.function.Supplier<String> what) throws InterruptedException {
        long began = System.nanoTime();
        while (!isSo.getAsBoolean()) {
            assertTrue(System.nanoTime() - began < TimeUnit.SECONDS.toNanos(60), what);
            System.gc();
            Thread.sleep(10);
        }
    }

    private static long nativeThreads() {
        File[] tasks = new File("/proc/self/task").listFiles();
        if (tasks == null) {
            return -1;
        }
        return java.util.Arrays.stream(tasks)
                .map(task -> {
                    try {
                        return java.nio.file.Files.readString(task.toPath().resolve("comm")).strip();
                    } catch (java.io.IOException gone) {
                        return "";
                    }
                })
                .filter(comm -> comm.startsWith("ottla-"))
                .filter(comm -> !comm.startsWith("ottla-completio"))
                .count();
    }

    @Test
    void whatIsUsedAfterItWasClosedThrows() {
        String topic = name("closed");
        var producer = producer(broker);
        var consumer = consumer(broker);
        var admin = admin(broker);
        producer.close();
        consumer.close();
        admin.close();
        List<Runnable> uses = List.of(
                () -> producer.send(topic, null, "v"),
                () -> producer.sendAndForget(topic, null, "v"),
                producer::flush,
                producer::metrics,
                () -> producer.partitionCount(topic),
                () -> consumer.poll(Duration.ZERO),
                consumer::commitSync,
                consumer::unsubscribe,
                () -> consumer.seek(new TopicPartition(topic, 0), 0),
                () -> consumer.subscribe(List.of(topic)),
                () -> consumer.endOffsets(List.of(new TopicPartition(topic, 0))),
                () -> admin.createTopics(List.of(new NewTopic(topic))).join());
        for (Runnable use : uses) {
            OttlaException failure = null;
            try {
                use.run();
            } catch (OttlaException e) {
                failure = e;
            }
            assertNotNull(failure);
            assertEquals(ErrorCode.CLOSED, failure.error());
        }
        consumer.wakeup();
    }

    @Test
    void clientsThatAreForgottenAreFreedAndWhatTheyHadIsSent() throws Exception {
        String topic = name("forgotten");
        long before = nativeThreads();
        for (int i = 0; i < 20; i++) {
            producer(broker, "linger.ms", 50).sendAndForget(new ProducerRecord<>(topic, 0, null, "value"));
            consumer(broker).assign(List.of(new TopicPartition(topic, 0)));
            admin(broker).listTopics().join();
        }
        TopicPartition partition = new TopicPartition(topic, 0);
        try (var admin = admin(broker)) {
            collectUntil(
                    () -> admin.listOffsets(Map.of(partition, OffsetSpec.latest())).join().get(partition).offset() == 20,
                    () -> "what was taken is sent");
        }
        collectUntil(() -> nativeThreads() <= before, () -> "native threads end: " + nativeThreads() + ", before " + before);
    }

    @Test
    void clientsAreClosedInTheMidstOfWhatOthersDoWithThem() throws Exception {
        String topic = name("race");
        for (int round = 0; round < 20; round++) {
            var producer = producer(broker);
            var consumer = consumer(broker, "group.id", name("group"));
            consumer.subscribe(List.of(topic));
            List<CompletableFuture<RecordMetadata>> sent = java.util.Collections.synchronizedList(new ArrayList<>());
            AtomicBoolean isOver = new AtomicBoolean();
            List<Thread> threads = new ArrayList<>();
            for (int t = 0; t < 3; t++) {
                threads.add(new Thread(() -> {
                    try {
                        while (!isOver.get()) {
                            sent.add(producer.send(topic, null, "value"));
                        }
                    } catch (OttlaException closed) {
                        assertEquals(ErrorCode.CLOSED, closed.error());
                    }
                }));
                threads.add(new Thread(() -> {
                    try {
                        while (!isOver.get()) {
                            consumer.poll(Duration.ofMillis(1)).forEach(record -> assertEquals("value", record.value()));
                            consumer.commitAsync();
                        }
                    } catch (OttlaException closed) {
                        assertEquals(ErrorCode.CLOSED, closed.error());
                    }
                }));
            }
            threads.forEach(Thread::start);
            Thread.sleep(ThreadLocalRandom.current().nextInt(30));
            producer.close(Duration.ofSeconds(30));
            consumer.close(Duration.ofSeconds(30));
            isOver.set(true);
            for (Thread thread : threads) {
                thread.join(TimeUnit.SECONDS.toMillis(60));
                assertTrue(!thread.isAlive(), "no thread hangs");
            }
            for (CompletableFuture<RecordMetadata> each : sent) {
                // Ends, in one way or another.
                each.handle((ok, failure) -> null).get(60, TimeUnit.SECONDS);
            }
        }
    }

    @Test
    void futuresThatAreCancelledHarmNobody() throws Exception {
        String topic = name("cancelled");
        try (var producer = producer(broker); var admin = admin(broker)) {
            for (int i = 0; i < 5_000; i++) {
                var future = producer.send(topic, null, "value " + i);
                if (i % 2 == 0) {
                    future.cancel(true);
                }
            }
            for (int i = 0; i < 200; i++) {
                admin.listTopics().cancel(true);
            }
            assertTrue(producer.send(topic, null, "last").get(60, TimeUnit.SECONDS).hasOffset());
            assertNotNull(admin.listTopics().get(60, TimeUnit.SECONDS));
        }
    }

    @Test
    void aThreadThatIsInterruptedWhileItWaitsForRoomSendsNothingAndOthersGoOn() throws Exception {
        String topic = name("interrupted");
        try (var producer = OttlaProducer.<byte[], byte[]>builder()
                .bootstrapServers("127.0.0.1:1")
                .config("max.block.ms", 60_000)
                .build()) {
            Thread thread = new Thread(() -> {
                try {
                    producer.send(topic, null, new byte[10]);
                } catch (InterruptException expected) {
                    assertTrue(Thread.interrupted());
                }
            });
            thread.start();
            thread.interrupt();
            thread.join(TimeUnit.SECONDS.toMillis(30));
            assertTrue(!thread.isAlive());
            producer.close(Duration.ZERO);
        } catch (OttlaException notAllSent) {
            assertEquals(ErrorCode.TIMEOUT, notAllSent.error());
        }
    }

    @Test
    void virtualThreadsThatWaitHoldUpNoOthers() throws Exception {
        ExecutorService threads;
        try {
            threads = (ExecutorService) Executors.class.getMethod("newVirtualThreadPerTaskExecutor").invoke(null);
        } catch (NoSuchMethodException before21) {
            // There is none to hold up.
            return;
        }
        String topic = name("virtual");
        // More than there are threads to carry them: one that were held up in native code would hold up the next.
        int count = Runtime.getRuntime().availableProcessors() + 2;
        List<OttlaConsumer<String, String>> consumers = new ArrayList<>();
        List<Future<Integer>> polls = new ArrayList<>();
        try (var producer = producer(broker)) {
            producer.send(topic, null, "value").join();
            for (int i = 0; i < count; i++) {
                var consumer = consumer(broker, "auto.offset.reset", "latest");
                consumer.assign(List.of(new TopicPartition(topic, 0)));
                consumer.position(new TopicPartition(topic, 0));
                consumers.add(consumer);
                polls.add(threads.submit(() -> consumer.poll(Duration.ofSeconds(60)).count()));
            }
            Future<RecordMetadata> sent = threads.submit(() -> producer.send(topic, null, "value").get());
            assertTrue(sent.get(30, TimeUnit.SECONDS).hasOffset());
            for (Future<Integer> poll : polls) {
                assertEquals(1, poll.get(30, TimeUnit.SECONDS));
            }
        } finally {
            threads.shutdownNow();
            consumers.forEach(OttlaConsumer::close);
        }
    }

    /** The jars once more, by a class loader of their own, as in a web application that is deployed anew. */
    private static URLClassLoader another() throws Exception {
        List<URL> jars = new ArrayList<>();
        for (String entry : System.getProperty("java.class.path").split(File.pathSeparator)) {
            if (entry.endsWith(".jar") || entry.endsWith("/classes")) {
                jars.add(Path.of(entry).toUri().toURL());
            }
        }
        return new URLClassLoader(jars.toArray(URL[]::new), ClassLoader.getPlatformClassLoader());
    }

    @Test
    void classLoadersHaveItEachForThemselvesAndAreUnloaded() throws Exception {
        List<WeakReference<ClassLoader>> loaders = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            loaders.add(use());
        }
        for (WeakReference<ClassLoader> loader : loaders) {
            collectUntil(() -> loader.get() == null, () -> "the class loader is unloaded");
            assertNull(loader.get());
        }
        try (var producer = producer(broker)) {
            assertTrue(producer.send(name("after"), null, "value").join().hasOffset());
        }
    }

    private WeakReference<ClassLoader> use() throws Exception {
        URLClassLoader loader = another();
        Class<?> type = loader.loadClass("dev.ottla.OttlaProducer");
        assertNotSame(OttlaProducer.class, type);
        Object producer = type.getConstructor(Map.class).newInstance(Map.of("bootstrap.servers", broker.bootstrapServers()));
        Object future = type.getMethod("send", String.class, Object.class, Object.class)
                .invoke(producer, name("loader"), null, new byte[] {1});
        assertNotNull(((CompletableFuture<?>) future).get(60, TimeUnit.SECONDS));
        ((AutoCloseable) producer).close();
        loader.close();
        return new WeakReference<>(loader);
    }

    @Test
    void aProgramEndsThoughItsClientsAreOpenAndInUse() throws Exception {
        Process process = new ProcessBuilder(
                        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "-cp",
                        System.getProperty("java.class.path"),
                        "dev.ottla.LifetimeTest$Leaving",
                        broker.bootstrapServers())
                .redirectErrorStream(true)
                .start();
        String said = new String(process.getInputStream().readAllBytes(), java.nio.charset.StandardCharsets.UTF_8);
        assertTrue(process.waitFor(60, TimeUnit.SECONDS));
        assertEquals(0, process.exitValue(), said);
        assertTrue(said.contains("leaving"), said);
    }

    /** A program that ends while its threads send and read. */
    static final class Leaving {
        private Leaving() {}

        public static void main(String[] arguments) throws Exception {
            Map<String, Object> settings = Map.of("bootstrap.servers", arguments[0]);
            var producer = new OttlaProducer<byte[], byte[]>(settings);
            var consumer = new OttlaConsumer<byte[], byte[]>(Map.of("bootstrap.servers", arguments[0], "group.id", "leaving"));
            consumer.subscribe(List.of("leaving"));
            Runnable send = () -> {
                while (true) {
                    producer.send("leaving", null, new byte[100]);
                }
            };
            Runnable read = () -> {
                while (true) {
                    consumer.poll(Duration.ofSeconds(1));
                }
            };
            for (Runnable each : List.of(send, read)) {
                Thread thread = new Thread(each);
                thread.setDaemon(true);
                thread.start();
            }
            producer.send("leaving", null, new byte[1]).get();
            System.out.println("leaving");
            System.exit(0);
        }
    }
}

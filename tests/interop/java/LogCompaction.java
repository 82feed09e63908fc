import java.io.BufferedReader;
import java.io.File;
import java.io.InputStreamReader;
import java.lang.reflect.Proxy;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;

import org.apache.kafka.common.utils.Time;
import org.apache.kafka.server.util.KafkaScheduler;
import org.apache.kafka.storage.internals.log.Cleaner;
import org.apache.kafka.storage.internals.log.CleanerStats;
import org.apache.kafka.storage.internals.log.LogConfig;
import org.apache.kafka.storage.internals.log.LogDirFailureChannel;
import org.apache.kafka.storage.internals.log.LogToClean;
import org.apache.kafka.storage.internals.log.ProducerStateManagerConfig;
import org.apache.kafka.storage.internals.log.SkimpyOffsetMap;
import org.apache.kafka.storage.internals.log.UnifiedLog;
import org.apache.kafka.storage.internals.utils.Throttler;
import org.apache.kafka.storage.log.metrics.BrokerTopicStats;

/**
 * Kafka's own log cleaner on partitions' directories, round by round as its input says; ends with it.
 *
 * <pre>
 * LogCompaction SEGMENT_BYTES DELETE_RETENTION_MS START_MS
 * open DIRECTORY END_OFFSET
 * clean FIRST_DIRTY FIRST_UNCLEANABLE NOW_MS MAP_BYTES   ->  END_OFFSET FIRST_UNCLEANABLE
 * close                                                  ->  0 0
 * </pre>
 */
public final class LogCompaction {
    private static final int DAY_MS = 86_400_000;

    public static void main(String[] args) throws Exception {
        Properties properties = new Properties();
        properties.put("cleanup.policy", "compact");
        properties.put("internal.segment.bytes", args[0]);
        properties.put("delete.retention.ms", args[1]);
        long startMs = Long.parseLong(args[2]);
        // Records are of another day: by the system's clock, all their producers would be forgotten.
        Time time = (Time) Proxy.newProxyInstance(
            Time.class.getClassLoader(),
            new Class<?>[] {Time.class},
            (proxy, method, values) ->
                method.getName().equals("milliseconds") ? startMs : method.invoke(Time.SYSTEM, values));
        KafkaScheduler scheduler = new KafkaScheduler(1);
        scheduler.startup();
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        UnifiedLog log = null;
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] words = line.split(" ");
            switch (words[0]) {
                case "open" -> log = open(new LogConfig(properties), words[1], Long.parseLong(words[2]), scheduler, time);
                case "clean" -> System.out.println(clean(
                    log,
                    Long.parseLong(words[1]),
                    Long.parseLong(words[2]),
                    Long.parseLong(words[3]),
                    Integer.parseInt(words[4])));
                default -> {
                    log.close();
                    System.out.println("0 0");
                }
            }
            System.out.flush();
        }
        scheduler.shutdown();
    }

    private static UnifiedLog open(
            LogConfig config, String directory, long endOffset, KafkaScheduler scheduler, Time time) throws Exception {
        UnifiedLog log = UnifiedLog.create(
            new File(directory),
            config,
            0,
            endOffset,
            scheduler,
            new BrokerTopicStats(),
            time,
            DAY_MS,
            new ProducerStateManagerConfig(DAY_MS, false),
            DAY_MS,
            new LogDirFailureChannel(1),
            true,
            Optional.empty());
        log.updateHighWatermark(log.logEndOffset());
        if (log.logEndOffset() != endOffset) {
            throw new IllegalStateException("the log ends at " + log.logEndOffset() + ", not at " + endOffset);
        }
        return log;
    }

    private static String clean(UnifiedLog log, long firstDirty, long firstUncleanable, long nowMs, int mapBytes)
            throws Exception {
        Cleaner cleaner = new Cleaner(
            0,
            new SkimpyOffsetMap(mapBytes),
            64 * 1024,
            64 * 1024 * 1024,
            0.9,
            new Throttler(Double.MAX_VALUE, Long.MAX_VALUE, "throttler", "entries", Time.SYSTEM),
            Time.SYSTEM,
            partition -> { });
        LogToClean cleanable = new LogToClean(log, firstDirty, firstUncleanable, false);
        Map.Entry<Long, CleanerStats> done = cleaner.doClean(cleanable, nowMs);
        return done.getKey() + " " + cleanable.firstUncleanableOffset();
    }
}

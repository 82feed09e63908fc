import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;

/**
 * Formats a node's storage if that was not done, runs the node, and ends it with standard input: a broker never
 * outlives the test that started it, however the test ends.
 *
 * <pre>Launch SERVER_PROPERTIES CLUSTER_ID [argument of `kafka-storage format`]...</pre>
 */
public final class Launch {
    /** A clean stop may wait for others; then the node goes without. */
    private static final long STOP_S_MAX = 20;

    public static void main(String[] args) {
        List<String> format = new ArrayList<>(
            List.of("format", "--ignore-formatted", "--cluster-id", args[1], "--config", args[0]));
        format.addAll(Arrays.asList(args).subList(2, args.length));
        int code = kafka.tools.StorageTool.execute(format.toArray(String[]::new), System.out);
        if (code != 0) {
            System.exit(code);
        }
        start("stop-with-input", Launch::stopWithInput);
        kafka.Kafka.main(new String[] {args[0]});
    }

    private static void stopWithInput() {
        try {
            while (System.in.read() >= 0) {
                continue;
            }
        } catch (IOException closed) {
            // As good as its end.
        }
        start("stop-at-last", () -> {
            try {
                TimeUnit.SECONDS.sleep(STOP_S_MAX);
            } catch (InterruptedException early) {
                Thread.currentThread().interrupt();
            }
            Runtime.getRuntime().halt(1);
        });
        System.exit(0);
    }

    private static void start(String name, Runnable body) {
        Thread thread = new Thread(body, name);
        thread.setDaemon(true);
        thread.start();
    }
}

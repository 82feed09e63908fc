package ottla.cluster;

import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;

import org.apache.kafka.common.security.auth.SecurityProtocol;

/**
 * An `ottla broker` of its own process, over a directory of its own, on one port for as long as it lives: it may be
 * stopped and started again.
 */
public final class Node {
    private static final long PATIENCE_MS = 20_000;
    private static final int LOG_LINES_SHOWN = 5;

    private final Path directory;
    private final int port;
    private Process process;

    /** Makes the directory and the configuration: what the test asks for, and where the node listens. */
    public Node(String listener, SecurityProtocol protocol, int disks, Map<String, String> asked) {
        try {
            directory = Files.createTempDirectory("ottla-node-");
            port = freePort();
            Map<String, String> properties = new TreeMap<>(asked);
            List<String> logs = new ArrayList<>();
            for (int disk = 0; disk < disks; disk++) {
                logs.add(directory.resolve("data-" + disk).toString());
            }
            properties.put("node.id", "0");
            properties.put("log.dirs", String.join(",", logs));
            properties.put("listeners", listener + "://localhost:" + port);
            properties.put("listener.security.protocol.map", listener + ":" + protocol.name);
            List<String> lines = new ArrayList<>();
            properties.forEach((key, value) -> lines.add(key + "=" + value.replace("\\", "\\\\")));
            Files.write(directory.resolve("broker.properties"), lines);
        } catch (IOException e) {
            throw new IllegalStateException(e);
        }
    }

    /** Where it listens. */
    public int port() {
        return port;
    }

    /** Its directories of logs and what else it wrote are below this one. */
    public Path directory() {
        return directory;
    }

    /** Whether its process runs. */
    public boolean isAlive() {
        return process != null && process.isAlive();
    }

    /** Starts it and waits until it takes connections. */
    public void start() {
        try {
            if (process == null) {
                // A test that fails early may leave it running.
                Runtime.getRuntime().addShutdownHook(new Thread(() -> process.destroyForcibly()));
            }
            process = new ProcessBuilder(System.getProperty("ottla.binary"), "broker", "--config",
                    directory.resolve("broker.properties").toString())
                .redirectErrorStream(true)
                .redirectOutput(ProcessBuilder.Redirect.appendTo(directory.resolve("log").toFile()))
                .start();
        } catch (IOException e) {
            throw new IllegalStateException(e);
        }
        long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(PATIENCE_MS);
        while (!answers()) {
            if (!process.isAlive() || System.nanoTime() > deadline) {
                throw new IllegalStateException("the broker does not start: " + lastOfLog());
            }
            pause();
        }
    }

    /** Asks it to stop and waits until it has. */
    public void stop() {
        if (process == null) {
            return;
        }
        process.destroy();
        try {
            if (!process.waitFor(PATIENCE_MS, TimeUnit.MILLISECONDS)) {
                process.destroyForcibly().waitFor();
                throw new IllegalStateException("the broker does not stop: " + lastOfLog());
            }
        } catch (InterruptedException e) {
            process.destroyForcibly();
            Thread.currentThread().interrupt();
        }
    }

    /** Stops it, and forgets its data. */
    public void delete() {
        stop();
        try {
            Files.walkFileTree(directory, new SimpleFileVisitor<>() {
                @Override
                public FileVisitResult visitFile(Path file, BasicFileAttributes attributes) throws IOException {
                    Files.delete(file);
                    return FileVisitResult.CONTINUE;
                }

                @Override
                public FileVisitResult postVisitDirectory(Path entered, IOException e) throws IOException {
                    Files.delete(entered);
                    return FileVisitResult.CONTINUE;
                }
            });
        } catch (IOException e) {
            throw new IllegalStateException(e);
        }
    }

    private boolean answers() {
        try (Socket socket = new Socket()) {
            socket.connect(new InetSocketAddress("localhost", port), 1000);
            return true;
        } catch (IOException e) {
            return false;
        }
    }

    private String lastOfLog() {
        try {
            List<String> lines = Files.readAllLines(directory.resolve("log"), StandardCharsets.UTF_8);
            return String.join(" | ", lines.subList(Math.max(0, lines.size() - LOG_LINES_SHOWN), lines.size()));
        } catch (IOException e) {
            return e.toString();
        }
    }

    private static int freePort() throws IOException {
        try (ServerSocket socket = new ServerSocket(0)) {
            return socket.getLocalPort();
        }
    }

    private static void pause() {
        try {
            Thread.sleep(5);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException(e);
        }
    }
}

package dev.ottla.testing;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/**
 * A real broker on a free port, whose data goes with it. It ends when it is closed, or with this JVM, however that ends.
 *
 * <pre>{@code
 * try (var broker = new OttlaBroker()) {
 *     var producer = new OttlaProducer<byte[], byte[]>(Map.of("bootstrap.servers", broker.bootstrapServers()));
 * }
 * }</pre>
 *
 * <p>With JUnit 5, {@link WithOttlaBroker} gives tests one.
 */
public final class OttlaBroker implements AutoCloseable {
    /** Longest that it may take to stop. */
    private static final long STOP_PATIENCE_S = 30;

    private final Process process;
    private final Path log;
    private final String bootstrapServers;

    /** Starts one with its defaults. */
    public OttlaBroker() {
        this(Map.of());
    }

    /**
     * Starts one.
     *
     * @param config settings of a broker, by Kafka's keys
     */
    public OttlaBroker(Map<String, ?> config) {
        List<String> command = new ArrayList<>(
                List.of(Program.find().toString(), "dev", "--quiet", "--until-stdin-ends", "--listen", "127.0.0.1:0"));
        config.forEach((key, value) -> {
            command.add("--set");
            command.add(key + "=" + value);
        });
        try {
            log = Files.createTempFile("ottla-broker-", ".log");
            ProcessBuilder builder = new ProcessBuilder(command).redirectError(log.toFile());
            // Variables that are settings are for brokers that somebody starts, not for this one.
            builder.environment().keySet().removeIf(name -> name.startsWith("OTTLA_"));
            process = builder.start();
            // It prints where it listens, once it does; or it ends, and has said why.
            BufferedReader out = new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8));
            String line = out.readLine();
            if (line == null) {
                throw new IllegalStateException("the broker did not start:\n" + log());
            }
            bootstrapServers = line.strip();
        } catch (IOException e) {
            throw new UncheckedIOException("the broker could not be started", e);
        }
    }

    /**
     * Where it listens, for clients.
     *
     * @return {@code host:port}
     */
    public String bootstrapServers() {
        return bootstrapServers;
    }

    /**
     * What it has logged.
     *
     * @return the text
     */
    public String log() {
        try {
            return Files.readString(log);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** Stops it, in order. Stopping again does nothing. */
    @Override
    public void close() {
        try {
            process.getOutputStream().close();
            if (!process.waitFor(STOP_PATIENCE_S, TimeUnit.SECONDS)) {
                process.destroyForcibly().waitFor();
            }
            Files.deleteIfExists(log);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        } catch (InterruptedException e) {
            process.destroyForcibly();
            Thread.currentThread().interrupt();
        }
    }
}

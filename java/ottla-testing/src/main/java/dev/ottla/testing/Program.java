package dev.ottla.testing;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;

/** Where the program {@code ottla} is. */
final class Program {
    private static Path unpacked;

    private Program() {}

    /** The one that {@code OTTLA_PROGRAM} names, or the one in the jar, or the one on the path. */
    static synchronized Path find() {
        String named = System.getenv("OTTLA_PROGRAM");
        if (named != null && !named.isEmpty()) {
            return Path.of(named);
        }
        if (unpacked == null || !Files.exists(unpacked)) {
            unpacked = bundled();
        }
        if (unpacked != null) {
            return unpacked;
        }
        for (String directory : System.getenv().getOrDefault("PATH", "").split(System.getProperty("path.separator"))) {
            Path candidate = Path.of(directory, "ottla");
            if (Files.isExecutable(candidate)) {
                return candidate;
            }
        }
        throw new IllegalStateException("the program `ottla` is not there: the jar has none for `" + platform()
                + "`; name one by the variable `OTTLA_PROGRAM`, or put it on the path");
    }

    /** For this JVM alone, and gone with it. */
    private static Path bundled() {
        try (InputStream in = Program.class.getResourceAsStream("program/" + platform() + "/ottla")) {
            if (in == null) {
                return null;
            }
            Path directory = Files.createTempDirectory("ottla-program-");
            Path program = directory.resolve("ottla");
            Files.copy(in, program);
            if (!program.toFile().setExecutable(true)) {
                throw new IOException("`" + program + "` cannot be made executable");
            }
            directory.toFile().deleteOnExit();
            program.toFile().deleteOnExit();
            return program;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static String platform() {
        String system = System.getProperty("os.name", "").toLowerCase(Locale.ROOT);
        String architecture = System.getProperty("os.arch", "").toLowerCase(Locale.ROOT);
        return (system.startsWith("mac") ? "osx" : system.replace(" ", "")) + "-"
                + switch (architecture) {
                    case "amd64", "x86_64", "x64" -> "x86_64";
                    case "aarch64", "arm64" -> "aarch_64";
                    default -> architecture;
                };
    }
}

package dev.ottla.testing;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;

/** Where the program {@code ottla} is. */
final class Program {
    private static final String NAME = system().equals("windows") ? "ottla.exe" : "ottla";

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
            Path candidate = Path.of(directory, NAME);
            if (Files.isExecutable(candidate)) {
                return candidate;
            }
        }
        throw new IllegalStateException("the program `ottla` is not there: the jar has none for `" + platforms().get(0)
                + "`; name one by the variable `OTTLA_PROGRAM`, or put it on the path");
    }

    /** For this JVM alone, and gone with it. */
    private static Path bundled() {
        for (String platform : platforms()) {
            Path program = bundled(platform);
            if (program != null) {
                return program;
            }
        }
        return null;
    }

    private static Path bundled(String platform) {
        try (InputStream in = Program.class.getResourceAsStream("program/" + platform + "/" + NAME)) {
            if (in == null) {
                return null;
            }
            Path directory = Files.createTempDirectory("ottla-program-");
            Path program = directory.resolve(NAME);
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

    /** What may run here, the likeliest first: a program for musl does not run with glibc, nor the other way round. */
    private static List<String> platforms() {
        String architecture = System.getProperty("os.arch", "").toLowerCase(Locale.ROOT);
        String plain = system() + "-"
                + switch (architecture) {
                    case "amd64", "x86_64", "x64" -> "x86_64";
                    case "aarch64", "arm64" -> "aarch_64";
                    default -> architecture;
                };
        if (!system().equals("linux")) {
            return List.of(plain);
        }
        String musl = plain + "-musl";
        return isMusl() ? List.of(musl, plain) : List.of(plain, musl);
    }

    /** Whether this JVM runs on musl. */
    private static boolean isMusl() {
        try (var maps = Files.lines(Path.of("/proc/self/maps"))) {
            return maps.anyMatch(line -> line.contains("ld-musl-"));
        } catch (IOException | UncheckedIOException e) {
            return false;
        }
    }

    private static String system() {
        String name = System.getProperty("os.name", "").toLowerCase(Locale.ROOT);
        if (name.startsWith("mac")) {
            return "osx";
        }
        return name.startsWith("windows") ? "windows" : name.replace(" ", "");
    }
}

package dev.ottla;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;

/**
 * Finds the native library and loads it: the file that {@code dev.ottla.library} names, or the one in the jar.
 *
 * <p>The one in the jar is written to a directory of the user's own, under a name with its hash: once for a release, whatever number of
 * programs run it. A program that has it under another class loader already, which a JVM does not allow twice, gets a copy.
 */
final class NativeLibrary {
    /** Names a file to be loaded in place of the one in the jar. */
    static final String LIBRARY_PROPERTY = "dev.ottla.library";
    /** Names the directory that the one in the jar is written to. */
    static final String CACHE_PROPERTY = "dev.ottla.cache";

    private NativeLibrary() {}

    static void load() {
        String named = System.getProperty(LIBRARY_PROPERTY);
        if (named != null) {
            System.load(Path.of(named).toAbsolutePath().toString());
            return;
        }
        List<String> failures = new ArrayList<>();
        for (String platform : platforms()) {
            byte[] library = bundled(platform);
            if (library == null) {
                failures.add("the jar has none for `" + platform + "`");
                continue;
            }
            try {
                load(library, platform);
                return;
            } catch (UnsatisfiedLinkError | IOException | UncheckedIOException failure) {
                failures.add(platform + ": " + failure.getMessage());
            }
        }
        throw new UnsatisfiedLinkError("the native library of ottla cannot be loaded: " + String.join("; ", failures)
                + "; add the jar for this platform, or name a file by the system property `" + LIBRARY_PROPERTY + "`");
    }

    private static void load(byte[] library, String platform) throws IOException {
        Path file = unpacked(library, platform);
        try {
            System.load(file.toString());
        } catch (UnsatisfiedLinkError failure) {
            if (failure.getMessage() == null || !failure.getMessage().contains("another classloader")) {
                throw failure;
            }
            Path copy = Files.createTempFile(file.getParent(), "copy-", "-" + file.getFileName());
            Files.write(copy, library);
            System.load(copy.toString());
            // It stays in memory, and needs no name any more. Where a loaded file cannot be removed it goes with the program.
            if (!copy.toFile().delete()) {
                copy.toFile().deleteOnExit();
            }
        }
    }

    private static Path unpacked(byte[] library, String platform) throws IOException {
        String name = hash(library) + "-" + fileName(platform);
        IOException failure = null;
        for (Path directory : directories()) {
            try {
                Path file = directory.resolve(name);
                if (!isSame(file, library)) {
                    create(directory);
                    Path written = Files.createTempFile(directory, "new-", "-" + name);
                    Files.write(written, library);
                    move(written, file);
                }
                return file;
            } catch (IOException e) {
                failure = e;
            }
        }
        throw failure == null ? new IOException("there is no directory to write it to") : failure;
    }

    /** Others may do the same at the same time: whoever comes last replaces it by what it is already. */
    private static void move(Path from, Path to) throws IOException {
        try {
            Files.move(from, to, StandardCopyOption.ATOMIC_MOVE);
        } catch (FileAlreadyExistsException e) {
            Files.delete(from);
        }
    }

    /** Whether it is there, whole, and nobody else's to change. */
    private static boolean isSame(Path file, byte[] library) throws IOException {
        return Files.isRegularFile(file)
                && Files.size(file) == library.length
                && java.util.Arrays.equals(Files.readAllBytes(file), library);
    }

    private static List<Path> directories() {
        List<Path> directories = new ArrayList<>();
        String named = System.getProperty(CACHE_PROPERTY);
        if (named != null) {
            directories.add(Path.of(named));
            return directories;
        }
        String cache = System.getenv("XDG_CACHE_HOME");
        String home = System.getProperty("user.home", "");
        if (cache != null && !cache.isEmpty()) {
            directories.add(Path.of(cache, "ottla"));
        } else if (!home.isEmpty() && !home.equals("?")) {
            String below = switch (system()) {
                case "osx" -> "Library/Caches";
                case "windows" -> "AppData/Local";
                default -> ".cache";
            };
            directories.add(Path.of(home, below, "ottla"));
        }
        String user = System.getProperty("user.name", "nobody").replaceAll("[^A-Za-z0-9._-]", "_");
        directories.add(Path.of(System.getProperty("java.io.tmpdir"), "ottla-" + user));
        return directories;
    }

    private static void create(Path directory) throws IOException {
        if (Files.isDirectory(directory)) {
            return;
        }
        Files.createDirectories(directory.getParent());
        try {
            Files.createDirectory(directory, PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------")));
        } catch (UnsupportedOperationException e) {
            Files.createDirectories(directory);
        } catch (FileAlreadyExistsException e) {
            // Another program was quicker.
        }
    }

    private static byte[] bundled(String platform) {
        // By the class loader: it may be in a jar of its own.
        String name = "dev/ottla/native/" + platform + "/" + fileName(platform);
        try (InputStream in = NativeLibrary.class.getClassLoader().getResourceAsStream(name)) {
            return in == null ? null : in.readAllBytes();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** What may run here, the likeliest first. A program for musl does not run with glibc, nor the other way round. */
    private static List<String> platforms() {
        String architecture = switch (System.getProperty("os.arch", "").toLowerCase(Locale.ROOT)) {
            case "amd64", "x86_64", "x64" -> "x86_64";
            case "aarch64", "arm64" -> "aarch_64";
            default -> System.getProperty("os.arch", "unknown");
        };
        String plain = system() + "-" + architecture;
        if (!system().equals("linux")) {
            return List.of(plain);
        }
        return isMusl() ? List.of(plain + "-musl", plain) : List.of(plain, plain + "-musl");
    }

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

    private static String fileName(String platform) {
        if (platform.startsWith("windows")) {
            return "ottla_java.dll";
        }
        return platform.startsWith("osx") ? "libottla_java.dylib" : "libottla_java.so";
    }

    private static String hash(byte[] bytes) {
        try {
            return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(bytes), 0, 8);
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every JVM has SHA-256", e);
        }
    }
}

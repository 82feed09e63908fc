package dev.ottla;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(120)
class NativeLibraryTest {
    @TempDir
    Path directory;

    /** A program that uses the library, and says so. */
    static final class Using {
        private Using() {}

        public static void main(String[] arguments) {
            System.out.println("known: " + Config.isKnown(Config.Of.PRODUCERS, "linger.ms"));
        }
    }

    private static String run(int expected, String... properties) throws Exception {
        List<String> command = new ArrayList<>(List.of(Path.of(System.getProperty("java.home"), "bin", "java").toString()));
        command.addAll(Arrays.asList(properties));
        command.addAll(List.of("-cp", System.getProperty("java.class.path"), "dev.ottla.NativeLibraryTest$Using"));
        Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
        String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertEquals(expected, process.waitFor(), said);
        return said;
    }

    private static List<Path> files(Path of) throws Exception {
        try (var files = Files.list(of)) {
            return files.toList();
        }
    }

    @Test
    void theLibraryIsWrittenOnceToADirectoryOfTheUsersOwnAndWhatIsDamagedIsReplaced() throws Exception {
        Path cache = directory.resolve("cache");
        String property = "-Ddev.ottla.cache=" + cache;
        assertTrue(run(0, property).contains("known: true"));
        assertEquals("rwx------", PosixFilePermissions.toString(Files.getPosixFilePermissions(cache)));
        Path library = files(cache).get(0);
        FileTime written = FileTime.fromMillis(1_000);
        Files.setLastModifiedTime(library, written);
        run(0, property);
        assertEquals(List.of(library), files(cache));
        assertEquals(written, Files.getLastModifiedTime(library));
        Files.write(library, new byte[] {1});
        run(0, property);
        assertEquals(List.of(library), files(cache));
        assertNotEquals(1, Files.size(library));
    }

    @Test
    void anotherCanBeNamed() throws Exception {
        Path cache = directory.resolve("cache");
        run(0, "-Ddev.ottla.cache=" + cache);
        Path library = Files.move(files(cache).get(0), directory.resolve("mine.so"));
        assertTrue(run(0, "-Ddev.ottla.cache=" + cache, "-Ddev.ottla.library=" + library).contains("known: true"));
        assertEquals(List.of(), files(cache));
        assertTrue(run(1, "-Ddev.ottla.library=" + directory.resolve("missing.so")).contains("missing.so"));
    }
}

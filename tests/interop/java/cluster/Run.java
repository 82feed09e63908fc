package ottla.cluster;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.lang.reflect.Method;

import org.junit.platform.engine.TestExecutionResult;
import org.junit.platform.engine.discovery.DiscoverySelectors;
import org.junit.platform.engine.support.descriptor.MethodSource;
import org.junit.platform.launcher.Launcher;
import org.junit.platform.launcher.LauncherDiscoveryRequest;
import org.junit.platform.launcher.TestExecutionListener;
import org.junit.platform.launcher.TestIdentifier;
import org.junit.platform.launcher.core.LauncherDiscoveryRequestBuilder;
import org.junit.platform.launcher.core.LauncherFactory;

/**
 * Runs the tests of the classes, or single `class#method`s, that it is given, and says of each how it ended: a line of
 * outcome, `class#method[invocation]`, milliseconds and why, with tabs between.
 */
public final class Run implements TestExecutionListener {
    private long startedAt;

    public static void main(String[] arguments) throws ClassNotFoundException {
        LauncherDiscoveryRequestBuilder request = LauncherDiscoveryRequestBuilder.request();
        for (String name : arguments) {
            String[] parts = name.split("#");
            Class<?> type = Class.forName(parts[0]);
            if (parts.length == 1) {
                request.selectors(DiscoverySelectors.selectClass(type));
                continue;
            }
            for (Method method : type.getDeclaredMethods()) {
                if (method.getName().equals(parts[1])) {
                    request.selectors(DiscoverySelectors.selectMethod(type, method));
                }
            }
        }
        LauncherDiscoveryRequest built = request
            .configurationParameter("junit.jupiter.extensions.autodetection.enabled", "true")
            .build();
        Launcher launcher = LauncherFactory.create();
        launcher.execute(built, new Run());
        System.out.println("done");
        // What a failed test left running is not waited for.
        System.exit(0);
    }

    @Override
    public void executionStarted(TestIdentifier test) {
        startedAt = System.nanoTime();
    }

    @Override
    public void executionFinished(TestIdentifier test, TestExecutionResult result) {
        Throwable why = result.getThrowable().orElse(null);
        if (test.isTest()) {
            tell(result.getStatus().name().toLowerCase(), test, why == null ? "" : first(why));
        } else if (why != null) {
            tell("failed", test, first(why));
        }
    }

    @Override
    public void executionSkipped(TestIdentifier test, String why) {
        tell("aborted", test, why);
    }

    private void tell(String outcome, TestIdentifier test, String why) {
        long ms = (System.nanoTime() - startedAt) / 1_000_000;
        String name = test.getSource().filter(MethodSource.class::isInstance).map(MethodSource.class::cast)
            .map(method -> method.getClassName() + "#" + method.getMethodName()).orElse(test.getDisplayName());
        String id = test.getUniqueId();
        int invocation = id.lastIndexOf("test-template-invocation:#");
        String index = invocation < 0 ? "" : "[" + id.substring(invocation + 26).replace("]", "") + "]";
        System.out.println(outcome + "\t" + name + index + "\t" + ms + "\t" + why.replaceAll("\\s+", " "));
        System.out.flush();
    }

    private static String first(Throwable why) {
        StringWriter text = new StringWriter();
        why.printStackTrace(new PrintWriter(text));
        String[] lines = text.toString().split("\n");
        int shown = Boolean.getBoolean("ottla.stacks") ? lines.length : 1;
        return String.join(" ", java.util.Arrays.copyOf(lines, Math.min(shown, lines.length)));
    }
}

package dev.ottla.testing;

import org.junit.jupiter.api.extension.ExtensionContext;
import org.junit.jupiter.api.extension.ParameterContext;
import org.junit.jupiter.api.extension.ParameterResolver;

/** Starts the broker of a run when a test first asks for it, and stops it at the end. */
public final class OttlaBrokerExtension implements ParameterResolver {
    private static final ExtensionContext.Namespace NAMESPACE = ExtensionContext.Namespace.create(OttlaBrokerExtension.class);

    /** Made by JUnit. */
    public OttlaBrokerExtension() {}

    @Override
    public boolean supportsParameter(ParameterContext parameter, ExtensionContext context) {
        return parameter.getParameter().getType() == OttlaBroker.class;
    }

    @Override
    public Object resolveParameter(ParameterContext parameter, ExtensionContext context) {
        return context.getRoot()
                .getStore(NAMESPACE)
                .getOrComputeIfAbsent(OttlaBroker.class, key -> new Running(), Running.class)
                .broker;
    }

    /** JUnit closes it: those before 5.13 as the one, later ones as the other, which warn of what is the one alone. */
    @SuppressWarnings("deprecation")
    private static final class Running implements ExtensionContext.Store.CloseableResource, AutoCloseable {
        final OttlaBroker broker = new OttlaBroker();

        @Override
        public void close() {
            broker.close();
        }
    }
}

package dev.ottla;

/**
 * Gives a client its tokens ({@code sasl.mechanism=OAUTHBEARER}), where they do not come of
 * {@code sasl.oauthbearer.token.endpoint.url}. It is asked when a client first connects, and before each token ends, on a thread for that
 * alone; after {@code sasl.login.read.timeout.ms} it is given up.
 *
 * <pre>{@code
 * var producer = OttlaProducer.<byte[], byte[]>builder()
 *         .bootstrapServers("localhost:9093")
 *         .config("security.protocol", "SASL_SSL")
 *         .config("sasl.mechanism", "OAUTHBEARER")
 *         .config(OAuthBearerProvider.CONFIG, (OAuthBearerProvider) () -> new OAuthBearerToken(vault.jwt()))
 *         .build();
 * }</pre>
 */
@FunctionalInterface
public interface OAuthBearerProvider {
    /** Under which name it is given among the settings of a client. */
    String CONFIG = "ottla.oauthbearer.provider";

    /**
     * A token that is good from now on.
     *
     * @return the token
     * @throws Exception why there is none, which is part of the client's error; an {@link java.io.IOException} may pass by itself, and it is
     *     tried again
     */
    OAuthBearerToken token() throws Exception;
}

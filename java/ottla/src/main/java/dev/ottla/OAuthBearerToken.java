package dev.ottla;

import java.time.Instant;
import java.util.Map;
import java.util.Objects;

/**
 * A token of OAuth 2, by which a client logs in. A JWT says itself when it ends, and whose it is; of another, this does.
 *
 * @param value the token itself, which is a secret
 * @param expires when it ends; null where the token says so itself
 * @param principal whose it is, for logs and errors; null where that is not known, or the token says so
 * @param extensions what the broker is told beside it
 */
public record OAuthBearerToken(String value, Instant expires, String principal, Map<String, String> extensions) {
    /**
     * Checks that there is a value.
     *
     * @param value the token itself
     * @param expires when it ends; null where the token says so itself
     * @param principal whose it is; null where that is not known, or the token says so
     * @param extensions what the broker is told beside it; null for nothing
     */
    public OAuthBearerToken {
        Objects.requireNonNull(value, "value");
        extensions = extensions == null ? Map.of() : Map.copyOf(extensions);
    }

    /**
     * A JWT.
     *
     * @param jwt the token
     */
    public OAuthBearerToken(String jwt) {
        this(jwt, null, null, Map.of());
    }

    @Override
    public String toString() {
        return "OAuthBearerToken[expires=" + expires + ", principal=" + principal + "]";
    }
}

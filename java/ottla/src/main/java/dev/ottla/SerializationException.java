package dev.ottla;

/** A serializer, or a deserializer, failed; the cause says how. */
public class SerializationException extends OttlaException {
    private static final long serialVersionUID = 1L;

    SerializationException(ErrorCode error, String message, Throwable cause) {
        super(error, message);
        initCause(cause);
    }
}

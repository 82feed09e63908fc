package dev.ottla;

/** The thread was interrupted while it waited; it still is, when this is thrown. */
public class InterruptException extends OttlaException {
    private static final long serialVersionUID = 1L;

    InterruptException(String message, InterruptedException cause) {
        super(ErrorCode.CANCELLED, message);
        initCause(cause);
    }
}

package dev.ottla;

/**
 * The base of all that this library throws itself. What a broker refused is a {@link KafkaException}; the package
 * {@link dev.ottla.errors} has a class for each code.
 */
public class OttlaException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    private static final int RETRIABLE = 1;
    private static final int FATAL = 2;
    private static final int ABORTABLE = 4;

    /** What it is; of a broker that is newer than this library {@link ErrorCode#UNKNOWN}. */
    private final ErrorCode error;
    /** The number, also of what this library does not know. */
    private int code;
    /** The name, also of what this library does not know. */
    private String name;
    /** Whether it may pass, whether a person must act, whether a transaction must be aborted. */
    private int flags;
    /** What to do about it; null where that is not known. */
    private String hint;

    /**
     * One of a code.
     *
     * @param error what it is
     * @param message what failed, where, why
     */
    protected OttlaException(ErrorCode error, String message) {
        super(message);
        this.error = error;
        this.code = error.code();
        this.name = error.name();
        this.flags = error.flags();
    }

    /** What the native half tells. */
    static OttlaException of(int code, String name, int flags, String message, String hint) {
        ErrorCode error = ErrorCode.of(code);
        OttlaException exception = Exceptions.make(error, message);
        exception.code = code;
        exception.name = name;
        exception.flags = flags;
        exception.hint = hint;
        return exception;
    }

    /** What this half finds itself. */
    static OttlaException of(ErrorCode error, String message) {
        return Exceptions.make(error, message);
    }

    static OttlaException of(ErrorCode error, String message, Throwable cause) {
        OttlaException exception = Exceptions.make(error, message);
        exception.initCause(cause);
        return exception;
    }

    OttlaException hint(String what) {
        hint = what;
        return this;
    }

    /** A failure that a future has told, for the thread that waited: with where that is, and what it was as its cause. */
    static RuntimeException rethrown(Throwable failure) {
        if (failure instanceof OttlaException told) {
            OttlaException here = of(told.code, told.name, told.flags, told.getMessageAlone(), told.hint);
            here.initCause(told);
            return here;
        }
        if (failure instanceof RuntimeException other) {
            return other;
        }
        throw new IllegalStateException("an operation failed in a way that it does not", failure);
    }

    /**
     * What it is.
     *
     * @return the code; {@link ErrorCode#UNKNOWN} for one of a broker that is newer than this library
     */
    public ErrorCode error() {
        return error;
    }

    /**
     * Its number.
     *
     * @return above zero Kafka's code, as a broker gave it; below zero what is local to the client
     */
    public int code() {
        return code;
    }

    /**
     * Its name, the same in every language.
     *
     * @return the name, as {@code UNKNOWN_TOPIC_OR_PARTITION}
     */
    public String name() {
        return name;
    }

    /**
     * Whether the same call may succeed later, unchanged.
     *
     * @return whether it may
     */
    public boolean isRetriable() {
        return (flags & RETRIABLE) != 0;
    }

    /**
     * Whether nothing helps before a person acted.
     *
     * @return whether it is so
     */
    public boolean isFatal() {
        return (flags & FATAL) != 0;
    }

    /**
     * Whether the transaction must be aborted.
     *
     * @return whether it must
     */
    public boolean abortRequired() {
        return (flags & ABORTABLE) != 0;
    }

    /**
     * What to do about it.
     *
     * @return a hint; null where there is none
     */
    public String hint() {
        return hint;
    }

    /** What failed, where, why, and what to do about it. */
    @Override
    public String getMessage() {
        return hint == null ? super.getMessage() : super.getMessage() + "; " + hint;
    }

    String getMessageAlone() {
        return super.getMessage();
    }
}

package dev.ottla;

/** A broker refused, by a code of Kafka's. The package {@link dev.ottla.errors} has a class for each. */
public class KafkaException extends OttlaException {
    private static final long serialVersionUID = 1L;

    /**
     * One of a code.
     *
     * @param error what it is
     * @param message what failed, where, why
     */
    protected KafkaException(ErrorCode error, String message) {
        super(error, message);
    }

    /** Of a code that this library does not know. */
    static KafkaException unknown(String message) {
        return new KafkaException(ErrorCode.UNKNOWN, message);
    }
}

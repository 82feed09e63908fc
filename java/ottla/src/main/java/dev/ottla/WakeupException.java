package dev.ottla;

/** {@link OttlaConsumer#wakeup()} was called while a thread was in {@link OttlaConsumer#poll}, or before it came there. */
public class WakeupException extends OttlaException {
    private static final long serialVersionUID = 1L;

    WakeupException() {
        super(ErrorCode.CANCELLED, "the consumer was woken");
    }
}

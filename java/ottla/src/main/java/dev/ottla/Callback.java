package dev.ottla;

/**
 * Is told what became of a record. It runs on the thread that completes all others, too: what takes long belongs elsewhere.
 */
@FunctionalInterface
public interface Callback {
    /**
     * Called once.
     *
     * @param metadata where the record was written; null if it was not
     * @param failure why it was not written; null if it was
     */
    void onCompletion(RecordMetadata metadata, OttlaException failure);
}

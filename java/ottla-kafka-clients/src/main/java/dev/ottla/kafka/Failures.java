package dev.ottla.kafka;

import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;
import java.util.function.Supplier;

import dev.ottla.InterruptException;
import dev.ottla.OttlaException;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.NoOffsetForPartitionException;
import org.apache.kafka.clients.producer.BufferExhaustedException;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigException;
import org.apache.kafka.common.errors.DisconnectException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.SaslAuthenticationException;
import org.apache.kafka.common.errors.SslAuthenticationException;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.errors.UnsupportedVersionException;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.protocol.Errors;

/** What goes wrong, as Kafka's clients say it. */
final class Failures {
    private Failures() {}

    /** Does something, and says what went wrong as Kafka's clients do. */
    static <T> T asKafkas(Supplier<T> something) {
        try {
            return something.get();
        } catch (OttlaException failure) {
            throw kafkas(failure);
        }
    }

    static void asKafkas(Runnable something) {
        asKafkas(() -> {
            something.run();
            return null;
        });
    }

    static RuntimeException kafkas(Throwable failure) {
        Throwable cause = failure instanceof ExecutionException || failure instanceof CompletionException ? failure.getCause() : failure;
        if (!(cause instanceof OttlaException ours)) {
            return cause instanceof RuntimeException other ? other : new KafkaException(cause);
        }
        RuntimeException kafkas = of(ours);
        if (kafkas.getCause() == null && kafkas != ours) {
            kafkas.initCause(ours);
        }
        return kafkas;
    }

    private static RuntimeException of(OttlaException ours) {
        String text = ours.getMessage();
        if (ours instanceof dev.ottla.WakeupException) {
            return new WakeupException();
        }
        if (ours instanceof InterruptException && ours.getCause() instanceof InterruptedException interrupted) {
            return new org.apache.kafka.common.errors.InterruptException(text, interrupted);
        }
        if (ours.code() > 0) {
            return Errors.forCode((short) ours.code()).exception(text);
        }
        return switch (ours.error()) {
            case TIMEOUT -> new TimeoutException(text);
            case QUEUE_FULL -> new BufferExhaustedException(text);
            case CLOSED, INVALID_ARG -> new IllegalStateException(text);
            case CONFIG -> new ConfigException(text);
            case RECORD_TOO_LARGE -> new RecordTooLargeException(text);
            case NO_OFFSET -> new NoOffset(text);
            case COMMIT_FAILED -> new CommitFailedException(text);
            case UNSUPPORTED -> new UnsupportedVersionException(text);
            case TRANSPORT -> new DisconnectException(text);
            case TLS -> new SslAuthenticationException(text);
            case AUTHENTICATION -> new SaslAuthenticationException(text);
            default -> new KafkaException(text);
        };
    }

    /** Kafka's says the partitions, and no more. */
    private static final class NoOffset extends NoOffsetForPartitionException {
        private static final long serialVersionUID = 1L;

        private final String text;

        NoOffset(String text) {
            super(new TopicPartition("", -1));
            this.text = text;
        }

        @Override
        public String getMessage() {
            return text;
        }
    }
}

/**
 * Kafka's own interfaces over the native core: code that is written for {@code Producer} and {@code Consumer} switches by the constructor,
 * to {@link dev.ottla.kafka.OttlaKafkaProducer} and {@link dev.ottla.kafka.OttlaKafkaConsumer}. They throw Kafka's exceptions, and take
 * Kafka's serializers.
 */
package dev.ottla.kafka;

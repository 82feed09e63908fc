/**
 * A client of Apache Kafka and its kin, by a native core: {@link dev.ottla.OttlaProducer}, {@link dev.ottla.OttlaConsumer} and
 * {@link dev.ottla.OttlaAdmin}, with the names and habits of kafka-clients.
 *
 * <ul>
 *   <li>What takes time gives a {@link java.util.concurrent.CompletableFuture}, or waits in Java: a wait can be interrupted, and a virtual
 *       thread that waits holds up no other.
 *   <li>Clients may be shared by threads. Those that are forgotten without being closed are freed.
 *   <li>All failures are {@link dev.ottla.OttlaException}s, with a class for each code in {@link dev.ottla.errors}.
 *   <li>The log goes to SLF4J, to the loggers below {@code dev.ottla}.
 * </ul>
 */
package dev.ottla;

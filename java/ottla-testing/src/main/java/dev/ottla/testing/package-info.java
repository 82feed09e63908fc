/** A real broker for tests, by itself ({@link dev.ottla.testing.OttlaBroker}) or with JUnit 5 ({@link dev.ottla.testing.WithOttlaBroker}). */
package dev.ottla.testing;

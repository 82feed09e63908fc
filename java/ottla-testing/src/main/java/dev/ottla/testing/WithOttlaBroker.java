package dev.ottla.testing;

import java.lang.annotation.ElementType;
import java.lang.annotation.Inherited;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;

import org.junit.jupiter.api.extension.ExtendWith;

/**
 * Gives the tests of a class a real broker: a parameter of type {@link OttlaBroker}, of a test, a constructor or a method that prepares
 * tests, is one that all tests of the run share.
 */
@Target(ElementType.TYPE)
@Retention(RetentionPolicy.RUNTIME)
@Inherited
@ExtendWith(OttlaBrokerExtension.class)
public @interface WithOttlaBroker {}

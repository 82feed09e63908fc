package dev.ottla;

/**
 * A key of a configuration.
 *
 * @param name the key
 * @param value its value; null where it is not shown
 * @param source where the value is from
 * @param isReadOnly whether it cannot be changed
 * @param isSensitive whether its value is not shown
 */
public record ConfigEntry(String name, String value, String source, boolean isReadOnly, boolean isSensitive) {}

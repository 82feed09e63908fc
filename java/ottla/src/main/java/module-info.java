/** A client of Apache Kafka and its kin, by a native core. */
module dev.ottla {
    requires org.slf4j;

    exports dev.ottla;
    exports dev.ottla.errors;
}

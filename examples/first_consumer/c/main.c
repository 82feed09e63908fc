/* Reads a partition from its beginning, until a record says goodbye. Writes one first, so that there is something.
 *
 *     cc main.c $(pkg-config --cflags --libs ottla) && ./a.out localhost:9092 greetings */
#include <ottla.h>
#include <stdio.h>
#include <string.h>

static int failed(const char *what, ottla_error *err)
{
    fprintf(stderr, "%s: %s\n", what, err ? ottla_error_message(err) : "failed");
    ottla_error_free(err);
    return 1;
}

/* Writes a line and waits until it is written. */
static int write_line(const ottla_config *config, const char *name, const char *line)
{
    ottla_producer *producer = NULL;
    ottla_topic *topic = ottla_topic_new(name);
    ottla_record record = OTTLA_RECORD_INIT;
    ottla_error *err = NULL;
    record.partition = 0;
    record.value = ottla_bytes(line, strlen(line));
    if (ottla_producer_new(config, NULL, &producer, &err) ||
        ottla_produce_wait(producer, topic, &record, 10000, &err) || ottla_producer_close(producer, 10000, &err))
        return failed("write", err);
    ottla_producer_free(producer);
    ottla_topic_free(topic);
    return 0;
}

int main(int argc, char **argv)
{
    const char *address = argc > 1 ? argv[1] : "localhost:9092";
    const char *name = argc > 2 ? argv[2] : "greetings";
    ottla_config *config = ottla_config_new();
    ottla_consumer *consumer = NULL;
    ottla_topic_partition from = OTTLA_PARTITION(name, 0);
    ottla_error *err = NULL;
    int done = 0;

    if (ottla_config_set(config, "bootstrap.servers", address, &err) ||
        ottla_config_set(config, "auto.offset.reset", "earliest", &err))
        return failed("configure", err);
    if (write_line(config, name, "hello") || write_line(config, name, "goodbye"))
        return 1;
    if (ottla_consumer_new(config, NULL, &consumer, &err) || ottla_consumer_assign(consumer, &from, 1, &err))
        return failed("start", err);
    while (!done) {
        ottla_batch *batch = NULL;
        const ottla_record_view *records;
        ottla_slice data;
        size_t count = 0, i;
        if (ottla_consumer_poll(consumer, 500, 10000, &batch, &err))
            return failed("read", err);
        records = ottla_batch_records(batch, &count);
        data = ottla_batch_data(batch);
        for (i = 0; i < count; i++) {
            ottla_slice value = ottla_record_value(data, &records[i]);
            printf("offset %lld: %.*s\n", (long long)records[i].offset, (int)value.len, (const char *)value.ptr);
            done = done || (value.len == 7 && memcmp(value.ptr, "goodbye", 7) == 0);
        }
        ottla_batch_free(batch);
    }
    if (ottla_consumer_close(consumer, 10000, &err))
        return failed("close", err);
    ottla_consumer_free(consumer);
    ottla_config_free(config);
    return 0;
}

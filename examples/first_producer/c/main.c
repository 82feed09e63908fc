/* Writes three records and waits until they are written.
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

int main(int argc, char **argv)
{
    const char *address = argc > 1 ? argv[1] : "localhost:9092";
    const char *name = argc > 2 ? argv[2] : "greetings";
    const char *values[] = {"hello", "hello again", "goodbye"};
    ottla_config *config = ottla_config_new();
    ottla_queue *queue = NULL;
    ottla_producer *producer = NULL;
    ottla_topic *topic = ottla_topic_new(name);
    ottla_error *err = NULL;
    size_t i, told = 0;

    if (ottla_config_set(config, "bootstrap.servers", address, &err) || ottla_queue_new(&queue, &err) ||
        ottla_producer_new(config, queue, &producer, &err))
        return failed("start", err);
    for (i = 0; i < 3; i++) {
        ottla_record record = OTTLA_RECORD_INIT;
        record.value = ottla_bytes(values[i], strlen(values[i]));
        record.token = i + 1; /* comes back with the delivery */
        if (ottla_produce_wait(producer, topic, &record, 10000, &err))
            return failed("send", err);
    }
    while (told < 3) {
        ottla_event event;
        if (ottla_queue_drain(queue, &event, 1, 10000) == 0)
            return failed("wait", NULL);
        if (event.status)
            return failed("deliver", (ottla_error *)event.object);
        printf("`%s` written to partition %d at offset %lld\n", values[event.token - 1], (int)event.partition,
               (long long)event.offset);
        told++;
    }
    if (ottla_producer_close(producer, 10000, &err))
        return failed("close", err);
    ottla_producer_free(producer);
    ottla_queue_free(queue);
    ottla_topic_free(topic);
    ottla_config_free(config);
    return 0;
}

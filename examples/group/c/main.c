/* A member of a group: reads what the group gives it, commits what it is done with, and is told of rebalances.
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

/* Says what the rebalance does, and lets it go on. */
static void told(ottla_rebalance *step)
{
    static const char *const kinds[] = {"?", "assigned", "revoked", "lost"};
    size_t count = 0, i;
    const ottla_topic_partition *partitions = ottla_rebalance_partitions(step, &count);
    for (i = 0; i < count; i++)
        printf("%s: %s-%d\n", kinds[ottla_rebalance_get_kind(step)], partitions[i].topic, (int)partitions[i].partition);
    ottla_rebalance_ack(step);
}

int main(int argc, char **argv)
{
    const char *address = argc > 1 ? argv[1] : "localhost:9092";
    const char *name = argc > 2 ? argv[2] : "greetings";
    ottla_config *config = ottla_config_new();
    ottla_queue *queue = NULL;
    ottla_consumer *consumer = NULL;
    ottla_error *err = NULL;
    size_t read = 0;

    if (ottla_config_set(config, "bootstrap.servers", address, &err) ||
        ottla_config_set(config, "group.id", name, &err) ||
        ottla_config_set(config, "auto.offset.reset", "earliest", &err) ||
        ottla_config_set(config, "enable.auto.commit", "false", &err))
        return failed("configure", err);
    if (ottla_queue_new(&queue, &err) || ottla_consumer_new(config, queue, &consumer, &err) ||
        ottla_consumer_listen(consumer, &err) || ottla_consumer_subscribe(consumer, &name, 1, &err))
        return failed("start", err);
    while (read == 0) {
        ottla_batch *batch = NULL;
        ottla_event event;
        if (ottla_consumer_poll(consumer, 500, 10000, &batch, &err))
            return failed("read", err);
        while (ottla_queue_drain(queue, &event, 1, 0) == 1)
            if (event.kind == OTTLA_EV_REBALANCE)
                told((ottla_rebalance *)event.object);
        if (batch) {
            size_t i;
            const ottla_record_view *records = ottla_batch_records(batch, &read);
            ottla_slice data = ottla_batch_data(batch);
            for (i = 0; i < read; i++) {
                ottla_slice value = ottla_record_value(data, &records[i]);
                printf("%.*s\n", (int)value.len, (const char *)value.ptr);
            }
            if (ottla_consumer_commit(consumer, batch, 10000, &err))
                return failed("commit", err);
            ottla_batch_free(batch);
        }
    }
    if (ottla_consumer_close(consumer, 10000, &err))
        return failed("close", err);
    ottla_consumer_free(consumer);
    ottla_queue_free(queue);
    ottla_config_free(config);
    return 0;
}

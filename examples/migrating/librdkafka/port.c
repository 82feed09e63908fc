/* Watches temperatures: reads readings in a group, writes an alert for each that is too high, and commits what is looked at.
 *
 *     cc port.c $(pkg-config --cflags --libs ottla) && ./a.out localhost:9092 watch readings alerts
 *
 * A reading is "celsius=21.5", by the key of its sensor. SIGTERM and Ctrl-C end it: what is in hand is written and committed first. */
#include <ottla.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT_CELSIUS 30.0
#define BATCH_MAX 100
#define PATIENCE_MS 30000

static volatile sig_atomic_t is_running = 1;

static void stop(int number)
{
    (void)number;
    is_running = 0;
}

/* Ends the program if a call failed. */
static void must(const char *what, ottla_status status, ottla_error *err)
{
    if (status == OTTLA_OK)
        return;
    fprintf(stderr, "%s: %s\n", what, err ? ottla_error_message(err) : ottla_error_meaning(status));
    exit(1);
}

static void set(ottla_config *config, const char *key, const char *value)
{
    ottla_error *err = NULL;
    must("configure", ottla_config_set(config, key, value, &err), err);
}

/* Says what the steps of a rebalance do that wait in the queue, and lets them go on. Ends for what failed. */
static void take_events(ottla_queue *queue)
{
    ottla_event event;
    while (ottla_queue_drain(queue, &event, 1, 0) == 1) {
        size_t count = 0, i;
        const ottla_topic_partition *partitions;
        if (event.kind == OTTLA_EV_DELIVERY)
            must("deliver", event.status, (ottla_error *)event.object);
        if (event.kind != OTTLA_EV_REBALANCE)
            continue;
        partitions = ottla_rebalance_partitions((ottla_rebalance *)event.object, &count);
        for (i = 0; i < count; i++)
            printf("%s: %d\n",
                   ottla_rebalance_get_kind((ottla_rebalance *)event.object) == OTTLA_REBALANCE_ASSIGNED ? "assigned"
                                                                                                         : "revoked",
                   (int)partitions[i].partition);
        ottla_rebalance_ack((ottla_rebalance *)event.object);
    }
}

static void alert(ottla_producer *producer, ottla_topic *topic, ottla_slice key, double celsius)
{
    char text[64];
    int len = snprintf(text, sizeof text, "%.1f is above %.1f", celsius, LIMIT_CELSIUS);
    ottla_record record = OTTLA_RECORD_INIT;
    ottla_error *err = NULL;
    record.key = key;
    record.value = ottla_bytes(text, (size_t)len);
    /* Waits for room. Without a token there is an event only if it fails. */
    must("send", ottla_produce_wait(producer, topic, &record, PATIENCE_MS, &err), err);
}

int main(int argc, char **argv)
{
    ottla_config *config = ottla_config_new();
    ottla_queue *queue = NULL;
    ottla_producer *producer = NULL;
    ottla_consumer *consumer = NULL;
    ottla_topic *topic;
    ottla_error *err = NULL;
    long looked_at = 0, alerts = 0, unreadable = 0;

    if (argc != 5) {
        fprintf(stderr, "usage: port BOOTSTRAP GROUP READINGS ALERTS\n");
        return 1;
    }
    signal(SIGTERM, stop);
    signal(SIGINT, stop);

    set(config, "bootstrap.servers", argv[1]);
    set(config, "group.id", argv[2]);
    set(config, "auto.offset.reset", "earliest");
    set(config, "enable.auto.commit", "false");
    set(config, "session.timeout.ms", "10000");
    must("start", ottla_queue_new(&queue, &err), err);
    must("start", ottla_producer_new(config, queue, &producer, &err), err);
    must("start", ottla_consumer_new(config, queue, &consumer, &err), err);
    must("listen", ottla_consumer_listen(consumer, &err), err);
    must("subscribe", ottla_consumer_subscribe(consumer, (const char *const *)&argv[3], 1, &err), err);
    topic = ottla_topic_new(argv[4]);

    while (is_running) {
        ottla_batch *batch = NULL;
        const ottla_record_view *records;
        ottla_slice data;
        size_t count, i;
        must("read", ottla_consumer_poll(consumer, BATCH_MAX, 500, &batch, &err), err);
        take_events(queue);
        if (!batch)
            continue;
        data = ottla_batch_data(batch);
        records = ottla_batch_records(batch, &count);
        for (i = 0; i < count; i++) {
            ottla_slice value = ottla_record_value(data, &records[i]);
            char text[64];
            double celsius;
            snprintf(text, sizeof text, "%.*s", (int)value.len, (const char *)value.ptr);
            if (sscanf(text, "celsius=%lf", &celsius) != 1)
                unreadable++;
            else if (celsius > LIMIT_CELSIUS) {
                alert(producer, topic, ottla_record_key(data, &records[i]), celsius);
                alerts++;
            }
        }
        looked_at += (long)count;
        must("flush", ottla_producer_flush(producer, PATIENCE_MS, &err), err);
        take_events(queue);
        must("commit", ottla_consumer_commit(consumer, batch, PATIENCE_MS, &err), err);
        ottla_batch_free(batch);
        printf("%ld readings so far\n", looked_at);
    }
    must("leave", ottla_consumer_close(consumer, PATIENCE_MS, &err), err);
    must("close", ottla_producer_close(producer, PATIENCE_MS, &err), err);
    ottla_consumer_free(consumer);
    ottla_producer_free(producer);
    ottla_topic_free(topic);
    ottla_queue_free(queue);
    ottla_config_free(config);
    printf("%ld readings, %ld alerts, %ld unreadable\n", looked_at, alerts, unreadable);
    return 0;
}

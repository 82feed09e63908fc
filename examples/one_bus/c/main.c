/* A shop: sends its orders to a topic, and reads every shop's orders in a group of its own.
 *
 *     cc main.c -pthread $(pkg-config --cflags --libs ottla) && ./a.out localhost:9092 orders c 20000 20000 */
#include <ottla.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Orders that are on their way at once. */
#define UNDERWAY_MAX 1000
/* How long a call may take. */
#define TIMEOUT_MS 30000

static const char *servers, *topic_name, *name;

/* What a thread is to do, and what it comes to. */
struct work {
    unsigned long orders, count;
    unsigned long long checksum;
};

static void check(ottla_status status, const char *what, ottla_error *err)
{
    if (status == OTTLA_OK)
        return;
    fprintf(stderr, "%s: %s\n", what, err ? ottla_error_message(err) : "failed");
    exit(1);
}

static unsigned long crc32_of(const unsigned char *bytes, size_t len)
{
    unsigned long crc = 0xffffffff;
    int bit;
    while (len--)
        for (crc ^= *bytes++, bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0xedb88320 : crc >> 1;
    return crc ^ 0xffffffff;
}

static void add(struct work *work, const char *value, size_t len)
{
    work->count++;
    work->checksum += crc32_of((const unsigned char *)value, len);
}

static void say(const char *what, const struct work *work)
{
    printf("%s %lu\n", what, work->count);
    fflush(stdout);
}

static void *send_orders(void *given)
{
    struct work *work = given;
    ottla_config *config = ottla_config_new();
    ottla_topic *topic = ottla_topic_new(topic_name);
    ottla_queue *queue = NULL;
    ottla_producer *producer = NULL;
    ottla_error *err = NULL;

    check(ottla_config_set(config, "bootstrap.servers", servers, &err), "configure", err);
    check(ottla_queue_new(&queue, &err), "queue", err);
    check(ottla_producer_new(config, queue, &producer, &err), "producer", err);
    while (work->count < work->orders) {
        size_t underway = 0;
        while (underway < UNDERWAY_MAX && work->count < work->orders) {
            char key[64], value[96];
            int key_len = snprintf(key, sizeof key, "%s-%lu", name, work->count);
            int value_len = snprintf(value, sizeof value, "%s: %lu apples", key, work->count % 12 + 1);
            ottla_record record = OTTLA_RECORD_INIT;
            record.key = ottla_bytes(key, (size_t)key_len);
            record.value = ottla_bytes(value, (size_t)value_len);
            record.token = work->count + 1; /* not 0: its delivery is an event */
            check(ottla_produce_wait(producer, topic, &record, TIMEOUT_MS, &err), "send", err);
            add(work, value, (size_t)value_len);
            underway++;
        }
        while (underway > 0) {
            ottla_event events[64];
            size_t i, told = ottla_queue_drain(queue, events, 64, TIMEOUT_MS);
            for (i = 0; i < told; i++)
                check(events[i].status, "deliver", (ottla_error *)events[i].object);
            underway -= told;
        }
        say("sent", work);
    }
    check(ottla_producer_close(producer, TIMEOUT_MS, &err), "close", err);
    ottla_producer_free(producer);
    ottla_queue_free(queue);
    ottla_topic_free(topic);
    ottla_config_free(config);
    return NULL;
}

static void *read_orders(void *given)
{
    struct work *work = given;
    ottla_config *config = ottla_config_new();
    ottla_consumer *consumer = NULL;
    ottla_error *err = NULL;

    check(ottla_config_set(config, "bootstrap.servers", servers, &err), "configure", err);
    check(ottla_config_set(config, "group.id", name, &err), "configure", err);
    check(ottla_config_set(config, "auto.offset.reset", "earliest", &err), "configure", err);
    check(ottla_consumer_new(config, NULL, &consumer, &err), "consumer", err);
    check(ottla_consumer_subscribe(consumer, &topic_name, 1, &err), "subscribe", err);
    while (work->count < work->orders) {
        ottla_batch *batch = NULL;
        size_t i, count = 0;
        check(ottla_consumer_poll(consumer, 500, TIMEOUT_MS, &batch, &err), "read", err);
        if (!batch)
            continue;
        const ottla_record_view *records = ottla_batch_records(batch, &count);
        for (i = 0; i < count; i++) {
            ottla_slice value = ottla_record_value(ottla_batch_data(batch), &records[i]);
            add(work, (const char *)value.ptr, value.len);
        }
        ottla_batch_free(batch);
        say("read", work);
    }
    check(ottla_consumer_close(consumer, TIMEOUT_MS, &err), "close", err);
    ottla_consumer_free(consumer);
    ottla_config_free(config);
    return NULL;
}

int main(int argc, char **argv)
{
    struct work sending = {0}, reading = {0};
    pthread_t sender, reader;

    if (argc != 6) {
        fprintf(stderr, "usage: %s <bootstrap servers> <topic> <name> <orders to send> <orders to read>\n", argv[0]);
        return 2;
    }
    servers = argv[1], topic_name = argv[2], name = argv[3];
    sending.orders = strtoul(argv[4], NULL, 10);
    reading.orders = strtoul(argv[5], NULL, 10);
    if (pthread_create(&sender, NULL, send_orders, &sending) || pthread_create(&reader, NULL, read_orders, &reading))
        return 1;
    pthread_join(sender, NULL);
    pthread_join(reader, NULL);
    printf("total sent %lu %llu\n", sending.count, sending.checksum);
    printf("total read %lu %llu\n", reading.count, reading.checksum);
    return 0;
}

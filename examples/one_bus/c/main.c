/* A sensor: weighs the warehouse's shelves, so many a second, and writes how many pieces lie on them.
 *
 *     cc main.c $(pkg-config --cflags --libs ottla) && ./a.out localhost:9092 1000 500 */
#define _POSIX_C_SOURCE 199309L
#include <ottla.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define SHELVES 60
/* Readings that are on their way at once. */
#define UNDERWAY_MAX 1000
/* How often the shelves are weighed. */
#define TURN_MS 50
/* How long a call may take. */
#define TIMEOUT_MS 30000

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

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

int main(int argc, char **argv)
{
    static const char *const fruits[] = {"apples", "bananas", "cherries", "dates", "figs", "grapes"};
    static const struct timespec turn = {0, TURN_MS * 1000000L};
    const char *servers = argc > 1 ? argv[1] : "localhost:9092";
    unsigned long readings = argc > 2 ? strtoul(argv[2], NULL, 10) : 1000;
    unsigned long per_second = argc > 3 ? strtoul(argv[3], NULL, 10) : 500;
    unsigned long count = 0;
    unsigned long long checksum = 0;
    ottla_config *config = ottla_config_new();
    ottla_topic *topic = ottla_topic_new("readings");
    ottla_queue *queue = NULL;
    ottla_producer *producer = NULL;
    ottla_error *err = NULL;
    double began;

    check(ottla_config_set(config, "bootstrap.servers", servers, &err), "configure", err);
    check(ottla_queue_new(&queue, &err), "queue", err);
    check(ottla_producer_new(config, queue, &producer, &err), "producer", err);
    began = now_ms();
    while (count < readings) {
        unsigned long due = (unsigned long)((now_ms() - began + TURN_MS) / 1e3 * (double)per_second) + 1;
        size_t underway = 0;
        for (; count < readings && count < due && underway < UNDERWAY_MAX; count++, underway++) {
            char key[32], value[64];
            int key_len = snprintf(key, sizeof key, "shelf-%lu", count % SHELVES);
            int value_len = snprintf(value, sizeof value, "%lu %lu %s", count, 200 - count * 3 % 120, fruits[count % 6]);
            ottla_record record = OTTLA_RECORD_INIT;
            record.key = ottla_bytes(key, (size_t)key_len);
            record.value = ottla_bytes(value, (size_t)value_len);
            record.token = count + 1; /* not 0: its delivery is an event */
            check(ottla_produce_wait(producer, topic, &record, TIMEOUT_MS, &err), "send", err);
            checksum += crc32_of((const unsigned char *)value, (size_t)value_len);
        }
        while (underway > 0) {
            ottla_event events[64];
            size_t i, told = ottla_queue_drain(queue, events, 64, TIMEOUT_MS);
            for (i = 0; i < told; i++)
                check(events[i].status, "deliver", (ottla_error *)events[i].object);
            underway -= told;
        }
        printf("wrote readings %lu %llu\n", count, checksum);
        fflush(stdout);
        if (count >= due)
            nanosleep(&turn, NULL);
    }
    check(ottla_producer_close(producer, TIMEOUT_MS, &err), "close", err);
    ottla_producer_free(producer);
    ottla_queue_free(queue);
    ottla_topic_free(topic);
    ottla_config_free(config);
    return 0;
}

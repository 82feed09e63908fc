/* Many records through one producer and one consumer, and a hundred clients at once: the memory stays what it is.
 * OTTLA_ENDURANCE_RECORDS says how many records; the full form is 10,000,000. */
#include "test.h"

#include <unistd.h>

#define PARTS 40
#define ROUND 5000

static long resident_kib(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    long total = 0, resident = 0;
    if (file) {
        CHECK(fscanf(file, "%ld %ld", &total, &resident) == 2);
        fclose(file);
    }
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

/* How much the samples rise from the first to the last, by the straight line that fits them best. */
static double growth_kib(const long *samples, int count)
{
    double middle = (count - 1) / 2.0, mean = 0, run = 0, rise = 0;
    int i;
    for (i = 0; i < count; i++)
        mean += (double)samples[i] / count;
    for (i = 0; i < count; i++) {
        run += (i - middle) * (i - middle);
        rise += (i - middle) * ((double)samples[i] - mean);
    }
    return rise / run * (count - 1);
}

static long records(void)
{
    const char *given = getenv("OTTLA_ENDURANCE_RECORDS");
    return given ? atol(given) : 200000;
}

static void send_round(ottla_producer *p, ottla_topic *to, ottla_queue *q, long first, long count)
{
    ottla_event events[256];
    long i, told = 0;
    for (i = 0; i < count; i++) {
        char value[101];
        ottla_record record = OTTLA_RECORD_INIT;
        snprintf(value, sizeof value, "%0100ld", first + i);
        record.value = ottla_bytes(value, 100);
        record.token = (uint64_t)(first + i + 1);
        OK(ottla_produce_wait(p, to, &record, PATIENCE_MS, &err));
    }
    while (told < count) {
        size_t n = ottla_queue_drain(q, events, 256, PATIENCE_MS), at;
        CHECK(n > 0);
        for (at = 0; at < n; at++, told++) {
            CHECK(events[at].status == OTTLA_OK);
            CHECK(events[at].offset == (int64_t)events[at].token - 1);
        }
    }
}

static void read_until(ottla_consumer *c, long *seen, long until)
{
    while (*seen < until) {
        ottla_batch *batch = NULL;
        const ottla_record_view *views;
        ottla_slice data;
        size_t count = 0, at;
        OK(ottla_consumer_poll(c, 1000, PATIENCE_MS, &batch, &err));
        CHECK(batch != NULL);
        views = ottla_batch_records(batch, &count);
        data = ottla_batch_data(batch);
        for (at = 0; at < count; at++, (*seen)++) {
            char value[101];
            snprintf(value, sizeof value, "%0100ld", *seen);
            CHECK(views[at].offset == *seen && views[at].value_len == 100);
            CHECK(memcmp(ottla_record_value(data, &views[at]).ptr, value, 100) == 0);
        }
        ottla_batch_free(batch);
    }
}

static void memory_stays_flat_over_many_records(void)
{
    const char *name = topic("endurance", 1);
    const char *const settings[] = {"compression.type", "lz4"};
    ottla_queue *q = queue();
    ottla_producer *p = producer_with(settings, 1, q);
    ottla_consumer *c = consumer(NULL, NULL);
    ottla_topic *to = ottla_topic_new(name);
    ottla_topic_partition from = OTTLA_PARTITION(name, 0);
    long all = records(), part = all / PARTS, seen = 0, first;
    long samples[PARTS + 1];
    int taken = 0, warm;
    OK(ottla_consumer_assign(c, &from, 1, &err));
    for (first = 0; first < all; first += ROUND) {
        long count = all - first < ROUND ? all - first : ROUND;
        send_round(p, to, q, first, count);
        read_until(c, &seen, first + count);
        while (taken < PARTS && seen >= (taken + 1) * part)
            samples[taken++] = resident_kib();
    }
    CHECK(taken == PARTS);
    warm = PARTS * 3 / 10;
    printf("%ld records, %ld to %ld KiB: %+.0f\n", all, samples[warm], samples[PARTS - 1],
           growth_kib(samples + warm, PARTS - warm));
    /* Tools that watch the memory keep what was freed. */
    if (!getenv("OTTLA_TEST_CYCLES"))
        CHECK(growth_kib(samples + warm, PARTS - warm) < 16 * 1024);
    OK(ottla_producer_close(p, PATIENCE_MS, &err));
    ottla_producer_free(p);
    ottla_consumer_free(c);
    ottla_topic_free(to);
    ottla_queue_free(q);
}

static void a_hundred_clients_in_one_process(void)
{
    const char *name = topic("hundred", 1);
    ottla_topic *to = ottla_topic_new(name);
    ottla_queue *q = queue();
    ottla_producer *producers[50];
    ottla_consumer *consumers[50];
    int i;
    for (i = 0; i < 50; i++) {
        ottla_record record = OTTLA_RECORD_INIT;
        producers[i] = producer(q);
        record.token = 1;
        OK(ottla_produce_wait(producers[i], to, &record, PATIENCE_MS, &err));
    }
    for (i = 0; i < 50; i++) {
        ottla_event event;
        CHECK(ottla_queue_drain(q, &event, 1, PATIENCE_MS) == 1 && event.status == OTTLA_OK);
    }
    for (i = 0; i < 50; i++) {
        ottla_topic_partition from = OTTLA_PARTITION(name, 0);
        from.offset = i;
        consumers[i] = consumer(NULL, NULL);
        OK(ottla_consumer_assign(consumers[i], &from, 1, &err));
    }
    for (i = 0; i < 50; i++) {
        ottla_batch *batch = NULL;
        size_t count = 0;
        OK(ottla_consumer_poll(consumers[i], 1, PATIENCE_MS, &batch, &err));
        CHECK(batch && ottla_batch_records(batch, &count)[0].offset == i);
        ottla_batch_free(batch);
    }
    for (i = 0; i < 50; i++) {
        ottla_producer_free(producers[i]);
        ottla_consumer_free(consumers[i]);
    }
    ottla_topic_free(to);
    ottla_queue_free(q);
}

int main(void)
{
    RUN(memory_stays_flat_over_many_records);
    RUN(a_hundred_clients_in_one_process);
    return 0;
}

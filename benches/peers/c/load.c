/* Our client as a load, through its C interface: one thread of ours, and the client's own. ../README.md says how a load and its
 * driver talk. */
#define _POSIX_C_SOURCE 200809L
#include <ottla.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* How many different values there are; more than any batch holds. */
#define VALUE_COUNT 20000
/* Records between two looks at the deliveries. */
#define EVENTS_EVERY 1024
/* Records that a consumer takes at a time. */
#define TAKEN_MAX 10000
/* How long one call waits for something to happen. */
#define WAIT_MS 10000

static struct {
    const char *verb, *bootstrap, *topic, *codec, *group;
    int partitions;
    size_t records, passes, value_bytes;
} job = {"", "", "", "none", "", 6, 0, 1, 100};

static void fail(const char *what, ottla_status status, ottla_error *err)
{
    fprintf(stderr, "%s: %s: %s\n", what, ottla_error_name(status), err ? ottla_error_message(err) : "");
    exit(1);
}

#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        ottla_error *err = NULL;                                                                                       \
        ottla_status status_ = (call);                                                                                 \
        if (status_)                                                                                                   \
            fail(#call, status_, err);                                                                                 \
    } while (0)

/* The value of `--name=value`, if that is what `argument` is. */
static const char *flag(const char *argument, const char *name)
{
    size_t length = strlen(name);
    return strncmp(argument, name, length) == 0 ? argument + length : NULL;
}

static void read_job(int argc, char **argv)
{
    const char *given;
    int i;
    job.verb = argc > 1 ? argv[1] : "";
    for (i = 2; i < argc; i++) {
        if ((given = flag(argv[i], "--bootstrap=")))
            job.bootstrap = given;
        else if ((given = flag(argv[i], "--topic=")))
            job.topic = given;
        else if ((given = flag(argv[i], "--codec=")))
            job.codec = given;
        else if ((given = flag(argv[i], "--group=")))
            job.group = given;
        else if ((given = flag(argv[i], "--partitions=")))
            job.partitions = atoi(given);
        else if ((given = flag(argv[i], "--records=")))
            job.records = strtoull(given, NULL, 10);
        else if ((given = flag(argv[i], "--passes=")))
            job.passes = strtoull(given, NULL, 10);
        else if ((given = flag(argv[i], "--value-bytes=")))
            job.value_bytes = strtoull(given, NULL, 10);
        else {
            fprintf(stderr, "there is no flag `%s`\n", argv[i]);
            exit(1);
        }
    }
}

/* Says a line, and waits until the driver has looked at the clocks. */
static void say(const char *line)
{
    char answer[64];
    puts(line);
    fflush(stdout);
    if (!fgets(answer, sizeof answer, stdin))
        exit(1);
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void done(size_t records, double began_s)
{
    char line[128];
    snprintf(line, sizeof line, "{\"records\": %zu, \"wall_s\": %.6f}", records, now_s() - began_s);
    say(line);
}

/* Values that look like a service's log, the same in every run. */
static char *make_values(void)
{
    static const char *const words[] = {"accepted ", "cached ", "retried ", "timeout ", "upstream ", "queue ", "paid "};
    char *values = malloc(VALUE_COUNT * job.value_bytes + 64);
    uint64_t state = 2024;
    size_t i;
    for (i = 0; values && i < VALUE_COUNT; i++) {
        char line[256];
        size_t at, left;
        state = state * 6364136223846793005u + 1442695040888963407u;
        at = (size_t)snprintf(line, sizeof line, "%llu INFO billing trace=%016llx GET /v1/orders/%u ",
                              1760000000000ull + i * 25, (unsigned long long)state, (unsigned)(state >> 44));
        left = job.value_bytes > at ? job.value_bytes - at : 0;
        memcpy(values + i * job.value_bytes, line, at < job.value_bytes ? at : job.value_bytes);
        while (left > 0) {
            const char *word = words[(state >> (left % 48)) % 7];
            size_t length = strlen(word) < left ? strlen(word) : left;
            memcpy(values + (i + 1) * job.value_bytes - left, word, length);
            left -= length;
        }
    }
    return values;
}

static ottla_config *config(void)
{
    ottla_config *made = ottla_config_new();
    TRY(ottla_config_set(made, "bootstrap.servers", job.bootstrap, &err));
    return made;
}

/* Takes what deliveries there are; waits for some, if `wait_ms` is not 0. */
static size_t take(ottla_queue *queue, int wait_ms)
{
    static ottla_event events[EVENTS_EVERY];
    size_t taken = 0, count, i;
    do {
        count = ottla_queue_drain(queue, events, EVENTS_EVERY, wait_ms);
        for (i = 0; i < count; i++)
            if (events[i].status)
                fail("deliver", events[i].status, events[i].object);
        taken += count;
        wait_ms = 0;
    } while (count == EVENTS_EVERY);
    return taken;
}

static void produce(void)
{
    ottla_config *cfg = config();
    ottla_queue *queue = NULL;
    ottla_producer *producer = NULL;
    ottla_topic *topic = ottla_topic_new(job.topic);
    ottla_record record = OTTLA_RECORD_INIT;
    char *values = make_values();
    size_t told = 0, number;
    double began_s;
    TRY(ottla_config_set(cfg, "compression.type", job.codec, &err));
    TRY(ottla_config_set(cfg, "linger.ms", "5", &err));
    TRY(ottla_config_set(cfg, "batch.size", "131072", &err));
    TRY(ottla_queue_new(&queue, &err));
    TRY(ottla_producer_new(cfg, queue, &producer, &err));
    /* The connection, the producer id and the topic's metadata are there before the clock starts. */
    record.value = ottla_bytes(values, job.value_bytes);
    record.token = 1;
    TRY(ottla_produce_wait(producer, topic, &record, WAIT_MS, &err));
    while (take(queue, WAIT_MS) == 0) {
    }
    say("ready");
    began_s = now_s();
    for (number = 0; number < job.records; number++) {
        ottla_status status;
        record.value = ottla_bytes(values + number % VALUE_COUNT * job.value_bytes, job.value_bytes);
        record.token = number + 1;
        while ((status = ottla_produce(producer, topic, &record)) == OTTLA_E_QUEUE_FULL) {
            told += take(queue, 0);
            TRY(ottla_call_wait(ottla_producer_ready(producer, topic, job.value_bytes), WAIT_MS, NULL, &err));
        }
        if (status)
            fail("produce", status, NULL);
        if (number % EVENTS_EVERY == 0)
            told += take(queue, 0);
    }
    TRY(ottla_producer_flush(producer, 60000, &err));
    while (told < job.records)
        told += take(queue, WAIT_MS);
    done(told, began_s);
    TRY(ottla_producer_close(producer, WAIT_MS, &err));
    ottla_producer_free(producer);
    ottla_queue_free(queue);
    ottla_topic_free(topic);
    ottla_config_free(cfg);
    free(values);
}

/* Reads from the beginning until all records came. */
static size_t read_topic(size_t pass)
{
    ottla_config *cfg = config();
    ottla_consumer *consumer = NULL;
    size_t read = 0;
    TRY(ottla_config_set(cfg, "auto.offset.reset", "earliest", &err));
    if (*job.group) {
        char group[256];
        snprintf(group, sizeof group, "%s-%zu", job.group, pass);
        TRY(ottla_config_set(cfg, "group.id", group, &err));
    }
    TRY(ottla_consumer_new(cfg, NULL, &consumer, &err));
    if (*job.group) {
        TRY(ottla_consumer_subscribe(consumer, &job.topic, 1, &err));
    } else {
        ottla_topic_partition partitions[1024];
        int i;
        for (i = 0; i < job.partitions && i < 1024; i++) {
            ottla_topic_partition partition = OTTLA_PARTITION(job.topic, i);
            partitions[i] = partition;
        }
        TRY(ottla_consumer_assign(consumer, partitions, (size_t)i, &err));
    }
    while (read < job.records) {
        ottla_batch *batch = NULL;
        const ottla_record_view *records;
        size_t count = 0, i;
        TRY(ottla_consumer_poll(consumer, TAKEN_MAX, WAIT_MS, &batch, &err));
        records = ottla_batch_records(batch, &count);
        for (i = 0; i < count; i++)
            if (records[i].value_len != (int32_t)job.value_bytes)
                fail("a value of another size", 0, NULL);
        read += count;
        ottla_batch_free(batch);
    }
    TRY(ottla_consumer_close(consumer, WAIT_MS, &err));
    ottla_consumer_free(consumer);
    ottla_config_free(cfg);
    return read;
}

static void consume(void)
{
    size_t read = 0, pass;
    double began_s;
    say("ready");
    began_s = now_s();
    for (pass = 0; pass < job.passes; pass++)
        read += read_topic(pass);
    done(read, began_s);
}

int main(int argc, char **argv)
{
    read_job(argc, argv);
    if (strcmp(job.verb, "produce") == 0)
        produce();
    else if (strcmp(job.verb, "consume") == 0)
        consume();
    else {
        fprintf(stderr, "there is no verb `%s`\n", job.verb);
        return 1;
    }
    return 0;
}

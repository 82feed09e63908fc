/* What the tests of the C interface share: a broker's address, checks that end the program, topics.
 *
 * A test program prints `ok NAME` for each test that passed; the first check that fails says where and ends it. */
#ifndef OTTLA_TEST_H
#define OTTLA_TEST_H

#include <ottla.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE_MS 20000
#define METRICS_MAX 64

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "FAILED %s:%d: %s\n", __FILE__, __LINE__, #condition);                                     \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

/* The call answers 0; `err` is declared where it is used. */
#define OK(call)                                                                                                       \
    do {                                                                                                               \
        ottla_error *err = NULL;                                                                                       \
        ottla_status status_ = (call);                                                                                 \
        if (status_ != 0) {                                                                                            \
            fprintf(stderr, "FAILED %s:%d: %s: %s: %s\n", __FILE__, __LINE__, #call, ottla_error_name(status_),        \
                    err ? ottla_error_message(err) : "");                                                              \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

/* The call fails with `code`. */
#define FAILS(code, call)                                                                                              \
    do {                                                                                                               \
        ottla_error *err = NULL;                                                                                       \
        ottla_status status_ = (call);                                                                                 \
        if (status_ != (code)) {                                                                                       \
            fprintf(stderr, "FAILED %s:%d: %s: %s, not %s\n", __FILE__, __LINE__, #call, ottla_error_name(status_),    \
                    ottla_error_name(code));                                                                           \
            exit(1);                                                                                                   \
        }                                                                                                              \
        ottla_error_free(err);                                                                                         \
    } while (0)

#define RUN(test)                                                                                                      \
    do {                                                                                                               \
        test();                                                                                                        \
        printf("ok %s\n", #test);                                                                                      \
        fflush(stdout);                                                                                                \
    } while (0)

static const char *bootstrap(void)
{
    const char *address = getenv("OTTLA_TEST_BOOTSTRAP");
    CHECK(address != NULL);
    return address;
}

/* Settings with the broker's address, and `count` pairs of a key and a value. */
static inline ottla_config *config(const char *const *pairs, size_t count)
{
    ottla_config *made = ottla_config_new();
    size_t i;
    OK(ottla_config_set(made, "bootstrap.servers", bootstrap(), &err));
    for (i = 0; i < count; i++)
        OK(ottla_config_set(made, pairs[2 * i], pairs[2 * i + 1], &err));
    return made;
}

static inline ottla_producer *producer_with(const char *const *pairs, size_t count, ottla_queue *queue)
{
    ottla_config *cfg = config(pairs, count);
    ottla_producer *producer = NULL;
    OK(ottla_producer_new(cfg, queue, &producer, &err));
    ottla_config_free(cfg);
    return producer;
}

static inline ottla_producer *producer(ottla_queue *queue)
{
    return producer_with(NULL, 0, queue);
}

/* Reads from the beginning; in a group, if one is named. */
static inline ottla_consumer *consumer(const char *group, ottla_queue *queue)
{
    const char *pairs[] = {"auto.offset.reset", "earliest", "enable.auto.commit", "false", "group.id", group};
    ottla_config *cfg = config(pairs, group ? 3 : 2);
    ottla_consumer *made = NULL;
    OK(ottla_consumer_new(cfg, queue, &made, &err));
    ottla_config_free(cfg);
    return made;
}

/* The metric of this name, which must be there. */
static inline double metric(const ottla_metric *metrics, size_t count, const char *name)
{
    size_t i;
    for (i = 0; i < count && i < METRICS_MAX; i++)
        if (strcmp(metrics[i].name, name) == 0)
            return metrics[i].value;
    fprintf(stderr, "FAILED: there is no metric %s\n", name);
    exit(1);
}

static inline ottla_queue *queue(void)
{
    ottla_queue *made = NULL;
    OK(ottla_queue_new(&made, &err));
    return made;
}

/* Creates a topic that nobody else has. The name lives until the program ends. */
static inline const char *topic(const char *stem, int32_t partitions)
{
    static char names[16][64];
    static int count = 0;
    ottla_new_topic wanted = OTTLA_NEW_TOPIC_INIT;
    ottla_config *cfg = config(NULL, 0);
    ottla_admin *admin = NULL;
    ottla_result *result = NULL;
    const ottla_outcome *outcomes;
    size_t n = 0;
    char *name = names[count];
    CHECK(count < 16);
    snprintf(name, sizeof names[0], "%s-%s-%d", stem, getenv("OTTLA_TEST_RUN") ? getenv("OTTLA_TEST_RUN") : "0", count++);
    OK(ottla_admin_new(cfg, &admin, &err));
    wanted.name = name;
    wanted.partitions = partitions;
    OK(ottla_call_wait(ottla_admin_create_topics(admin, &wanted, 1, false), PATIENCE_MS, &result, &err));
    outcomes = ottla_result_outcomes(result, &n);
    CHECK(n == 1 && outcomes[0].status == 0 && outcomes[0].error == NULL && strcmp(outcomes[0].name, name) == 0);
    ottla_result_free(result);
    ottla_admin_free(admin);
    ottla_config_free(cfg);
    return name;
}

/* Writes `count` records, "0", "1" ..., to one partition. */
static inline void fill(const char *name, int32_t partition, int count)
{
    ottla_producer *writer = producer(NULL);
    ottla_topic *to = ottla_topic_new(name);
    int i;
    for (i = 0; i < count; i++) {
        ottla_record record = OTTLA_RECORD_INIT;
        char value[16];
        snprintf(value, sizeof value, "%d", i);
        record.partition = partition;
        record.value = ottla_bytes(value, strlen(value));
        OK(ottla_produce_wait(writer, to, &record, PATIENCE_MS, &err));
    }
    OK(ottla_producer_close(writer, PATIENCE_MS, &err));
    ottla_topic_free(to);
    ottla_producer_free(writer);
}

#endif

/* Lives of clients: many of them, short ones, in threads, over a fork; and the log. */
#include "test.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static int cycles(void)
{
    const char *given = getenv("OTTLA_TEST_CYCLES");
    return given ? atoi(given) : 1000;
}

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

static int threads(void)
{
    FILE *file = fopen("/proc/self/stat", "r");
    int count = 0;
    if (file) {
        CHECK(fscanf(file, "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %d", &count) == 1);
        fclose(file);
    }
    return count;
}

static void open_and_close_many(void)
{
    long warm = 0;
    int i, many = cycles();
    for (i = 0; i < many; i++) {
        ottla_queue *q = queue();
        ottla_producer *p = producer(q);
        ottla_consumer *c = consumer(NULL, q);
        OK(ottla_producer_close(p, PATIENCE_MS, &err));
        OK(ottla_consumer_close(c, PATIENCE_MS, &err));
        ottla_producer_free(p);
        ottla_consumer_free(c);
        ottla_queue_free(q);
        if (i == many / 4)
            warm = resident_kib();
    }
    /* Threads end a moment after their client. */
    for (i = 0; i < 20000 && threads() > 1; i++)
        usleep(1000);
    CHECK(threads() == 1);
    if (many >= 1000)
        CHECK(resident_kib() - warm < 8 * 1024);
}

static void freed_with_records_in_flight(void)
{
    const char *name = topic("in-flight", 1);
    ottla_queue *q = queue();
    ottla_producer *p = producer(q);
    ottla_topic *to = ottla_topic_new(name);
    ottla_consumer *c = consumer(NULL, NULL);
    ottla_topic_partition from = OTTLA_PARTITION(name, 0);
    ottla_event events[64];
    int i, read = 0;
    size_t told = 0;
    for (i = 0; i < 500; i++) {
        ottla_record record = OTTLA_RECORD_INIT;
        record.value = ottla_bytes(&i, sizeof i);
        record.token = 1;
        OK(ottla_produce_wait(p, to, &record, PATIENCE_MS, &err));
    }
    /* What was taken is sent all the same, and told of. */
    ottla_producer_free(p);
    ottla_topic_free(to);
    OK(ottla_consumer_assign(c, &from, 1, &err));
    while (read < 500) {
        ottla_batch *batch = NULL;
        size_t count = 0;
        OK(ottla_consumer_poll(c, 1000, PATIENCE_MS, &batch, &err));
        CHECK(batch != NULL);
        ottla_batch_records(batch, &count);
        read += (int)count;
        ottla_batch_free(batch);
    }
    while (told < 500) {
        size_t n = ottla_queue_drain(q, events, 64, 200);
        if (n == 0)
            break;
        told += n;
    }
    ottla_consumer_free(c);
    ottla_queue_free(q);
}

static void closed_with_records_in_flight(void)
{
    const char *name = topic("closing", 1);
    ottla_queue *q = queue();
    ottla_producer *p = producer(q);
    ottla_topic *to = ottla_topic_new(name);
    ottla_event events[500];
    size_t told = 0;
    int i;
    for (i = 0; i < 500; i++) {
        ottla_record record = OTTLA_RECORD_INIT;
        record.token = 1;
        OK(ottla_produce_wait(p, to, &record, PATIENCE_MS, &err));
    }
    OK(ottla_producer_close(p, PATIENCE_MS, &err));
    ottla_producer_free(p);
    while (told < 500) {
        size_t n = ottla_queue_drain(q, events, 500, PATIENCE_MS);
        CHECK(n > 0);
        told += n;
    }
    ottla_topic_free(to);
    ottla_queue_free(q);
}

struct share {
    ottla_producer *producer;
    ottla_topic *topic;
};

static void *produce_some(void *given)
{
    struct share *share = (struct share *)given;
    int i;
    for (i = 0; i < 1000; i++) {
        ottla_record record = OTTLA_RECORD_INIT;
        record.value = ottla_bytes(&i, sizeof i);
        record.token = (uint64_t)i + 1;
        OK(ottla_produce_wait(share->producer, share->topic, &record, PATIENCE_MS, &err));
    }
    return NULL;
}

static void threads_share_a_producer(void)
{
    const char *name = topic("threads", 3);
    ottla_queue *q = queue();
    struct share share;
    pthread_t running[4];
    ottla_event events[256];
    ottla_metric metrics[METRICS_MAX];
    size_t told = 0, i;
    share.producer = producer(q);
    share.topic = ottla_topic_new(name);
    for (i = 0; i < 4; i++)
        CHECK(pthread_create(&running[i], NULL, produce_some, &share) == 0);
    while (told < 4000) {
        size_t n = ottla_queue_drain(q, events, 256, PATIENCE_MS);
        CHECK(n > 0);
        told += n;
    }
    for (i = 0; i < 4; i++)
        pthread_join(running[i], NULL);
    told = ottla_producer_metrics(share.producer, metrics, METRICS_MAX);
    CHECK(metric(metrics, told, "record-acknowledged-total") == 4000);
    CHECK(metric(metrics, told, "record-error-total") == 0);
    ottla_topic_free(share.topic);
    ottla_producer_free(share.producer);
    ottla_queue_free(q);
}

static void a_child_is_told_that_it_was_forked(void)
{
    const char *name = topic("fork", 1);
    ottla_queue *q = queue();
    ottla_producer *p = producer(q);
    ottla_consumer *c = consumer(NULL, NULL);
    ottla_topic *to = ottla_topic_new(name);
    ottla_record record = OTTLA_RECORD_INIT;
    int status = -1, ends[2];
    char told = 0;
    pid_t child;
    CHECK(pipe(ends) == 0);
    OK(ottla_produce_wait(p, to, &record, PATIENCE_MS, &err));
    child = fork();
    if (child == 0) {
        ottla_event event;
        ottla_batch *batch = NULL;
        char right = ottla_produce(p, to, &record) == OTTLA_E_FORKED &&
                    ottla_producer_flush(p, -1, NULL) == OTTLA_E_FORKED &&
                    ottla_producer_close(p, -1, NULL) == OTTLA_E_FORKED &&
                    ottla_consumer_poll(c, 1, -1, &batch, NULL) == OTTLA_E_FORKED &&
                    ottla_queue_drain(q, &event, 1, -1) == 0;
        ottla_producer_free(p);
        ottla_consumer_free(c);
        ottla_queue_free(q);
        ottla_topic_free(to);
        /* Ended so, as what it leaks on purpose is nothing to complain of. */
        if (write(ends[1], &right, 1) == 1)
            kill(getpid(), SIGKILL);
        _exit(1);
    }
    CHECK(read(ends[0], &told, 1) == 1 && told == 1);
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
    close(ends[0]);
    close(ends[1]);
    OK(ottla_produce(p, to, &record));
    OK(ottla_producer_close(p, PATIENCE_MS, &err));
    ottla_producer_free(p);
    ottla_consumer_free(c);
    ottla_topic_free(to);
    ottla_queue_free(q);
}

static int lines = 0;

static void take_line(int32_t level, const char *target, const char *text, size_t len, void *user)
{
    if (level >= 1 && level <= 4 && strncmp(target, "ottla", 5) == 0 && strlen(text) == len && user == &lines)
        __atomic_fetch_add(&lines, 1, __ATOMIC_SEQ_CST);
}

static void the_log_goes_to_a_function(void)
{
    ottla_config *cfg;
    ottla_producer *p = NULL;
    int before;
    ottla_set_log(take_line, 4, &lines);
    cfg = config(NULL, 0);
    /* A key without effect is worth a warning. */
    OK(ottla_config_set(cfg, "key.serializer", "org.example.Any", &err));
    OK(ottla_producer_new(cfg, NULL, &p, &err));
    CHECK(__atomic_load_n(&lines, __ATOMIC_SEQ_CST) > 0);
    ottla_producer_free(p);
    ottla_set_log(NULL, 0, NULL);
    before = __atomic_load_n(&lines, __ATOMIC_SEQ_CST);
    OK(ottla_producer_new(cfg, NULL, &p, &err));
    ottla_producer_free(p);
    CHECK(__atomic_load_n(&lines, __ATOMIC_SEQ_CST) <= before + 1);
    ottla_config_free(cfg);
}

static void *interrupt(void *q)
{
    usleep(20000);
    ottla_queue_interrupt((ottla_queue *)q);
    return NULL;
}

static void a_wait_for_events_is_interrupted(void)
{
    ottla_queue *q = queue();
    pthread_t thread;
    ottla_event event;
    CHECK(ottla_queue_drain(q, &event, 1, 1) == 0);
    CHECK(pthread_create(&thread, NULL, interrupt, q) == 0);
    CHECK(ottla_queue_drain(q, &event, 1, PATIENCE_MS) == 0);
    pthread_join(thread, NULL);
    ottla_queue_free(q);
}

int main(void)
{
    RUN(open_and_close_many);
    RUN(freed_with_records_in_flight);
    RUN(closed_with_records_in_flight);
    RUN(threads_share_a_producer);
    RUN(a_child_is_told_that_it_was_forked);
    RUN(the_log_goes_to_a_function);
    RUN(a_wait_for_events_is_interrupted);
    return 0;
}

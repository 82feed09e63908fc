/* Records, from a producer to a consumer: every part of them, deliveries, batches that are kept, positions. */
#include "test.h"

#include <poll.h>

/* Takes events until there are `wanted` of them. */
static void take(ottla_queue *q, ottla_event *events, size_t wanted)
{
    size_t count = 0;
    while (count < wanted) {
        size_t n = ottla_queue_drain(q, events + count, wanted - count, PATIENCE_MS);
        CHECK(n > 0);
        count += n;
    }
}

static ottla_batch *next(ottla_consumer *c)
{
    ottla_batch *batch = NULL;
    OK(ottla_consumer_poll(c, 10000, PATIENCE_MS, &batch, &err));
    CHECK(batch != NULL);
    return batch;
}

/* Sends two records, which share no part; answers how many batches they were. */
static double send_two(const char *name, ottla_queue *q)
{
    ottla_producer *p = producer(q);
    ottla_topic *to = ottla_topic_new(name);
    ottla_header headers[2];
    ottla_record record = OTTLA_RECORD_INIT;
    ottla_event events[2];
    ottla_metric metrics[METRICS_MAX];
    double batches;

    headers[0].name = ottla_bytes("trace", 5);
    headers[0].value = ottla_bytes("\0\1", 2);
    headers[1].name = ottla_bytes("none", 4);
    headers[1].value = ottla_bytes(NULL, 0);
    record.partition = 1;
    record.timestamp_ms = 1700000000000;
    record.key = ottla_bytes("k", 1);
    record.value = ottla_bytes("a\0b", 3);
    record.headers = headers;
    record.header_count = 2;
    record.token = 41;
    OK(ottla_produce_wait(p, to, &record, PATIENCE_MS, &err));
    record.key = ottla_bytes("", 0);
    record.value = ottla_bytes(NULL, 0);
    record.header_count = 0;
    record.token = 42;
    OK(ottla_produce(p, to, &record));
    OK(ottla_producer_flush(p, PATIENCE_MS, &err));
    take(q, events, 2);
    CHECK(events[0].kind == OTTLA_EV_DELIVERY && events[0].status == 0 && events[0].object == NULL);
    CHECK(events[0].token == 41 && events[0].offset == 0 && events[0].partition == 1);
    CHECK(events[0].timestamp_ms == 1700000000000 && events[0].source == p);
    CHECK(events[1].token == 42 && events[1].offset == 1);
    batches = metric(metrics, ottla_producer_metrics(p, metrics, METRICS_MAX), "batch-send-total");
    ottla_topic_free(to);
    OK(ottla_producer_close(p, PATIENCE_MS, &err));
    ottla_producer_free(p);
    return batches;
}

static void every_part_of_a_record_comes_back(void)
{
    const char *name;
    ottla_queue *q = queue();
    ottla_consumer *c = consumer(NULL, NULL);
    ottla_topic_partition from;
    ottla_batch *batch;
    const ottla_record_view *views;
    ottla_slice data, part;
    ottla_header header;
    size_t count = 0;

    /* A producer with nothing under way sends what is there: the first may go alone, and then there is another topic. */
    do
        name = topic("parts", 2);
    while (send_two(name, q) != 1);
    from = (ottla_topic_partition)OTTLA_PARTITION(name, 1);
    OK(ottla_consumer_assign(c, &from, 1, &err));
    batch = next(c);
    views = ottla_batch_records(batch, &count);
    data = ottla_batch_data(batch);
    CHECK(count == 2 && strcmp(ottla_batch_topic(batch, views[0].topic_index), name) == 0);
    part = ottla_record_key(data, &views[0]);
    CHECK(part.len == 1 && part.ptr[0] == 'k');
    part = ottla_record_value(data, &views[0]);
    CHECK(part.len == 3 && memcmp(part.ptr, "a\0b", 3) == 0);
    CHECK(views[0].offset == 0 && views[0].partition == 1 && views[0].timestamp_ms == 1700000000000);
    CHECK(views[0].header_count == 2 && ottla_batch_header(batch, 0, 0, &header));
    CHECK(header.name.len == 5 && memcmp(header.name.ptr, "trace", 5) == 0 && header.value.len == 2);
    CHECK(ottla_batch_header(batch, 0, 1, &header) && header.value.ptr == NULL);
    CHECK(!ottla_batch_header(batch, 0, 2, &header) && !ottla_batch_header(batch, 9, 0, &header));
    part = ottla_record_key(data, &views[1]);
    CHECK(part.ptr != NULL && part.len == 0);
    CHECK(ottla_record_value(data, &views[1]).ptr == NULL);
    CHECK(ottla_batch_next_offset(batch) == 2 && ottla_batch_high_watermark(batch) == 2);

    /* A batch outlives its consumer, as long as somebody holds it. */
    CHECK(ottla_batch_ref(batch) == batch);
    OK(ottla_consumer_close(c, PATIENCE_MS, &err));
    ottla_consumer_free(c);
    ottla_batch_free(batch);
    CHECK(memcmp(ottla_record_value(data, &views[0]).ptr, "a\0b", 3) == 0);
    ottla_batch_free(batch);

    ottla_queue_free(q);
}

static int readable(ottla_queue *q, int timeout_ms)
{
    struct pollfd fd;
    fd.fd = (int)ottla_queue_fd(q);
    fd.events = POLLIN;
    fd.revents = 0;
    CHECK(fd.fd >= 0);
    return poll(&fd, 1, timeout_ms);
}

static void count_wake(void *user)
{
    __atomic_fetch_add((int *)user, 1, __ATOMIC_SEQ_CST);
}

static void deliveries_come_by_descriptor_function_or_waiting(void)
{
    const char *name = topic("deliveries", 1);
    ottla_queue *q = queue();
    ottla_producer *p = producer(q);
    ottla_topic *to = ottla_topic_new(name);
    ottla_record records[100];
    ottla_event events[100];
    ottla_status status = -1;
    int wakes = 0, i;
    size_t taken = 0;

    CHECK(readable(q, 0) == 0);
    ottla_queue_set_wake(q, count_wake, &wakes);
    for (i = 0; i < 100; i++) {
        ottla_record record = OTTLA_RECORD_INIT;
        record.value = ottla_bytes(&i, sizeof i);
        record.token = (uint64_t)i + 1;
        records[i] = record;
    }
    OK(ottla_call_wait(ottla_producer_ready(p, to, 4), PATIENCE_MS, NULL, &err));
    CHECK(ottla_produce_batch(p, to, records, 100, &status) == 100 && status == 0);
    CHECK(readable(q, PATIENCE_MS) == 1);
    OK(ottla_producer_flush(p, PATIENCE_MS, &err));
    CHECK(__atomic_load_n(&wakes, __ATOMIC_SEQ_CST) >= 1);
    /* Few at a time: what is left stays readable. */
    while (taken < 100) {
        size_t n;
        CHECK(readable(q, PATIENCE_MS) == 1);
        n = ottla_queue_drain(q, events, 7, 0);
        for (i = 0; i < (int)n; i++)
            CHECK(events[i].token == taken + (size_t)i + 1 && events[i].offset == (int64_t)taken + i);
        taken += n;
    }
    CHECK(ottla_queue_drain(q, events, 7, 0) == 0 && readable(q, 0) == 0);
    ottla_queue_set_wake(q, NULL, NULL);

    /* Without a token there is no event. */
    records[0].token = 0;
    OK(ottla_produce(p, to, &records[0]));
    OK(ottla_producer_flush(p, PATIENCE_MS, &err));
    CHECK(ottla_queue_drain(q, events, 7, 0) == 0);

    ottla_topic_free(to);
    OK(ottla_producer_close(p, PATIENCE_MS, &err));
    ottla_producer_free(p);
    ottla_queue_free(q);
}

static void a_loop_reads_by_events(void)
{
    const char *name = topic("loop", 1);
    ottla_queue *q = queue();
    ottla_consumer *c = consumer(NULL, q);
    ottla_topic_partition from = OTTLA_PARTITION(name, 0);
    int64_t read = 0;
    OK(ottla_consumer_assign(c, &from, 1, &err));
    fill(name, 0, 300);
    while (read < 300) {
        ottla_batch *batch = NULL;
        OK(ottla_consumer_poll(c, 1000, 0, &batch, &err));
        if (batch) {
            size_t count = 0;
            CHECK(ottla_batch_records(batch, &count)[0].offset == read);
            read += (int64_t)count;
            ottla_batch_free(batch);
        } else {
            ottla_event event;
            CHECK(ottla_queue_drain(q, &event, 1, PATIENCE_MS) == 1);
            CHECK(event.kind == OTTLA_EV_BATCH_READY && event.source == c && event.object == NULL);
        }
    }
    ottla_consumer_free(c);
    ottla_queue_free(q);
}

static void records_wait_in_turn(void)
{
    const char *name = topic("turn", 1);
    const char *nobody[] = {"bootstrap.servers", "127.0.0.1:1", "max.block.ms", "100"};
    ottla_queue *q = queue();
    ottla_producer *p = producer(q);
    ottla_topic *to = ottla_topic_new(name);
    ottla_record record = OTTLA_RECORD_INIT;
    ottla_event events[50];
    ottla_error *err = NULL;
    uint64_t i;

    /* The topic is not known yet: nobody waits for that here. */
    for (i = 0; i < 50; i++) {
        record.token = i + 1;
        OK(ottla_produce_in_turn(p, to, &record, &err));
    }
    OK(ottla_call_wait(ottla_producer_caught_up(p), PATIENCE_MS, NULL, &err));
    OK(ottla_producer_close(p, PATIENCE_MS, &err));
    take(q, events, 50);
    for (i = 0; i < 50; i++)
        CHECK(events[i].status == 0 && events[i].token == i + 1 && events[i].offset == (int64_t)i);
    CHECK(ottla_produce_in_turn(p, to, &record, &err) == OTTLA_E_CLOSED);
    ottla_error_free(err);
    ottla_producer_free(p);

    /* One that cannot be taken after all is told of as any other. */
    p = producer_with(nobody, 2, q);
    OK(ottla_produce_in_turn(p, to, &record, &err));
    take(q, events, 1);
    CHECK(events[0].kind == OTTLA_EV_DELIVERY && events[0].status != 0 && events[0].token == 50);
    CHECK(events[0].object != NULL && events[0].source == p);
    ottla_error_free((ottla_error *)events[0].object);
    ottla_producer_free(p);

    p = producer(NULL);
    CHECK(ottla_produce_in_turn(p, to, &record, &err) == OTTLA_E_INVALID_ARG);
    ottla_error_free(err);
    ottla_producer_free(p);
    ottla_topic_free(to);
    ottla_queue_free(q);
}

static void positions_are_asked_and_changed(void)
{
    const char *name = topic("positions", 1);
    ottla_consumer *c = consumer(NULL, NULL);
    ottla_topic_partition tp = OTTLA_PARTITION(name, 0);
    ottla_partitions *list = NULL;
    ottla_result *result = NULL;
    const ottla_topic_partition *rows;
    ottla_batch *batch;
    int64_t at = -9, low = -9, high = -9;
    size_t count = 0;
    ottla_metric metrics[METRICS_MAX];

    fill(name, 0, 10);
    tp.offset = 4;
    OK(ottla_consumer_assign(c, &tp, 1, &err));
    OK(ottla_consumer_assignment(c, &list, &err));
    rows = ottla_partitions_rows(list, &count);
    CHECK(count == 1 && rows[0].partition == 0 && strcmp(rows[0].topic, name) == 0);
    ottla_partitions_free(list);
    batch = next(c);
    CHECK(ottla_batch_records(batch, &count)[0].offset == 4);
    ottla_batch_free(batch);
    OK(ottla_consumer_position(c, name, 0, &at, &err));
    OK(ottla_consumer_watermarks(c, name, 0, &low, &high, &err));
    CHECK(at == 10 && low == 0 && high == 10);
    OK(ottla_consumer_seek_to(c, &tp, OTTLA_OFFSET_EARLIEST, &err));
    batch = next(c);
    CHECK(ottla_batch_records(batch, &count)[0].offset == 0);
    ottla_batch_free(batch);
    OK(ottla_consumer_pause(c, &tp, 1, &err));
    OK(ottla_consumer_paused(c, &list, &err));
    rows = ottla_partitions_rows(list, &count);
    CHECK(count == 1 && rows[0].partition == 0);
    ottla_partitions_free(list);
    tp.offset = 2;
    OK(ottla_consumer_seek(c, &tp, &err));
    OK(ottla_consumer_poll(c, 10, 50, &batch, &err));
    CHECK(batch == NULL);
    OK(ottla_consumer_resume(c, &tp, 1, &err));
    batch = next(c);
    CHECK(ottla_batch_records(batch, &count)[0].offset == 2);
    ottla_batch_free(batch);
    OK(ottla_call_wait(ottla_consumer_offsets(c, OTTLA_OFFSET_LATEST, &tp, 1), PATIENCE_MS, &result, &err));
    rows = ottla_result_partitions(result, &count);
    CHECK(count == 1 && rows[0].offset == 10);
    ottla_result_free(result);
    count = ottla_consumer_metrics(c, metrics, METRICS_MAX);
    CHECK(metric(metrics, count, "records-consumed-total") >= 16);
    CHECK(metric(metrics, count, "batches-consumed-total") >= 3);
    CHECK(ottla_consumer_metrics(c, NULL, 0) == count);
    ottla_consumer_wake(c);
    OK(ottla_consumer_poll(c, 10, PATIENCE_MS, &batch, &err));
    CHECK(batch == NULL);
    ottla_consumer_free(c);
}

int main(void)
{
    RUN(every_part_of_a_record_comes_back);
    RUN(deliveries_come_by_descriptor_function_or_waiting);
    RUN(a_loop_reads_by_events);
    RUN(records_wait_in_turn);
    RUN(positions_are_asked_and_changed);
    return 0;
}

/* Groups: partitions that come and go, and what is committed of them. */
#include "test.h"

/* Reads until `wanted` records came, acknowledging rebalances; answers how many steps took partitions away. */
static int read_on(ottla_consumer *c, ottla_queue *q, size_t *read, size_t wanted, int timeout_ms)
{
    int revoked = 0;
    while (*read < wanted) {
        ottla_batch *batch = NULL;
        ottla_event event;
        size_t count = 0;
        OK(ottla_consumer_poll(c, 1000, timeout_ms, &batch, &err));
        if (batch) {
            ottla_batch_records(batch, &count);
            *read += count;
            ottla_batch_free(batch);
        }
        while (ottla_queue_drain(q, &event, 1, 0) == 1) {
            ottla_rebalance *step = (ottla_rebalance *)event.object;
            CHECK(event.kind == OTTLA_EV_REBALANCE && event.source == c);
            ottla_rebalance_partitions(step, &count);
            if (ottla_rebalance_get_kind(step) == OTTLA_REBALANCE_REVOKED && count > 0) {
                revoked++;
                OK(ottla_consumer_commit(c, NULL, PATIENCE_MS, &err));
            }
            ottla_rebalance_ack(step);
        }
        if (timeout_ms < PATIENCE_MS && !batch)
            break;
    }
    return revoked;
}

static void two_members_share_a_topic(void)
{
    const char *name = topic("shared", 2);
    ottla_queue *q = queue();
    ottla_consumer *first = consumer(name, q), *second = consumer(name, NULL);
    ottla_partitions *list = NULL;
    ottla_batch *batch = NULL;
    size_t read = 0, count = 0;
    int revoked = 0;

    fill(name, 0, 5);
    fill(name, 1, 5);
    OK(ottla_consumer_listen(first, &err));
    OK(ottla_consumer_subscribe(first, &name, 1, &err));
    CHECK(read_on(first, q, &read, 10, PATIENCE_MS) == 0);
    OK(ottla_consumer_subscribe(second, &name, 1, &err));
    while (count == 0) {
        revoked += read_on(first, q, &read, 11, 50);
        OK(ottla_consumer_poll(second, 1000, 50, &batch, &err));
        CHECK(batch == NULL && "what was read is committed before it goes");
        OK(ottla_consumer_assignment(second, &list, &err));
        ottla_partitions_rows(list, &count);
        ottla_partitions_free(list);
    }
    CHECK(revoked >= 1 && count == 1 && read == 10);
    OK(ottla_consumer_close(first, PATIENCE_MS, &err));
    OK(ottla_consumer_close(second, PATIENCE_MS, &err));
    ottla_consumer_free(first);
    ottla_consumer_free(second);
    ottla_queue_free(q);
}

static void commits_are_read_back(void)
{
    const char *name = topic("commits", 1);
    ottla_queue *q = queue();
    ottla_consumer *c = consumer(name, q);
    ottla_topic_partition tp = OTTLA_PARTITION(name, 0);
    ottla_batch *batch = NULL;
    ottla_result *result = NULL;
    const ottla_topic_partition *rows;
    ottla_event event;
    size_t count = 0;
    int64_t next, kept_back;

    fill(name, 0, 8);
    OK(ottla_consumer_assign(c, &tp, 1, &err));
    OK(ottla_consumer_poll(c, 3, PATIENCE_MS, &batch, &err));
    CHECK(batch != NULL);
    OK(ottla_call_start(ottla_consumer_commit_call(c, batch), q, 77));
    CHECK(ottla_queue_drain(q, &event, 1, PATIENCE_MS) == 1);
    CHECK(event.kind == OTTLA_EV_CALL && event.token == 77 && event.status == 0);
    ottla_result_free((ottla_result *)event.object);
    OK(ottla_call_wait(ottla_consumer_committed(c, &tp, 1), PATIENCE_MS, &result, &err));
    rows = ottla_result_partitions(result, &count);
    next = ottla_batch_next_offset(batch);
    CHECK(count == 1 && rows[0].offset == next && next <= 3);
    ottla_result_free(result);
    ottla_batch_free(batch);
    tp.offset = 2;
    tp.metadata = "by hand";
    OK(ottla_consumer_commit_offsets(c, &tp, 1, PATIENCE_MS, &err));
    OK(ottla_call_wait(ottla_consumer_committed(c, &tp, 1), PATIENCE_MS, &result, &err));
    rows = ottla_result_partitions(result, &count);
    CHECK(rows[0].offset == 2 && strcmp(rows[0].metadata, "by hand") == 0);
    ottla_result_free(result);
    tp.offset = 0;
    OK(ottla_call_wait(ottla_consumer_commit_offsets_call(c, &tp, 1), PATIENCE_MS, NULL, &err));

    /* What is kept back is not committed, though it was handed out. The first record may have come alone: nothing was under way. */
    do {
        OK(ottla_consumer_poll(c, 5, PATIENCE_MS, &batch, &err));
        CHECK(batch != NULL && ottla_batch_records(batch, &count)[0].offset == next && count <= 5);
        next = ottla_batch_next_offset(batch);
        if (count < 2)
            ottla_batch_free(batch);
    } while (count < 2);
    kept_back = next - 1;
    OK(ottla_consumer_keep_back(c, batch, kept_back, &err));
    OK(ottla_call_wait(ottla_consumer_commit_call(c, NULL), PATIENCE_MS, NULL, &err));
    OK(ottla_call_wait(ottla_consumer_committed(c, &tp, 1), PATIENCE_MS, &result, &err));
    rows = ottla_result_partitions(result, &count);
    CHECK(rows[0].offset == kept_back);
    ottla_result_free(result);
    ottla_batch_free(batch);
    OK(ottla_call_wait(ottla_consumer_unsubscribe_call(c), PATIENCE_MS, NULL, &err));
    OK(ottla_consumer_close(c, PATIENCE_MS, &err));
    ottla_consumer_free(c);
    ottla_queue_free(q);
}

static void an_unacknowledged_step_does_not_hang_a_close(void)
{
    const char *name = topic("unacknowledged", 1);
    ottla_queue *q = queue();
    ottla_consumer *c = consumer(name, q);
    ottla_event event;
    OK(ottla_consumer_listen(c, &err));
    OK(ottla_consumer_subscribe(c, &name, 1, &err));
    while (ottla_queue_drain(q, &event, 1, 100) == 0) {
        ottla_batch *batch = NULL;
        OK(ottla_consumer_poll(c, 10, 100, &batch, &err));
        ottla_batch_free(batch);
    }
    /* It may be in time or not, but it ends. */
    (void)ottla_consumer_close(c, 500, NULL);
    ottla_rebalance_ack((ottla_rebalance *)event.object);
    ottla_consumer_free(c);
    ottla_queue_free(q);
}

int main(void)
{
    RUN(two_members_share_a_topic);
    RUN(commits_are_read_back);
    RUN(an_unacknowledged_step_does_not_hang_a_close);
    return 0;
}

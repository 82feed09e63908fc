/* What a program may do wrong, or what may go wrong with it: an answer each time, never a crash or a hang. */
#include "test.h"

static void settings_are_checked_when_they_are_set(void)
{
    ottla_config *cfg = ottla_config_new();
    ottla_producer *p = (ottla_producer *)cfg;
    ottla_error *why = NULL;
    CHECK(ottla_config_set(cfg, "linger.sm", "5", &why) == OTTLA_E_CONFIG);
    CHECK(ottla_error_code(why) == OTTLA_E_CONFIG && strcmp(ottla_error_hint(why), "did you mean `linger.ms`?") == 0);
    CHECK((ottla_error_flags(why) & OTTLA_ERR_FATAL) != 0);
    ottla_error_free(why);
    CHECK(ottla_config_set(cfg, "acks", "most", &why) == OTTLA_E_CONFIG && strstr(ottla_error_message(why), "`acks`"));
    ottla_error_free(why);
    FAILS(OTTLA_E_INVALID_ARG, ottla_config_set(cfg, "acks", "\xff", &err));
    FAILS(OTTLA_E_INVALID_ARG, ottla_config_set(cfg, NULL, "1", &err));
    FAILS(OTTLA_E_CONFIG, ottla_producer_new(cfg, NULL, &p, &err));
    CHECK(p == NULL);
    OK(ottla_config_set(cfg, "bootstrap.servers", bootstrap(), &err));
    ottla_config_free(cfg);
    CHECK(strcmp(ottla_error_name(OTTLA_E_UNKNOWN_TOPIC_OR_PARTITION), "UNKNOWN_TOPIC_OR_PARTITION") == 0);
    CHECK(strcmp(ottla_error_name(-12345), "UNKNOWN") == 0 && ottla_error_meaning(OTTLA_E_TIMEOUT)[0] != 0);
    CHECK(ottla_abi_version() == OTTLA_ABI_VERSION && ottla_version()[0] != 0);
}

static void null_is_an_argument_that_will_not_do(void)
{
    ottla_queue *q = queue();
    ottla_record record = OTTLA_RECORD_INIT;
    ottla_status status = 0;
    size_t count = 5;
    ottla_event event;
    FAILS(OTTLA_E_INVALID_ARG, ottla_produce(NULL, NULL, &record));
    CHECK(ottla_produce_batch(NULL, NULL, &record, 1, &status) == 0 && status == OTTLA_E_INVALID_ARG);
    FAILS(OTTLA_E_INVALID_ARG, ottla_consumer_poll(NULL, 1, 0, NULL, &err));
    FAILS(OTTLA_E_INVALID_ARG, ottla_call_wait(ottla_producer_flush_call(NULL), 0, NULL, &err));
    FAILS(OTTLA_E_INVALID_ARG, ottla_call_wait(NULL, 0, NULL, &err));
    /* A call that is refused ends on the queue, too. */
    OK(ottla_call_start(ottla_admin_list_topics(NULL), q, 5));
    CHECK(ottla_queue_drain(q, &event, 1, 0) == 1 && event.status == OTTLA_E_INVALID_ARG && event.token == 5);
    ottla_error_free((ottla_error *)event.object);
    CHECK(ottla_batch_records(NULL, &count) == NULL && count == 0);
    CHECK(ottla_queue_drain(q, NULL, 3, 0) == 0 && ottla_queue_fd(NULL) == -1);
    ottla_producer_free(NULL);
    ottla_consumer_free(NULL);
    ottla_admin_free(NULL);
    ottla_batch_free(NULL);
    ottla_result_free(NULL);
    ottla_error_free(NULL);
    ottla_call_free(NULL);
    ottla_rebalance_ack(NULL);
    ottla_queue_free(q);
    ottla_queue_free(NULL);
}

static void records_that_can_never_be_sent_are_refused(void)
{
    const char *name = topic("refused", 1);
    ottla_producer *p = producer(NULL);
    ottla_topic *to = ottla_topic_new(name), *bad = ottla_topic_new("not a legal/name");
    ottla_record record = OTTLA_RECORD_INIT;
    ottla_header header;
    char *large = (char *)calloc(1, 2 << 20);
    OK(ottla_produce_wait(p, to, &record, PATIENCE_MS, &err));
    record.value = ottla_bytes(large, 2 << 20);
    FAILS(OTTLA_E_RECORD_TOO_LARGE, ottla_produce(p, to, &record));
    record.value = ottla_bytes(NULL, 0);
    FAILS(OTTLA_E_INVALID_ARG, ottla_produce_wait(p, bad, &record, PATIENCE_MS, &err));
    record.partition = 7;
    FAILS(OTTLA_E_INVALID_ARG, ottla_produce(p, to, &record));
    record.partition = -1;
    record.size = 8;
    FAILS(OTTLA_E_INVALID_ARG, ottla_produce(p, to, &record));
    record.size = sizeof record;
    record.header_count = 1;
    FAILS(OTTLA_E_INVALID_ARG, ottla_produce(p, to, &record));
    header.name = ottla_bytes(NULL, 0);
    header.value = ottla_bytes(NULL, 0);
    record.headers = &header;
    FAILS(OTTLA_E_INVALID_ARG, ottla_produce(p, to, &record));
    free(large);
    ottla_topic_free(bad);
    ottla_topic_free(to);
    ottla_producer_free(p);
}

static void a_full_buffer_says_so_and_drains(void)
{
    const char *pairs[] = {"buffer.memory", "65536", "batch.size", "16384"};
    const char *name = topic("full", 1);
    ottla_queue *q = queue();
    ottla_producer *p = producer_with(pairs, 2, q);
    ottla_topic *to = ottla_topic_new(name);
    ottla_record record = OTTLA_RECORD_INIT;
    ottla_event events[64];
    static char value[4000];
    int sent = 0, told = 0;
    size_t i, n;
    ottla_status status;
    record.value = ottla_bytes(value, sizeof value);
    record.token = 1;
    OK(ottla_produce_wait(p, to, &record, PATIENCE_MS, &err));
    for (sent = 1; (status = ottla_produce(p, to, &record)) == 0; sent++)
        CHECK(sent < 1000000);
    CHECK(status == OTTLA_E_QUEUE_FULL);
    while (told < sent) {
        n = ottla_queue_drain(q, events, 64, PATIENCE_MS);
        CHECK(n > 0);
        for (i = 0; i < n; i++)
            CHECK(events[i].status == 0);
        told += (int)n;
    }
    OK(ottla_call_wait(ottla_producer_ready(p, to, sizeof value), PATIENCE_MS, NULL, &err));
    OK(ottla_produce(p, to, &record));
    ottla_topic_free(to);
    ottla_producer_free(p);
    ottla_queue_free(q);
}

static void what_nobody_answers_ends_in_time_with_an_error(void)
{
    ottla_config *cfg = ottla_config_new();
    ottla_producer *p = NULL;
    ottla_topic *to = ottla_topic_new("nowhere");
    ottla_record record = OTTLA_RECORD_INIT;
    OK(ottla_config_set(cfg, "bootstrap.servers", "127.0.0.1:1", &err));
    OK(ottla_config_set(cfg, "max.block.ms", "300", &err));
    OK(ottla_producer_new(cfg, NULL, &p, &err));
    FAILS(OTTLA_E_TIMEOUT, ottla_produce_wait(p, to, &record, 100, &err));
    FAILS(OTTLA_E_TIMEOUT, ottla_produce_wait(p, to, &record, -1, &err));
    FAILS(OTTLA_E_TIMEOUT, ottla_call_wait(ottla_producer_partition_count(p, to), 50, NULL, &err));
    ottla_topic_free(to);
    ottla_producer_free(p);
    ottla_config_free(cfg);
}

static void a_topic_that_is_not_there_is_waited_for_in_vain(void)
{
    const char *pairs[] = {"max.block.ms", "200"};
    ottla_producer *p = producer_with(pairs, 1, NULL);
    ottla_topic *to = ottla_topic_new("no-such-topic");
    ottla_record record = OTTLA_RECORD_INIT;
    ottla_error *why = NULL;
    FAILS(OTTLA_E_QUEUE_FULL, ottla_produce(p, to, &record));
    CHECK(ottla_produce_wait(p, to, &record, -1, &why) == OTTLA_E_TIMEOUT);
    CHECK(strstr(ottla_error_message(why), "no-such-topic"));
    ottla_error_free(why);
    ottla_topic_free(to);
    ottla_producer_free(p);
}

static void after_a_close_there_is_an_answer(void)
{
    const char *name = topic("closed", 1);
    ottla_producer *p = producer(NULL);
    ottla_consumer *c = consumer(NULL, NULL);
    ottla_topic *to = ottla_topic_new(name);
    ottla_record record = OTTLA_RECORD_INIT;
    ottla_batch *batch = NULL;
    OK(ottla_producer_close(p, PATIENCE_MS, &err));
    OK(ottla_producer_close(p, PATIENCE_MS, &err));
    FAILS(OTTLA_E_CLOSED, ottla_produce(p, to, &record));
    FAILS(OTTLA_E_CLOSED, ottla_produce_wait(p, to, &record, PATIENCE_MS, &err));
    FAILS(OTTLA_E_CLOSED, ottla_producer_flush(p, PATIENCE_MS, &err));
    OK(ottla_consumer_close(c, PATIENCE_MS, &err));
    FAILS(OTTLA_E_CLOSED, ottla_consumer_poll(c, 1, PATIENCE_MS, &batch, &err));
    ottla_consumer_free(c);
    /* Without a group there is nothing to subscribe with. */
    c = consumer(NULL, NULL);
    FAILS(OTTLA_E_CONFIG, ottla_consumer_subscribe(c, &name, 1, &err));
    ottla_consumer_free(c);
    ottla_topic_free(to);
    ottla_producer_free(p);
}

int main(void)
{
    RUN(settings_are_checked_when_they_are_set);
    RUN(null_is_an_argument_that_will_not_do);
    RUN(records_that_can_never_be_sent_are_refused);
    RUN(a_full_buffer_says_so_and_drains);
    RUN(what_nobody_answers_ends_in_time_with_an_error);
    RUN(a_topic_that_is_not_there_is_waited_for_in_vain);
    RUN(after_a_close_there_is_an_answer);
    return 0;
}

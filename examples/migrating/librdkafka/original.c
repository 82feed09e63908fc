/* Watches temperatures, with librdkafka: reads readings in a group, writes an alert for each that is too high, and commits what is
 * looked at.
 *
 *     cc original.c -lrdkafka && ./a.out localhost:9092 watch readings alerts
 *
 * A reading is "celsius=21.5", by the key of its sensor. SIGTERM and Ctrl-C end it: what is in hand is written and committed first. */
#include <librdkafka/rdkafka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT_CELSIUS 30.0
#define BATCH_MAX 100

static volatile sig_atomic_t is_running = 1;
static int failures = 0;

static void stop(int number)
{
    (void)number;
    is_running = 0;
}

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static void delivered(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
    (void)rk;
    (void)opaque;
    if (message->err) {
        failures++;
        fprintf(stderr, "deliver: %s\n", rd_kafka_err2str(message->err));
    }
}

static void rebalanced(rd_kafka_t *rk, rd_kafka_resp_err_t err, rd_kafka_topic_partition_list_t *partitions, void *opaque)
{
    int i;
    (void)opaque;
    for (i = 0; i < partitions->cnt; i++)
        printf("%s: %d\n", err == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS ? "assigned" : "revoked",
               (int)partitions->elems[i].partition);
    if (err == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS)
        rd_kafka_assign(rk, partitions);
    else
        rd_kafka_assign(rk, NULL);
}

static void set(rd_kafka_conf_t *conf, const char *key, const char *value)
{
    char why[512];
    if (rd_kafka_conf_set(conf, key, value, why, sizeof why) != RD_KAFKA_CONF_OK)
        fail("configure", why);
}

static void alert(rd_kafka_t *producer, const char *topic, const rd_kafka_message_t *reading, double celsius)
{
    char text[64];
    int len = snprintf(text, sizeof text, "%.1f is above %.1f", celsius, LIMIT_CELSIUS);
    rd_kafka_resp_err_t err;
    do {
        err = rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_KEY(reading->key, reading->key_len),
                                RD_KAFKA_V_VALUE(text, (size_t)len), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                RD_KAFKA_V_END);
        /* The queue is full: deliveries make room. */
        if (err == RD_KAFKA_RESP_ERR__QUEUE_FULL)
            rd_kafka_poll(producer, 100);
    } while (err == RD_KAFKA_RESP_ERR__QUEUE_FULL);
    if (err)
        fail("send", rd_kafka_err2str(err));
    rd_kafka_poll(producer, 0);
}

int main(int argc, char **argv)
{
    rd_kafka_conf_t *conf;
    rd_kafka_t *consumer, *producer;
    rd_kafka_queue_t *queue;
    rd_kafka_topic_partition_list_t *topics;
    rd_kafka_message_t *messages[BATCH_MAX];
    rd_kafka_resp_err_t err;
    char why[512];
    long looked_at = 0, alerts = 0, unreadable = 0;

    if (argc != 5)
        fail("usage", "original BOOTSTRAP GROUP READINGS ALERTS");
    signal(SIGTERM, stop);
    signal(SIGINT, stop);

    conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", argv[1]);
    set(conf, "enable.idempotence", "true");
    set(conf, "linger.ms", "5");
    rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    if (!producer)
        fail("start", why);

    conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", argv[1]);
    set(conf, "group.id", argv[2]);
    set(conf, "auto.offset.reset", "earliest");
    set(conf, "enable.auto.commit", "false");
    set(conf, "session.timeout.ms", "10000");
    rd_kafka_conf_set_rebalance_cb(conf, rebalanced);
    consumer = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why);
    if (!consumer)
        fail("start", why);
    rd_kafka_poll_set_consumer(consumer);
    queue = rd_kafka_queue_get_consumer(consumer);
    topics = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(topics, argv[3], RD_KAFKA_PARTITION_UA);
    err = rd_kafka_subscribe(consumer, topics);
    rd_kafka_topic_partition_list_destroy(topics);
    if (err)
        fail("subscribe", rd_kafka_err2str(err));

    while (is_running) {
        ssize_t count = rd_kafka_consume_batch_queue(queue, 500, messages, BATCH_MAX);
        ssize_t i;
        long before = looked_at;
        for (i = 0; i < count; i++) {
            char text[64];
            double celsius;
            if (messages[i]->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
                continue;
            if (messages[i]->err)
                fail("read", rd_kafka_message_errstr(messages[i]));
            looked_at++;
            snprintf(text, sizeof text, "%.*s", (int)messages[i]->len, (const char *)messages[i]->payload);
            if (sscanf(text, "celsius=%lf", &celsius) != 1)
                unreadable++;
            else if (celsius > LIMIT_CELSIUS) {
                alert(producer, argv[4], messages[i], celsius);
                alerts++;
            }
        }
        for (i = 0; i < count; i++)
            rd_kafka_message_destroy(messages[i]);
        if (looked_at == before)
            continue;
        if (rd_kafka_flush(producer, 30000) || failures)
            fail("deliver", "not all alerts were written");
        err = rd_kafka_commit(consumer, NULL, 0);
        if (err && err != RD_KAFKA_RESP_ERR__NO_OFFSET)
            fail("commit", rd_kafka_err2str(err));
        printf("%ld readings so far\n", looked_at);
    }
    rd_kafka_queue_destroy(queue);
    rd_kafka_consumer_close(consumer);
    rd_kafka_destroy(consumer);
    rd_kafka_flush(producer, 30000);
    rd_kafka_destroy(producer);
    printf("%ld readings, %ld alerts, %ld unreadable\n", looked_at, alerts, unreadable);
    return 0;
}

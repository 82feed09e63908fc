/* The runner of C: the interface of <ottla.h>, as a program would use it. */
#define _POSIX_C_SOURCE 200809L

#include <inttypes.h>
#include <ottla.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* How long is waited where a step does not say. */
#define PATIENCE_MS 30000
#define PAIRS_MAX 64
#define CLIENTS_MAX 64
#define HEADERS_MAX 16
#define LIST_MAX 64
#define EVENTS_MAX 256

/* Bytes that end with a zero, which is not counted. */
typedef struct {
    char *bytes;
    size_t len;
} text;

/* A line: a verb and pairs. */
typedef struct {
    char *verb;
    text names[PAIRS_MAX];
    text values[PAIRS_MAX];
    size_t count;
} step;

typedef struct {
    char name[32];
    ottla_producer *producer;
    ottla_queue *deliveries;
    /* Records whose outcome is still to be told. */
    uint64_t under_way;
    ottla_consumer *consumer;
    ottla_admin *admin;
} client;

static client clients[CLIENTS_MAX];
static size_t client_count;

/* ---- lines */

static int hex(char digit)
{
    return digit <= '9' ? digit - '0' : (digit | 32) - 'a' + 10;
}

/* Percent-decodes in place. */
static text decoded(char *coded, size_t len)
{
    text out = {coded, 0};
    size_t i;
    for (i = 0; i < len; i++) {
        if (coded[i] == '%' && i + 2 < len) {
            coded[out.len++] = (char)(hex(coded[i + 1]) * 16 + hex(coded[i + 2]));
            i += 2;
        } else {
            coded[out.len++] = coded[i];
        }
    }
    coded[out.len] = 0;
    return out;
}

static step parsed(char *line)
{
    step read;
    char *pair, *rest = NULL;
    read.count = 0;
    line[strcspn(line, "\r\n")] = 0;
    read.verb = strtok_r(line, " ", &rest);
    while ((pair = strtok_r(NULL, " ", &rest)) != NULL && read.count < PAIRS_MAX) {
        char *value = strchr(pair, '=');
        if (value == NULL)
            continue;
        *value++ = 0;
        read.values[read.count] = decoded(value, strlen(value));
        read.names[read.count++] = decoded(pair, strlen(pair));
    }
    return read;
}

static const text *value_of(const step *s, const char *name)
{
    size_t i;
    for (i = 0; i < s->count; i++)
        if (strcmp(s->names[i].bytes, name) == 0)
            return &s->values[i];
    return NULL;
}

/* The text of a pair; "" where there is none. */
static const char *text_of(const step *s, const char *name)
{
    const text *value = value_of(s, name);
    return value ? value->bytes : "";
}

static int64_t number_of(const step *s, const char *name, int64_t otherwise)
{
    const text *value = value_of(s, name);
    return value ? strtoll(value->bytes, NULL, 10) : otherwise;
}

static int32_t patience_ms(const step *s)
{
    return (int32_t)number_of(s, "timeout_ms", PATIENCE_MS);
}

static ottla_slice slice_of(const step *s, const char *name)
{
    const text *value = value_of(s, name);
    return value ? ottla_bytes(value->bytes, value->len) : ottla_bytes(NULL, 0);
}

static int is_letter(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static void put_coded(const uint8_t *bytes, size_t len, const char *plain)
{
    size_t i;
    for (i = 0; i < len; i++) {
        int c = bytes[i];
        if (is_letter(c) || (c != 0 && strchr(plain, c) != NULL))
            putchar(c);
        else
            printf("%%%02X", c);
    }
}

static void put_pair(const char *name, const char *value)
{
    printf(" %s=", name);
    put_coded((const uint8_t *)value, strlen(value), "-_.:,@/");
}

static void put_number(const char *name, int64_t value)
{
    printf(" %s=%" PRId64, name, value);
}

static void end_line(void)
{
    putchar('\n');
    fflush(stdout);
}

static void ok(void)
{
    printf("ok");
    end_line();
}

static void refused_as(ottla_status status, const char *message, uint32_t flags)
{
    printf("error");
    put_pair("name", ottla_error_name(status));
    put_number("code", status);
    put_pair("retriable", flags & OTTLA_ERR_RETRIABLE ? "true" : "false");
    put_pair("fatal", flags & OTTLA_ERR_FATAL ? "true" : "false");
    put_pair("message", message);
    end_line();
}

/* Says what went wrong, and frees it. A hint belongs to what people read. */
static void refused(ottla_status status, ottla_error *err)
{
    const char *hint = err ? ottla_error_hint(err) : NULL;
    const char *message = err ? ottla_error_message(err) : ottla_error_meaning(status);
    size_t len = strlen(message) + (hint ? strlen(hint) : 0) + 3;
    char *whole = (char *)malloc(len);
    snprintf(whole, len, hint ? "%s; %s" : "%s%s", message, hint ? hint : "");
    refused_as(status, whole, err ? ottla_error_flags(err) : 0);
    free(whole);
    ottla_error_free(err);
}

/* Makes a call that may set `err`, and tells what came of it. */
#define ANSWER(call)                                                                                                   \
    do {                                                                                                               \
        ottla_status status_ = (call);                                                                                 \
        if (status_)                                                                                                   \
            refused(status_, err);                                                                                     \
        else                                                                                                           \
            ok();                                                                                                      \
    } while (0)

static void no_such_verb(void)
{
    printf("error name=UNKNOWN_VERB");
    end_line();
}

static void failed(const char *why)
{
    printf("error name=RUNNER");
    put_pair("message", why);
    end_line();
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void rest(void)
{
    struct timespec pause = {0, 10000000};
    nanosleep(&pause, NULL);
}

/* ---- partitions */

/* `orders-0`, or `orders-0@5`; the text is cut where the topic ends. */
static ottla_topic_partition partition_at(char *written)
{
    ottla_topic_partition tp = OTTLA_PARTITION(written, 0);
    char *offset = strchr(written, '@');
    char *number;
    if (offset) {
        *offset++ = 0;
        tp.offset = strtoll(offset, NULL, 10);
    }
    number = strrchr(written, '-');
    if (number) {
        *number++ = 0;
        tp.partition = (int32_t)strtol(number, NULL, 10);
    }
    return tp;
}

static size_t partitions_of(const step *s, ottla_topic_partition *out)
{
    char *rest_of = NULL, *written = strtok_r(value_of(s, "partitions")->bytes, ",", &rest_of);
    size_t count = 0;
    for (; written != NULL && count < LIST_MAX; written = strtok_r(NULL, ",", &rest_of))
        out[count++] = partition_at(written);
    return count;
}

static size_t names_of(const step *s, const char *name, const char **out)
{
    char *rest_of = NULL, *written = strtok_r(value_of(s, name)->bytes, ",", &rest_of);
    size_t count = 0;
    for (; written != NULL && count < LIST_MAX; written = strtok_r(NULL, ",", &rest_of))
        out[count++] = written;
    return count;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* ---- clients */

static ottla_status configured(const step *s, ottla_config *config, ottla_error **err)
{
    size_t i;
    for (i = 0; i < s->count; i++)
        if (strncmp(s->names[i].bytes, "set.", 4) == 0) {
            ottla_status status = ottla_config_set(config, s->names[i].bytes + 4, s->values[i].bytes, err);
            if (status)
                return status;
        }
    return 0;
}

static void make(const step *s)
{
    ottla_config *config = ottla_config_new();
    ottla_error *err = NULL;
    client *made = &clients[client_count];
    ottla_status status = configured(s, config, &err);
    memset(made, 0, sizeof *made);
    snprintf(made->name, sizeof made->name, "%s", text_of(s, "client"));
    if (!status && strcmp(s->verb, "producer") == 0) {
        status = ottla_queue_new(&made->deliveries, &err);
        if (!status)
            status = ottla_producer_new(config, made->deliveries, &made->producer, &err);
    } else if (!status && strcmp(s->verb, "consumer") == 0) {
        status = ottla_consumer_new(config, NULL, &made->consumer, &err);
    } else if (!status) {
        status = ottla_admin_new(config, &made->admin, &err);
    }
    ottla_config_free(config);
    if (!status && client_count + 1 < CLIENTS_MAX)
        client_count++;
    ANSWER(status);
}

/* ---- producing */

typedef struct {
    uint64_t acknowledged, failed;
    ottla_status first_failure;
    /* Of the last delivery. */
    ottla_event last;
} outcome;

/* Takes deliveries until there are no more to come. The last one's error is the caller's to free. */
static outcome deliveries(client *of)
{
    outcome told;
    ottla_event events[EVENTS_MAX];
    memset(&told, 0, sizeof told);
    while (of->under_way > 0) {
        size_t i, count = ottla_queue_drain(of->deliveries, events, EVENTS_MAX, -1);
        for (i = 0; i < count; i++) {
            ottla_error_free((ottla_error *)told.last.object);
            told.last = events[i];
            if (events[i].status == 0)
                told.acknowledged++;
            else if (told.failed++ == 0)
                told.first_failure = events[i].status;
        }
        of->under_way -= count;
    }
    return told;
}

static void tell(outcome told)
{
    printf("ok");
    put_number("acknowledged", (int64_t)told.acknowledged);
    put_number("failed", (int64_t)told.failed);
    if (told.failed)
        put_pair("error", ottla_error_name(told.first_failure));
    end_line();
    ottla_error_free((ottla_error *)told.last.object);
}

static ottla_status send(client *to, ottla_topic *topic, ottla_record *record, ottla_error **err)
{
    ottla_status status;
    record->token = 1;
    status = ottla_produce_wait(to->producer, topic, record, -1, err);
    if (!status)
        to->under_way++;
    return status;
}

/* Sends the record of a step. */
static ottla_status send_one(client *to, const step *s, ottla_error **err)
{
    ottla_record record = OTTLA_RECORD_INIT;
    ottla_header headers[HEADERS_MAX];
    ottla_topic *topic = ottla_topic_new(text_of(s, "topic"));
    ottla_status status;
    size_t i;
    record.partition = (int32_t)number_of(s, "partition", -1);
    record.timestamp_ms = number_of(s, "timestamp", -1);
    record.key = slice_of(s, "key");
    record.value = slice_of(s, "value");
    record.headers = headers;
    for (i = 0; i < s->count && record.header_count < HEADERS_MAX; i++)
        if (strncmp(s->names[i].bytes, "header.", 7) == 0) {
            ottla_header *header = &headers[record.header_count++];
            char *value = strchr(s->values[i].bytes, ':');
            text name;
            header->value = ottla_bytes(NULL, 0);
            if (value) {
                text decoded_value;
                *value++ = 0;
                decoded_value = decoded(value, strlen(value));
                header->value = ottla_bytes(decoded_value.bytes, decoded_value.len);
            }
            name = decoded(s->values[i].bytes, strlen(s->values[i].bytes));
            header->name = ottla_bytes(name.bytes, name.len);
        }
    status = send(to, topic, &record, err);
    ottla_topic_free(topic);
    return status;
}

static ottla_status send_many(client *to, const step *s, ottla_error **err)
{
    int64_t number, count = number_of(s, "count", 0), keys = number_of(s, "keys", 0);
    size_t bytes = (size_t)number_of(s, "value_bytes", 0);
    ottla_topic *topic = ottla_topic_new(text_of(s, "topic"));
    char *value = (char *)malloc(bytes + 32), key[32];
    ottla_status status = 0;
    memset(value, 'x', bytes + 32);
    for (number = 0; number < count && !status; number++) {
        ottla_record record = OTTLA_RECORD_INIT;
        char digits[32];
        snprintf(digits, sizeof digits, "%010" PRId64, number);
        memcpy(value, digits, 10);
        record.partition = (int32_t)number_of(s, "partition", -1);
        record.value = ottla_bytes(value, bytes > 10 ? bytes : 10);
        if (keys) {
            snprintf(key, sizeof key, "key-%" PRId64, number % keys);
            record.key = ottla_bytes(key, strlen(key));
        }
        status = send(to, topic, &record, err);
    }
    free(value);
    ottla_topic_free(topic);
    return status;
}

static void produce(client *with, const step *s)
{
    ottla_error *err = NULL;
    ottla_status status;
    if (strcmp(s->verb, "send") == 0) {
        outcome told;
        if ((status = send_one(with, s, &err)) != 0) {
            refused(status, err);
            return;
        }
        told = deliveries(with);
        if (told.last.status) {
            refused(told.last.status, (ottla_error *)told.last.object);
            return;
        }
        printf("ok");
        put_number("partition", told.last.partition);
        put_number("offset", told.last.offset);
        put_number("timestamp", told.last.timestamp_ms);
        end_line();
    } else if (strcmp(s->verb, "send_later") == 0) {
        ANSWER(send_one(with, s, &err));
    } else if (strcmp(s->verb, "send_many") == 0) {
        if ((status = send_many(with, s, &err)) != 0)
            refused(status, err);
        else
            tell(deliveries(with));
    } else if (strcmp(s->verb, "outcomes") == 0) {
        tell(deliveries(with));
    } else if (strcmp(s->verb, "flush") == 0) {
        ANSWER(ottla_producer_flush(with->producer, patience_ms(s), &err));
    } else if (strcmp(s->verb, "close") == 0) {
        ANSWER(ottla_producer_close(with->producer, patience_ms(s), &err));
    } else {
        no_such_verb();
    }
}

/* ---- consuming */

/* For a pair within a pair. */
static void put_coded_twice(ottla_slice bytes)
{
    size_t i;
    for (i = 0; i < bytes.len; i++) {
        int c = bytes.ptr[i];
        if (is_letter(c))
            putchar(c);
        else
            printf("%%25%02X", c);
    }
}

static void put_record(const ottla_batch *batch, const ottla_record_view *records, size_t at)
{
    const ottla_record_view *record = &records[at];
    ottla_slice data = ottla_batch_data(batch);
    ottla_slice key = ottla_record_key(data, record), value = ottla_record_value(data, record);
    ottla_header header;
    size_t i;
    printf("record");
    put_pair("topic", ottla_batch_topic(batch, record->topic_index));
    put_number("partition", record->partition);
    put_number("offset", record->offset);
    put_number("timestamp", record->timestamp_ms);
    if (key.ptr) {
        printf(" key=");
        put_coded(key.ptr, key.len, "-_.");
    }
    if (value.ptr) {
        printf(" value=");
        put_coded(value.ptr, value.len, "-_.");
    }
    for (i = 0; ottla_batch_header(batch, at, i, &header); i++) {
        printf(" header.%d=", (int)i);
        put_coded_twice(header.name);
        if (header.value.ptr) {
            putchar(':');
            put_coded_twice(header.value);
        }
    }
    putchar('\n');
}

static void poll(client *with, const step *s)
{
    int64_t came = 0, count = number_of(s, "count", INT64_MAX), deadline = now_ms() + patience_ms(s);
    while (came < count) {
        ottla_error *err = NULL;
        ottla_batch *batch = NULL;
        int64_t left = deadline - now_ms(), wanted = count - came;
        ottla_status status = ottla_consumer_poll(with->consumer, wanted > 5000 ? 5000 : (size_t)wanted,
                                                  left > 0 ? (int32_t)left : 0, &batch, &err);
        if (status) {
            refused(status, err);
            return;
        }
        if (batch) {
            size_t i, in_batch = 0;
            const ottla_record_view *records = ottla_batch_records(batch, &in_batch);
            for (i = 0; i < in_batch; i++)
                put_record(batch, records, i);
            came += (int64_t)in_batch;
            ottla_batch_free(batch);
        } else if (left <= 0) {
            break;
        }
    }
    printf("ok");
    put_number("count", came);
    end_line();
}

static void await_assignment(client *with, const step *s)
{
    int64_t deadline = now_ms() + patience_ms(s);
    size_t wanted = (size_t)number_of(s, "count", 0);
    for (;;) {
        ottla_partitions *list = NULL;
        ottla_error *err = NULL;
        size_t i, count = 0;
        const ottla_topic_partition *rows;
        ottla_status status = ottla_consumer_assignment(with->consumer, &list, &err);
        if (status) {
            refused(status, err);
            return;
        }
        rows = ottla_partitions_rows(list, &count);
        if (count == wanted && count < LIST_MAX) {
            char names[LIST_MAX][256];
            const char *sorted[LIST_MAX];
            for (i = 0; i < count; i++) {
                snprintf(names[i], sizeof names[i], "%s-%d", rows[i].topic, (int)rows[i].partition);
                sorted[i] = names[i];
            }
            qsort(sorted, count, sizeof sorted[0], by_text);
            printf("ok partitions=");
            for (i = 0; i < count; i++)
                printf("%s%s", i ? "," : "", sorted[i]);
            end_line();
            ottla_partitions_free(list);
            return;
        }
        ottla_partitions_free(list);
        if (now_ms() >= deadline) {
            failed("the assignment is another");
            return;
        }
        rest();
    }
}

/* The offset that a call about one partition gives; -1 for none, and where it fails, which is told then. */
static int offset_of(ottla_call *call, int64_t *offset)
{
    ottla_result *result = NULL;
    ottla_error *err = NULL;
    size_t count = 0;
    const ottla_topic_partition *rows;
    ottla_status status = ottla_call_wait(call, PATIENCE_MS, &result, &err);
    if (status) {
        refused(status, err);
        return 0;
    }
    rows = ottla_result_partitions(result, &count);
    *offset = count ? rows[0].offset : -1;
    ottla_result_free(result);
    return 1;
}

static void tell_offset(int64_t offset)
{
    printf("ok");
    if (offset >= 0)
        put_number("offset", offset);
    end_line();
}

static void consume(client *with, const step *s)
{
    ottla_topic_partition tps[LIST_MAX];
    const char *names[LIST_MAX];
    ottla_error *err = NULL;
    int64_t offset;
    if (strcmp(s->verb, "poll") == 0) {
        poll(with, s);
    } else if (strcmp(s->verb, "assign") == 0) {
        size_t count = partitions_of(s, tps);
        ANSWER(ottla_consumer_assign(with->consumer, tps, count, &err));
    } else if (strcmp(s->verb, "subscribe") == 0) {
        size_t count = names_of(s, "topics", names);
        ANSWER(ottla_consumer_subscribe(with->consumer, names, count, &err));
    } else if (strcmp(s->verb, "subscribe_pattern") == 0) {
        ANSWER(ottla_consumer_subscribe_pattern(with->consumer, text_of(s, "pattern"), &err));
    } else if (strcmp(s->verb, "unsubscribe") == 0) {
        ANSWER(ottla_consumer_unsubscribe(with->consumer, patience_ms(s), &err));
    } else if (strcmp(s->verb, "pause") == 0) {
        size_t count = partitions_of(s, tps);
        ANSWER(ottla_consumer_pause(with->consumer, tps, count, &err));
    } else if (strcmp(s->verb, "resume") == 0) {
        size_t count = partitions_of(s, tps);
        ANSWER(ottla_consumer_resume(with->consumer, tps, count, &err));
    } else if (strcmp(s->verb, "await_assignment") == 0) {
        await_assignment(with, s);
    } else if (strcmp(s->verb, "close") == 0) {
        ANSWER(ottla_consumer_close(with->consumer, patience_ms(s), &err));
    } else if (strcmp(s->verb, "commit") == 0 && value_of(s, "offset") == NULL) {
        ANSWER(ottla_consumer_commit(with->consumer, NULL, PATIENCE_MS, &err));
    } else if (value_of(s, "partition") == NULL) {
        no_such_verb();
    } else {
        ottla_topic_partition tp = partition_at(value_of(s, "partition")->bytes);
        if (strcmp(s->verb, "seek") == 0) {
            const char *to = text_of(s, "offset");
            if (strcmp(to, "earliest") == 0)
                ANSWER(ottla_consumer_seek_to(with->consumer, &tp, OTTLA_OFFSET_EARLIEST, &err));
            else if (strcmp(to, "latest") == 0)
                ANSWER(ottla_consumer_seek_to(with->consumer, &tp, OTTLA_OFFSET_LATEST, &err));
            else {
                tp.offset = number_of(s, "offset", -1);
                ANSWER(ottla_consumer_seek(with->consumer, &tp, &err));
            }
        } else if (strcmp(s->verb, "position") == 0) {
            int64_t deadline = now_ms() + patience_ms(s);
            ottla_status status;
            offset = -1;
            while ((status = ottla_consumer_position(with->consumer, tp.topic, tp.partition, &offset, &err)) == 0 &&
                   offset < 0 && now_ms() < deadline)
                rest();
            if (status)
                refused(status, err);
            else
                tell_offset(offset);
        } else if (strcmp(s->verb, "commit") == 0) {
            tp.offset = number_of(s, "offset", -1);
            ANSWER(ottla_consumer_commit_offsets(with->consumer, &tp, 1, PATIENCE_MS, &err));
        } else if (strcmp(s->verb, "committed") == 0) {
            if (offset_of(ottla_consumer_committed(with->consumer, &tp, 1), &offset))
                tell_offset(offset);
        } else if (strcmp(s->verb, "offset_for_time") == 0) {
            tp.timestamp_ms = number_of(s, "timestamp", 0);
            if (offset_of(ottla_consumer_offsets(with->consumer, OTTLA_OFFSET_TIMESTAMP, &tp, 1), &offset))
                tell_offset(offset);
        } else if (strcmp(s->verb, "watermarks") == 0) {
            int64_t low, high;
            if (offset_of(ottla_consumer_offsets(with->consumer, OTTLA_OFFSET_EARLIEST, &tp, 1), &low) &&
                offset_of(ottla_consumer_offsets(with->consumer, OTTLA_OFFSET_LATEST, &tp, 1), &high)) {
                printf("ok");
                put_number("low", low);
                put_number("high", high);
                end_line();
            }
        } else {
            no_such_verb();
        }
    }
}

/* ---- administering */

/* The result of a call all of whose outcomes are good; else NULL, and what went wrong is told. */
static ottla_result *result_of(ottla_call *call)
{
    ottla_result *result = NULL;
    ottla_error *err = NULL;
    size_t i, count = 0;
    const ottla_outcome *outcomes;
    ottla_status status = ottla_call_wait(call, PATIENCE_MS, &result, &err);
    if (status) {
        refused(status, err);
        return NULL;
    }
    outcomes = ottla_result_outcomes(result, &count);
    for (i = 0; i < count; i++)
        if (outcomes[i].status) {
            const ottla_error *why = outcomes[i].error;
            refused_as(outcomes[i].status, ottla_error_message(why), ottla_error_flags(why));
            ottla_result_free(result);
            return NULL;
        }
    return result;
}

static void done(ottla_call *call)
{
    ottla_result *result = result_of(call);
    if (result)
        ok();
    ottla_result_free(result);
}

static void create_topic(client *with, const step *s)
{
    ottla_new_topic topic = OTTLA_NEW_TOPIC_INIT;
    ottla_pair configs[PAIRS_MAX];
    size_t i;
    topic.name = text_of(s, "topic");
    topic.partitions = (int32_t)number_of(s, "partitions", 1);
    topic.configs = configs;
    for (i = 0; i < s->count; i++)
        if (strncmp(s->names[i].bytes, "config.", 7) == 0) {
            configs[topic.config_count].name = s->names[i].bytes + 7;
            configs[topic.config_count++].value = s->values[i].bytes;
        }
    done(ottla_admin_create_topics(with->admin, &topic, 1, false));
}

static void topic_config(client *with, const step *s)
{
    ottla_result *result =
        result_of(ottla_admin_describe_config(with->admin, OTTLA_RESOURCE_TOPIC, text_of(s, "topic")));
    size_t i, count = 0;
    const ottla_config_info *configs;
    if (result == NULL)
        return;
    configs = ottla_result_configs(result, &count);
    printf("ok");
    for (i = 0; count > 0 && i < configs[0].entry_count; i++)
        if (strcmp(configs[0].entries[i].name, text_of(s, "key")) == 0 && configs[0].entries[i].value)
            put_pair("value", configs[0].entries[i].value);
    end_line();
    ottla_result_free(result);
}

static void administer(client *with, const step *s)
{
    const char *topic = text_of(s, "topic"), *group = text_of(s, "group");
    ottla_result *result = NULL;
    size_t i, count = 0;
    if (strcmp(s->verb, "create_topic") == 0) {
        create_topic(with, s);
    } else if (strcmp(s->verb, "delete_topic") == 0) {
        done(ottla_admin_delete_topics(with->admin, &topic, 1));
    } else if (strcmp(s->verb, "create_partitions") == 0) {
        int32_t total = (int32_t)number_of(s, "partitions", 1);
        done(ottla_admin_create_partitions(with->admin, topic, total, false));
    } else if (strcmp(s->verb, "delete_group") == 0) {
        done(ottla_admin_delete_groups(with->admin, &group, 1));
    } else if (strcmp(s->verb, "topic_config") == 0) {
        topic_config(with, s);
    } else if (strcmp(s->verb, "alter_topic_config") == 0) {
        const text *value = value_of(s, "value");
        ottla_pair change;
        change.name = text_of(s, "key");
        change.value = value ? value->bytes : NULL;
        done(ottla_admin_alter_config(with->admin, OTTLA_RESOURCE_TOPIC, topic, &change, 1, false));
    } else if (strcmp(s->verb, "describe_topic") == 0) {
        if ((result = result_of(ottla_admin_describe_topics(with->admin, &topic, 1))) != NULL) {
            const ottla_topic_info *topics = ottla_result_topics(result, &count);
            printf("ok");
            put_number("partitions", count ? (int64_t)topics[0].partition_count : 0);
            end_line();
        }
    } else if (strcmp(s->verb, "list_topics") == 0) {
        if ((result = result_of(ottla_admin_list_topics(with->admin))) != NULL) {
            const ottla_topic_info *topics = ottla_result_topics(result, &count);
            printf("ok topics=");
            for (i = 0; i < count; i++)
                printf("%s%s", i ? "," : "", topics[i].name);
            end_line();
        }
    } else if (strcmp(s->verb, "list_groups") == 0) {
        if ((result = result_of(ottla_admin_list_groups(with->admin))) != NULL) {
            const ottla_group_info *groups = ottla_result_groups(result, &count);
            printf("ok groups=");
            for (i = 0; i < count; i++)
                printf("%s%s", i ? "," : "", groups[i].group_id);
            end_line();
        }
    } else if (strcmp(s->verb, "describe_group") == 0) {
        if ((result = result_of(ottla_admin_describe_groups(with->admin, &group, 1))) != NULL) {
            const ottla_group_info *groups = ottla_result_groups(result, &count);
            printf("ok");
            put_pair("state", count ? groups[0].state : "");
            put_number("members", count ? (int64_t)groups[0].member_count : 0);
            end_line();
        }
    } else {
        no_such_verb();
    }
    ottla_result_free(result);
}

int main(void)
{
    char *line = NULL;
    size_t room = 0, i;
    while (getline(&line, &room, stdin) > 0) {
        step s = parsed(line);
        client *with = NULL;
        if (strcmp(s.verb, "producer") == 0 || strcmp(s.verb, "consumer") == 0 || strcmp(s.verb, "admin") == 0) {
            make(&s);
            continue;
        }
        for (i = 0; i < client_count; i++)
            if (strcmp(clients[i].name, text_of(&s, "client")) == 0)
                with = &clients[i];
        if (with == NULL)
            failed("there is no such client");
        else if (with->producer)
            produce(with, &s);
        else if (with->consumer)
            consume(with, &s);
        else
            administer(with, &s);
    }
    for (i = 0; i < client_count; i++) {
        ottla_producer_free(clients[i].producer);
        ottla_consumer_free(clients[i].consumer);
        ottla_admin_free(clients[i].admin);
        ottla_queue_free(clients[i].deliveries);
    }
    free(line);
    return 0;
}

/* ottla.hpp: handles free themselves, errors are thrown with their words, records come back as they were sent. */
#include "test.h"

#include <ottla.hpp>

using namespace std::chrono_literals;

static ottla::Config here(std::initializer_list<std::pair<const char *, std::string>> more = {})
{
    ottla::Config config{{"bootstrap.servers", bootstrap()}, {"auto.offset.reset", "earliest"}};
    for (const auto &[key, value] : more)
        config.set(key, value);
    return config;
}

static void every_part_of_a_record_comes_back()
{
    const std::string name = topic("cpp-records", 1);
    ottla::Queue queue;
    {
        ottla::Producer producer(here(), queue);
        const ottla::Topic to(name);
        producer.send(to, {"key", "value", {{"a", "1"}, {"null", std::nullopt}, {"a", ""}}, 0, 1700000000000}, 7);
        producer.send(to, {std::nullopt, std::nullopt}, 8);
        producer.send(to, {"", std::string_view()}, 9);
        producer.close(20s);
    }
    for (std::uint64_t token = 7; token <= 9; token++) {
        auto delivery = queue.next(20s);
        CHECK(delivery && delivery->is_delivery() && !delivery->has_failed());
        delivery->check();
        CHECK(delivery->token() == token && delivery->offset() == (std::int64_t)token - 7);
        CHECK(delivery->partition() == 0);
    }
    CHECK(!queue.next(0ms));

    std::vector<ottla::Batch> kept;
    std::vector<ottla::RecordView> records;
    {
        ottla::Consumer consumer(here());
        consumer.assign({{name, 0}});
        while (records.size() < 3) {
            ottla::Batch batch = consumer.poll(20s);
            CHECK(batch && batch.next_offset() == (std::int64_t)(records.size() + batch.size()));
            for (ottla::RecordView record : batch)
                records.push_back(record);
            kept.push_back(std::move(batch));
        }
        consumer.close(20s);
    }
    /* A batch outlives its consumer, and moves. */
    ottla::RecordView first = records[0];
    CHECK(first.key() == "key" && first.value() == "value" && first.offset() == 0 && first.partition() == 0);
    CHECK(first.topic() == name && first.timestamp_ms() == 1700000000000);
    auto headers = first.headers();
    CHECK(headers.size() == 3 && headers[0].name == "a" && headers[0].value == "1");
    CHECK(headers[1].name == "null" && !headers[1].value && headers[2].value == "");
    CHECK(!records[1].key() && !records[1].value() && records[1].headers().empty());
    CHECK(records[2].key() == "" && records[2].value() == "");
    for (std::size_t at = 0; at < 3; at++)
        CHECK(records[at].offset() == (std::int64_t)at);
    ottla::Batch none;
    CHECK(!none && none.size() == 0 && !(none.begin() != none.end()));
}

template <typename Call>
static ottla::Error thrown(Call call)
{
    try {
        call();
    } catch (const ottla::Error &error) {
        return error;
    }
    CHECK(false);
    return ottla::Error(0, 0, "");
}

static void errors_are_thrown_with_what_to_do()
{
    ottla::Error unknown = thrown([] { here({{"linger.sm", "5"}}); });
    CHECK(unknown.code() == OTTLA_E_CONFIG && unknown.is_fatal() && !unknown.is_retriable());
    CHECK(strcmp(unknown.name(), "CONFIG") == 0);
    CHECK(std::string(unknown.what()).find("did you mean `linger.ms`?") != std::string::npos);

    const std::string name = topic("cpp-errors", 1);
    ottla::Queue queue;
    ottla::Producer producer(here(), queue);
    const std::string large(2000000, 'x');
    CHECK(thrown([&] { producer.send(ottla::Topic(name), {"", large}); }).code() == OTTLA_E_RECORD_TOO_LARGE);
    producer.close(20s);
    CHECK(thrown([&] { producer.send(ottla::Topic(name), {"", "x"}); }).code() == OTTLA_E_CLOSED);
    CHECK(thrown([&] { producer.try_send(ottla::Topic(name), {"", "x"}); }).code() == OTTLA_E_CLOSED);

    ottla::Admin admin(here());
    ottla::Error exists = thrown([&] { admin.create_topic(name, 1, 20s); });
    CHECK(exists.code() == OTTLA_E_TOPIC_ALREADY_EXISTS && !exists.is_retriable());
}

static void what_failed_waits_in_the_queue_with_its_error()
{
    const std::string name = topic("cpp-small", 1);
    ottla::Admin admin(here());
    const ottla_pair smaller = {"max.message.bytes", "100"};
    ottla::Admin::wait(ottla_admin_alter_config(admin.get(), OTTLA_RESOURCE_TOPIC, name.c_str(), &smaller, 1, false), 20s);
    ottla::Queue queue;
    ottla::Producer producer(here(), queue);
    const std::string value(1000, 'x');
    for (std::uint64_t token : {0, 1, 0, 1})
        producer.send(ottla::Topic(name), {std::nullopt, value}, token);
    producer.close(20s);
    /* Some are looked at, one is moved, the rest is freed with the queue. */
    auto failed = queue.next(20s);
    CHECK(failed && failed->has_failed());
    ottla::Event moved = std::move(*failed);
    CHECK(thrown([&] { moved.check(); }).code() == OTTLA_E_MESSAGE_TOO_LARGE);
    CHECK(queue.next(20s)->has_failed());
}

static void a_group_is_told_step_by_step()
{
    const std::string name = topic("cpp-group", 2);
    fill(name.c_str(), 0, 3);
    ottla::Queue queue;
    ottla::Consumer consumer(here({{"group.id", name}, {"enable.auto.commit", "false"}}), queue);
    consumer.listen();
    consumer.subscribe({name});
    std::size_t assigned = 0, read = 0;
    while (read < 3) {
        ottla::Batch batch = consumer.poll(20s);
        while (auto event = queue.next(0ms)) {
            if (!event->is_rebalance())
                continue;
            ottla::Rebalance step = event->rebalance();
            CHECK(step.kind() == OTTLA_REBALANCE_ASSIGNED);
            assigned += step.partitions().size();
        }
        read += batch.size();
        if (batch)
            consumer.commit(batch, 20s);
    }
    CHECK(assigned == 2);
    consumer.pause({{name, 0}});
    consumer.resume({{name, 0}});
    consumer.seek({name, 0, 1});
    CHECK(consumer.poll(20s).at(0).offset() == 1);
    consumer.commit({{name, 0, 2}}, 20s);
    consumer.wake();
    CHECK(!consumer.poll(20s));
    consumer.close(20s);
}

int main()
{
    RUN(every_part_of_a_record_comes_back);
    RUN(errors_are_thrown_with_what_to_do);
    RUN(what_failed_waits_in_the_queue_with_its_error);
    RUN(a_group_is_told_step_by_step);
    return 0;
}

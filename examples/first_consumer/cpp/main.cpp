/* Reads a partition from its beginning, until a record says goodbye. Writes some first, so that there is something.
 *
 *     c++ -std=c++17 main.cpp $(pkg-config --cflags --libs ottla) && ./a.out localhost:9092 greetings */
#include <ottla.h>

#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

/* What the C interface gives is freed by its own function. */
template <auto free>
struct Free {
    template <typename T>
    void operator()(T *given) const { free(given); }
};
template <typename T, auto free>
using Owned = std::unique_ptr<T, Free<free>>;
using Config = Owned<ottla_config, ottla_config_free>;
using Producer = Owned<ottla_producer, ottla_producer_free>;
using Consumer = Owned<ottla_consumer, ottla_consumer_free>;
using Topic = Owned<ottla_topic, ottla_topic_free>;
using Batch = Owned<ottla_batch, ottla_batch_free>;

/* A call that fails is an exception with the library's own words. */
template <typename Call>
void check(const char *what, Call call)
{
    ottla_error *err = nullptr;
    if (call(&err) != OTTLA_OK) {
        Owned<ottla_error, ottla_error_free> owned(err);
        throw std::runtime_error(std::string(what) + ": " + (err ? ottla_error_message(err) : "failed"));
    }
}

static Config config(std::initializer_list<std::pair<const char *, const char *>> settings)
{
    Config made(ottla_config_new());
    for (auto [key, value] : settings)
        check("configure", [&](auto err) { return ottla_config_set(made.get(), key, value, err); });
    return made;
}

static std::string_view text(ottla_slice slice)
{
    return {reinterpret_cast<const char *>(slice.ptr), slice.len};
}

static void write(const Config &settings, const char *name, std::initializer_list<std::string_view> lines)
{
    ottla_producer *made = nullptr;
    check("start", [&](auto err) { return ottla_producer_new(settings.get(), nullptr, &made, err); });
    Producer producer(made);
    Topic topic(ottla_topic_new(name));
    for (std::string_view line : lines) {
        ottla_record record = OTTLA_RECORD_INIT;
        record.partition = 0;
        record.value = ottla_bytes(line.data(), line.size());
        check("send", [&](auto err) { return ottla_produce_wait(producer.get(), topic.get(), &record, 10000, err); });
    }
    check("close", [&](auto err) { return ottla_producer_close(producer.get(), 10000, err); });
}

int main(int argc, char **argv)
try {
    const char *address = argc > 1 ? argv[1] : "localhost:9092";
    const char *name = argc > 2 ? argv[2] : "greetings";
    Config settings = config({{"bootstrap.servers", address}, {"auto.offset.reset", "earliest"}});
    write(settings, name, {"hello", "goodbye"});
    ottla_consumer *made = nullptr;
    check("start", [&](auto err) { return ottla_consumer_new(settings.get(), nullptr, &made, err); });
    Consumer consumer(made);
    ottla_topic_partition from = OTTLA_PARTITION(name, 0);
    check("assign", [&](auto err) { return ottla_consumer_assign(consumer.get(), &from, 1, err); });
    for (bool done = false; !done;) {
        ottla_batch *given = nullptr;
        check("read", [&](auto err) { return ottla_consumer_poll(consumer.get(), 500, 10000, &given, err); });
        Batch batch(given);
        std::size_t count = 0;
        const ottla_record_view *records = ottla_batch_records(batch.get(), &count);
        for (std::size_t i = 0; i < count; i++) {
            std::string_view value = text(ottla_record_value(ottla_batch_data(batch.get()), &records[i]));
            std::cout << "offset " << records[i].offset << ": " << value << '\n';
            done = done || value == "goodbye";
        }
    }
    check("close", [&](auto err) { return ottla_consumer_close(consumer.get(), 10000, err); });
    return 0;
} catch (const std::exception &error) {
    std::cerr << error.what() << '\n';
    return 1;
}

/* Writes three records and waits until they are written.
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
using Queue = Owned<ottla_queue, ottla_queue_free>;
using Producer = Owned<ottla_producer, ottla_producer_free>;
using Topic = Owned<ottla_topic, ottla_topic_free>;

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

int main(int argc, char **argv)
try {
    const char *address = argc > 1 ? argv[1] : "localhost:9092";
    const char *name = argc > 2 ? argv[2] : "greetings";
    const std::string_view values[] = {"hello", "hello again", "goodbye"};
    Config settings = config({{"bootstrap.servers", address}});
    ottla_queue *made = nullptr;
    check("queue", [&](auto err) { return ottla_queue_new(&made, err); });
    Queue queue(made);
    ottla_producer *producer_made = nullptr;
    check("start", [&](auto err) { return ottla_producer_new(settings.get(), queue.get(), &producer_made, err); });
    Producer producer(producer_made);
    Topic topic(ottla_topic_new(name));
    for (std::size_t i = 0; i < 3; i++) {
        ottla_record record = OTTLA_RECORD_INIT;
        record.value = ottla_bytes(values[i].data(), values[i].size());
        record.token = i + 1; // comes back with the delivery
        check("send", [&](auto err) { return ottla_produce_wait(producer.get(), topic.get(), &record, 10000, err); });
    }
    for (int told = 0; told < 3; told++) {
        ottla_event event;
        if (ottla_queue_drain(queue.get(), &event, 1, 10000) == 0)
            throw std::runtime_error("no delivery within 10 s");
        Owned<ottla_error, ottla_error_free> why(static_cast<ottla_error *>(event.object));
        if (event.status != OTTLA_OK)
            throw std::runtime_error(ottla_error_message(why.get()));
        std::cout << values[event.token - 1] << ": written to partition " << event.partition << " at offset "
                  << event.offset << '\n';
    }
    check("close", [&](auto err) { return ottla_producer_close(producer.get(), 10000, err); });
    return 0;
} catch (const std::exception &error) {
    std::cerr << error.what() << '\n';
    return 1;
}

/* A member of a group: reads what the group gives it, commits what it is done with, and is told of rebalances.
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
using Consumer = Owned<ottla_consumer, ottla_consumer_free>;
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

int main(int argc, char **argv)
try {
    const char *address = argc > 1 ? argv[1] : "localhost:9092";
    const char *name = argc > 2 ? argv[2] : "greetings";
    Config settings = config({{"bootstrap.servers", address},
                              {"group.id", name},
                              {"auto.offset.reset", "earliest"},
                              {"enable.auto.commit", "false"}});
    ottla_queue *queue_made = nullptr;
    check("queue", [&](auto err) { return ottla_queue_new(&queue_made, err); });
    Queue queue(queue_made);
    ottla_consumer *made = nullptr;
    check("start", [&](auto err) { return ottla_consumer_new(settings.get(), queue.get(), &made, err); });
    Consumer consumer(made);
    check("listen", [&](auto err) { return ottla_consumer_listen(consumer.get(), err); });
    check("subscribe", [&](auto err) { return ottla_consumer_subscribe(consumer.get(), &name, 1, err); });
    for (std::size_t count = 0; count == 0;) {
        ottla_batch *given = nullptr;
        check("read", [&](auto err) { return ottla_consumer_poll(consumer.get(), 500, 10000, &given, err); });
        ottla_event event;
        while (ottla_queue_drain(queue.get(), &event, 1, 0) == 1) {
            if (event.kind == OTTLA_EV_REBALANCE) {
                // Acknowledged when it goes out of scope.
                Owned<ottla_rebalance, ottla_rebalance_ack> step(static_cast<ottla_rebalance *>(event.object));
                std::size_t partitions = 0;
                ottla_rebalance_partitions(step.get(), &partitions);
                std::cout << "a rebalance of " << partitions << " partitions\n";
            }
        }
        Batch batch(given);
        if (!batch)
            continue;
        const ottla_record_view *records = ottla_batch_records(batch.get(), &count);
        for (std::size_t i = 0; i < count; i++) {
            ottla_slice value = ottla_record_value(ottla_batch_data(batch.get()), &records[i]);
            std::cout << std::string_view(reinterpret_cast<const char *>(value.ptr), value.len) << '\n';
        }
        check("commit", [&](auto err) { return ottla_consumer_commit(consumer.get(), batch.get(), 10000, err); });
    }
    check("close", [&](auto err) { return ottla_consumer_close(consumer.get(), 10000, err); });
    return 0;
} catch (const std::exception &error) {
    std::cerr << error.what() << '\n';
    return 1;
}

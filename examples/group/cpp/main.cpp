/* A member of a group: reads what the group gives it, commits what it is done with, and is told of rebalances.
 *
 *     c++ -std=c++17 main.cpp $(pkg-config --cflags --libs ottla) && ./a.out localhost:9092 greetings */
#include <ottla.hpp>

#include <iostream>

using namespace std::chrono_literals;

/* Says what a rebalance does; the group goes on when the step is gone, at the end. */
static void tell(const ottla::Rebalance &step)
{
    const char *what = step.kind() == OTTLA_REBALANCE_ASSIGNED ? "assigned" : "taken";
    for (const ottla::Partition &partition : step.partitions())
        std::cout << what << ": " << partition.topic << '-' << partition.partition << '\n';
}

int main(int argc, char **argv)
try {
    const char *address = argc > 1 ? argv[1] : "localhost:9092";
    const std::string name = argc > 2 ? argv[2] : "greetings";
    ottla::Queue queue;
    ottla::Consumer consumer(ottla::Config{{"bootstrap.servers", address},
                                           {"group.id", name},
                                           {"auto.offset.reset", "earliest"},
                                           {"enable.auto.commit", "false"}},
                             queue);
    consumer.listen();
    consumer.subscribe({name});
    for (bool has_read = false; !has_read;) {
        ottla::Batch batch = consumer.poll(10s);
        while (auto event = queue.next(0ms))
            if (event->is_rebalance())
                tell(event->rebalance());
        if (!batch)
            continue;
        for (ottla::RecordView record : batch)
            std::cout << record.value().value_or("null") << '\n';
        consumer.commit(batch, 10s);
        has_read = true;
    }
    consumer.close(10s);
    return 0;
} catch (const std::exception &error) {
    std::cerr << error.what() << '\n';
    return 1;
}

/* Writes two records to a partition, and reads it from its beginning until the second of them has come.
 *
 *     c++ -std=c++17 main.cpp $(pkg-config --cflags --libs ottla) && ./a.out localhost:9092 greetings */
#include <ottla.hpp>

#include <iostream>

using namespace std::chrono_literals;

int main(int argc, char **argv)
try {
    const char *address = argc > 1 ? argv[1] : "localhost:9092";
    const std::string name = argc > 2 ? argv[2] : "greetings";
    const ottla::Config config{{"bootstrap.servers", address}, {"auto.offset.reset", "earliest"}};
    const ottla::Topic topic(name);
    ottla::Producer producer(config);
    for (std::string_view line : {"hello", "goodbye"})
        producer.send(topic, {std::nullopt, line, {}, 0}); // to partition 0
    producer.close(10s);

    ottla::Consumer consumer(config);
    consumer.assign({{name, 0}});
    for (bool is_done = false; !is_done;) {
        for (ottla::RecordView record : consumer.poll(10s)) {
            std::cout << "offset " << record.offset() << ": " << record.value().value_or("null") << '\n';
            is_done = is_done || record.value() == "goodbye";
        }
    }
    consumer.close(10s);
    return 0;
} catch (const std::exception &error) {
    std::cerr << error.what() << '\n';
    return 1;
}

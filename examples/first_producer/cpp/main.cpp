/* Writes three records and waits until they are written.
 *
 *     c++ -std=c++17 main.cpp $(pkg-config --cflags --libs ottla) && ./a.out localhost:9092 greetings */
#include <ottla.hpp>

#include <iostream>

using namespace std::chrono_literals;

int main(int argc, char **argv)
try {
    const char *address = argc > 1 ? argv[1] : "localhost:9092";
    const ottla::Topic topic(argc > 2 ? argv[2] : "greetings");
    const std::string_view values[] = {"hello", "hello again", "goodbye"};
    ottla::Queue queue;
    ottla::Producer producer(ottla::Config{{"bootstrap.servers", address}}, queue);
    std::uint64_t token = 0;
    for (std::string_view value : values)
        producer.send(topic, {std::nullopt, value}, ++token); // comes back with the delivery
    for (; token > 0; token--) {
        auto delivery = queue.next(10s);
        if (!delivery)
            throw std::runtime_error("no delivery within 10 s");
        delivery->check();
        std::cout << values[delivery->token() - 1] << ": written to partition " << delivery->partition()
                  << " at offset " << delivery->offset() << '\n';
    }
    producer.close(10s);
    return 0;
} catch (const std::exception &error) {
    std::cerr << error.what() << '\n';
    return 1;
}

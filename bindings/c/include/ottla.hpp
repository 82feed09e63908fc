/* ottla.hpp - ottla.h for C++17: handles that free themselves, errors that are thrown, records in a range-based for.
 *
 * Everything here is inline, over the functions of ottla.h, whose text says from which threads they may be called. A handle can be
 * moved and not copied; freeing one never waits, so close clients where it matters what became of the last records. What is not
 * wrapped is called with `get()`. A `wait` below zero is for ever. */
#ifndef OTTLA_HPP
#define OTTLA_HPP

#include <ottla.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ottla {

using std::chrono::milliseconds;

/* A wait without end. */
inline constexpr milliseconds forever{-1};

/* Why a call failed. `what()` says what failed, where, why, and what to do. */
class Error : public std::runtime_error {
public:
    Error(ottla_status code, std::uint32_t flags, const std::string &text)
        : std::runtime_error(text), code_(code), flags_(flags)
    {
    }
    /* Above zero a broker's code, as Kafka numbers it; below zero a local one: OTTLA_E_... */
    ottla_status code() const noexcept { return code_; }
    /* "UNKNOWN_TOPIC_OR_PARTITION", "QUEUE_FULL" ... */
    const char *name() const noexcept { return ottla_error_name(code_); }
    /* The same call may succeed later, unchanged. */
    bool is_retriable() const noexcept { return (flags_ & OTTLA_ERR_RETRIABLE) != 0; }
    /* Nothing helps before a person acted. */
    bool is_fatal() const noexcept { return (flags_ & OTTLA_ERR_FATAL) != 0; }

private:
    ottla_status code_;
    std::uint32_t flags_;
};

namespace detail {

/* Frees what the C interface gave by the function of its type. */
template <auto free>
struct Freed {
    template <typename T>
    void operator()(T *given) const noexcept
    {
        free(given);
    }
};

template <typename T, auto free>
using Owned = std::unique_ptr<T, Freed<free>>;

/* The error that `given` tells of, which is freed. */
inline Error error(ottla_status status, ottla_error *given)
{
    Owned<ottla_error, ottla_error_free> owned(given);
    if (!given)
        return Error(status, 0, ottla_error_meaning(status));
    std::string text(ottla_error_message(given));
    if (const char *hint = ottla_error_hint(given))
        text.append("; ").append(hint);
    return Error(status, ottla_error_flags(given), text);
}

/* Makes a call that may fail: `call` is given where to put the error. */
template <typename Call>
void check(Call call)
{
    ottla_error *err = nullptr;
    if (ottla_status status = call(&err); status != OTTLA_OK)
        throw error(status, err);
}

/* What `make` puts into the pointer that it is given. */
template <typename T, typename Make>
T *made(Make make)
{
    T *out = nullptr;
    check([&](ottla_error **err) { return make(&out, err); });
    return out;
}

inline std::int32_t ms(milliseconds wait) noexcept
{
    return wait.count() > INT32_MAX ? INT32_MAX : static_cast<std::int32_t>(wait.count());
}

inline std::optional<std::string_view> view(ottla_slice slice) noexcept
{
    if (!slice.ptr)
        return std::nullopt;
    return std::string_view(reinterpret_cast<const char *>(slice.ptr), slice.len);
}

inline ottla_slice slice(std::optional<std::string_view> bytes) noexcept
{
    if (!bytes)
        return ottla_bytes(nullptr, 0);
    /* A pointer that is null would be null, and not empty. */
    return ottla_bytes(bytes->data() ? bytes->data() : "", bytes->size());
}

}  // namespace detail

/* Settings, by the names that Kafka's clients have for them: `{{"bootstrap.servers", "localhost:9092"}, {"linger.ms", "5"}}`. */
class Config {
public:
    Config() : config_(ottla_config_new()) {}
    Config(std::initializer_list<std::pair<const char *, std::string>> settings) : Config()
    {
        for (const auto &[key, value] : settings)
            set(key, value);
    }
    Config &set(const std::string &key, const std::string &value)
    {
        detail::check([&](auto err) { return ottla_config_set(get(), key.c_str(), value.c_str(), err); });
        return *this;
    }
    /* Adds a .properties file, as Java's clients have them. */
    Config &file(const std::string &path)
    {
        detail::check([&](auto err) { return ottla_config_file(get(), path.c_str(), err); });
        return *this;
    }
    ottla_config *get() const noexcept { return config_.get(); }

private:
    detail::Owned<ottla_config, ottla_config_free> config_;
};

/* The name of a topic, read once. */
class Topic {
public:
    explicit Topic(const std::string &name) : topic_(ottla_topic_new(name.c_str()))
    {
        if (!topic_)
            throw Error(OTTLA_E_INVALID_ARG, 0, "the name of a topic is UTF-8");
    }
    const ottla_topic *get() const noexcept { return topic_.get(); }

private:
    detail::Owned<ottla_topic, ottla_topic_free> topic_;
};

/* A header; no value is null. */
struct Header {
    std::string_view name;
    std::optional<std::string_view> value;
};

/* A record to be sent. What it points to is copied when `send` returns. */
struct Record {
    std::optional<std::string_view> key;
    std::optional<std::string_view> value;
    std::vector<Header> headers = {};
    /* -1 leaves it to the partitioner. */
    std::int32_t partition = -1;
    /* Milliseconds since the epoch; -1 for now. */
    std::int64_t timestamp_ms = -1;
};

/* A partition, and an offset in it; -1 for none. */
struct Partition {
    std::string topic;
    std::int32_t partition = 0;
    std::int64_t offset = -1;

    ottla_topic_partition raw() const noexcept
    {
        ottla_topic_partition raw = OTTLA_PARTITION(topic.c_str(), partition);
        raw.offset = offset;
        return raw;
    }
};

/* A step of a rebalance, which the group waits for until this is destroyed. */
class Rebalance {
public:
    explicit Rebalance(ottla_rebalance *step) : step_(step) {}
    ottla_rebalance_kind kind() const noexcept
    {
        return static_cast<ottla_rebalance_kind>(ottla_rebalance_get_kind(step_.get()));
    }
    std::vector<Partition> partitions() const
    {
        std::size_t count = 0;
        const ottla_topic_partition *rows = ottla_rebalance_partitions(step_.get(), &count);
        std::vector<Partition> all;
        for (std::size_t i = 0; i < count; i++)
            all.push_back({rows[i].topic, rows[i].partition, rows[i].offset});
        return all;
    }

private:
    detail::Owned<ottla_rebalance, ottla_rebalance_ack> step_;
};

/* Something that happened, with what belongs to it. */
class Event {
public:
    explicit Event(const ottla_event &event) noexcept : event_(event) {}
    Event(Event &&other) noexcept : event_(other.event_) { other.event_.object = nullptr; }
    Event &operator=(Event &&other) noexcept
    {
        std::swap(event_, other.event_);
        return *this;
    }
    ~Event()
    {
        if (event_.status != OTTLA_OK)
            ottla_error_free(static_cast<ottla_error *>(event_.object));
        else if (event_.kind == OTTLA_EV_CALL)
            ottla_result_free(static_cast<ottla_result *>(event_.object));
        else if (event_.kind == OTTLA_EV_REBALANCE)
            ottla_rebalance_ack(static_cast<ottla_rebalance *>(event_.object));
    }

    bool is_delivery() const noexcept { return event_.kind == OTTLA_EV_DELIVERY; }
    bool is_rebalance() const noexcept { return event_.kind == OTTLA_EV_REBALANCE; }
    ottla_event_kind kind() const noexcept { return static_cast<ottla_event_kind>(event_.kind); }
    /* What the record or the call was given. */
    std::uint64_t token() const noexcept { return event_.token; }
    /* Of a delivery: where the record is. */
    std::int32_t partition() const noexcept { return event_.partition; }
    std::int64_t offset() const noexcept { return event_.offset; }
    std::int64_t timestamp_ms() const noexcept { return event_.timestamp_ms; }
    /* Whether it failed. */
    bool has_failed() const noexcept { return event_.status != OTTLA_OK; }
    /* Throws why it failed, if it did. */
    void check()
    {
        if (has_failed())
            throw detail::error(event_.status, static_cast<ottla_error *>(std::exchange(event_.object, nullptr)));
    }
    /* The step of a rebalance; the group goes on when it is destroyed. */
    Rebalance rebalance() { return Rebalance(static_cast<ottla_rebalance *>(std::exchange(event_.object, nullptr))); }
    const ottla_event &get() const noexcept { return event_; }

private:
    ottla_event event_;
};

/* Where events wait to be taken. Must outlive the clients that put events into it. */
class Queue {
public:
    Queue() : queue_(detail::made<ottla_queue>([](auto out, auto err) { return ottla_queue_new(out, err); })) {}
    /* The next event; none if none comes within `wait`, or somebody interrupts. */
    std::optional<Event> next(milliseconds wait = forever)
    {
        ottla_event event;
        if (ottla_queue_drain(get(), &event, 1, detail::ms(wait)) == 0)
            return std::nullopt;
        return Event(event);
    }
    /* Readable while there are events: for poll() and its like. */
    std::ptrdiff_t fd() const noexcept { return ottla_queue_fd(get()); }
    /* Ends waits for events; from any thread. */
    void interrupt() const noexcept { ottla_queue_interrupt(get()); }
    ottla_queue *get() const noexcept { return queue_.get(); }

private:
    detail::Owned<ottla_queue, ottla_queue_free> queue_;
};

/* Sends records. */
class Producer {
public:
    /* Failures are logged and counted. */
    explicit Producer(const Config &config) : Producer(config, nullptr) {}
    /* What becomes of records that have a token is told in `queue`. */
    Producer(const Config &config, const Queue &queue) : Producer(config, queue.get()) {}

    /* Takes a record, waiting for room if it must. With a token there is an event for it; with 0 only if it fails. */
    void send(const Topic &topic, const Record &record, std::uint64_t token = 0, milliseconds wait = forever)
    {
        with(record, token, [&](const ottla_record &raw) {
            detail::check(
                [&](auto err) { return ottla_produce_wait(get(), topic.get(), &raw, detail::ms(wait), err); });
        });
    }
    /* Takes a record if that needs no waiting; else false: there is no room, or the topic is not known yet. */
    bool try_send(const Topic &topic, const Record &record, std::uint64_t token = 0)
    {
        ottla_status status = OTTLA_OK;
        with(record, token, [&](const ottla_record &raw) { status = ottla_produce(get(), topic.get(), &raw); });
        if (status == OTTLA_E_QUEUE_FULL)
            return false;
        if (status != OTTLA_OK)
            throw detail::error(status, nullptr);
        return true;
    }
    /* Sends what was taken, and waits until each of it is acknowledged or has failed. */
    void flush(milliseconds wait = forever)
    {
        detail::check([&](auto err) { return ottla_producer_flush(get(), detail::ms(wait), err); });
    }
    /* Sends what was taken, waits for it, and ends; throws if not all of it is written within `wait`. */
    void close(milliseconds wait = forever)
    {
        detail::check([&](auto err) { return ottla_producer_close(get(), detail::ms(wait), err); });
    }
    ottla_producer *get() const noexcept { return producer_.get(); }

private:
    Producer(const Config &config, const ottla_queue *queue)
        : producer_(detail::made<ottla_producer>(
              [&](auto out, auto err) { return ottla_producer_new(config.get(), queue, out, err); }))
    {
    }
    template <typename Then>
    static void with(const Record &record, std::uint64_t token, Then then)
    {
        std::vector<ottla_header> headers;
        headers.reserve(record.headers.size());
        for (const Header &header : record.headers)
            headers.push_back({detail::slice(header.name), detail::slice(header.value)});
        ottla_record raw = OTTLA_RECORD_INIT;
        raw.key = detail::slice(record.key);
        raw.value = detail::slice(record.value);
        raw.headers = headers.data();
        raw.header_count = headers.size();
        raw.partition = record.partition;
        raw.timestamp_ms = record.timestamp_ms;
        raw.token = token;
        then(raw);
    }

    detail::Owned<ottla_producer, ottla_producer_free> producer_;
};

class Batch;

/* A record that was read: a view on its batch, and good for as long as that. */
class RecordView {
public:
    std::optional<std::string_view> key() const noexcept { return detail::view(ottla_record_key(data_, view_)); }
    std::optional<std::string_view> value() const noexcept { return detail::view(ottla_record_value(data_, view_)); }
    std::int64_t offset() const noexcept { return view_->offset; }
    std::int32_t partition() const noexcept { return view_->partition; }
    std::int64_t timestamp_ms() const noexcept { return view_->timestamp_ms; }
    std::string_view topic() const noexcept { return ottla_batch_topic(batch_, view_->topic_index); }
    std::vector<Header> headers() const
    {
        std::vector<Header> all;
        ottla_header header;
        for (std::size_t i = 0; ottla_batch_header(batch_, index_, i, &header); i++)
            all.push_back({detail::view(header.name).value_or(""), detail::view(header.value)});
        return all;
    }

private:
    friend class Batch;
    RecordView(const ottla_batch *batch, ottla_slice data, const ottla_record_view *view, std::size_t index) noexcept
        : batch_(batch), data_(data), view_(view), index_(index)
    {
    }
    const ottla_batch *batch_;
    ottla_slice data_;
    const ottla_record_view *view_;
    std::size_t index_;
};

/* Records of one partition; false where there are none. Outlives its consumer. */
class Batch {
public:
    class Iterator {
    public:
        RecordView operator*() const noexcept { return batch_->at(index_); }
        Iterator &operator++() noexcept
        {
            index_++;
            return *this;
        }
        bool operator!=(const Iterator &other) const noexcept { return index_ != other.index_; }

    private:
        friend class Batch;
        Iterator(const Batch *batch, std::size_t index) noexcept : batch_(batch), index_(index) {}
        const Batch *batch_;
        std::size_t index_;
    };

    Batch() = default;
    explicit Batch(ottla_batch *batch) noexcept : batch_(batch)
    {
        if (batch) {
            views_ = ottla_batch_records(batch, &count_);
            data_ = ottla_batch_data(batch);
        }
    }
    explicit operator bool() const noexcept { return batch_ != nullptr; }
    std::size_t size() const noexcept { return batch_ ? count_ : 0; }
    /* Where the next batch of the partition goes on. */
    std::int64_t next_offset() const noexcept { return ottla_batch_next_offset(get()); }
    RecordView at(std::size_t index) const noexcept { return {get(), data_, &views_[index], index}; }
    Iterator begin() const noexcept { return {this, 0}; }
    Iterator end() const noexcept { return {this, size()}; }
    const ottla_batch *get() const noexcept { return batch_.get(); }

private:
    detail::Owned<ottla_batch, ottla_batch_free> batch_;
    const ottla_record_view *views_ = nullptr;
    std::size_t count_ = 0;
    ottla_slice data_{};
};

/* Reads records: of partitions that are assigned, or that a group gives. */
class Consumer {
public:
    explicit Consumer(const Config &config) : Consumer(config, nullptr) {}
    /* What is asynchronous about it ends in `queue`. */
    Consumer(const Config &config, const Queue &queue) : Consumer(config, queue.get()) {}

    /* Reads these topics and no others, with the other members of the group. */
    void subscribe(const std::vector<std::string> &topics)
    {
        std::vector<const char *> names;
        for (const std::string &topic : topics)
            names.push_back(topic.c_str());
        detail::check([&](auto err) { return ottla_consumer_subscribe(get(), names.data(), names.size(), err); });
    }
    /* Reads these partitions and no others; one that has an offset begins there. */
    void assign(const std::vector<Partition> &partitions)
    {
        auto rows = raw(partitions);
        detail::check([&](auto err) { return ottla_consumer_assign(get(), rows.data(), rows.size(), err); });
    }
    /* Goes to a partition's offset. */
    void seek(const Partition &partition)
    {
        auto row = partition.raw();
        detail::check([&](auto err) { return ottla_consumer_seek(get(), &row, err); });
    }
    /* Holds partitions: nothing of them is given. */
    void pause(const std::vector<Partition> &partitions)
    {
        auto rows = raw(partitions);
        detail::check([&](auto err) { return ottla_consumer_pause(get(), rows.data(), rows.size(), err); });
    }
    /* Lets partitions that are held go on. */
    void resume(const std::vector<Partition> &partitions)
    {
        auto rows = raw(partitions);
        detail::check([&](auto err) { return ottla_consumer_resume(get(), rows.data(), rows.size(), err); });
    }
    /* The next records of one partition, at most `max`; none if none come within `wait`, if a rebalance waits in the queue, or
     * after wake(). What failed is of one partition, which the error names, and is thrown once. */
    Batch poll(milliseconds wait = forever, std::size_t max = 500)
    {
        return Batch(detail::made<ottla_batch>(
            [&](auto out, auto err) { return ottla_consumer_poll(get(), max, detail::ms(wait), out, err); }));
    }
    /* Ends a poll() that waits, or the next that would; from any thread. */
    void wake() const noexcept { ottla_consumer_wake(get()); }
    /* Has each step of a rebalance put into the queue; the group waits for it. */
    void listen()
    {
        detail::check([&](auto err) { return ottla_consumer_listen(get(), err); });
    }
    /* Commits all that was handed out. */
    void commit(milliseconds wait = forever)
    {
        detail::check([&](auto err) { return ottla_consumer_commit(get(), nullptr, detail::ms(wait), err); });
    }
    /* Commits a batch, and all before it in its partition. */
    void commit(const Batch &batch, milliseconds wait = forever)
    {
        detail::check([&](auto err) { return ottla_consumer_commit(get(), batch.get(), detail::ms(wait), err); });
    }
    /* Commits offsets: of each partition that of the next record to be read. */
    void commit(const std::vector<Partition> &offsets, milliseconds wait = forever)
    {
        auto rows = raw(offsets);
        detail::check([&](auto err) {
            return ottla_consumer_commit_offsets(get(), rows.data(), rows.size(), detail::ms(wait), err);
        });
    }
    /* Leaves the group, with what the program is done with committed, and ends. */
    void close(milliseconds wait = forever)
    {
        detail::check([&](auto err) { return ottla_consumer_close(get(), detail::ms(wait), err); });
    }
    ottla_consumer *get() const noexcept { return consumer_.get(); }

private:
    Consumer(const Config &config, const ottla_queue *queue)
        : consumer_(detail::made<ottla_consumer>(
              [&](auto out, auto err) { return ottla_consumer_new(config.get(), queue, out, err); }))
    {
    }
    static std::vector<ottla_topic_partition> raw(const std::vector<Partition> &partitions)
    {
        std::vector<ottla_topic_partition> rows;
        for (const Partition &partition : partitions)
            rows.push_back(partition.raw());
        return rows;
    }

    detail::Owned<ottla_consumer, ottla_consumer_free> consumer_;
};

/* Makes and deletes topics; with `get()`, all else that ottla_admin_... do, whose calls `wait` waits for. */
class Admin {
public:
    explicit Admin(const Config &config)
        : admin_(detail::made<ottla_admin>(
              [&](auto out, auto err) { return ottla_admin_new(config.get(), out, err); }))
    {
    }
    void create_topic(const std::string &name, std::int32_t partitions = -1, milliseconds wait = forever)
    {
        ottla_new_topic topic = OTTLA_NEW_TOPIC_INIT;
        topic.name = name.c_str();
        topic.partitions = partitions;
        done(ottla_admin_create_topics(get(), &topic, 1, false), wait);
    }
    void delete_topic(const std::string &name, milliseconds wait = forever)
    {
        const char *names[] = {name.c_str()};
        done(ottla_admin_delete_topics(get(), names, 1), wait);
    }
    /* Waits for a call, and throws if it failed. */
    static detail::Owned<ottla_result, ottla_result_free> wait(ottla_call *call, milliseconds wait = forever)
    {
        return detail::Owned<ottla_result, ottla_result_free>(detail::made<ottla_result>(
            [&](auto out, auto err) { return ottla_call_wait(call, detail::ms(wait), out, err); }));
    }
    ottla_admin *get() const noexcept { return admin_.get(); }

private:
    /* Throws the first outcome that is a failure. */
    static void done(ottla_call *call, milliseconds patience)
    {
        auto result = wait(call, patience);
        std::size_t count = 0;
        const ottla_outcome *outcomes = ottla_result_outcomes(result.get(), &count);
        for (std::size_t i = 0; i < count; i++) {
            if (outcomes[i].status == OTTLA_OK)
                continue;
            const ottla_error *why = outcomes[i].error;
            throw Error(outcomes[i].status, why ? ottla_error_flags(why) : 0,
                        why ? ottla_error_message(why) : ottla_error_meaning(outcomes[i].status));
        }
    }

    detail::Owned<ottla_admin, ottla_admin_free> admin_;
};

}  // namespace ottla

#endif /* OTTLA_HPP */

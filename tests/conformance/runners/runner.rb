# frozen_string_literal: true

# The runner of Ruby: the package `ottla`, as a program would use it.

require "ottla"

class UnknownVerb < StandardError; end

# A line: a verb and pairs.
class Step
  # How long is waited where a step does not say.
  PATIENCE_MS = 30_000

  attr_reader :verb, :pairs

  def initialize(text)
    @verb, *pairs = text.chomp.split(" ")
    @pairs = pairs.to_h do |pair|
      name, value = pair.split("=", 2)
      [unquoted(name).force_encoding("UTF-8"), unquoted(value)]
    end
  end

  def text(name)
    @pairs[name]&.dup&.force_encoding("UTF-8")
  end

  def number(name, default = nil)
    @pairs.key?(name) ? Integer(@pairs[name], 10) : default
  end

  def prefixed(prefix)
    @pairs.filter_map { |name, value| [name.delete_prefix(prefix), value.dup.force_encoding("UTF-8")] if name.start_with?(prefix) }.to_h
  end

  def partition
    partition_at(text("partition"))[0]
  end

  def partitions
    text("partitions").split(",").map { |place| partition_at(place) }
  end

  def patience_s
    number("timeout_ms", PATIENCE_MS) / 1000.0
  end

  def headers
    prefixed("header.").values.map do |header|
      name, value = header.split(":", 2)
      [unquoted(name).force_encoding("UTF-8"), value && unquoted(value)]
    end
  end

  private

  # `orders-0`, or `orders-0@5`.
  def partition_at(text)
    place, offset = text.split("@")
    topic, _, number = place.rpartition("-")
    [Ottla::TopicPartition.new(topic, Integer(number, 10)), offset && Integer(offset, 10)]
  end

  def unquoted(text)
    text.b.gsub(/%(\h\h)/) { $1.hex.chr }
  end
end

def quoted(text)
  text.to_s.b.gsub(/[^A-Za-z0-9_.-]/n) { |byte| format("%%%02X", byte.ord) }
end

def line(word, pairs)
  [word, *pairs.compact.map { |name, value| "#{name}=#{quoted(value)}" }].join(" ")
end

def told(record)
  headers = record.headers.each_with_index.to_h do |(name, value), number|
    ["header.#{number}", value ? "#{quoted(name)}:#{quoted(value)}" : quoted(name)]
  end
  line("record", %i[topic partition offset timestamp key value].to_h { |name| [name, record.public_send(name)] }.merge(headers))
end

def refused(error)
  pairs =
    case error
    when Ottla::Error then { name: error.name, code: error.code, retriable: error.retriable?, fatal: error.fatal? }
    when UnknownVerb then { name: "UNKNOWN_VERB" }
    else { name: "RUNNER" }
    end
  line("error", pairs.merge(message: error.message))
end

def until_found(patience_s)
  deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + patience_s
  loop do
    found = yield
    return found unless found.nil?
    raise "it did not come about" if Process.clock_gettime(Process::CLOCK_MONOTONIC) >= deadline

    sleep 0.01
  end
end

def outcomes(deliveries)
  errors = deliveries.filter_map(&:error)
  { acknowledged: deliveries.size - errors.size, failed: errors.size, error: errors.first&.name }
end

# What does the steps.
class Runner
  MAKERS = { "producer" => Ottla::Producer, "consumer" => Ottla::Consumer, "admin" => Ottla::Admin }.freeze

  def initialize
    @clients = {}
    @later = Hash.new { |later, name| later[name] = [] }
  end

  def step(step)
    name = step.text("client")
    if (maker = MAKERS[step.verb])
      @clients[name] = maker.new(step.prefixed("set."))
      return [line("ok", {})]
    end
    client = @clients.fetch(name)
    case client
    when Ottla::Producer then [line("ok", produce(client, @later[name], step))]
    when Ottla::Consumer then step.verb == "poll" ? poll(client, step) : [line("ok", consume(client, step))]
    else [line("ok", administer(client, step))]
    end
  end

  private

  def produce(producer, later, step)
    case step.verb
    when "send" then sent(producer, step).wait.to_h.slice(:partition, :offset, :timestamp)
    when "send_later"
      later << sent(producer, step)
      {}
    when "send_many" then outcomes(many(producer, step))
    when "outcomes" then outcomes(later.slice!(0..))
    when "flush"
      producer.flush(step.patience_s)
      {}
    when "close"
      producer.close(step.patience_s)
      {}
    else raise UnknownVerb, "there is no verb `#{step.verb}`"
    end
  end

  def sent(producer, step)
    producer.send(
      step.text("topic"),
      step.pairs["value"],
      key: step.pairs["key"],
      headers: step.headers,
      partition: step.number("partition"),
      timestamp: step.number("timestamp")
    )
  end

  def many(producer, step)
    keys = step.number("keys", 0)
    Array.new(step.number("count", 0)) do |number|
      value = format("%010d", number).ljust(step.number("value_bytes", 0), "x")
      key = "key-#{number % keys}" unless keys.zero?
      producer.send(step.text("topic"), value, key: key, partition: step.number("partition"))
    end
  end

  def poll(consumer, step)
    count = step.number("count")
    deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + step.patience_s
    lines = []
    while count.nil? || lines.size < count
      record = consumer.poll([0, deadline - Process.clock_gettime(Process::CLOCK_MONOTONIC)].max) or break
      lines << told(record)
    end
    lines << line("ok", count: lines.size)
  end

  def consume(consumer, step)
    case step.verb
    when "assign"
      consumer.assign(step.partitions.map(&:first))
      step.partitions.each { |partition, offset| consumer.seek(partition, offset) if offset }
    when "subscribe" then consumer.subscribe(step.text("topics").split(","))
    when "subscribe_pattern" then consumer.subscribe_pattern(step.text("pattern"))
    when "unsubscribe" then consumer.unsubscribe
    when "seek"
      offset = step.text("offset")
      consumer.seek(step.partition, offset.match?(/\A\d+\z/) ? offset.to_i : offset)
    when "pause" then consumer.pause(step.partitions.map(&:first))
    when "resume" then consumer.resume(step.partitions.map(&:first))
    when "commit" then consumer.commit(step.number("offset")&.then { |offset| { step.partition => offset } })
    when "close" then consumer.close(step.patience_s)
    else return answered(consumer, step)
    end
    {}
  end

  def answered(consumer, step)
    case step.verb
    when "position" then { offset: until_found(step.patience_s) { consumer.position(step.partition) } }
    when "committed" then { offset: consumer.committed([step.partition])[step.partition]&.offset }
    when "await_assignment" then { partitions: until_found(step.patience_s) { assigned(consumer, step.number("count", 0)) } }
    when "offset_for_time" then { offset: consumer.offsets_for_times(step.partition => step.number("timestamp"))[step.partition] }
    when "watermarks"
      at = step.partition
      { low: consumer.beginning_offsets([at])[at], high: consumer.end_offsets([at])[at] }
    else raise UnknownVerb, "there is no verb `#{step.verb}`"
    end
  end

  def assigned(consumer, count)
    names = consumer.assignment.map(&:to_s).sort
    names.join(",") if names.size == count
  end

  def administer(admin, step)
    topic = step.text("topic")
    group = step.text("group")
    case step.verb
    when "create_topic"
      admin.create_topics([Ottla::NewTopic.new(topic, partitions: step.number("partitions", 1), config: step.prefixed("config."))])
    when "delete_topic" then admin.delete_topics([topic])
    when "describe_topic" then return { partitions: admin.describe_topics([topic])[topic].partitions.size }
    when "list_topics" then return { topics: admin.list_topics.sort.join(",") }
    when "create_partitions" then admin.create_partitions({ topic => step.number("partitions") })
    when "topic_config" then return { value: admin.topic_config(topic)[step.text("key")].value }
    when "alter_topic_config" then admin.alter_topic_config(topic, { step.text("key") => step.text("value") })
    when "list_groups" then return { groups: admin.list_groups.map(&:group_id).sort.join(",") }
    when "describe_group"
      described = admin.describe_groups([group])[group]
      return { state: described.state, members: described.members.size }
    when "delete_group" then admin.delete_groups([group])
    else raise UnknownVerb, "there is no verb `#{step.verb}`"
    end
    {}
  end
end

runner = Runner.new
$stdin.each_line do |text|
  answer =
    begin
      runner.step(Step.new(text))
    rescue StandardError => e
      [refused(e)]
    end
  puts answer
  $stdout.flush
end

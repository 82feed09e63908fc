# frozen_string_literal: true

require_relative "helper"

class ProducerTest < Minitest::Test
  include Shared

  def test_all_fields_come_back_as_they_were_sent
    topic = named("fields")
    time = Time.at(1_700_000_000, 123, :millisecond)
    sent = [
      [nil, nil, []],
      ["", "", [["", ""]]],
      ["schlüssel", "größe ☃", [["ä", "ö"], ["ä", "ü"], ["none", nil]]],
      ["\x00\xff".b, (0..255).to_a.pack("C*") * 300, [["bytes", "\x00\x80".b]]]
    ]
    written = producer do |producer|
      sent.map { |key, value, headers| producer.send(topic, value, key: key, headers: headers, partition: 0, timestamp: time).wait(30) }
    end
    assert_equal [0, 1, 2, 3], written.map(&:offset)
    consumer do |consumer|
      consumer.assign([[topic, 0]])
      sent.each_with_index do |(key, value, headers), offset|
        record = consumer.poll(30)
        assert_equal [topic, 0, offset, 1_700_000_000_123], [record.topic, record.partition, record.offset, record.timestamp]
        assert_equal [key&.b, value&.b], [record.key, record.value]
        assert_equal headers.map { |name, content| [name, content&.b] }, record.headers
      end
    end
  end

  def test_headers_may_be_a_hash
    topic = named("hash")
    producer { |producer| producer.send(topic, "v", headers: { "a" => "1", b: "2" }).wait(30) }
    consumer do |consumer|
      consumer.assign([[topic, 0]])
      assert_equal [%w[a 1], %w[b 2]], consumer.poll(30).headers
    end
  end

  def test_a_record_that_is_no_text_is_refused
    producer do |producer|
      assert_raises(TypeError) { producer.send(named("types"), 5) }
      assert_raises(TypeError) { producer.send(named("types"), "v", headers: { "a" => 1 }) }
      assert_raises(TypeError) { producer.send(:symbol, "v") }
    end
  end

  def test_what_is_too_large_is_refused_and_says_why
    producer(max_request_size: 10_000) do |producer|
      error = assert_raises(Ottla::RecordTooLargeError) { producer.send(named("large"), "x" * 20_000).wait(30) }
      assert_equal ["RECORD_TOO_LARGE", -12, false, false], [error.name, error.code, error.retriable?, error.fatal?]
      assert_match(/max\.request\.size/, error.message)
      assert_match(/max\.request\.size/, error.hint)
    end
  end

  def test_a_wrong_setting_is_refused_with_a_suggestion
    error = assert_raises(Ottla::ConfigError) { Ottla::Producer.new(bootstrap_servers: servers, linger_sm: 5) }
    assert_match(/linger_ms/, error.message)
    assert error.fatal?
  end

  def test_settings_have_kafkas_names_or_rubys
    Ottla::Producer.open({ "bootstrap.servers" => [servers], "linger.ms" => 1 }, compression_type: "zstd", acks: nil) do |producer|
      assert_equal 0, producer.send(named("names"), "v").wait(30).offset
      assert_equal 1, producer.partition_count(named("names"))
      assert_operator producer.metrics.size, :>, 0
    end
  end

  def test_closing_sends_what_was_taken_and_using_it_then_fails
    topic = named("closed")
    producer = Ottla::Producer.new(bootstrap_servers: servers, linger_ms: 5000)
    sent = producer.send(topic, "v")
    producer.close
    assert_equal 0, sent.wait(0).offset
    assert sent.done?
    producer.close
    assert_raises(Ottla::ClosedError) { producer.send(topic, "v") }
    assert_raises(Ottla::ClosedError) { producer.flush }
    assert_raises(Ottla::ClosedError) { producer.metrics }
  end

  def test_flushing_does_not_wait_for_linger
    producer(linger_ms: 30_000) do |producer|
      sent = producer.send(named("flush"), "v")
      producer.flush(20)
      assert sent.done?
    end
  end

  def test_threads_share_a_producer
    topic = named("threads")
    producer do |producer|
      offsets = Array.new(4) do
        Thread.new { Array.new(200) { producer.send(topic, "v", partition: 0) }.map { |sent| sent.wait(30).offset } }
      end.flat_map(&:value)
      assert_equal (0...800).to_a, offsets.sort
    end
  end

  def test_a_broker_that_goes_away_fails_what_was_sent
    broker = Ottla::Testing::Broker.new
    settings = { delivery_timeout_ms: 1_500, request_timeout_ms: 1_000, linger_ms: 0 }
    producer = Ottla::Producer.new(bootstrap_servers: broker.bootstrap_servers, **settings)
    producer.send("orders", "first").wait(30)
    broker.stop
    second = producer.send("orders", "second")
    # A wait has a limit, and that is not the record's.
    error = assert_raises(Ottla::TimeoutError) { second.wait(0.05) }
    assert_equal ["TIMEOUT", true, false], [error.name, error.retriable?, second.done?]
    assert_match(/orders/, second.error(30).message)
    assert second.done?
    producer.close(1)
  end

  def test_a_fiber_scheduler_goes_on_meanwhile
    skip "needs a scheduler that has `io_wait`" unless Fiber.respond_to?(:set_scheduler)
    told = []
    producer do |producer|
      topic = named("fibers")
      Thread.new do
        Fiber.set_scheduler(Turns.new)
        2.times do |number|
          Fiber.schedule do
            told << [:sent, number]
            producer.send(topic, "v", partition: 0).wait(30)
            told << [:written, number]
          end
        end
      end.join
    end
    assert_equal [:sent, :sent], told.first(2).map(&:first)
    assert_equal [:written, :written], told.last(2).map(&:first)
  end

  # As small as a scheduler can be: those that wait are asked in turn.
  class Turns
    def initialize
      @waiting = {}
      @ready = []
      @blocked = {}
      @lock = Mutex.new
    end

    def fiber(&block)
      Fiber.new(blocking: false, &block).tap(&:resume)
    end

    def io_wait(io, events, _timeout)
      @waiting[Fiber.current] = io
      Fiber.yield
      events
    end

    def kernel_sleep(_duration = nil)
      @ready << Fiber.current
      Fiber.yield
    end

    def block(_blocker, _timeout = nil)
      @blocked[Fiber.current] = true
      Fiber.yield
    end

    def unblock(_blocker, fiber)
      @lock.synchronize { @ready << fiber if @blocked.delete(fiber) }
    end

    def close
      until @waiting.empty? && @ready.empty? && @blocked.empty?
        @lock.synchronize { @ready.shift(@ready.size) }.each { |fiber| fiber.resume if fiber.alive? }
        readable, = IO.select(@waiting.values.uniq, nil, nil, 0.01)
        @waiting.select { |_, io| readable&.include?(io) }.each_key do |fiber|
          @waiting.delete(fiber)
          fiber.resume
        end
      end
    end
  end
end

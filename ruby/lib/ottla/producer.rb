# frozen_string_literal: true

module Ottla
  # What becomes of a record that was sent.
  class Delivery
    # @private
    def initialize(client, topic)
      @client = client
      @topic = topic
      @done = false
    end

    # Whether it was written, or has failed.
    def done?
      @client.look unless @done || @client.freed?
      @done
    end

    # Waits until the record is written, and says where.
    #
    # @param timeout [Numeric, nil] seconds; nil for as long as it takes, which `delivery.timeout.ms` limits
    # @return [RecordMetadata]
    # @raise [Error] why it was not written; TimeoutError if that is not known in time
    def wait(timeout = nil)
      unless @done || @client.wait(@client.deadline(timeout)) { @done }
        raise Error.late("the record was not acknowledged in time")
      end
      raise @error if @error

      @metadata
    end

    # As `wait`, but what went wrong is given; nil if nothing did.
    # @return [Error, nil]
    def error(timeout = nil)
      wait(timeout)
      nil
    rescue Error => e
      raise unless @done

      e
    end

    # @private
    def settle(partition, offset, timestamp, error)
      @error = error
      @metadata = RecordMetadata.new(@topic, partition, offset.negative? ? nil : offset, timestamp) unless error
      @done = true
    end
  end

  # Sends records. Thread-safe: one is enough for a program.
  #
  #     Ottla::Producer.open(bootstrap_servers: "localhost:9092") do |producer|
  #       producer.send("orders", "two apples", key: "42").wait
  #     end
  class Producer
    # Longest that the program's end waits for the records of producers that nobody has closed.
    FLUSH_AT_EXIT_S = 5
    # After so many records deliveries are looked for, though nobody waits for one.
    LOOK_EVERY = 512
    # What the memory that records are handed over in has at least; it grows to the largest record.
    HANDOVER_BYTES = 16 * 1024
    # A record of C's: size, partition, timestamp, key, value, headers, their number, token.
    RECORD = "Llq QQ QQ QQ Q"
    RECORD_BYTES = Native::Record.size
    HEADER_BYTES = Native::Header.size
    QUEUE_FULL = -3
    private_constant :LOOK_EVERY, :HANDOVER_BYTES, :RECORD, :RECORD_BYTES, :HEADER_BYTES, :QUEUE_FULL

    @open = ObjectSpace::WeakMap.new

    class << self
      # A producer; with a block, one that is closed behind it, when all that was sent is acknowledged.
      def open(...)
        producer = new(...)
        return producer unless block_given?

        begin
          yield producer
        ensure
          producer.close
        end
      end

      # @private
      def watch(producer)
        @open[producer] = true
      end

      # @private
      def flush_all
        @open.keys.each do |producer|
          producer.flush(FLUSH_AT_EXIT_S)
        rescue ClosedError, ForkedError
          # It was closed in order; or it is a parent's, who flushes it.
        rescue Error => e
          warn "ottla: records were not delivered when the program ended: #{e.message}"
        end
      end
    end

    # @param config [Hash] Kafka's keys, as they are or in snake case; and `token_provider`, which gives tokens to log in with: what has
    #   `call` or `token`, for a String or a Token. It is asked on a thread of its own, when somebody waits for the client
    # @raise [ConfigError] a setting is wrong
    def initialize(config = {}, **settings)
      @client = Client.new(:producer, config.to_a + settings.to_a)
      @client.deliveries = @deliveries = {}
      @sending = Mutex.new
      @topics = {}
      @handover = FFI::MemoryPointer.new(HANDOVER_BYTES)
      Producer.watch(self)
    end

    # Sends a record; it is copied when this returns. Where there is no room in `buffer.memory` it waits, at most `max.block.ms`.
    #
    # @param topic [String]
    # @param value [String, nil]
    # @param key [String, nil]
    # @param headers [Hash{String => String, nil}, Array<Array(String, String)>]
    # @param partition [Integer, nil] nil leaves it to the partitioner
    # @param timestamp [Integer, Time, nil] milliseconds since the epoch, or a time; nil for now
    # @return [Delivery]
    # @raise [Error] it cannot be taken
    def send(topic, value = nil, key: nil, headers: nil, partition: nil, timestamp: nil)
      of = @topics[topic] || topic_of(topic)
      delivery = Delivery.new(@client, topic)
      status = taken(of, value, key, headers, partition, timestamp, delivery)
      while status == QUEUE_FULL
        bytes = [value, key, *headers.to_a.flatten(1)].sum { |part| part.to_s.bytesize }
        @client.call(Native.ottla_producer_ready(@client.handle, of, bytes))
        status = taken(of, value, key, headers, partition, timestamp, delivery)
      end
      delivery
    end

    # Sends all that was taken without further linger, and waits until each of it is acknowledged or has failed.
    #
    # @param timeout [Numeric, nil] seconds; nil for as long as it takes
    def flush(timeout = nil)
      @client.call(Native.ottla_producer_flush_call(@client.handle), timeout: timeout, what: "flushing")
      nil
    end

    # How many partitions a topic has; waits for it to be known.
    def partition_count(topic)
      of = @topics[topic] || topic_of(topic)
      @client.call(Native.ottla_producer_partition_count(@client.handle, of)) { |it| Native.ottla_result_number(it) }
    end

    # What it has counted, by name; nil where there is nothing yet.
    def metrics
      Client.metrics { |places, room| Native.ottla_producer_metrics(@client.handle, places, room) }
    end

    # Sends what was taken, waits for it, and ends. Closing again does nothing.
    #
    # @param timeout [Numeric, nil] seconds, after which what is not acknowledged fails, and this does, too; nil for as long as it takes
    def close(timeout = nil)
      return if @client.freed?

      @client.close do
        @client.call(Native.ottla_producer_close_call(@client.handle, Client.milliseconds(timeout)))
      end
      nil
    end

    private

    def topic_of(name)
      raise TypeError, "a topic is a String, not #{name.inspect}" unless name.is_a?(String)

      topic = Native.ottla_topic_new(name.encode(Encoding::UTF_8))
      @topics[name.dup.freeze] = FFI::AutoPointer.new(topic, Native.method(:ottla_topic_free))
    end

    # Hands the record over: a record of C's, what it points to behind it, in one piece.
    def taken(topic, value, key, headers, partition, timestamp, delivery)
      parts = packed(value, key, headers)
      @sending.synchronize do
        token = @client.next_token
        @client.look if (token % LOOK_EVERY).zero?
        record = placed(parts, partition, timestamp, token)
        @deliveries[token] = delivery
        status = Native.ottla_produce(@client.handle, topic, record)
        return status if status.zero?

        begin
          return status if status == QUEUE_FULL

          # For the text of what is wrong.
          Native.checked { |error| Native.ottla_produce_wait_now(@client.handle, topic, record, 0, error) }
          status = 0
        ensure
          @deliveries.delete(token) unless status.zero?
        end
        status
      end
    end

    # Its key and value, and then names and values of its headers.
    def packed(value, key, headers)
      parts = [key, value]
      headers&.each do |name, content|
        parts << name.to_s.encode(Encoding::UTF_8) << content
      end
      parts.each do |part|
        raise TypeError, "keys, values and those of headers are Strings or nil, not #{part.class}" unless part.nil? || part.is_a?(String)
      end
    end

    def placed(parts, partition, timestamp, token)
      headers = parts.size / 2 - 1
      table = RECORD_BYTES + headers * HEADER_BYTES
      bytes = parts.sum { |part| part ? part.bytesize : 0 }
      if @handover.size < table + bytes + 1
        @handover = FFI::MemoryPointer.new([table + bytes + 1, @handover.size * 2].max)
      end
      base = @handover.address
      at = base + table
      slices = parts.flat_map do |part|
        # What is empty is not null.
        next [0, 0] if part.nil?

        [at, part.bytesize].tap { at += part.bytesize }
      end
      timestamp = (timestamp.to_r * 1000).floor if timestamp.is_a?(Time)
      fixed = [RECORD_BYTES, partition || -1, timestamp || -1, *slices.take(4), headers.zero? ? 0 : base + RECORD_BYTES, headers, token]
      packed = fixed.pack(RECORD)
      packed << slices.drop(4).pack("Q*") unless headers.zero?
      parts.each { |part| packed << part.b if part }
      @handover.put_bytes(0, packed)
    end
  end

  at_exit { Producer.flush_all }
end

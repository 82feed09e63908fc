# frozen_string_literal: true

module Ottla
  # What producers, consumers and admin clients have in common: the handle of C's, and the queue on which all ends that takes time.
  # Threads wait for that queue's descriptor, one of them for all, and so does a fiber scheduler.
  # @private
  class Client
    # Events that are taken from the queue at once.
    EVENTS_MAX = 256
    # An event of C's: kind, status, token, offset, timestamp, partition, flags, object.
    EVENT = "LlQqqlLQx16"
    EVENT_BYTES = Native::Event.size
    # How long a thread waits at most before it looks for interrupts, where the queue has no descriptor.
    SLICE_S = 0.05

    # Makes a client by `ottla_<kind>_new`.
    def initialize(kind, settings)
      @kind = kind
      @process = Process.pid
      @tokens, settings = Tokens.of(settings)
      queue = Native.made { |out, error| Native.ottla_queue_new(out, error) }
      begin
        client = Client.configured(settings) do |config|
          @tokens&.configure(config, queue)
          made(config, queue)
        end
      rescue Exception
        Native.ottla_queue_free(queue)
        raise
      end
      @queue = queue
      # Both are freed at once, the queue last, when nobody has the client or what it has given any more; neither waits.
      @handle = FFI::AutoPointer.new(client, Client.release(:"ottla_#{kind}_free", queue))
      descriptor = Native.ottla_queue_fd(queue)
      @readable = IO.for_fd(descriptor, autoclose: false) if descriptor >= 0
      @events = FFI::MemoryPointer.new(Native::Event, EVENTS_MAX)
      @lock = Mutex.new
      @told = ConditionVariable.new
      @watched = false
      @calls = {}
      @token = 0
      @steps = []
      @closed = false
    end

    # Frees a client, then its queue. Has nothing of the client's object, which would live for ever.
    def self.release(free, queue)
      proc do |client|
        Native.public_send(free, client)
        Native.ottla_queue_free(queue)
      end
    end

    # Settings as Kafka names them, or in snake case; those that are nil are not given.
    def self.configured(settings)
      config = Native.ottla_config_new
      settings.each do |key, value|
        next if value.nil?

        value = value.join(",") if value.is_a?(Array)
        Native.checked { |error| Native.ottla_config_set(config, key.to_s, value.to_s, error) }
      end
      yield config
    ensure
      Native.ottla_config_free(config)
    end

    # A timeout in C's milliseconds: below 0 for ever.
    def self.milliseconds(timeout)
      timeout ? [(timeout * 1000).ceil, 0x7fff_ffff].min.clamp(0..) : -1
    end

    # Metrics by name, of a function that fills places; nil where there is none yet.
    def self.metrics
      count = yield nil, 0
      places = FFI::MemoryPointer.new(Native::Metric, [count, 1].max)
      count = [yield(places, count), count].min
      Array.new(count) { |index| Native::Metric.new(places + index * Native::Metric.size) }.to_h do |metric|
        [Native.text(metric[:name]), metric[:value].nan? ? nil : metric[:value]]
      end
    end

    # Deliveries that are under way, by their tokens.
    attr_writer :deliveries
    # Rebalances that wait to be told.
    attr_reader :steps

    # The handle, for functions that do not wait.
    def handle
      unless Process.pid == @process
        raise ForkedError, "the #{@kind} was made before this process was forked; make a new one in the child"
      end
      raise ClosedError, "the #{@kind} was closed" if @handle.nil?

      @handle
    end

    def freed?
      @handle.nil?
    end

    # Closing has begun: who waits for records waits no more.
    def closing?
      @closed
    end

    # A token of its own for a call or a record. Under the producer's lock, or this client's.
    def next_token
      @token += 1
    end

    # Starts a call of C's, waits for it, and gives what the block makes of its result.
    def call(call, timeout: nil, what: "it", &read)
      finish(start(call, &read), deadline(timeout), what)
    end

    # A call that is under way.
    Started = Struct.new(:read, :done, :value, :error)

    def start(call, &read)
      started = Started.new(read, false)
      token = @lock.synchronize { next_token.tap { |token| @calls[token] = started } }
      status = Native.ottla_call_start(call, @queue, token)
      return started if status.zero?

      @lock.synchronize { @calls.delete(token) }
      raise Error.of(status)
    end

    def finish(started, deadline, what)
      raise Error.late("#{what} was not done in time") unless wait(deadline) { started.done }
      raise started.error if started.error

      started.value
    end

    def deadline(timeout)
      timeout && Process.clock_gettime(Process::CLOCK_MONOTONIC) + timeout
    end

    # Waits until the block says true, which it is asked after each event, under the lock; false if that is not by the deadline. It ends
    # at once by Ctrl-C, Thread#kill and the like.
    def wait(deadline)
      loop do
        left = nil
        watch = @lock.synchronize do
          drain
          return true if yield

          left = deadline && deadline - Process.clock_gettime(Process::CLOCK_MONOTONIC)
          return false if left && left <= 0

          # Somebody watches the queue already, and tells.
          @watched ? @told.wait(@lock, left) && false : @watched = true
        end
        watched(left) if watch
      end
    end

    # Has those who wait look again, from any thread and from a signal's handler.
    def rouse
      # A call of no consumer fails at once, and its end is an event.
      Native.ottla_call_start(Native.ottla_consumer_committed(nil, nil, 0), @queue, 0)
    end

    # Takes what has ended, without waiting.
    def look
      @lock.synchronize { drain }
    end

    # Ends all waits for good, and frees the handle, unless somebody waits for it even so; then that is left to the collector.
    def close
      @closed = true
      yield
    ensure
      @lock.synchronize do
        drain
        if @calls.empty? && !@watched && @handle && Process.pid == @process
          @handle.free
          @handle = nil
        end
      end
    end

    private

    def made(config, queue)
      return Native.made { |out, error| Native.ottla_admin_new(config, out, error) } if @kind == :admin

      Native.made { |out, error| Native.public_send(:"ottla_#{@kind}_new", config, queue, out, error) }
    end

    def watched(left)
      if @readable
        @readable.wait_readable(left)
      else
        # Ends within a slice, whoever interrupts it.
        sleep([left, SLICE_S].compact.min / 10)
      end
    ensure
      @lock.synchronize do
        @watched = false
        @told.broadcast
      end
    end

    # With the lock. Nothing may be lost between C and here: who is interrupted is so afterwards.
    def drain
      return if @handle.nil?

      handle
      Thread.handle_interrupt(Object => :never) do
        loop do
          count = Native.ottla_queue_drain_now(@queue, @events, EVENTS_MAX, 0)
          take(@events.read_bytes(count * EVENT_BYTES).unpack(EVENT * count)) if count.positive?
          break if count < EVENTS_MAX
        end
      end
    end

    def take(events)
      events.each_slice(8) do |kind, status, token, offset, timestamp, partition, _flags, object|
        case kind
        when Native::EV_DELIVERY
          error = status.zero? ? nil : Error.taken(status, FFI::Pointer.new(object))
          @deliveries.delete(token)&.settle(partition, offset, timestamp, error)
        when Native::EV_CALL then ended(@calls.delete(token), status, FFI::Pointer.new(object))
        when Native::EV_REBALANCE then @steps << FFI::Pointer.new(object)
        when Native::EV_TOKEN_REQUEST then @tokens.answer(FFI::Pointer.new(object))
        end
      end
    end

    def ended(started, status, object)
      if status.zero?
        result = FFI::AutoPointer.new(object, Native.method(:ottla_result_free))
        started.value = started.read&.call(result) if started
        result.free
      else
        error = Error.taken(status, object)
        started&.error = error
      end
    rescue Error => e
      # What the result says of one of the things that were asked for.
      started.error = e
    ensure
      started&.done = true
    end
  end
end

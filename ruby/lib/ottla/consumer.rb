# frozen_string_literal: true

module Ottla
  # Reads records, of partitions that it is given, or of those that its group gives it. Heartbeats and fetches go on by themselves.
  # Thread-safe; records are asked for by one thread at a time.
  #
  #     Ottla::Consumer.open(bootstrap_servers: "localhost:9092", group: "billing", topics: ["orders"], start: "earliest") do |consumer|
  #       consumer.each { |record| puts record.value }
  #     end
  #
  # In a group what the program is done with is committed by itself: a record when its block is left, unless that is by an exception.
  class Consumer
    include Enumerable

    # Longest that closing waits for a group where nobody says.
    CLOSE_TIMEOUT_S = 30
    # How many records are taken at once for a loop over records.
    RECORDS_MAX = 500
    private_constant :RECORDS_MAX

    # The records that a loop is in, how far it has come, and what `@changes` was when that was last known to be what comes next.
    Hand = Struct.new(:batch, :next, :changes)
    private_constant :Hand

    # A consumer; with a block, one that is closed behind it.
    def self.open(...)
      consumer = new(...)
      return consumer unless block_given?

      begin
        yield consumer
      ensure
        consumer.close
      end
    end

    # @param config [Hash] Kafka's keys, as they are or in snake case; and `token_provider`, which gives tokens to log in with: what has
    #   `call` or `token`, for a String or a Token. It is asked on a thread of its own, when somebody waits for the client
    # @param group [String] `group.id`
    # @param topics [Array<String>] what is subscribed to
    # @param start [String] `auto.offset.reset`
    # @param on_assigned [Proc] called with the consumer and the partitions that a rebalance gave, where records are asked for
    # @param on_revoked [Proc] as that, with those that are about to go: they can still be committed
    # @param on_lost [Proc] as that, with those that are gone
    # @raise [ConfigError] a setting is wrong
    def initialize(config = {}, group: nil, topics: nil, start: nil, on_assigned: nil, on_revoked: nil, on_lost: nil, **settings)
      named = { "group.id" => group, "auto.offset.reset" => start }.compact
      @client = Client.new(:consumer, [config, settings, named].flat_map(&:to_a))
      @listeners = {
        Native::REBALANCE_ASSIGNED => on_assigned,
        Native::REBALANCE_REVOKED => on_revoked,
        Native::REBALANCE_LOST => on_lost
      }
      @hand = nil
      @changes = 0
      @reading = Monitor.new
      checked(:ottla_consumer_listen) if @listeners.values.any?
      subscribe(topics) if topics
    end

    # ---- what is read

    # Reads these topics and no others, with the other members of the group.
    # @param topics [Array<String>]
    def subscribe(topics)
      raise TypeError, "topics are an Array of names, not #{topics.inspect}" unless topics.is_a?(Array)

      Native.names(topics) { |names, count| checked(:ottla_consumer_subscribe, names, count) }
      @changes += 1
    end

    # Reads all topics whose whole name matches a regular expression, which the library looks at.
    # @param pattern [String]
    def subscribe_pattern(pattern)
      checked(:ottla_consumer_subscribe_pattern, pattern)
      @changes += 1
    end

    # Leaves the group, with what the program is done with committed; or reads no partitions any more.
    def unsubscribe
      keep_back
      @hand = nil
      leave(Native.ottla_consumer_unsubscribe_call(@client.handle), nil)
    end

    # Reads these partitions and no others: of an Array, from where the group or `auto.offset.reset` says; of a Hash, from the offsets in
    # it.
    # @param partitions [Array<TopicPartition>, Hash{TopicPartition => Integer}]
    def assign(partitions)
      keep_back
      @hand = nil
      rows = Native.partitions(partitions)
      checked(:ottla_consumer_assign, rows.pointer, rows.count)
    end

    # The partitions that are assigned, in no order.
    # @return [Array<TopicPartition>]
    def assignment
      listed(:ottla_consumer_assignment)
    end

    # Goes to an offset, to `:earliest` or `:latest`, or to the first record of a Time.
    # @param partition [TopicPartition]
    # @param to [Integer, Symbol, String, Time]
    def seek(partition, to)
      if to.is_a?(Integer)
        checked(:ottla_consumer_seek, Native.partitions({ partition => to }).pointer)
      else
        rows, spec = Consumer.place(partition, to)
        checked(:ottla_consumer_seek_to, rows.pointer, spec)
      end
      # What a loop has in hand of the partition is from elsewhere.
      @hand = nil if @hand && @hand.batch.topic_partition == TopicPartition.new(*partition)
    end

    # Holds partitions: nothing of them is handed out.
    def pause(partitions)
      rows = Native.partitions(partitions)
      checked(:ottla_consumer_pause, rows.pointer, rows.count)
    end

    # Lets partitions that are held go on.
    def resume(partitions)
      rows = Native.partitions(partitions)
      checked(:ottla_consumer_resume, rows.pointer, rows.count)
    end

    # The partitions that are held, in no order.
    # @return [Array<TopicPartition>]
    def paused
      listed(:ottla_consumer_paused)
    end

    # The offset of the next record to be handed out; nil as long as it is being looked for.
    # @return [Integer, nil]
    def position(partition)
      topic, number = *partition
      hand = @hand
      return hand.batch.column(hand.next, 0, "q") if hand && hand.batch.topic_partition == TopicPartition.new(topic, number) && in_hand?

      reached(topic, number)
    end

    # ---- records

    # The next record, as soon as there is one.
    # @param timeout [Numeric, nil] seconds; nil waits for ever
    # @return [Record, nil] nil if none came in time, or `wake` was called
    # @raise [Error] what is wrong with a partition, which it names, or with the consumer; it is told once
    def poll(timeout = nil)
      @reading.synchronize do
        unless in_hand?
          batch = fetched(RECORDS_MAX, timeout) or return nil
          @hand = Hand.new(batch, 0, @changes)
        end
        @hand.batch[(@hand.next += 1) - 1]
      end
    end

    # The next records of one partition, as soon as there are any.
    # @param max [Integer] how many at most
    # @param timeout [Numeric, nil] seconds; nil waits for ever
    # @return [RecordBatch, nil] nil if none came in time, or `wake` was called
    def next_batch(max = RECORDS_MAX, timeout: nil)
      @reading.synchronize do
        # What a loop over records has not come to comes again.
        seek(@hand.batch.topic_partition, @hand.batch.column(@hand.next, 0, "q")) if in_hand?
        fetched(max, timeout)
      end
    end

    # The records, one by one, until the consumer is closed, or `wake` is called. One whose block is left by an exception is not done: it
    # comes again. An enumerator without a block.
    def each
      return to_enum(:each) unless block_given?

      while (record = going_on { poll })
        begin
          yield record
        rescue Exception
          again(record)
          raise
        end
      end
      self
    end

    # As `each`, batch by batch.
    def each_batch(max = RECORDS_MAX)
      return to_enum(:each_batch, max) unless block_given?

      while (batch = going_on { next_batch(max) })
        begin
          yield batch
        rescue Exception
          keep_back_from(batch, 0)
          raise
        end
      end
      self
    end

    # Ends a wait for records, or the next one that would be; also from a signal's handler.
    def wake
      @client.handle
      @woken = true
      @client.rouse
    end

    # ---- commits

    # Commits that all is done that was handed out, or a record with all before it in its partition, or a batch, or offsets.
    # @param what [Record, RecordBatch, Hash{TopicPartition => Integer, OffsetAndMetadata}, nil]
    # @param timeout [Numeric, nil] seconds; nil for as long as it takes
    # @raise [CommitFailedError] the partitions are no longer this consumer's
    def commit(what = nil, timeout: nil)
      call =
        case what
        when nil
          keep_back
          Native.ottla_consumer_commit_call(@client.handle, nil)
        when RecordBatch then Native.ottla_consumer_commit_call(@client.handle, what.native)
        when Record then commit_offsets(what.topic_partition => OffsetAndMetadata.new(what.offset + 1, "", what.leader_epoch))
        when Hash then commit_offsets(what)
        else raise TypeError, "a commit is of a Record, a RecordBatch, or a Hash of offsets by partition, not #{what.inspect}"
        end
      @client.call(call, timeout: timeout, what: "the commit")
      nil
    end

    # What the group has committed; partitions of which nothing is are left out.
    # @return [Hash{TopicPartition => OffsetAndMetadata}]
    def committed(partitions)
      rows = Native.partitions(partitions)
      call = Native.ottla_consumer_committed(@client.handle, rows.pointer, rows.count)
      @client.call(call) { |result| Results.offsets(result) }
    end

    # ---- questions

    # The first offsets that are still there.
    # @return [Hash{TopicPartition => Integer}]
    def beginning_offsets(partitions)
      offsets(partitions, Native::OFFSET_EARLIEST)
    end

    # The offsets behind the last records.
    # @return [Hash{TopicPartition => Integer}]
    def end_offsets(partitions)
      offsets(partitions, Native::OFFSET_LATEST)
    end

    # The first records of these times, or later ones; partitions without one are left out.
    # @param times [Hash{TopicPartition => Integer, Time}] milliseconds since the epoch, or a time
    # @return [Hash{TopicPartition => Integer}]
    def offsets_for_times(times)
      offsets(times.keys, Native::OFFSET_TIMESTAMP) do |rows|
        times.values.each_with_index { |time, index| rows[index][:timestamp_ms] = Consumer.milliseconds(time) }
      end
    end

    # What it has counted, by name; nil where there is nothing yet.
    def metrics
      Client.metrics { |places, room| Native.ottla_consumer_metrics(@client.handle, places, room) }
    end

    # ---- the end

    # Leaves the group, with what the program is done with committed, and ends; so do loops over records. Closing again does nothing.
    # @param timeout [Numeric] seconds; what is not done by then is left to the group to find out, and this fails
    def close(timeout = CLOSE_TIMEOUT_S)
      return if @client.freed?

      @client.close do
        keep_back
        leave(Native.ottla_consumer_close_call(@client.handle, Client.milliseconds(timeout)), nil)
      end
      @hand = nil
    end

    # @private
    def self.milliseconds(time)
      time.is_a?(Time) ? (time.to_r * 1000).floor : Integer(time)
    end

    # @private
    def self.place(partition, to)
      rows = Native.partitions([partition])
      spec = { "earliest" => Native::OFFSET_EARLIEST, "latest" => Native::OFFSET_LATEST }[to.to_s]
      return [rows, spec] if spec
      raise ArgumentError, "`#{to}` is neither `earliest` nor `latest`, nor an offset or a Time" unless to.is_a?(Time)

      rows[0][:timestamp_ms] = milliseconds(to)
      [rows, Native::OFFSET_TIMESTAMP]
    end

    private

    def checked(function, *arguments)
      Native.checked { |error| Native.public_send(function, @client.handle, *arguments, error) }
    end

    # The next records; nil if none came in time.
    def fetched(max, timeout)
      deadline = @client.deadline(timeout)
      batch = nil
      loop do
        tell
        came = @client.wait(deadline) do
          batch ||= polled(max)
          batch || @client.steps.any? || @woken || @client.closing?
        end
        return batch if batch || !came

        if @woken || @client.closing?
          @woken = false
          return nil
        end
      end
    end

    # What needs no waiting. Where there is nothing, an event comes when there may be something.
    def polled(max)
      Thread.handle_interrupt(Object => :never) do
        batch = Native.made { |out, error| Native.ottla_consumer_poll_now(@client.handle, max, 0, out, error) }
        RecordBatch.new(batch) unless batch.null?
      end
    end

    # What a loop gets; nil when the consumer is closed meanwhile.
    def going_on
      yield
    rescue ClosedError
      raise unless @client.closing?
    end

    # Whether there are records left of those that a loop is in, and nobody has gone elsewhere since.
    def in_hand?
      return false unless @hand
      return true if @hand.next < @hand.batch.size && still_next?

      @hand = nil
      false
    end

    def still_next?
      return true if @hand.changes == @changes

      @hand.changes = @changes
      reached(*@hand.batch.topic_partition) == @hand.batch.next_offset
    rescue Error
      false
    end

    # As far as was handed out by C.
    def reached(topic, partition)
      position = Native.made(:int64) { |out, error| Native.ottla_consumer_position(@client.handle, topic, partition, out, error) }
      position unless position.negative?
    end

    # What a loop has not come to is not done.
    def keep_back
      keep_back_from(@hand.batch, @hand.next) if @hand && @hand.next < @hand.batch.size
    end

    def keep_back_from(batch, index)
      checked(:ottla_consumer_keep_back, batch.native, batch.column(index, 0, "q"))
    rescue Error
      # A client that is closed has nothing to keep.
    end

    # A record that was given, and is not done.
    def again(record)
      return unless @hand && @hand.next.positive? && @hand.batch.topic_partition == record.topic_partition

      previous = @hand.next - 1
      @hand.next = previous if @hand.batch.column(previous, 0, "q") == record.offset
    end

    # Tells the listeners of rebalances, which wait for that.
    def tell
      while (step = @client.steps.shift)
        begin
          kind = Native.ottla_rebalance_get_kind(step)
          partitions = Native.rows(Native::TopicPartition, step, :ottla_rebalance_partitions).map { |row| Results.partition(row) }
          @changes += 1
          @listeners[kind]&.call(self, partitions)
        ensure
          Native.ottla_rebalance_ack(step)
        end
      end
    end

    # Waits for a consumer to leave its group, which waits for the listeners.
    def leave(call, timeout)
      deadline = @client.deadline(timeout)
      left = @client.start(call)
      failure = nil
      until left.done
        @client.wait(deadline) { left.done || @client.steps.any? }
        begin
          tell
        rescue StandardError => e
          # The listener's; it leaves all the same.
          failure ||= e
        end
      end
      @client.finish(left, deadline, "leaving the group")
      raise failure if failure
    end

    def commit_offsets(offsets)
      rows = Native.partitions(offsets)
      Native.ottla_consumer_commit_offsets_call(@client.handle, rows.pointer, rows.count)
    end

    def listed(function)
      list = Native.made { |out, error| Native.public_send(function, @client.handle, out, error) }
      Native.rows(Native::TopicPartition, list, :ottla_partitions_rows).map { |row| Results.partition(row) }
    ensure
      Native.ottla_partitions_free(list)
    end

    def offsets(partitions, spec)
      rows = Native.partitions(partitions)
      yield rows if block_given?
      call = Native.ottla_consumer_offsets(@client.handle, spec, rows.pointer, rows.count)
      @client.call(call) { |result| Results.offsets(result).transform_values(&:offset) }
    end
  end
end

# frozen_string_literal: true

module Ottla
  # A consumed record, read out of its batch as it is asked for. It may be kept for as long as anybody likes; it keeps its batch.
  class Record
    # @private
    def initialize(batch, index)
      @batch = batch
      @index = index
    end

    # @return [String]
    def topic
      @batch.topic
    end

    # @return [Integer]
    def partition
      @batch.partition
    end

    # @return [TopicPartition]
    def topic_partition
      @batch.topic_partition
    end

    # @return [Integer]
    def offset
      @batch.column(@index, 0, "q")
    end

    # Milliseconds since the epoch; -1 for none.
    # @return [Integer]
    def timestamp
      @batch.column(@index, 8, "q")
    end

    # @return [String, nil] its bytes
    def key
      @batch.bytes(@index, 16, 28)
    end

    # @return [String, nil] its bytes
    def value
      @batch.bytes(@index, 20, 32)
    end

    # Pairs of name and value, in their order.
    # @return [Array<Array(String, String)>]
    def headers
      @batch.headers(@index)
    end

    # Epoch of the leader that wrote it; nil where it is not known.
    # @return [Integer, nil]
    def leader_epoch
      epoch = @batch.column(@index, 40, "l")
      epoch unless epoch.negative?
    end

    def inspect
      "#<Ottla::Record #{topic}-#{partition}@#{offset}>"
    end
  end

  # Records of one partition, in the order of the log.
  class RecordBatch
    include Enumerable

    # Bytes of a row of the table.
    ROW_BYTES = Native::RecordView.size
    private_constant :ROW_BYTES

    # @return [TopicPartition]
    attr_reader :topic_partition
    # How many there are.
    attr_reader :size
    # The offset at which the next batch of this partition goes on.
    attr_reader :next_offset
    # The offset behind the partition's last record, as of the fetch that brought these; nil where it is not known.
    attr_reader :high_watermark

    # Takes C's batch over. Rows and data are copied in two pieces; headers, which few look at, are left where they are.
    # @private
    def initialize(batch)
      @native = FFI::AutoPointer.new(batch, Native.method(:ottla_batch_free))
      count = FFI::MemoryPointer.new(:size_t)
      rows = Native.ottla_batch_records(batch, count)
      @size = count.read(:size_t)
      @rows = rows.read_bytes(@size * ROW_BYTES)
      data = Native.ottla_batch_data(batch)
      @data = data[:len].zero? ? "".b : data[:ptr].read_bytes(data[:len])
      topic = Native.text(Native.ottla_batch_topic(batch, column(0, 44, "S")))
      @topic_partition = TopicPartition.new(topic.freeze, column(0, 48, "l")).freeze
      @next_offset = Native.ottla_batch_next_offset(batch)
      high = Native.ottla_batch_high_watermark(batch)
      @high_watermark = high unless high.negative?
    end

    # @return [String]
    def topic
      @topic_partition.topic
    end

    # @return [Integer]
    def partition
      @topic_partition.partition
    end

    alias length size

    # The record at an index; below 0 from the end, nil where there is none.
    # @return [Record, nil]
    def [](index)
      index += @size if index.negative?
      Record.new(self, index) if index.between?(0, @size - 1)
    end

    # Each record; an enumerator without a block.
    def each
      return to_enum(:each) { @size } unless block_given?

      @size.times { |index| yield Record.new(self, index) }
      self
    end

    # The values of all.
    # @return [Array<String, nil>]
    def values
      Array.new(@size) { |index| bytes(index, 20, 32) }
    end

    # The keys of all.
    # @return [Array<String, nil>]
    def keys
      Array.new(@size) { |index| bytes(index, 16, 28) }
    end

    # The offsets of all.
    # @return [Array<Integer>]
    def offsets
      Array.new(@size) { |index| column(index, 0, "q") }
    end

    def inspect
      "#<Ottla::RecordBatch #{@topic_partition}: #{@size} records>"
    end

    # C's batch.
    # @private
    attr_reader :native

    # A number of a record's row, at that place of it.
    # @private
    def column(index, at, type)
      @rows.unpack1(type, offset: index * ROW_BYTES + at)
    end

    # What a record's row says of its key or value: where it begins, and its length.
    # @private
    def bytes(index, at, length_at)
      length = column(index, length_at, "l")
      @data.byteslice(column(index, at, "L"), length) unless length.negative?
    end

    # @private
    def headers(index)
      count = column(index, 36, "L")
      return [] if count.zero?

      header = Native::Header.new
      Array.new(count) do |number|
        Native.ottla_batch_header(@native, index, number, header)
        [Native.text(taken(header[:name])), taken(header[:value])]
      end
    end

    private

    def taken(slice)
      slice[:ptr].read_bytes(slice[:len]) unless slice[:ptr].null?
    end
  end
end

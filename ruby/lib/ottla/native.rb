# frozen_string_literal: true

require_relative "native/declarations"

module Ottla
  # @private
  module Native
    extend FFI::Library

    # As the library's name has it: libottla.so.1.
    ABI_VERSION = 1

    # Where the library is: `OTTLA_LIBRARY`, or the one that came with this package, or the system's.
    def self.library
      named = ENV.fetch("OTTLA_LIBRARY", "")
      return named unless named.empty?

      name = { "darwin" => "libottla.dylib", "windows" => "ottla.dll" }.fetch(FFI::Platform::OS, "libottla.so.1")
      own = File.expand_path("native/#{name}", __dir__)
      File.file?(own) ? own : name
    end

    ffi_lib library
    declare(self)

    unless ottla_abi_version == ABI_VERSION
      raise LoadError, "`#{library}` has version #{ottla_abi_version} of the interface, and this package needs #{ABI_VERSION}"
    end

    # Text of the library's, which is UTF-8.
    def self.text(text)
      text&.force_encoding(Encoding::UTF_8)
    end

    # What a function fills by its `out`, where `err` is its last argument: the pointer, or the error is raised.
    def self.made(type = :pointer)
      out = FFI::MemoryPointer.new(type)
      checked { |error| yield out, error }
      out.get(type, 0)
    end

    # Raises what a function puts into its `err`.
    def self.checked
      error = FFI::MemoryPointer.new(:pointer)
      status = yield error
      raise Error.taken(status, error.get_pointer(0)) unless status.zero?
    end

    # Rows of structs, and the texts that they point to, which live as long as this does.
    class Rows
      attr_reader :pointer, :count

      def initialize(type, items)
        @type = type
        @count = items.size
        @pointer = FFI::MemoryPointer.new(type, [@count, 1].max)
        @texts = []
        items.each_with_index { |item, index| yield self, self[index], item }
      end

      def [](index)
        @type.new(@pointer + index * @type.size)
      end

      # Points a field to a text; nil is NULL.
      def text(row, field, text)
        return if text.nil?

        row.pointer.put_pointer(row.offset_of(field), held(FFI::MemoryPointer.from_string(text.to_s.encode(Encoding::UTF_8))))
      end

      # Keeps memory that a row points to.
      def held(memory)
        @texts << memory
        memory
      end
    end

    # Partitions, each as a TopicPartition or `[topic, partition]`; of a Hash, with the offsets that are its values.
    def self.partitions(partitions)
      pairs = partitions.is_a?(Hash) ? partitions.to_a : partitions.to_a.map { |partition| [partition, nil] }
      Rows.new(self::TopicPartition, pairs) do |rows, row, (partition, at)|
        topic, number = *partition
        at = OffsetAndMetadata.new(at) if at.is_a?(Integer)
        rows.text(row, :topic, topic)
        row[:partition] = Integer(number)
        row[:offset] = at ? at.offset : -1
        row[:timestamp_ms] = -1
        row[:leader_epoch] = at&.leader_epoch || -1
        rows.text(row, :metadata, at&.metadata)
      end
    end

    # Names as an array of C's.
    def self.names(names)
      texts = names.map { |name| FFI::MemoryPointer.from_string(String(name).encode(Encoding::UTF_8)) }
      array = FFI::MemoryPointer.new(:pointer, [texts.size, 1].max)
      array.write_array_of_pointer(texts)
      yield array, texts.size
    end

    # Structs that the library has given, with their number.
    def self.rows(type, owner, function)
      count = FFI::MemoryPointer.new(:size_t)
      first = public_send(function, owner, count)
      Array.new(count.read(:size_t)) { |index| type.new(first + index * type.size) }
    end
  end
end

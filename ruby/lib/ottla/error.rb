# frozen_string_literal: true

module Ottla
  # The base of all that this package raises itself. `KafkaError` is what a broker refused, with a class for each of Kafka's codes;
  # what is local to the client has classes of its own.
  class Error < StandardError
    # Above 0 a broker's code as Kafka numbers it, below 0 a local one.
    attr_reader :code
    # The code's name, as `UNKNOWN_TOPIC_OR_PARTITION` or `QUEUE_FULL`.
    attr_reader :name
    # What to do about it, or nil where that is not known.
    attr_reader :hint

    def initialize(message = nil, code: ERRORS.key(self.class) || 0, flags: 0, hint: nil)
      super([message || Native.text(Native.ottla_error_meaning(code)), hint].compact.join("; "))
      @code = code
      @name = Native.text(Native.ottla_error_name(code))
      @flags = flags
      @hint = hint
    end

    # Whether the same call may succeed later, unchanged.
    def retriable?
      @flags.anybits?(RETRIABLE)
    end

    # Whether nothing helps before a person acted.
    def fatal?
      @flags.anybits?(FATAL)
    end

    # Whether the transaction must be aborted; then the producer can go on.
    def abortable?
      @flags.anybits?(ABORTABLE)
    end

    RETRIABLE = 1
    FATAL = 2
    ABORTABLE = 4
    private_constant :RETRIABLE, :FATAL, :ABORTABLE

    # One that C has given, which is freed.
    # @private
    def self.taken(status, error)
      return of(status) if error.null?

      read(error)
    ensure
      Native.ottla_error_free(error)
    end

    # One that stays C's.
    # @private
    def self.read(error)
      code = Native.ottla_error_code(error)
      of(
        code,
        Native.text(Native.ottla_error_message(error)),
        flags: Native.ottla_error_flags(error),
        hint: Native.text(Native.ottla_error_hint(error))
      )
    end

    # @private
    def self.of(code, message = nil, flags: 0, hint: nil)
      ERRORS.fetch(code, code.positive? ? KafkaError : Error).new(message, code: code, flags: flags, hint: hint)
    end

    # That something was not done in its time.
    # @private
    def self.late(what)
      TimeoutError.new(what, flags: RETRIABLE)
    end
  end

  # A broker refused, by a code of Kafka's.
  class KafkaError < Error; end
end

require_relative "error_classes"

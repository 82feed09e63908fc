# frozen_string_literal: true

module Ottla
  # A token to log in with (`sasl.mechanism=OAUTHBEARER`). Shown, it keeps its value to itself.
  class Token
    attr_reader :value, :expires, :principal, :extensions

    # @param value [String]
    # @param expires [Time, Numeric, nil] when it ends, as a time or in seconds since 1970; nil where it says so itself, as a JWT does
    # @param principal [String, nil] whose it is, for logs and errors; nil where it says so itself
    # @param extensions [Hash{String => String}] what the broker is told beside it (KIP-342)
    def initialize(value, expires: nil, principal: nil, extensions: {})
      @value = String(value)
      @expires = expires
      @principal = principal
      @extensions = extensions
      parts = [@value, principal.to_s, *extensions.to_a.flatten.map(&:to_s)]
      raise ArgumentError, "no part of a token has a zero in it" if parts.any? { |part| part.include?("\0") }
    end

    # When it ends, in milliseconds since 1970; below 0 where it says so itself.
    # @private
    def expires_ms
      @expires ? (@expires.to_f * 1000).floor : -1
    end

    def inspect
      "#<Ottla::Token principal=#{@principal.inspect} expires=#{@expires.inspect}>"
    end
  end

  # Answers a client's requests for tokens by what a program gives as `token_provider`.
  # @private
  class Tokens
    KEY = "token_provider"
    # What passes by itself: a request that fails so is made again.
    PASSING = [SystemCallError, IOError, SocketError, Timeout::Error].freeze
    private_constant :PASSING

    # Takes the provider out of settings; gives both.
    def self.of(settings)
      named, others = settings.partition { |key, _| key.to_s == KEY }
      provider = named.map(&:last).compact.last
      [provider && new(provider), others]
    end

    def initialize(provider)
      @ask = provider.respond_to?(:call) ? provider : provider.respond_to?(:token) && provider.method(:token)
      raise ArgumentError, "`#{KEY}` has neither `call` nor `token`" unless @ask
    end

    # Has clients of these settings ask by events of a queue.
    def configure(config, queue)
      Native.checked { |error| Native.ottla_config_set_token_queue(config, queue, 0, error) }
    end

    # Answers on a thread of its own: who looks at the queue does not wait for the provider.
    def answer(request)
      Thread.new { answered(request) }.report_on_exception = false
    end

    private

    def answered(request)
      token = @ask.call
      token = Token.new(token) unless token.is_a?(Token)
      pairs = token.extensions.to_a.flatten.map(&:to_s)
      principal = token.principal&.to_s
    rescue Exception => e # rubocop:disable Lint/RescueException -- a request is answered, whatever happens
      why = e.message.encode(Encoding::UTF_8, invalid: :replace, undef: :replace).delete("\0")
      Native.ottla_token_request_fail(request, why, PASSING.any? { |passing| passing === e } ? 1 : 0)
    else
      Native.names(pairs) do |array, count|
        Native.checked do |error|
          Native.ottla_token_request_give(request, token.value, token.expires_ms, principal, array, count / 2, error)
        end
      end
    end
  end
end

# frozen_string_literal: true

require_relative "helper"

# Tokens of the program's own, by which clients log in at a broker that checks them.
class TokensTest < Minitest::Test
  TOKENS = File.expand_path("../../tests/tokens", __dir__)
  ALICE = File.read("#{TOKENS}/alice.jwt").strip
  BROKER = Ottla::Testing::Broker.new(
    "listener.security.protocol.map" => "PLAINTEXT:SASL_PLAINTEXT",
    "sasl.enabled.mechanisms" => "OAUTHBEARER",
    "sasl.oauthbearer.jwks.endpoint.url" => "file://#{TOKENS}/keys.json",
    "sasl.oauthbearer.expected.audience" => "kafka",
    "sasl.oauthbearer.expected.issuer" => "https://issuer.test",
    "ottla.sasl.plain.without.tls" => true
  )
  Minitest.after_run { BROKER.stop }

  # As a program's own class has it.
  class Vault
    def token
      Ottla::Token.new(ALICE, expires: Time.utc(2100), principal: "alice", extensions: { "tenant" => "a" })
    end
  end

  def bearer(provider)
    {
      bootstrap_servers: BROKER.bootstrap_servers,
      security_protocol: "SASL_PLAINTEXT",
      sasl_mechanism: "OAUTHBEARER",
      "ottla.sasl.plain.without.tls": true,
      token_provider: provider
    }
  end

  def test_a_client_logs_in_by_what_the_program_gives
    [-> { ALICE }, Vault.new].each_with_index do |provider, index|
      topic = "tokens-#{index}"
      Ottla::Producer.open(**bearer(provider)) { |producer| assert_equal 0, producer.send(topic, "two apples").wait(30).offset }
      Ottla::Consumer.open(**bearer(provider), group: topic, topics: [topic], start: "earliest") do |consumer|
        assert_equal "two apples", consumer.poll(30).value
      end
    end
  end

  def test_why_there_is_no_token_is_part_of_the_error_and_what_passes_is_tried_again
    sealed = Ottla::Admin.new(**bearer(-> { raise "the vault is sealed" }))
    error = assert_raises(Ottla::AuthenticationError) { sealed.describe_cluster }
    assert_match(/the vault is sealed/, error.message)
    asked = 0
    away = Ottla::Admin.new(**bearer(-> { (asked += 1) < 3 ? raise(Errno::ECONNREFUSED) : ALICE }))
    assert_equal [1, 3], [away.describe_cluster.brokers.size, asked]
  ensure
    sealed&.close
    away&.close
  end

  def test_a_token_that_is_no_good_is_told_and_not_shown
    forged = "#{ALICE[..-9]}AAAAAAAA"
    admin = Ottla::Admin.new(**bearer(-> { forged }))
    error = assert_raises(Ottla::AuthenticationError) { admin.describe_cluster }
    assert_match(/invalid_token/, error.message)
    refute_includes error.message, forged
    refute_includes Ottla::Token.new(forged).inspect, forged
  ensure
    admin&.close
  end

  def test_what_gives_no_tokens_is_a_mistake
    assert_raises(ArgumentError) { Ottla::Admin.new(**bearer("token")) }
    assert_raises(Ottla::ConfigError) { Ottla::Admin.new(**bearer(nil)) }
  end
end

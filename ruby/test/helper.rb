# frozen_string_literal: true

require "minitest/autorun"
require "ottla"
require "ottla/testing"

# Where the package is, for programs of their own.
PACKAGE = File.dirname($LOADED_FEATURES.find { |file| file.end_with?("/ottla.rb") })

# A broker for all tests, and names that no other test has.
module Shared
  BROKER = Ottla::Testing::Broker.new
  Minitest.after_run { BROKER.stop }

  def servers
    BROKER.bootstrap_servers
  end

  def named(stem)
    "#{stem}-#{self.class.name}-#{name}".gsub(/[^A-Za-z0-9_.-]/, "_")[0, 240]
  end

  def producer(**settings, &block)
    Ottla::Producer.open(bootstrap_servers: servers, **settings, &block)
  end

  def consumer(**settings, &block)
    Ottla::Consumer.open(bootstrap_servers: servers, start: "earliest", **settings, &block)
  end

  # A topic with values "0", "1" ... in its partition, as one batch. A producer with nothing under way sends what is there: if that was not
  # all yet, there is another topic.
  def filled(stem, count)
    (1..).each do |attempt|
      topic = named("#{stem}-#{attempt}")
      producer do |producer|
        Array.new(count) { |number| producer.send(topic, number.to_s, partition: 0) }.each { |sent| sent.wait(30) }
        return topic if producer.metrics["batch-send-total"] == 1
      end
    end
  end

  # A program of its own, over this package.
  def ruby(code, *arguments, **options, &block)
    IO.popen([RbConfig.ruby, "-I", PACKAGE, "-rottla", "-rottla/testing", "-e", code, servers, *arguments], **options, &block)
  end
end

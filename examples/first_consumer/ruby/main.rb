# frozen_string_literal: true

# Reads a topic's partition from its beginning, until nothing has come for two seconds.
#
#     ruby main.rb localhost:9092 greetings

require "ottla"

address = ARGV.fetch(0, "localhost:9092")
topic = ARGV.fetch(1, "greetings")

Ottla::Consumer.open(bootstrap_servers: address, start: "earliest") do |consumer|
  consumer.assign([[topic, 0]])
  while (record = consumer.poll(2))
    puts "#{record.offset}: #{record.value}"
  end
end

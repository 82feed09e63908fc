# frozen_string_literal: true

# Writes a few records and says where they are.
#
#     ruby main.rb localhost:9092 greetings

require "ottla"

address = ARGV.fetch(0, "localhost:9092")
topic = ARGV.fetch(1, "greetings")

Ottla::Producer.open(bootstrap_servers: address) do |producer|
  deliveries = %w[Ada Grace Barbara].map do |name|
    producer.send(topic, "hello, #{name}", key: name, headers: { "language" => "ruby" })
  end
  deliveries.each do |delivery|
    written = delivery.wait(10)
    puts "written to #{written.topic}-#{written.partition} at offset #{written.offset}"
  end
end

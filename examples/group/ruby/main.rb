# frozen_string_literal: true

# A member of a group: reads what the group gives it, commits what it is done with, and is told of rebalances.
#
#     ruby main.rb localhost:9092 greetings

require "ottla"

address = ARGV.fetch(0, "localhost:9092")
topic = ARGV.fetch(1, "greetings")
assigned = ->(_, partitions) { partitions.each { |partition| puts "assigned: #{partition}" } }

Ottla::Consumer.open(
  bootstrap_servers: address,
  group: topic,
  topics: [topic],
  start: "earliest",
  enable_auto_commit: false,
  on_assigned: assigned
) do |consumer|
  # Records may come in several batches: the first may take as long as the group does to begin.
  patience = 10
  while (batch = consumer.next_batch(timeout: patience))
    batch.each { |record| puts record.value }
    consumer.commit(batch)
    patience = 2
  end
end

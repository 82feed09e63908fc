# frozen_string_literal: true

# A shop: sends its orders to a topic, and reads every shop's orders in a group of its own.
#
#     ruby main.rb localhost:9092 orders ruby 20000 20000

require "ottla"
require "zlib"

# Orders that are on their way at once.
UNDERWAY_MAX = 1_000

SERVERS, TOPIC, NAME = ARGV
TO_SEND, TO_READ = ARGV.drop(3).map { |number| Integer(number, 10) }
$stdout.sync = true

def sending
  count = checksum = 0
  Ottla::Producer.open(bootstrap_servers: SERVERS) do |producer|
    while count < TO_SEND
      underway = (count...[TO_SEND, count + UNDERWAY_MAX].min).map do |number|
        key = "#{NAME}-#{number}"
        value = "#{key}: #{number % 12 + 1} apples"
        checksum += Zlib.crc32(value)
        producer.send(TOPIC, value, key: key)
      end
      underway.each(&:wait)
      count += underway.size
      puts "sent #{count}"
    end
  end
  "total sent #{count} #{checksum}"
end

def reading
  count = checksum = 0
  Ottla::Consumer.open(bootstrap_servers: SERVERS, group: NAME, topics: [TOPIC], start: "earliest") do |consumer|
    while count < TO_READ && (batch = consumer.next_batch)
      count += batch.size
      checksum += batch.sum { |record| Zlib.crc32(record.value) }
      puts "read #{count}"
    end
  end
  "total read #{count} #{checksum}"
end

puts [Thread.new { sending }, Thread.new { reading }].map(&:value)

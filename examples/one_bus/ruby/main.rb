# frozen_string_literal: true

# Revenue: reads invoices, adds up what each fruit has brought in, and writes a report when it ends.
#
#     ruby main.rb localhost:9092

require "ottla"
require "zlib"

# How long it waits for records before it looks whether it is to end.
POLL_TIMEOUT_S = 0.5
SERVERS = ARGV.fetch(0, "localhost:9092")

$stdout.sync = true
ending = false
trap("TERM") { ending = true }

# What was read from a topic, or written to it: how many records, and the sum of their CRC-32s, whatever their order.
Tally = Struct.new(:what, :count, :checksum) do
  def add(value)
    self.count += 1
    self.checksum += Zlib.crc32(value)
  end

  def say = puts("#{what} #{count} #{checksum}")
end

read = Tally.new("read invoices", 0, 0)
cents_of = Hash.new(0)
Ottla::Consumer.open(
  bootstrap_servers: SERVERS, group: "revenue", topics: ["invoices"], start: "earliest", enable_auto_commit: false
) do |consumer|
  until ending
    batch = consumer.next_batch(timeout: POLL_TIMEOUT_S)
    next unless batch

    batch.values.each do |invoice|
      _number, _pieces, fruit, _net, cents = invoice.split
      cents_of[fruit] += Integer(cents, 10)
      read.add(invoice)
    end
    consumer.commit(batch)
    read.say
  end
end

Ottla::Producer.open(bootstrap_servers: SERVERS) do |producer|
  best, = cents_of.max_by(&:last)
  report = format("revenue: %.2f from %d invoices, most of it from %s", cents_of.values.sum / 100.0, read.count, best)
  producer.send("reports", report, key: "revenue").wait
  wrote = Tally.new("wrote reports", 0, 0)
  wrote.add(report)
  wrote.say
end

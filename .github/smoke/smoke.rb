# The package works: its own broker takes a record and gives it back.
require "ottla"
require "ottla/testing"

Ottla::Testing::Broker.open do |broker|
  servers = broker.bootstrap_servers
  offset = Ottla::Producer.open(bootstrap_servers: servers) do |producer|
    producer.send("smoke", "two apples", key: "42").wait.offset
  end
  Ottla::Consumer.open(bootstrap_servers: servers, start: "earliest") do |consumer|
    consumer.assign([["smoke", 0]])
    record = consumer.each.first
    raise record.inspect unless [record.key, record.value] == ["42", "two apples"]
  end
  puts "Ruby: offset #{offset} read back"
end

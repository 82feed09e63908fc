# frozen_string_literal: true

require_relative "helper"

# What happens to the process that clients live in.
class ProcessTest < Minitest::Test
  include Shared

  # Longest from Ctrl-C to the end of a wait.
  INTERRUPTED_S = 0.1
  # What memory may grow by while the second half of many records is sent, or read.
  GROWTH_BYTES_MAX = 32 * 1024 * 1024

  def test_the_programs_end_sends_what_was_taken
    topic = named("exit")
    ruby("Ottla::Producer.new(bootstrap_servers: ARGV[0], linger_ms: 3000).send(ARGV[1], 'v')", topic) { |program| program.read }
    assert_predicate $?, :success?
    consumer do |consumer|
      consumer.assign([[topic, 0]])
      assert_equal "v", consumer.poll(30).value
    end
  end

  def test_ctrl_c_ends_a_wait_at_once
    topic = filled("ctrl-c", 1)
    code = <<~RUBY
      consumer = Ottla::Consumer.new(bootstrap_servers: ARGV[0], start: "earliest")
      consumer.assign([[ARGV[1], 0]])
      consumer.poll(30) or abort
      $stdout.sync = true
      # What runs in the background may have been told to ignore it.
      trap("INT", "DEFAULT")
      puts "waiting"
      begin
        consumer.poll
      rescue Interrupt
        puts Process.clock_gettime(Process::CLOCK_MONOTONIC)
      end
      exit!
    RUBY
    ruby(code, topic) do |program|
      assert_equal "waiting\n", program.gets
      sleep 0.2
      interrupted = Process.clock_gettime(Process::CLOCK_MONOTONIC)
      Process.kill(:INT, program.pid)
      assert_operator Float(program.gets) - interrupted, :<, INTERRUPTED_S
    end
  end

  def test_a_timeout_of_rubys_ends_a_wait_and_nothing_is_lost
    topic = filled("timeout", 1)
    consumer do |consumer|
      consumer.assign({ [topic, 0] => 1 })
      assert_raises(Timeout::Error) { Timeout.timeout(0.1) { consumer.poll } }
      producer { |producer| producer.send(topic, "after", partition: 0).wait(30) }
      assert_equal "after", consumer.poll(30).value
    end
  end

  def test_a_fork_says_so_and_makes_clients_of_its_own
    topic = named("fork")
    producer do |producer|
      producer.send(topic, "parent", partition: 0).wait(30)
      reading, writing = IO.pipe
      child = fork do
        reading.close
        error = [-> { producer.send(topic, "v") }, -> { producer.flush }, -> { producer.close }].map do |use|
          use.call
        rescue Ottla::Error => e
          e.class.name
        end
        offset = Ottla::Producer.open(bootstrap_servers: servers) { |own| own.send(topic, "child", partition: 0).wait(30).offset }
        writing.write(Marshal.dump([error, offset]))
        writing.close
        # The parent's tests are not run here again.
        exit!
      end
      writing.close
      assert_equal [["Ottla::ForkedError"] * 3, 1], Marshal.load(reading.read)
      Process.wait(child)
      assert_equal 2, producer.send(topic, "parent", partition: 0).wait(30).offset
    end
  end

  def test_other_threads_run_while_one_waits
    topic = filled("threads", 1)
    consumer do |consumer|
      consumer.assign({ [topic, 0] => 1 })
      waiting = Thread.new { consumer.poll(0.5) }
      count = 0
      count += 1 while waiting.alive?
      assert_operator count, :>, 10_000
    end
  end

  def test_a_million_records_need_no_more_memory
    count = Integer(ENV.fetch("OTTLA_RECORDS", "100000"))
    topic = named("endurance")
    producer do |producer|
      flat(count) do |number|
        producer.send(topic, "x" * 100, partition: 0)
        1
      end
    end
    consumer do |consumer|
      consumer.assign([[topic, 0]])
      flat(count) { consumer.next_batch(timeout: 30).count { |record| record.value.bytesize == 100 } }
    end
  end

  private

  # Has so many done, some at a time: by then memory is what it was when half of it was.
  def flat(count)
    done = 0
    half = nil
    while done < count
      done += yield
      half ||= resident if done >= count / 2
    end
    assert_equal count, done
    assert_operator resident - half, :<, GROWTH_BYTES_MAX
  end

  def resident
    File.read("/proc/self/statm").split[1].to_i * 4096
  end
end

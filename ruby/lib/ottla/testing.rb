# frozen_string_literal: true

require "tempfile"

module Ottla
  # What tests need.
  module Testing
    # A real broker on a free port, whose data goes with it. It ends with its block, or by `stop`, or with this process, however that ends.
    #
    #     Ottla::Testing::Broker.open do |broker|
    #       Ottla::Producer.open(bootstrap_servers: broker.bootstrap_servers) { |producer| producer.send("orders", "two apples").wait }
    #     end
    class Broker
      # Longest that the broker may take to stop.
      STOP_PATIENCE_S = 30
      private_constant :STOP_PATIENCE_S

      # Where it listens, for clients.
      attr_reader :bootstrap_servers

      # A broker; with a block, one that is stopped behind it.
      def self.open(...)
        broker = new(...)
        return broker unless block_given?

        begin
          yield broker
        ensure
          broker.stop
        end
      end

      # Where the program `ottla` is: `OTTLA_PROGRAM`, or the one that came with this package, or the one on the PATH.
      def self.program
        named = ENV.fetch("OTTLA_PROGRAM", "")
        return named unless named.empty?

        own = File.expand_path("native/ottla", __dir__)
        File.file?(own) ? own : "ottla"
      end

      # @param config [Hash] keys of brokers
      def initialize(config = {})
        settings = config.flat_map { |key, value| ["--set", "#{key}=#{value}"] }
        # Variables that are settings are for brokers that somebody starts, not for this one.
        environment = ENV.keys.grep(/\AOTTLA_/).to_h { |name| [name, nil] }
        input, @stdin = IO.pipe
        stdout, output = IO.pipe
        @log = Tempfile.new("ottla-broker")
        @process = spawn(
          environment, Broker.program, "dev", "--quiet", "--until-stdin-ends", "--listen", "127.0.0.1:0", *settings,
          in: input, out: output, err: @log.path
        )
        [input, output].each(&:close)
        # It prints where it listens, once it does; or it ends, and has said why.
        @bootstrap_servers = stdout.gets&.strip
        stdout.close
        return if @bootstrap_servers

        stop
        raise "the broker did not start:\n#{log}"
      end

      # What it has logged.
      def log
        File.read(@log.path)
      end

      # Stops it, in order. Stopping again does nothing.
      def stop
        return if @stdin.closed?

        @stdin.close
        deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + STOP_PATIENCE_S
        until Process.wait(@process, Process::WNOHANG)
          Process.kill(:KILL, @process) if Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline
          sleep 0.005
        end
      end
    end
  end
end

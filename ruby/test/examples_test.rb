# frozen_string_literal: true

require_relative "helper"

class ExamplesTest < Minitest::Test
  include Shared

  EXAMPLES = File.expand_path("../../examples", __dir__)

  {
    "first_producer" => ["at offset 0", "at offset 1", "at offset 2"],
    "first_consumer" => ["0: hello, Ada", "1: hello, Grace", "2: hello, Barbara"],
    "group" => ["assigned: ", "hello, Ada", "hello, Grace", "hello, Barbara"]
  }.each do |task, lines|
    define_method("test_#{task}_does_what_it_says") do
      topic = named("greetings")
      # Who reads needs somebody who has written.
      written = run_example("first_producer", topic)
      said = task == "first_producer" ? written : run_example(task, topic)
      lines.each { |line| assert_includes said, line }
    end
  end

  private

  def run_example(task, topic)
    program = [RbConfig.ruby, "-w", "-I", PACKAGE, File.join(EXAMPLES, task, "ruby/main.rb"), servers, topic]
    IO.popen(program, &:read).tap { assert_predicate $?, :success? }
  end
end

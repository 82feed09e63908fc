# frozen_string_literal: true

# All tests, in one process, over the package that `-I` names.

Dir[File.join(__dir__, "*_test.rb")].sort.each { |file| require file }

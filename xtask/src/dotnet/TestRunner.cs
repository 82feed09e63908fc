// Runs NUnit's tests in this process, for machines without a test host; `dotnet test` runs the same ones elsewhere. Ends with
// `N passed, N failed, N skipped`.
using System;
using System.Collections.Generic;
using System.IO;
using System.Reflection;
using NUnit.Framework.Api;
using NUnit.Framework.Interfaces;
using NUnit.Framework.Internal;

static class TestRunner
{
    static int Main(string[] arguments)
    {
        var runner = new NUnitTestAssemblyRunner(new DefaultTestAssemblyBuilder());
        var settings = new Dictionary<string, object> { ["NumberOfTestWorkers"] = 0 };
        runner.Load(Assembly.LoadFrom(Path.GetFullPath(arguments[0])), settings);
        var filter = arguments.Length > 1 ? TestFilter.FromXml($"<filter><test re='1'>{arguments[1]}</test></filter>") : TestFilter.Empty;
        var result = runner.Run(new Listener(Console.Out), filter);
        Console.WriteLine($"{result.PassCount} passed, {result.FailCount} failed, {result.SkipCount + result.InconclusiveCount} skipped");
        return result.FailCount == 0 && result.PassCount > 0 && result.ResultState.Status != TestStatus.Failed ? 0 : 1;
    }

    /// What tests write is taken while they run, so the report goes to the stream from before.
    sealed class Listener : ITestListener
    {
        readonly TextWriter _out;

        internal Listener(TextWriter output) => _out = output;

        public void TestStarted(ITest test)
        {
        }

        public void TestOutput(TestOutput output) => _out.Write(output.Text);

        public void SendMessage(TestMessage message)
        {
        }

        public void TestFinished(ITestResult result)
        {
            var hasFailed = result.ResultState.Status == TestStatus.Failed;
            if (result.Test.IsSuite)
            {
                if (hasFailed && result.ResultState.Site == FailureSite.SetUp)
                {
                    _out.WriteLine($"{result.FullName}: {result.Message}");
                }
                return;
            }
            _out.WriteLine($"{result.ResultState.Status,-8} {result.FullName} ({result.Duration * 1000:F0} ms)");
            if (hasFailed)
            {
                _out.WriteLine(result.Message + "\n" + result.StackTrace);
            }
            _out.Flush();
        }
    }
}

using System;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Threading.Tasks;
using NUnit.Framework;

namespace Ottla.Tests;

public sealed class ExamplesTests
{
    [TestCase("first_producer", "at offset 0;at offset 1;at offset 2")]
    [TestCase("first_consumer", "0: hello, Ada;1: hello, Grace;2: hello, Barbara")]
    [TestCase("group", "assigned: ;hello, Ada;hello, Grace;hello, Barbara")]
    public async Task AnExampleDoesWhatItSays(string task, string lines)
    {
        var topic = Broker.Name("greetings");
        // The one who reads needs somebody who has written.
        var written = await Run("first_producer", topic);
        var said = task == "first_producer" ? written : await Run(task, topic);
        Assert.That(lines.Split(';').Where(line => !said.Contains(line)), Is.Empty, said);
    }

    private static async Task<string> Run(string task, string topic)
    {
        var (said, exitCode) = await Programs.Run(task, Broker.Address, topic);
        Assert.That(exitCode, Is.EqualTo(0), said);
        return said;
    }
}

/// <summary>Programs over the package, as <c>cargo xtask test</c> has built them.</summary>
internal static class Programs
{
    internal static async Task<(string Said, int ExitCode)> Run(string name, params string[] arguments)
    {
        var programs = Environment.GetEnvironmentVariable("OTTLA_DOTNET_PROGRAMS");
        if (programs is null)
        {
            Assert.Ignore("`OTTLA_DOTNET_PROGRAMS` does not say where programs are");
        }
        var start = new ProcessStartInfo(Path.Combine(programs!, name, "run")) { RedirectStandardOutput = true };
        foreach (var argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }
        using var process = Process.Start(start)!;
        var said = await process.StandardOutput.ReadToEndAsync(Broker.Patient());
        await process.WaitForExitAsync(Broker.Patient());
        return (said, process.ExitCode);
    }
}

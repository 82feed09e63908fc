using System.Threading.Tasks;
using NUnit.Framework;

namespace Ottla.Tests;

/// <summary>A process that ends in the midst of everything ends at once, and as it meant to.</summary>
public sealed class ExitTests
{
    /// <summary>SIGABRT, by which .NET ends a program whose exception nobody has caught.</summary>
    private const int Aborted = 134;

    [TestCase("return", 0)]
    [TestCase("exit", 7)]
    [TestCase("thread", 7)]
    [TestCase("dispose", 0)]
    [TestCase("throw", Aborted)]
    public async Task AProcessEndsAsItMeantTo(string how, int code)
    {
        for (var round = 0; round < 2; round++)
        {
            var topic = await Broker.TopicAsync();
            var (said, exitCode) = await Programs.Run("Exits", how, Broker.Address, topic);
            Assert.That(exitCode, Is.EqualTo(code), said);
            Assert.That(said, Does.StartWith("in the midst"));
        }
    }
}

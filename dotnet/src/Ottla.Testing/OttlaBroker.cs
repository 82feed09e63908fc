using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Text;
using System.Threading.Tasks;

namespace Ottla.Testing;

/// <summary>
/// A real broker on a free port, whose data goes with it. It ends when it is disposed of, or with this process, however that ends.
/// </summary>
/// <example>
/// <code>
/// await using var broker = await OttlaBroker.StartAsync();
/// await using var producer = new Producer&lt;string, string&gt;(broker.BootstrapServers);
/// </code>
/// </example>
public sealed class OttlaBroker : IAsyncDisposable, IDisposable
{
    /// <summary>Longest that it may take to stop.</summary>
    private static readonly TimeSpan StopPatience = TimeSpan.FromSeconds(30);

    private readonly Process _process;
    private readonly StringBuilder _log;

    private OttlaBroker(Process process, StringBuilder log, string bootstrapServers)
    {
        _process = process;
        _log = log;
        BootstrapServers = bootstrapServers;
    }

    /// <summary>Where it listens, for clients: <c>host:port</c>.</summary>
    public string BootstrapServers { get; }

    /// <summary>What it has logged.</summary>
    public string Log
    {
        get
        {
            lock (_log)
            {
                return _log.ToString();
            }
        }
    }

    /// <summary>Starts one.</summary>
    /// <param name="config">Settings of a broker, by Kafka's keys; null for its defaults.</param>
    /// <returns>The broker, which listens.</returns>
    /// <exception cref="InvalidOperationException">It did not start; the message has its log.</exception>
    public static async Task<OttlaBroker> StartAsync(IEnumerable<KeyValuePair<string, string>>? config = null)
    {
        var start = new ProcessStartInfo(FindProgram())
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
        };
        foreach (var argument in new[] { "dev", "--quiet", "--until-stdin-ends", "--listen", "127.0.0.1:0" })
        {
            start.ArgumentList.Add(argument);
        }
        foreach (var (key, value) in config ?? Enumerable.Empty<KeyValuePair<string, string>>())
        {
            start.ArgumentList.Add("--set");
            start.ArgumentList.Add($"{key}={value}");
        }
        // Variables that are settings are for brokers that somebody starts, not for this one.
        foreach (var name in start.Environment.Keys.Where(name => name.StartsWith("OTTLA_", StringComparison.Ordinal)).ToList())
        {
            start.Environment.Remove(name);
        }
        var process = new Process { StartInfo = start };
        var log = new StringBuilder();
        process.ErrorDataReceived += (_, line) =>
        {
            lock (log)
            {
                log.AppendLine(line.Data);
            }
        };
        process.Start();
        process.BeginErrorReadLine();
        // It prints where it listens, once it does; or it ends, and has said why.
        var address = await process.StandardOutput.ReadLineAsync().ConfigureAwait(false);
        if (address is null)
        {
            await process.WaitForExitAsync().ConfigureAwait(false);
            process.Dispose();
            throw new InvalidOperationException($"the broker did not start:\n{log}");
        }
        return new OttlaBroker(process, log, address.Trim());
    }

    /// <summary>As <see cref="StartAsync"/>, waiting on this thread.</summary>
    /// <param name="config">Settings of a broker, by Kafka's keys; null for its defaults.</param>
    /// <returns>The broker, which listens.</returns>
    public static OttlaBroker Start(IEnumerable<KeyValuePair<string, string>>? config = null) =>
        Task.Run(() => StartAsync(config)).GetAwaiter().GetResult();

    /// <summary>Stops it, in order.</summary>
    /// <returns>Done when it has stopped.</returns>
    public ValueTask DisposeAsync() => new(Task.Run(Dispose));

    /// <summary>As <see cref="DisposeAsync"/>, waiting on this thread.</summary>
    public void Dispose()
    {
        try
        {
            _process.StandardInput.Close();
            if (!_process.WaitForExit((int)StopPatience.TotalMilliseconds))
            {
                _process.Kill();
            }
        }
        catch (Exception failure) when (failure is InvalidOperationException or IOException)
        {
            // It has ended, or was disposed of.
        }
        _process.Dispose();
    }

    /// <summary>Ends it at once, as a crash would.</summary>
    public void Kill()
    {
        _process.Kill();
        _process.WaitForExit();
    }

    /// <summary>The one that <c>OTTLA_PROGRAM</c> names, or the one of the package, or the one on the path.</summary>
    private static string FindProgram()
    {
        var named = Environment.GetEnvironmentVariable("OTTLA_PROGRAM");
        if (!string.IsNullOrEmpty(named))
        {
            return named;
        }
        var file = OperatingSystem.IsWindows() ? "ottla.exe" : "ottla";
        var at = AppContext.BaseDirectory;
        foreach (var place in new[] { Path.Combine(at, file), Path.Combine(at, "runtimes", Platform(), "native", file) })
        {
            if (File.Exists(place))
            {
                return Executable(place);
            }
        }
        var path = Environment.GetEnvironmentVariable("PATH") ?? "";
        return path.Split(Path.PathSeparator).Select(directory => Path.Combine(directory, file)).FirstOrDefault(File.Exists)
            ?? throw new InvalidOperationException(
                $"the program `ottla` is not there: the package has none for `{Platform()}`; name one by the variable `OTTLA_PROGRAM`, or put it on the path");
    }

    /// <summary>Packages do not keep what may be run.</summary>
    private static string Executable(string program)
    {
        if (!OperatingSystem.IsWindows())
        {
            var mode = File.GetUnixFileMode(program);
            if ((mode & UnixFileMode.UserExecute) == 0)
            {
                File.SetUnixFileMode(program, mode | UnixFileMode.UserExecute);
            }
        }
        return program;
    }

    private static string Platform()
    {
        var system = OperatingSystem.IsWindows() ? "win" : OperatingSystem.IsMacOS() ? "osx" : "linux";
        var libc = System.Runtime.InteropServices.RuntimeInformation.RuntimeIdentifier.Contains("musl", StringComparison.Ordinal) ? "-musl" : "";
        return $"{system}{libc}-{System.Runtime.InteropServices.RuntimeInformation.ProcessArchitecture.ToString().ToLowerInvariant()}";
    }
}

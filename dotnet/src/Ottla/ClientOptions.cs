using System;
using System.Collections;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Threading;
using System.Threading.Tasks;
using Ottla.Internal;
using Ottla.Native;

namespace Ottla;

/// <summary>
/// Settings of a client, by Kafka's keys. A key that does not exist, or a value that will not do, is refused when a client is made, with a
/// suggestion.
/// </summary>
public abstract class ClientOptions : IEnumerable<KeyValuePair<string, string>>
{
    private readonly Dictionary<string, string> _settings = new();
    private readonly List<string> _files = new();

    private protected ClientOptions()
    {
    }

    /// <summary>A setting; null is none.</summary>
    /// <param name="key">The key, as <c>linger.ms</c>.</param>
    public string? this[string key]
    {
        get => _settings.TryGetValue(key, out var value) ? value : null;
        set
        {
            if (value is null)
            {
                _settings.Remove(key);
            }
            else
            {
                _settings[key] = value;
            }
        }
    }

    /// <summary>
    /// Gives the client its tokens, for <c>sasl.mechanism=OAUTHBEARER</c>, where they do not come of
    /// <c>sasl.oauthbearer.token.endpoint.url</c>. It is asked when the client first connects, and before each token ends; it has
    /// <c>sasl.login.read.timeout.ms</c> for that. What it throws is part of the client's error; what the network does is tried again.
    /// </summary>
    public Func<CancellationToken, ValueTask<OAuthBearerToken>>? OAuthBearerTokenProvider { get; set; }

    /// <summary>Adds a setting; for initializers.</summary>
    /// <param name="key">The key, as <c>linger.ms</c>.</param>
    /// <param name="value">The value.</param>
    public void Add(string key, string value) => _settings.Add(key, value);

    /// <summary>Adds settings; those that are there already are set anew.</summary>
    /// <param name="settings">Keys with values.</param>
    public void AddRange(IEnumerable<KeyValuePair<string, string>> settings)
    {
        foreach (var (key, value) in settings)
        {
            _settings[key] = value;
        }
    }

    /// <summary>Adds a .properties file, as Java's clients have them. What is set otherwise goes before it.</summary>
    /// <param name="path">Where it is.</param>
    public void AddFile(string path) => _files.Add(path ?? throw new ArgumentNullException(nameof(path)));

    /// <inheritdoc/>
    public IEnumerator<KeyValuePair<string, string>> GetEnumerator() => _settings.GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    /// <summary>Settings as the library takes them.</summary>
    internal unsafe ConfigHandle Made()
    {
        Library.Ensure();
        var config = new ConfigHandle();
        try
        {
            using var held = config.Hold(out var at);
            ottla_error* error;
            foreach (var path in _files)
            {
                using var text = new Utf8(path);
                OttlaException.Check(NativeMethods.ottla_config_file(at, text.Pointer, &error), error);
            }
            foreach (var (key, value) in _settings)
            {
                using var name = new Utf8(key);
                using var set = new Utf8(value);
                OttlaException.Check(NativeMethods.ottla_config_set(at, name.Pointer, set.Pointer, &error), error);
            }
            if (OAuthBearerTokenProvider is { } provider)
            {
                var number = TokenRequests.Number(provider);
                OttlaException.Check(
                    NativeMethods.ottla_config_set_token_queue(at, EventLoop.Shared.Queue, number, &error), error);
            }
            return config;
        }
        catch
        {
            config.Dispose();
            throw;
        }
    }

    private protected static string? Text(bool? value) => value is null ? null : value.Value ? "true" : "false";

    private protected static string? Text(long? value) => value?.ToString(CultureInfo.InvariantCulture);

    private protected static string? Text(double? value) => value?.ToString("R", CultureInfo.InvariantCulture);

    private protected bool? Truth(string key) => bool.TryParse(this[key], out var found) ? found : null;

    private protected int? Int32(string key) =>
        int.TryParse(this[key], NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var found) ? found : null;

    private protected long? Int64(string key) =>
        long.TryParse(this[key], NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var found) ? found : null;

    private protected double? Double(string key) =>
        double.TryParse(this[key], NumberStyles.Float, CultureInfo.InvariantCulture, out var found) ? found : null;
}

using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Net.Http;
using System.Net.Sockets;
using System.Threading;
using System.Threading.Tasks;
using Ottla.Native;

namespace Ottla.Internal;

/// <summary>Those who give clients their tokens, by number, and how they are asked: on the thread pool.</summary>
internal static class TokenRequests
{
    /// <summary>No client waits longer than its own <c>sasl.login.read.timeout.ms</c>; this ends what would go on for ever.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);

    /// <summary>Held by their clients: one that nobody has any more is asked no more.</summary>
    private static readonly ConcurrentDictionary<ulong, WeakReference<Func<CancellationToken, ValueTask<OAuthBearerToken>>>> Providers = new();

    private static long _last;

    /// <summary>A number for one.</summary>
    internal static ulong Number(Func<CancellationToken, ValueTask<OAuthBearerToken>> provider)
    {
        foreach (var (known, held) in Providers)
        {
            if (!held.TryGetTarget(out _))
            {
                Providers.TryRemove(known, out _);
            }
        }
        var number = (ulong)Interlocked.Increment(ref _last);
        Providers[number] = new(provider);
        return number;
    }

    /// <summary>Has a request answered, which is used up.</summary>
    internal static unsafe void Answer(ulong number, ottla_token_request* request)
    {
        var at = (IntPtr)request;
        if (!Providers.TryGetValue(number, out var held) || !held.TryGetTarget(out var provider))
        {
            Fail(at, "the client is gone", true);
            return;
        }
        _ = Task.Run(() => AnswerAsync(provider, at));
    }

    private static async Task AnswerAsync(Func<CancellationToken, ValueTask<OAuthBearerToken>> provider, IntPtr request)
    {
        OAuthBearerToken token;
        try
        {
            using var patience = new CancellationTokenSource(Patience);
            token = await provider(patience.Token).ConfigureAwait(false)
                ?? throw new InvalidOperationException("the program's function gave null in place of a token");
        }
        catch (Exception failure)
        {
            var passes = failure is HttpRequestException or IOException or SocketException or TimeoutException
                or OperationCanceledException || failure is OttlaException { IsRetriable: true };
            Fail(request, failure.Message, passes);
            return;
        }
        Give(request, token);
    }

    private static unsafe void Give(IntPtr request, OAuthBearerToken token)
    {
        using var scratch = new Scratch();
        var pairs = (token.Extensions ?? new Dictionary<string, string>()).ToArray();
        var extensions = scratch.Names(pairs.SelectMany(pair => new[] { pair.Key, pair.Value }).ToArray());
        var endMs = token.Expires?.ToUnixTimeMilliseconds() ?? -1;
        var principal = token.Principal is null ? null : scratch.Text(token.Principal);
        // What is wrong with it is told to the client, which cannot log in.
        _ = NativeMethods.ottla_token_request_give(
            (ottla_token_request*)request, scratch.Text(token.Value), endMs, principal, extensions, (nuint)pairs.Length, null);
    }

    private static unsafe void Fail(IntPtr request, string why, bool passes)
    {
        using var text = new Utf8(why);
        NativeMethods.ottla_token_request_fail((ottla_token_request*)request, text.Pointer, passes ? 1 : 0);
    }
}

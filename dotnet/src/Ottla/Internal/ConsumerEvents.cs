using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;
using Ottla.Native;

namespace Ottla.Internal;

/// <summary>What a consumer is told of: it does not keep the consumer.</summary>
internal sealed class ConsumerEvents : IConsumerEvents
{
    private const uint AssignedKind = 1;
    private const uint RevokedKind = 2;

    private readonly ConcurrentQueue<RebalanceHandle> _steps = new();
    private readonly SemaphoreSlim _telling = new(1, 1);
    private volatile SemaphoreSlim? _leaving;

    /// <summary>Rings when there may be records, or a step of a rebalance; now and then for nothing.</summary>
    internal SemaphoreSlim Bell { get; } = new(0);

    internal volatile IRebalanceListener? Listener;

    internal volatile bool IsListening;

    internal volatile bool IsClosed;

    private int _changes;

    /// <summary>Counts what may make records that were handed out others than the next.</summary>
    internal int Changes => Volatile.Read(ref _changes);

    internal void Change() => Interlocked.Increment(ref _changes);

    public void Ready()
    {
        // Only so that they do not add up: one ring too many does no harm.
        if (Bell.CurrentCount == 0)
        {
            Bell.Release();
        }
    }

    public void Rebalance(RebalanceHandle step)
    {
        _steps.Enqueue(step);
        Change();
        Ready();
        try
        {
            _leaving?.Release();
        }
        catch (ObjectDisposedException)
        {
            // It has left just now.
        }
    }

    /// <summary>Has somebody who leaves the group told of steps, too.</summary>
    internal void WhenRebalancing(SemaphoreSlim? leaving) => _leaving = leaving;

    /// <summary>Tells the listener what has come, one step after the other. A step goes on, whatever becomes of that.</summary>
    internal async ValueTask TellAsync()
    {
        if (_steps.IsEmpty)
        {
            return;
        }
        await _telling.WaitAsync().ConfigureAwait(false);
        try
        {
            while (_steps.TryDequeue(out var step))
            {
                using (step)
                {
                    await Tell(step).ConfigureAwait(false);
                }
            }
        }
        finally
        {
            _telling.Release();
        }
    }

    /// <summary>Nobody will be told any more.</summary>
    internal void LetGo()
    {
        while (_steps.TryDequeue(out var step))
        {
            step.Dispose();
        }
    }

    private ValueTask Tell(RebalanceHandle step)
    {
        if (Listener is not { } listener)
        {
            return default;
        }
        var (kind, partitions) = Read(step);
        return kind switch
        {
            AssignedKind => listener.OnAssignedAsync(partitions),
            RevokedKind => listener.OnRevokedAsync(partitions),
            _ => listener.OnLostAsync(partitions),
        };
    }

    private static unsafe (uint Kind, IReadOnlyList<TopicPartition> Partitions) Read(RebalanceHandle step)
    {
        using var held = step.Hold(out var rebalance);
        nuint count;
        var rows = NativeMethods.ottla_rebalance_partitions(rebalance, &count);
        return (NativeMethods.ottla_rebalance_get_kind(rebalance), Results.Partitions(rows, count));
    }
}

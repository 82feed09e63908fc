using System;
using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using System.Threading;
using System.Threading.Tasks;
using System.Threading.Tasks.Sources;
using Ottla.Native;

namespace Ottla.Internal;

/// <summary>
/// A record that is under way and that somebody waits for. Used again and again: to await a send allocates nothing.
/// </summary>
/// <remarks>
/// Two things must have happened before it is used again: its record was delivered, and its result was taken. A result that nobody takes
/// leaves it to the collector. While its record is under way it is rooted by a handle, whose number is the record's token, and it counts
/// as a user of its producer: so the library keeps that until all is delivered.
/// </remarks>
internal sealed class SendOperation : IValueTaskSource<RecordMetadata>
{
    /// <summary>As many are kept for use.</summary>
    private const int PooledMax = 16 * 1024;

    private const int UnderWay = 0;

    /// <summary>Given up by its token, and not delivered yet.</summary>
    private const int GivenUp = 1;

    private const int Finished = 2;

    private static readonly ConcurrentQueue<SendOperation> Pool = new();
    private static int s_pooled;

    private ManualResetValueTaskSourceCore<RecordMetadata> _core;
    private GCHandle _handle;
    private ProducerHandle? _producer;
    private string _topic = "";
    private CancellationToken _cancellation;
    private CancellationTokenRegistration _registration;
    private int _state;
    /// <summary>One for the delivery, one for who takes the result.</summary>
    private int _users;

    private SendOperation()
    {
        // What waits for a send is the program's, and must not hold up the thread that takes deliveries.
        _core.RunContinuationsAsynchronously = true;
        _handle = GCHandle.Alloc(null, GCHandleType.Normal);
    }

    /// <summary>Collected, as nobody took its result.</summary>
    ~SendOperation() => _handle.Free();

    /// <summary>
    /// One for a record of a producer, whose user the caller has counted for it. The token gives the wait up, not the record.
    /// </summary>
    internal static SendOperation Rent(ProducerHandle producer, string topic, CancellationToken cancellation)
    {
        if (Pool.TryDequeue(out var operation))
        {
            Interlocked.Decrement(ref s_pooled);
        }
        else
        {
            operation = new SendOperation();
        }
        operation._producer = producer;
        operation._topic = topic;
        operation._state = UnderWay;
        operation._users = 2;
        operation._handle.Target = operation;
        if (cancellation.CanBeCanceled)
        {
            operation._cancellation = cancellation;
            operation._registration = cancellation.Register(static of => ((SendOperation)of!).GiveUp(), operation);
        }
        return operation;
    }

    /// <summary>The one that a token stands for.</summary>
    internal static SendOperation Of(ulong token) => (SendOperation)GCHandle.FromIntPtr((IntPtr)token).Target!;

    /// <summary>What its record has as its token; never 0.</summary>
    internal ulong Token => (ulong)(long)GCHandle.ToIntPtr(_handle);

    /// <summary>What is awaited; to be asked for before the record is handed over, as it may be done before that returns.</summary>
    internal ValueTask<RecordMetadata> Task => new(this, _core.Version);

    /// <summary>The record was not taken: nobody will tell of it, and nobody waits.</summary>
    internal void Refused()
    {
        LetGo();
        _users = 1;
        Leave();
    }

    internal void Delivered(int partition, long offset, long timestampMs)
    {
        var isAwaited = Interlocked.CompareExchange(ref _state, Finished, UnderWay) == UnderWay;
        var written = new RecordMetadata(_topic, partition, offset, timestampMs);
        LetGo();
        if (isAwaited)
        {
            _core.SetResult(written);
        }
        Leave();
    }

    internal void Failed(Exception failure)
    {
        var isAwaited = Interlocked.CompareExchange(ref _state, Finished, UnderWay) == UnderWay;
        LetGo();
        if (isAwaited)
        {
            _core.SetException(failure);
        }
        Leave();
    }

    public RecordMetadata GetResult(short token)
    {
        var isDone = _core.GetStatus(token) != ValueTaskSourceStatus.Pending;
        try
        {
            return _core.GetResult(token);
        }
        finally
        {
            if (isDone)
            {
                Leave();
            }
        }
    }

    public ValueTaskSourceStatus GetStatus(short token) => _core.GetStatus(token);

    public void OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _core.OnCompleted(continuation, state, token, flags);

    private void GiveUp()
    {
        if (Interlocked.CompareExchange(ref _state, GivenUp, UnderWay) == UnderWay)
        {
            _core.SetException(new OperationCanceledException(
                "the wait for a record was given up; the record itself may be written all the same", _cancellation));
        }
    }

    /// <summary>The record is out of the library's hands.</summary>
    private void LetGo()
    {
        // Waits for one that is giving up just now: later it would meet another use.
        _registration.Dispose();
        _registration = default;
        _cancellation = default;
        _handle.Target = null;
        var producer = _producer!;
        _producer = null;
        producer.DangerousRelease();
    }

    /// <summary>The last of two makes it ready for another use.</summary>
    private void Leave()
    {
        if (Interlocked.Decrement(ref _users) != 0)
        {
            return;
        }
        _core.Reset();
        if (Interlocked.Increment(ref s_pooled) <= PooledMax)
        {
            Pool.Enqueue(this);
        }
        else
        {
            Interlocked.Decrement(ref s_pooled);
        }
    }
}

using System;
using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using System.Threading;
using System.Threading.Tasks;
using Ottla.Native;

namespace Ottla.Internal;

/// <summary>
/// Where all that is asynchronous ends: one queue of the library for all clients, and one thread that takes what has ended. No thread of
/// the library enters .NET for that, so nothing is held up by the collector, and nothing can be called that is gone.
/// </summary>
/// <remarks>
/// The thread runs no code of the program: continuations go to the thread pool, or to where they were awaited from. It lives as long as
/// the process, and so does the queue: an event may come to it after its client was let go.
/// </remarks>
internal sealed unsafe class EventLoop
{
    /// <summary>How many are taken at once.</summary>
    private const int EventsMax = 1024;

    private const uint DeliveryEvent = 1;
    private const uint CallEvent = 2;
    private const uint BatchReadyEvent = 3;
    private const uint RebalanceEvent = 4;
    private const uint TokenRequestEvent = 5;

    private static readonly Lazy<EventLoop> Made = new(() => new EventLoop());

    private readonly ConcurrentDictionary<ulong, PendingCall> _calls = new();
    private readonly ConcurrentDictionary<IntPtr, WeakReference<IConsumerEvents>> _consumers = new();
    private long _lastToken;

    private EventLoop()
    {
        Library.Ensure();
        ottla_queue* queue;
        ottla_error* error;
        OttlaException.Check(NativeMethods.ottla_queue_new(&queue, &error), error);
        Queue = queue;
        var thread = new Thread(Run) { IsBackground = true, Name = "ottla" };
        thread.Start();
    }

    internal static EventLoop Shared => Made.Value;

    /// <summary>The queue that clients are made with.</summary>
    internal ottla_queue* Queue { get; }

    /// <summary>Starts a call, which is used up.</summary>
    /// <param name="call">The call.</param>
    /// <param name="read">Makes of its result what it gives, on the loop's thread.</param>
    /// <param name="cancellation">Gives the wait up, not what the call does.</param>
    internal Task<T> Start<T>(ottla_call* call, Func<IntPtr, T> read, CancellationToken cancellation)
    {
        if (call == null)
        {
            return Task.FromException<T>(Exceptions.Make(ErrorCode.Panic, "the library has failed in a way that it does not", null));
        }
        if (cancellation.IsCancellationRequested)
        {
            NativeMethods.ottla_call_free(call);
            return Task.FromCanceled<T>(cancellation);
        }
        var token = (ulong)Interlocked.Increment(ref _lastToken);
        var pending = new PendingCall<T>(read);
        _calls[token] = pending;
        var status = NativeMethods.ottla_call_start(call, Queue, token);
        if (status != 0)
        {
            _calls.TryRemove(token, out _);
            return Task.FromException<T>(OttlaException.Take(status, null));
        }
        return pending.Task(cancellation);
    }

    /// <summary>As <see cref="Start{T}"/>, of a call that gives nothing.</summary>
    internal Task Start(ottla_call* call, CancellationToken cancellation) => Start(call, static _ => true, cancellation);

    /// <summary>Has a consumer told of its events, as long as somebody has it.</summary>
    internal void Add(IntPtr consumer, IConsumerEvents events) => _consumers[consumer] = new WeakReference<IConsumerEvents>(events);

    /// <summary>A consumer is about to be freed; another one may have its address then.</summary>
    internal void Remove(IntPtr consumer) => _consumers.TryRemove(consumer, out _);

    private void Run()
    {
        var events = (ottla_event*)Marshal.AllocHGlobal(EventsMax * sizeof(ottla_event));
        while (true)
        {
            var count = (int)NativeMethods.ottla_queue_drain(Queue, events, EventsMax, -1);
            for (var i = 0; i < count; i++)
            {
                try
                {
                    Handle(in events[i]);
                }
                catch (Exception failure)
                {
                    // A context that does not take continuations; the other events must not suffer.
                    OttlaLog.Write(OttlaLogLevel.Error, "ottla::dotnet", $"an event could not be handled: {failure}");
                }
            }
        }
    }

    private void Handle(in ottla_event happened)
    {
        switch (happened.kind)
        {
            case DeliveryEvent:
                Deliver(in happened);
                break;
            case CallEvent:
                End(in happened);
                break;
            case BatchReadyEvent:
                Told((IntPtr)happened.source)?.Ready();
                break;
            case TokenRequestEvent:
                TokenRequests.Answer(happened.token, (ottla_token_request*)happened.@object);
                break;
            case RebalanceEvent:
                var step = new RebalanceHandle((ottla_rebalance*)happened.@object);
                var consumer = Told((IntPtr)happened.source);
                if (consumer is null)
                {
                    // Nobody is left to be told.
                    step.Dispose();
                }
                else
                {
                    consumer.Rebalance(step);
                }
                break;
        }
    }

    private static void Deliver(in ottla_event happened)
    {
        var failure = happened.status == 0 ? null : OttlaException.Take(happened.status, (ottla_error*)happened.@object);
        if (happened.token == 0)
        {
            // Of a record that nobody asks for: the library has logged and counted it.
            return;
        }
        var send = SendOperation.Of(happened.token);
        if (failure is null)
        {
            send.Delivered(happened.partition, happened.offset, happened.timestamp_ms);
        }
        else
        {
            send.Failed(failure);
        }
    }

    private void End(in ottla_event happened)
    {
        var isKnown = _calls.TryRemove(happened.token, out var pending);
        if (happened.status != 0)
        {
            var failure = OttlaException.Take(happened.status, (ottla_error*)happened.@object);
            pending?.Failed(failure);
            return;
        }
        try
        {
            if (isKnown)
            {
                pending!.Ended((IntPtr)happened.@object);
            }
        }
        finally
        {
            NativeMethods.ottla_result_free((ottla_result*)happened.@object);
        }
    }

    private IConsumerEvents? Told(IntPtr consumer) =>
        _consumers.TryGetValue(consumer, out var held) && held.TryGetTarget(out var events) ? events : null;
}

/// <summary>What a consumer is told of, on the loop's thread, where nothing may wait.</summary>
internal interface IConsumerEvents
{
    /// <summary>There may be records.</summary>
    void Ready();

    /// <summary>A step of a rebalance, which waits until it is disposed of.</summary>
    void Rebalance(RebalanceHandle step);
}

/// <summary>A call that is under way.</summary>
internal abstract class PendingCall
{
    internal abstract void Ended(IntPtr result);

    internal abstract void Failed(Exception failure);
}

/// <inheritdoc/>
internal sealed class PendingCall<T> : PendingCall
{
    private readonly TaskCompletionSource<T> _source = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Func<IntPtr, T> _read;
    private CancellationTokenRegistration _registration;

    internal PendingCall(Func<IntPtr, T> read) => _read = read;

    internal Task<T> Task(CancellationToken cancellation)
    {
        if (cancellation.CanBeCanceled)
        {
            _registration = cancellation.Register(() => _source.TrySetCanceled(cancellation));
            if (_source.Task.IsCompleted)
            {
                // It had ended before there was a registration to be taken back.
                _registration.Dispose();
            }
        }
        return _source.Task;
    }

    internal override void Ended(IntPtr result)
    {
        try
        {
            _source.TrySetResult(_read(result));
        }
        catch (Exception failure)
        {
            _source.TrySetException(failure);
        }
        _registration.Dispose();
    }

    internal override void Failed(Exception failure)
    {
        _source.TrySetException(failure);
        _registration.Dispose();
    }
}

#if NET5_0_OR_GREATER
using System;
using System.Diagnostics;
using System.Text;
using System.Threading;
using System.Threading.Tasks;

namespace Ottla.Internal;

/// <summary>Spans of OpenTelemetry, under the names that its conventions have for messaging; nothing where nobody listens.</summary>
internal static class Tracing
{
    private const string ParentHeader = "traceparent";
    private const string StateHeader = "tracestate";

    private static readonly ActivitySource Source = new("Ottla", Native.Library.Version);

    internal static bool IsOn => Source.HasListeners();

    /// <summary>Sends a record with a span around it, whose context goes with the record.</summary>
    internal static ValueTask<RecordMetadata> Traced(
        Producer producer,
        string topic,
        ReadOnlySpan<byte> key,
        ReadOnlySpan<byte> value,
        Headers? headers,
        int? partition,
        DateTimeOffset? timestamp,
        CancellationToken cancellation)
    {
        var activity = Source.StartActivity("send " + topic, ActivityKind.Producer);
        if (activity is null)
        {
            return producer.Sent(topic, key, value, headers, partition, timestamp, cancellation);
        }
        activity.SetTag("messaging.system", "kafka");
        activity.SetTag("messaging.operation.type", "send");
        activity.SetTag("messaging.destination.name", topic);
        var sent = producer.Sent(topic, key, value, WithContext(headers, activity), partition, timestamp, cancellation);
        // What follows on this thread is not part of the send.
        Activity.Current = activity.Parent;
        return Ended(sent, activity);
    }

    /// <summary>A span for the handling of a record, below the one that sent it; null where nobody listens.</summary>
    internal static Activity? Processing(string topic, int partition, long offset, Headers headers)
    {
        var parent = headers.TryGetLast(ParentHeader, out var id) && id is not null ? Encoding.UTF8.GetString(id) : null;
        var state = headers.TryGetLast(StateHeader, out var of) && of is not null ? Encoding.UTF8.GetString(of) : null;
        _ = ActivityContext.TryParse(parent, state, out var context);
        var activity = Source.StartActivity("process " + topic, ActivityKind.Consumer, context);
        activity?.SetTag("messaging.system", "kafka");
        activity?.SetTag("messaging.operation.type", "process");
        activity?.SetTag("messaging.destination.name", topic);
        activity?.SetTag("messaging.destination.partition.id", partition);
        activity?.SetTag("messaging.kafka.offset", offset);
        return activity;
    }

    private static Headers WithContext(Headers? headers, Activity activity)
    {
        // The program's own may be used for another record.
        var all = new Headers();
        foreach (var header in headers ?? all)
        {
            if (header.Name is not (ParentHeader or StateHeader))
            {
                all.Add(header.Name, header.Value);
            }
        }
        if (activity.IdFormat == ActivityIdFormat.W3C && activity.Id is { } id)
        {
            all.Add(ParentHeader, id);
            if (!string.IsNullOrEmpty(activity.TraceStateString))
            {
                all.Add(StateHeader, activity.TraceStateString);
            }
        }
        return all;
    }

    private static async ValueTask<RecordMetadata> Ended(ValueTask<RecordMetadata> sent, Activity activity)
    {
        try
        {
            var written = await sent.ConfigureAwait(false);
            activity.SetTag("messaging.destination.partition.id", written.Partition);
            activity.SetTag("messaging.kafka.offset", written.Offset);
            return written;
        }
        catch (Exception failure)
        {
            activity.SetTag("error.type", (failure as OttlaException)?.Name ?? failure.GetType().FullName);
            activity.SetStatus(ActivityStatusCode.Error, failure.Message);
            throw;
        }
        finally
        {
            activity.Dispose();
        }
    }
}
#endif

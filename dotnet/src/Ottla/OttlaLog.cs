using System;
using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using System.Threading;
using Ottla.Native;

namespace Ottla;

/// <summary>How much a line of the log matters.</summary>
public enum OttlaLogLevel
{
    /// <summary>Nothing is logged.</summary>
    None = 0,

    /// <summary>Something failed.</summary>
    Error = 1,

    /// <summary>Something is not as it should be.</summary>
    Warning = 2,

    /// <summary>What happens now and then.</summary>
    Information = 3,

    /// <summary>What helps to find a fault.</summary>
    Debug = 4,

    /// <summary>All.</summary>
    Trace = 5,
}

/// <summary>The log of the library, of all clients together.</summary>
public static unsafe class OttlaLog
{
    /// <summary>Where a line goes.</summary>
    /// <param name="level">How much it matters.</param>
    /// <param name="source">The part of the library that it is from, as <c>ottla::producer</c>.</param>
    /// <param name="text">The line.</param>
    public delegate void Sink(OttlaLogLevel level, string source, string text);

    /// <summary>Lines that may wait for a slow sink; what comes then is lost, and counted.</summary>
    private const int LinesMax = 10_000;

    private static readonly ConcurrentQueue<(OttlaLogLevel Level, string Source, string Text)> Lines = new();
    private static readonly object Turn = new();
    private static volatile Sink? s_sink;
    private static int s_waiting;
    private static int s_lost;
    private static int s_isWriting;

#if !NET5_0_OR_GREATER
    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    private delegate void Take(int level, byte* target, byte* text, nuint length, void* user);

    /// <summary>Held for ever: the library may call what it was given once more.</summary>
    private static readonly Take Taken = Line;
#endif

    /// <summary>
    /// Has a sink take each line up to a level, from now on. It is called on a thread of the pool, for one line after the other.
    /// </summary>
    /// <param name="level">The level; <see cref="OttlaLogLevel.None"/> ends it.</param>
    /// <param name="sink">The sink; null ends it.</param>
    public static void SetSink(OttlaLogLevel level, Sink? sink)
    {
        Library.Ensure();
        lock (Turn)
        {
            s_sink = level == OttlaLogLevel.None ? null : sink;
            if (s_sink is null)
            {
                NativeMethods.ottla_set_log(null, 0, null);
                return;
            }
#if NET5_0_OR_GREATER
            NativeMethods.ottla_set_log(&Line, (int)level, null);
#else
            var line = (delegate* unmanaged[Cdecl]<int, byte*, byte*, nuint, void*, void>)Marshal.GetFunctionPointerForDelegate(Taken);
            NativeMethods.ottla_set_log(line, (int)level, null);
#endif
        }
    }

    /// <summary>A line of this assembly's own.</summary>
    internal static void Write(OttlaLogLevel level, string source, string text)
    {
        if (s_sink is null)
        {
            return;
        }
        if (Interlocked.Increment(ref s_waiting) > LinesMax)
        {
            Interlocked.Decrement(ref s_waiting);
            Interlocked.Increment(ref s_lost);
            return;
        }
        Lines.Enqueue((level, source, text));
        if (Interlocked.Exchange(ref s_isWriting, 1) == 0)
        {
            ThreadPool.UnsafeQueueUserWorkItem(static _ => WriteOut(), null);
        }
    }

    /// <summary>Called by threads of the library, which must not wait, nor meet an exception.</summary>
#if NET5_0_OR_GREATER
    [UnmanagedCallersOnly(CallConvs = new[] { typeof(System.Runtime.CompilerServices.CallConvCdecl) })]
#endif
    private static void Line(int level, byte* target, byte* text, nuint length, void* user)
    {
        try
        {
            var line = System.Text.Encoding.UTF8.GetString(text, checked((int)length));
            Write((OttlaLogLevel)level, Texts.Read(target), line);
        }
        catch (Exception)
        {
            // Out of memory, at most: the line is lost.
            Interlocked.Increment(ref s_lost);
        }
    }

    private static void WriteOut()
    {
        do
        {
            while (Lines.TryDequeue(out var line))
            {
                Interlocked.Decrement(ref s_waiting);
                Tell(line.Level, line.Source, line.Text);
            }
            var lost = Interlocked.Exchange(ref s_lost, 0);
            if (lost > 0)
            {
                Tell(OttlaLogLevel.Warning, "ottla::dotnet", $"{lost} lines of the log are lost: the sink is too slow");
            }
            Interlocked.Exchange(ref s_isWriting, 0);
            // One that came in between has found somebody writing, and relies on that.
        }
        while (!Lines.IsEmpty && Interlocked.Exchange(ref s_isWriting, 1) == 0);
    }

    private static void Tell(OttlaLogLevel level, string source, string text)
    {
        try
        {
            s_sink?.Invoke(level, source, text);
        }
        catch (Exception)
        {
            // A sink that fails must not end what is logged; there is nobody else to be told.
        }
    }
}

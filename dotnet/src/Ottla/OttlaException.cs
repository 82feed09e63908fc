using System;
using Ottla.Native;

namespace Ottla;

/// <summary>
/// The base of all that this library throws itself. What a broker refused is a <see cref="KafkaException"/>; the namespace
/// <c>Ottla.Errors</c> has a class for each code.
/// </summary>
public class OttlaException : Exception
{
    private const uint RetriableFlag = 1;
    private const uint FatalFlag = 2;
    private const uint AbortableFlag = 4;

    private uint _flags;

    /// <summary>One of a code.</summary>
    /// <param name="error">What it is.</param>
    /// <param name="message">What failed, where, why.</param>
    /// <param name="cause">What it comes of; null for nothing.</param>
    protected internal OttlaException(ErrorCode error, string message, Exception? cause = null)
        : base(message, cause)
    {
        Error = error;
        Code = (int)error;
        Name = ErrorCodes.Name(error);
        _flags = ErrorCodes.Flags(error);
    }

    /// <summary>What it is; of a broker that is newer than this library <see cref="ErrorCode.Unknown"/>.</summary>
    public ErrorCode Error { get; }

    /// <summary>Its number: above zero Kafka's code, as a broker gave it; below zero what is local to the client.</summary>
    public int Code { get; private set; }

    /// <summary>Its name, the same in every language, as <c>UNKNOWN_TOPIC_OR_PARTITION</c>.</summary>
    public string Name { get; private set; }

    /// <summary>What to do about it; null where that is not known.</summary>
    public string? Hint { get; private set; }

    /// <summary>Whether the same call may succeed later, unchanged.</summary>
    public bool IsRetriable => (_flags & RetriableFlag) != 0;

    /// <summary>Whether nothing helps before a person acted.</summary>
    public bool IsFatal => (_flags & FatalFlag) != 0;

    /// <summary>Whether the transaction must be aborted.</summary>
    public bool AbortRequired => (_flags & AbortableFlag) != 0;

    /// <summary>What failed, where, why, and what to do about it.</summary>
    public override string Message => Hint is null ? base.Message : $"{base.Message}; {Hint}";

    /// <summary>What the library tells. Frees nothing.</summary>
    internal static unsafe OttlaException Of(ottla_error* error)
    {
        var code = NativeMethods.ottla_error_code(error);
        var exception = Exceptions.Make(ErrorCodes.Of(code), Texts.Read(NativeMethods.ottla_error_message(error)), null);
        exception.Code = code;
        exception.Name = Texts.Read(NativeMethods.ottla_error_name(code));
        exception._flags = NativeMethods.ottla_error_flags(error);
        exception.Hint = Texts.Maybe(NativeMethods.ottla_error_hint(error));
        return exception;
    }

    /// <summary>What the library tells, which is freed. Where it tells nothing but a status, what that means.</summary>
    internal static unsafe OttlaException Take(int status, ottla_error* error)
    {
        if (error == null)
        {
            return Exceptions.Make(ErrorCodes.Of(status), Texts.Read(NativeMethods.ottla_error_meaning(status)), null);
        }
        try
        {
            return Of(error);
        }
        finally
        {
            NativeMethods.ottla_error_free(error);
        }
    }

    /// <summary>Throws unless it went well.</summary>
    internal static unsafe void Check(int status, ottla_error* error)
    {
        if (status != 0)
        {
            throw Take(status, error);
        }
    }
}

/// <summary>What a broker refused.</summary>
public class KafkaException : OttlaException
{
    /// <summary>One of a code.</summary>
    /// <param name="error">What it is.</param>
    /// <param name="message">What failed, where, why.</param>
    /// <param name="cause">What it comes of; null for nothing.</param>
    protected internal KafkaException(ErrorCode error, string message, Exception? cause = null)
        : base(error, message, cause)
    {
    }
}

/// <summary>A key or a value could not be serialized or deserialized; <see cref="Exception.InnerException"/> tells why.</summary>
public sealed class SerializationException : OttlaException
{
    internal SerializationException(string message, Exception cause, TopicPartition? partition = null, long offset = -1)
        : base(ErrorCode.InvalidArg, message, cause)
    {
        TopicPartition = partition;
        Offset = offset;
    }

    /// <summary>Where the record is that could not be read; null for one that was to be sent.</summary>
    public TopicPartition? TopicPartition { get; }

    /// <summary>The offset of the record that could not be read: seek behind it to leave it out. -1 for one that was to be sent.</summary>
    public long Offset { get; }
}

using System;
using System.Runtime.InteropServices;

namespace Ottla.Native;

/// <summary>
/// An object of the library. It is freed when nobody uses it any more: <see cref="Hold"/> counts who does, so that to dispose of a
/// client that another thread is at work with is an error there, and no crash.
/// </summary>
internal abstract unsafe class NativeHandle<T> : SafeHandle
    where T : unmanaged
{
    private readonly string _name;

    protected NativeHandle(T* pointer, string name)
        : base(IntPtr.Zero, ownsHandle: true)
    {
        _name = name;
        SetHandle((IntPtr)pointer);
    }

    public override bool IsInvalid => handle == IntPtr.Zero;

    /// <summary>What lives as long as the object, on .NET's side.</summary>
    internal object? Keeps { get; init; }

    /// <summary>The object's address, to be compared with others.</summary>
    internal IntPtr Address => handle;

    /// <summary>Uses the object until the lease is disposed of.</summary>
    /// <exception cref="ObjectDisposedException">It was disposed of.</exception>
    internal Lease Hold(out T* pointer)
    {
        AddUser();
        pointer = (T*)handle;
        return new Lease(this);
    }

    /// <summary>One user more, until <see cref="SafeHandle.DangerousRelease"/>.</summary>
    internal void AddUser()
    {
        var added = false;
        try
        {
            DangerousAddRef(ref added);
        }
        catch (ObjectDisposedException)
        {
            throw new ObjectDisposedException(_name);
        }
    }

    /// <summary>The object's address, for a user that <see cref="AddUser"/> has counted.</summary>
    internal T* Pointer => (T*)handle;

    internal readonly ref struct Lease
    {
        private readonly SafeHandle _of;

        internal Lease(SafeHandle of) => _of = of;

        public void Dispose() => _of.DangerousRelease();
    }
}

internal sealed unsafe class ConfigHandle : NativeHandle<ottla_config>
{
    internal ConfigHandle()
        : base(NativeMethods.ottla_config_new(), "Ottla.ClientOptions")
    {
    }

    protected override bool ReleaseHandle()
    {
        NativeMethods.ottla_config_free((ottla_config*)handle);
        return true;
    }
}

internal sealed unsafe class ProducerHandle : NativeHandle<ottla_producer>
{
    internal ProducerHandle(ottla_producer* pointer)
        : base(pointer, "Ottla.Producer")
    {
    }

    protected override bool ReleaseHandle()
    {
        NativeMethods.ottla_producer_free((ottla_producer*)handle);
        return true;
    }
}

internal sealed unsafe class TopicHandle : NativeHandle<ottla_topic>
{
    internal TopicHandle(string name)
        : base(Made(name), "the name of a topic")
    {
        Name = name;
    }

    internal string Name { get; }

    private static ottla_topic* Made(string name)
    {
        using var text = new Utf8(name);
        return NativeMethods.ottla_topic_new(text.Pointer);
    }

    protected override bool ReleaseHandle()
    {
        NativeMethods.ottla_topic_free((ottla_topic*)handle);
        return true;
    }
}

internal sealed unsafe class ConsumerHandle : NativeHandle<ottla_consumer>
{
    internal ConsumerHandle(ottla_consumer* pointer)
        : base(pointer, "Ottla.Consumer")
    {
    }

    protected override bool ReleaseHandle()
    {
        Internal.EventLoop.Shared.Remove(handle);
        NativeMethods.ottla_consumer_free((ottla_consumer*)handle);
        return true;
    }
}

internal sealed unsafe class BatchHandle : NativeHandle<ottla_batch>
{
    internal BatchHandle(ottla_batch* pointer)
        : base(pointer, "Ottla.RecordBatch")
    {
    }

    protected override bool ReleaseHandle()
    {
        NativeMethods.ottla_batch_free((ottla_batch*)handle);
        return true;
    }
}

internal sealed unsafe class AdminHandle : NativeHandle<ottla_admin>
{
    internal AdminHandle(ottla_admin* pointer)
        : base(pointer, "Ottla.AdminClient")
    {
    }

    protected override bool ReleaseHandle()
    {
        NativeMethods.ottla_admin_free((ottla_admin*)handle);
        return true;
    }
}

/// <summary>A step of a rebalance; the group waits until it is released.</summary>
internal sealed unsafe class RebalanceHandle : NativeHandle<ottla_rebalance>
{
    internal RebalanceHandle(ottla_rebalance* pointer)
        : base(pointer, "a step of a rebalance")
    {
    }

    protected override bool ReleaseHandle()
    {
        NativeMethods.ottla_rebalance_ack((ottla_rebalance*)handle);
        return true;
    }
}

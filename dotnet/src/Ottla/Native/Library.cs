using System;
using System.IO;
using System.Runtime.InteropServices;

namespace Ottla.Native;

/// <summary>
/// The library itself. .NET finds it where packages put it (<c>runtimes/&lt;rid&gt;/native</c>), or beside the program; the variable
/// <c>OTTLA_LIBRARY</c> names another file.
/// </summary>
internal static unsafe class Library
{
    /// <summary>As <c>OTTLA_ABI_VERSION</c> of the header that the calls are made of.</summary>
    private const uint AbiVersion = 1;

    private static readonly Lazy<bool> Checked = new(Check);

    /// <summary>The library's version, as "0.1.0".</summary>
    internal static string Version
    {
        get
        {
            Ensure();
            return Texts.Read(NativeMethods.ottla_version());
        }
    }

    /// <summary>Makes sure that there is a library, and that it is one for this assembly.</summary>
    internal static void Ensure() => _ = Checked.Value;

    private static bool Check()
    {
        uint found;
        try
        {
            found = NativeMethods.ottla_abi_version();
        }
        catch (DllNotFoundException failure)
        {
            var text = $"the native library of Ottla was not found for {RuntimeInformation.OSDescription} on "
                + $"{RuntimeInformation.ProcessArchitecture}: the package has it in `runtimes`; or name a file in `OTTLA_LIBRARY`";
            throw new DllNotFoundException(text, failure);
        }
        if (found != AbiVersion)
        {
            throw new InvalidOperationException(
                $"the native library has the binary interface {found}, and this assembly needs {AbiVersion}: take both of one release");
        }
        return true;
    }
}

internal static unsafe partial class NativeMethods
{
#if NET5_0_OR_GREATER
    static NativeMethods() => NativeLibrary.SetDllImportResolver(typeof(NativeMethods).Assembly, Resolve);

    private static IntPtr Resolve(string name, System.Reflection.Assembly assembly, DllImportSearchPath? search)
    {
        if (name != __DllName)
        {
            return IntPtr.Zero;
        }
        var named = Environment.GetEnvironmentVariable("OTTLA_LIBRARY");
        if (!string.IsNullOrEmpty(named))
        {
            return NativeLibrary.Load(named);
        }
        if (NativeLibrary.TryLoad(name, assembly, search, out var found))
        {
            return found;
        }
        // A program that was built without a platform has them all beside it.
        var beside = Path.Combine(AppContext.BaseDirectory, "runtimes", Platform(), "native", FileName());
        return File.Exists(beside) ? NativeLibrary.Load(beside) : IntPtr.Zero;
    }

    private static string FileName() =>
        OperatingSystem.IsWindows() ? "ottla.dll" : OperatingSystem.IsMacOS() ? "libottla.dylib" : "libottla.so";

    private static string Platform()
    {
        var system = OperatingSystem.IsWindows() ? "win" : OperatingSystem.IsMacOS() ? "osx" : "linux";
        var libc = RuntimeInformation.RuntimeIdentifier.Contains("musl", StringComparison.Ordinal) ? "-musl" : "";
        return $"{system}{libc}-{RuntimeInformation.ProcessArchitecture.ToString().ToLowerInvariant()}";
    }
#endif
}

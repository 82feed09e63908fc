#if !NET5_0_OR_GREATER
namespace System.Runtime.CompilerServices
{
    /// <summary>What the compiler wants for properties that are set once; .NET has it since version 5.</summary>
    internal static class IsExternalInit
    {
    }
}
#endif

using System.Threading;
using System.Threading.Tasks;

namespace Ottla.Internal;

/// <summary>Waits that are given up, while what they are for goes on.</summary>
internal static class Waits
{
    /// <summary>A task that ends as another does, or is given up.</summary>
    internal static async Task For(Task task, CancellationToken cancellation)
    {
        if (cancellation.CanBeCanceled && !task.IsCompleted)
        {
            var given = new TaskCompletionSource<bool>(TaskCreationOptions.RunContinuationsAsynchronously);
            using var registration = cancellation.Register(static of => ((TaskCompletionSource<bool>)of!).TrySetResult(true), given);
            if (await Task.WhenAny(task, given.Task).ConfigureAwait(false) != task)
            {
                cancellation.ThrowIfCancellationRequested();
            }
        }
        await task.ConfigureAwait(false);
    }
}

using System;
using System.Collections;
using System.Collections.Generic;
using System.Text;

namespace Ottla;

/// <summary>A header of a record.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Value">Its value; null is not the same as empty.</param>
public readonly record struct Header(string Name, byte[]? Value);

/// <summary>The headers of a record, in their order; a name may come more than once. Not for several threads at once.</summary>
public sealed class Headers : IReadOnlyList<Header>
{
    private readonly List<Header> _headers = new();

    /// <summary>How many there are.</summary>
    public int Count => _headers.Count;

    /// <summary>The one at a place.</summary>
    /// <param name="index">The place, from 0.</param>
    public Header this[int index] => _headers[index];

    /// <summary>Adds one behind the others.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="value">Its value, which is not copied; null is not the same as empty.</param>
    /// <returns>These headers.</returns>
    public Headers Add(string name, byte[]? value)
    {
        _headers.Add(new Header(name ?? throw new ArgumentNullException(nameof(name)), value));
        return this;
    }

    /// <summary>Adds one behind the others.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="value">Its value, as UTF-8.</param>
    /// <returns>These headers.</returns>
    public Headers Add(string name, string value) => Add(name, Encoding.UTF8.GetBytes(value));

    /// <summary>Takes out all of a name.</summary>
    /// <param name="name">The name.</param>
    /// <returns>How many there were.</returns>
    public int Remove(string name) => _headers.RemoveAll(header => header.Name == name);

    /// <summary>The last one of a name.</summary>
    /// <param name="name">The name.</param>
    /// <param name="value">Its value.</param>
    /// <returns>Whether there is one.</returns>
    public bool TryGetLast(string name, out byte[]? value)
    {
        for (var i = _headers.Count - 1; i >= 0; i--)
        {
            if (_headers[i].Name == name)
            {
                value = _headers[i].Value;
                return true;
            }
        }
        value = null;
        return false;
    }

    /// <inheritdoc/>
    public IEnumerator<Header> GetEnumerator() => _headers.GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
}

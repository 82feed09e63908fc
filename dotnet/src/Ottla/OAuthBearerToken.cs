using System;
using System.Collections.Generic;

namespace Ottla;

/// <summary>
/// A token of OAuth 2, by which a client logs in (<c>sasl.mechanism=OAUTHBEARER</c>). A JWT says itself when it ends, and whose it is; of
/// another, this does.
/// </summary>
public sealed class OAuthBearerToken
{
    /// <summary>A token.</summary>
    /// <param name="value">The token itself, which is a secret.</param>
    public OAuthBearerToken(string value) => Value = value ?? throw new ArgumentNullException(nameof(value));

    /// <summary>The token itself, which is a secret.</summary>
    public string Value { get; }

    /// <summary>When it ends; null where the token says so itself.</summary>
    public DateTimeOffset? Expires { get; init; }

    /// <summary>Whose it is, for logs and errors; null where that is not known, or the token says so.</summary>
    public string? Principal { get; init; }

    /// <summary>What the broker is told beside it.</summary>
    public IReadOnlyDictionary<string, string>? Extensions { get; init; }

    /// <summary>When it ends, and whose it is; not the token.</summary>
    public override string ToString() => $"OAuthBearerToken {{ Expires = {Expires}, Principal = {Principal} }}";
}

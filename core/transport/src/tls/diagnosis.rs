//! What a failure of TLS means, and what to do about it.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, pki_types::UnixTime};

use crate::{Diagnosis, in_words};

/// Names of a certificate that are shown.
const NAMES_SHOWN_MAX: usize = 5;

const NAME_THE_AUTHORITY: &str =
    "name the authority's certificate in `ssl.truststore.location` (`ssl.ca.location`)";
const RENEW_OR_SET_CLOCK: &str = "renew it, or set this machine's clock right";
const SET_A_CLOCK: &str = "set the clock of this machine, or of whoever made it, right";

/// Whether TLS failed for a reason that stays until somebody changes a setting or a certificate: not for a connection that
/// broke.
pub fn is_refusal(error: &io::Error) -> bool {
    cause(error).is_some() || error.kind() == io::ErrorKind::InvalidInput
}

/// Whether what came was not TLS at all.
pub fn is_no_tls(error: &io::Error) -> bool {
    matches!(cause(error), Some(Error::InvalidMessage(_)))
}

/// What is wrong, and what to do about it: for people.
pub fn diagnosis(error: &io::Error) -> Diagnosis {
    match cause(error) {
        Some(Error::InvalidCertificate(why)) => of_certificate(why),
        Some(Error::AlertReceived(alert)) => of_alert(*alert),
        Some(Error::InvalidMessage(_)) => Diagnosis::new(
            "what came is no TLS",
            "the port may be one without TLS (`security.protocol=PLAINTEXT` or `SASL_PLAINTEXT`), or speak another \
             protocol",
        ),
        Some(Error::PeerIncompatible(why)) => Diagnosis::new(
            format!("the two sides have no version or cipher in common ({why:?})"),
            "check `ssl.enabled.protocols` on both",
        ),
        Some(Error::NoCertificatesPresented) => Diagnosis::new(
            "no certificate was shown, and one is wanted (`ssl.client.auth`)",
            "name one in `ssl.keystore.location`",
        ),
        Some(other) => Diagnosis::of(other.to_string()),
        None => Diagnosis::of(error.to_string()),
    }
}

fn cause(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn of_certificate(why: &CertificateError) -> Diagnosis {
    match why {
        CertificateError::UnknownIssuer => {
            Diagnosis::new("its certificate is of no authority that is trusted here", NAME_THE_AUTHORITY)
        }
        // An authority that was made anew under its old name.
        CertificateError::BadSignature => Diagnosis::new(
            "its certificate is not signed by the authority of that name that is trusted here",
            NAME_THE_AUTHORITY,
        ),
        CertificateError::ExpiredContext { time, not_after } => Diagnosis::new(
            format!("its certificate has expired {} ago", between(*not_after, *time)),
            RENEW_OR_SET_CLOCK,
        ),
        CertificateError::Expired => Diagnosis::new("its certificate has expired", RENEW_OR_SET_CLOCK),
        CertificateError::NotValidYetContext { time, not_before } => Diagnosis::new(
            format!("its certificate is not valid before {} from now", between(*time, *not_before)),
            SET_A_CLOCK,
        ),
        CertificateError::NotValidYet => Diagnosis::new("its certificate is not valid yet", SET_A_CLOCK),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let mut names: Vec<_> = presented.iter().take(NAMES_SHOWN_MAX).map(|name| bare(name)).collect();
            if presented.len() > NAMES_SHOWN_MAX {
                names.push("...");
            }
            let names = if names.is_empty() {
                "no alternative name".to_owned()
            } else {
                names.iter().map(|name| format!("`{}`", name.escape_debug())).collect::<Vec<_>>().join(", ")
            };
            Diagnosis::new(
                format!("its certificate is not of `{}` but of {names}", expected.to_str()),
                "connect by a name that is in it, or have one made with this name among its alternative names (SAN)",
            )
        }
        CertificateError::NotValidForName => Diagnosis::new(
            "its certificate is of another host",
            "connect by a name that is among its alternative names (SAN)",
        ),
        CertificateError::Revoked => Diagnosis::new("its certificate was revoked", "have another one made"),
        other => Diagnosis::of(format!("its certificate is not good: {other}")),
    }
}

/// A name as rustls shows it, `DnsName("a.example")` or `IpAddress(10.0.0.1)`, without what is around it.
fn bare(shown: &str) -> &str {
    let inner = shown.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    let inner = inner.unwrap_or(shown);
    inner.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(inner)
}

fn of_alert(alert: AlertDescription) -> Diagnosis {
    let (cause, fix) = match alert {
        AlertDescription::CertificateRequired => {
            ("it wants a certificate of this client", "name one in `ssl.keystore.location`")
        }
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::DecryptError => (
            "it does not trust the certificate that this client shows",
            "check `ssl.keystore.location` here, and the trust store there",
        ),
        AlertDescription::CertificateExpired => {
            ("the certificate that this client shows has expired", "renew it (`ssl.keystore.location`)")
        }
        AlertDescription::CertificateRevoked => (
            "the certificate that this client shows was revoked",
            "have another one made, and name it in `ssl.keystore.location`",
        ),
        AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure => (
            "the two sides have no version or cipher in common, or it wants a certificate of this client",
            "check `ssl.enabled.protocols` and `ssl.keystore.location`",
        ),
        _ => return Diagnosis::of(format!("it refuses: {alert:?}")),
    };
    Diagnosis::new(format!("{cause} ({alert:?})"), fix)
}

fn between(earlier: UnixTime, later: UnixTime) -> String {
    in_words(later.as_secs().saturating_sub(earlier.as_secs()))
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::ServerName;

    use super::*;

    fn said(error: Error) -> String {
        diagnosis(&io::Error::new(io::ErrorKind::InvalidData, error)).to_string()
    }

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
    }

    #[test]
    fn what_is_wrong_with_a_certificate_comes_with_what_to_do() {
        let days = |days: u64| at(days * 24 * 60 * 60);
        let cases = [
            (CertificateError::UnknownIssuer, "`ssl.truststore.location`"),
            (CertificateError::ExpiredContext { time: days(12), not_after: days(5) }, "expired 7 days ago"),
            (
                CertificateError::NotValidYetContext { time: at(0), not_before: at(600) },
                "before 10 minutes from now",
            ),
            (
                CertificateError::NotValidForNameContext {
                    expected: ServerName::try_from("a.example").unwrap().to_owned(),
                    presented: vec!["DnsName(\"b.example\")".into(), "IpAddress(10.0.0.1)".into()],
                },
                "not of `a.example` but of `b.example`, `10.0.0.1`; connect by",
            ),
        ];
        for (error, words) in cases {
            let said = said(Error::InvalidCertificate(error));
            assert!(said.contains(words), "{said}");
        }
        assert!(
            said(Error::AlertReceived(AlertDescription::CertificateRequired))
                .contains("`ssl.keystore.location`")
        );
    }

    #[test]
    fn a_connection_that_broke_is_no_refusal() {
        assert!(!is_refusal(&io::ErrorKind::UnexpectedEof.into()));
        assert!(is_refusal(&io::Error::new(io::ErrorKind::InvalidData, Error::NoCertificatesPresented)));
    }
}

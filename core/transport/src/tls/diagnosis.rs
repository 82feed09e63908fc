//! What a failure of TLS means, and what to do about it.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, pki_types::UnixTime};

/// Names of a certificate that are shown.
const NAMES_SHOWN_MAX: usize = 5;
const SECONDS_PER_DAY: u64 = 24 * 60 * 60;

/// Whether TLS failed for a reason that stays until somebody changes a setting or a certificate: not for a connection that
/// broke.
pub fn is_refusal(error: &io::Error) -> bool {
    cause(error).is_some() || error.kind() == io::ErrorKind::InvalidInput
}

/// What is wrong, and what to do about it: for people.
pub fn diagnosis(error: &io::Error) -> String {
    match cause(error) {
        Some(Error::InvalidCertificate(why)) => of_certificate(why),
        Some(Error::AlertReceived(alert)) => of_alert(*alert),
        Some(Error::InvalidMessage(_)) => "what came is no TLS; the port may be one without it \
             (`security.protocol=PLAINTEXT` or `SASL_PLAINTEXT`), or speak another protocol"
            .into(),
        Some(Error::PeerIncompatible(why)) => {
            format!(
                "the two sides have no version or cipher in common ({why:?}); check `ssl.enabled.protocols` on both"
            )
        }
        Some(Error::NoCertificatesPresented) => {
            "no certificate was shown, and one is wanted (`ssl.client.auth`)".into()
        }
        Some(other) => other.to_string(),
        None => error.to_string(),
    }
}

fn cause(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn of_certificate(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => {
            "its certificate is of no authority that is trusted here; name the authority's \
             certificate in `ssl.truststore.location` (`ssl.ca.location`)"
                .into()
        }
        // An authority that was made anew under its old name.
        CertificateError::BadSignature => {
            "its certificate is not signed by the authority of that name that is trusted here; \
             name the right one's certificate in `ssl.truststore.location` (`ssl.ca.location`)"
                .into()
        }
        CertificateError::ExpiredContext { time, not_after } => format!(
            "its certificate has expired {}; renew it, or set this machine's clock right",
            ago(*not_after, *time)
        ),
        CertificateError::Expired => {
            "its certificate has expired; renew it, or set this machine's clock right".into()
        }
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "its certificate is not valid before {} from now; set the clock of this machine, or of whoever made it, right",
            duration(not_before.as_secs().saturating_sub(time.as_secs()))
        ),
        CertificateError::NotValidYet => {
            "its certificate is not valid yet; set the clock of this machine, or of whoever \
             made it, right"
                .into()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let mut names: Vec<_> = presented.iter().take(NAMES_SHOWN_MAX).map(String::as_str).collect();
            if presented.len() > NAMES_SHOWN_MAX {
                names.push("...");
            }
            let names = if names.is_empty() { "no alternative name".into() } else { names.join(", ") };
            format!(
                "its certificate is not of `{}` but of {names}; connect by a name that is in it, or have one made with \
                 this name among its alternative names (SAN)",
                expected.to_str()
            )
        }
        CertificateError::NotValidForName => {
            "its certificate is of another host; connect by a name that is among its \
             alternative names (SAN)"
                .into()
        }
        CertificateError::Revoked => "its certificate was revoked".into(),
        other => format!("its certificate is not good: {other}"),
    }
}

fn of_alert(alert: AlertDescription) -> String {
    let hint = match alert {
        AlertDescription::CertificateRequired => {
            "it wants a certificate of this client; name one in `ssl.keystore.location`"
        }
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::DecryptError => {
            "it does not trust the certificate that this client shows; check `ssl.keystore.location` here, and the trust \
             store there"
        }
        AlertDescription::CertificateExpired => {
            "the certificate that this client shows has expired; renew it"
        }
        AlertDescription::CertificateRevoked => "the certificate that this client shows was revoked",
        AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure => {
            "the two sides have no version or cipher in common, or it wants a certificate of this client; check \
             `ssl.enabled.protocols` and `ssl.keystore.location`"
        }
        _ => return format!("it refuses: {alert:?}"),
    };
    format!("{hint} ({alert:?})")
}

fn ago(then: UnixTime, now: UnixTime) -> String {
    format!("{} ago", duration(now.as_secs().saturating_sub(then.as_secs())))
}

fn duration(seconds: u64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7_200 => format!("{} minutes", seconds / 60),
        7_200..172_800 => format!("{} hours", seconds / 3_600),
        _ => format!("{} days", seconds / SECONDS_PER_DAY),
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::ServerName;

    use super::*;

    fn said(error: Error) -> String {
        diagnosis(&io::Error::new(io::ErrorKind::InvalidData, error))
    }

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
    }

    #[test]
    fn what_is_wrong_with_a_certificate_comes_with_what_to_do() {
        let days = |days| at(days * SECONDS_PER_DAY);
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
                    presented: vec!["DnsName(\"b.example\")".into()],
                },
                "not of `a.example` but of DnsName(\"b.example\")",
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

//! What a failure means that no connection alone can tell: facts in, words out. The client's errors and the doctor both say
//! what is said here.

use ottla_protocol::types::BrokerId;
use ottla_transport::Diagnosis;

use super::metadata::Address;
use crate::error::{Error, ErrorKind};

/// An address that a broker advertises, and that nobody has reached it at yet: if it fails, it may be wrong.
#[derive(Clone, Debug)]
pub(crate) struct Advertised {
    /// The broker.
    pub broker: BrokerId,
    /// Where it says that it listens.
    pub address: Address,
    /// Who told, and was reached.
    pub teller: Address,
}

impl Advertised {
    /// What the address is, as the beginning of what is said of a failure.
    pub(crate) fn context(&self) -> String {
        let Self { broker, address, teller } = self;
        format!("broker {broker} advertises `{address}`, as `{teller}` told")
    }

    /// What to do about a failure of this kind, if the address is what is most likely wrong: not where somebody answered.
    pub(crate) fn fix(&self, kind: ErrorKind) -> Option<String> {
        let Self { broker, teller, .. } = self;
        matches!(kind, ErrorKind::Disconnected | ErrorKind::Timeout).then(|| {
            format!(
                "let `advertised.listeners` of broker {broker} name an address that is reachable from here, as `{teller}` \
                 was; or mend this machine's DNS, or the network on the way"
            )
        })
    }

    /// A failure to connect there, as the client tells it.
    pub(crate) fn explain(&self, error: Error) -> Error {
        let fix = self.fix(error.kind());
        error.context(self.context()).hint_if(fix)
    }
}

/// That a caller's time was over before there was a connection that could be used.
pub(crate) fn not_in_time(address: &Address) -> Error {
    let text = format!("no connection to `{address}` came about in time");
    Error::new(ErrorKind::Timeout, text).hint(
        "check firewalls, `security.protocol`, and that the address can be reached from here; or allow more time",
    )
}

/// That a caller's time was over while the client waited for a token to log in with.
pub(crate) fn no_token_in_time() -> Error {
    let text = "no token came in time, and without one no broker is connected to";
    Error::new(ErrorKind::Timeout, text)
        .hint("look whether the provider of tokens, or the program's function for them, answers; or allow more time")
}

/// That a listener lets in whoever logs in, and this client does not.
pub(crate) fn wants_login(address: &Address, offered: &[&str], is_secret: bool) -> Diagnosis {
    let (now, then) = if is_secret { ("SSL", "SASL_SSL") } else { ("PLAINTEXT", "SASL_PLAINTEXT") };
    let offered =
        offered.iter().map(|name| format!("`{}`", name.escape_debug())).collect::<Vec<_>>().join(", ");
    Diagnosis::new(
        format!(
            "`{address}` wants a login (SASL), and `security.protocol={now}` has none; it offers {offered}"
        ),
        format!(
            "set `security.protocol` to `{then}`, `sasl.mechanism` to one of these, and `sasl.username` with `sasl.password`"
        ),
    )
}

/// That two addresses that are taken for one cluster's are of two.
pub(crate) fn two_clusters(first: (&Address, &str), other: (&Address, &str)) -> Diagnosis {
    let ((first, id), (other, other_id)) = (first, other);
    Diagnosis::new(
        format!("`{first}` is of the cluster `{id}`, and `{other}` of the cluster `{other_id}`"),
        "name brokers of one cluster in `bootstrap.servers`, and let `advertised.listeners` of each name itself",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_was_never_reached_is_the_advertisers_to_mend() {
        let at = |host: &str| Address { host: host.into(), port: 9092 };
        let advertised = Advertised { broker: BrokerId(3), address: at("a"), teller: at("boot") };
        let refused = Error::new(ErrorKind::Disconnected, "`a:9092` refused the connection").hint("start it");
        let error = advertised.explain(refused);
        assert_eq!(
            error.what_happened(),
            "broker 3 advertises `a:9092`, as `boot:9092` told: `a:9092` refused the connection"
        );
        assert!(
            error.what_to_do().is_some_and(|fix| fix.starts_with("let `advertised.listeners` of broker 3"))
        );
        // Where somebody has answered, the address is right.
        let wrong = Error::new(ErrorKind::Authentication, "no").hint("check the password");
        assert_eq!(advertised.explain(wrong).what_to_do(), Some("check the password"));
    }

    #[test]
    fn what_a_listener_offers_is_shown_and_cannot_harm_a_terminal() {
        let at = Address { host: "a".into(), port: 9092 };
        let Diagnosis { cause, fix } = wants_login(&at, &["PLAIN", "\u{1b}[2J"], true);
        assert!(
            cause.contains("`security.protocol=SSL` has none") && cause.contains("`PLAIN`, `\\u{1b}[2J`"),
            "{cause}"
        );
        assert!(fix.is_some_and(|fix| fix.contains("`SASL_SSL`")));
    }
}

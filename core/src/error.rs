//! The one error of the client: what kind, whether to try again, what was being done, what to do about it.

mod number;

use std::{error, fmt, sync::Arc};

use ottla_config::ConfigErrors;
use ottla_protocol::{
    error_code::{ErrorClass, ErrorCode},
    wire::{Malformed, Unsupported},
};

/// What every call of this crate may fail with.
///
/// One word wide and cheap to clone: a failed batch hands the same error to each of its records. Match on
/// [`Error::kind`]; print it for people: the text says what failed, where, why, and what to do.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

const _: () = assert!(size_of::<Error>() == size_of::<usize>());

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    /// What was being done, outermost first: "produce to `orders-3`".
    context: Vec<String>,
    /// What went wrong.
    message: String,
    /// What to do about it.
    hint: Option<String>,
    /// It is of a kind that mostly does not pass by itself, and this one does.
    passes: bool,
    source: Option<Arc<dyn error::Error + Send + Sync>>,
}

/// What an [`Error`] is about; the kinds a program may want to treat apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A broker refused the request with this code.
    Broker(ErrorCode),
    /// A connection could not be made, or ended before the answer came.
    Disconnected,
    /// No secure connection could be made: a certificate is not good, or the two sides have nothing in common. It stays
    /// so until a setting or a certificate is changed.
    Tls,
    /// The broker does not let this client log in, or not in this way; or it did not prove to know the password itself; or
    /// there is no token to log in with. It may pass by itself where a provider of tokens is away: [`Error::is_retriable`].
    Authentication,
    /// It was not done in its time: `delivery.timeout.ms`, `max.block.ms`, `default.api.timeout.ms` ...
    Timeout,
    /// There is no room in `buffer.memory`; a delivery report makes some.
    BufferFull,
    /// The record is larger than `max.request.size`, or than the protocol can carry.
    RecordTooLarge,
    /// The partition has no position, and `auto.offset.reset` is `none`.
    NoOffset,
    /// Records that were read are not in the log any more: a leader was elected that lacked them (KIP-320), and
    /// `auto.offset.reset` is `none`. The cause is a [`crate::LogTruncation`].
    LogTruncated,
    /// Offsets were not committed: the consumer is not, or no longer, who has these partitions in its group.
    CommitFailed,
    /// The program asked for no records within `max.poll.interval.ms`, and its consumer left the group; the next call
    /// joins again.
    MaxPollExceeded,
    /// A setting is wrong.
    Config,
    /// An argument is wrong: a partition that is not there, an illegal topic name, a partition not assigned.
    InvalidArgument,
    /// The broker does not have the API, or no version that both sides know.
    Unsupported,
    /// Bytes that are not what the protocol says, or a batch whose checksum is wrong.
    Corrupt,
    /// The client was closed.
    Closed,
}

impl Error {
    /// An error of this kind; `message` says what went wrong.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let inner = Inner {
            kind,
            context: Vec::new(),
            message: message.into(),
            hint: None,
            passes: false,
            source: None,
        };
        Self(Arc::new(inner))
    }

    /// The broker's refusal, with what it said about it.
    pub(crate) fn broker(code: ErrorCode, said: Option<&str>) -> Self {
        let message = match said {
            Some(said) if !said.is_empty() => format!("{said} ({code})"),
            _ => format!("{} ({code})", code.meaning()),
        };
        let error = Self::new(ErrorKind::Broker(code), message);
        match broker_hint(code) {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    /// The client was closed while, or before, this was done.
    pub(crate) fn closed() -> Self {
        Self::new(ErrorKind::Closed, "the client is closed")
    }

    /// Says what was being done; called on the way out, so the innermost comes first.
    #[cold]
    pub(crate) fn context(self, context: impl Into<String>) -> Self {
        self.edit(|inner| inner.context.insert(0, context.into()))
    }

    /// Says what to do about it.
    #[cold]
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        self.edit(|inner| inner.hint = Some(hint.into()))
    }

    /// As [`Self::hint`], if there is something that can be done.
    #[cold]
    pub(crate) fn hint_if(self, hint: Option<impl Into<String>>) -> Self {
        match hint {
            Some(hint) => self.hint(hint),
            None => self,
        }
    }

    /// Keeps the cause.
    #[cold]
    pub(crate) fn caused_by(self, source: impl error::Error + Send + Sync + 'static) -> Self {
        self.edit(|inner| inner.source = Some(Arc::new(source)))
    }

    /// Says that it may pass by itself, though it is of a kind that does not: a login that fails as nobody can be asked now.
    #[cold]
    pub(crate) fn passing(self) -> Self {
        self.edit(|inner| inner.passes = true)
    }

    fn edit(mut self, edit: impl FnOnce(&mut Inner)) -> Self {
        edit(Arc::make_mut(&mut self.0));
        self
    }

    /// What it is about.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The broker's code, if a broker refused.
    pub fn code(&self) -> Option<ErrorCode> {
        match self.0.kind {
            ErrorKind::Broker(code) => Some(code),
            _ => None,
        }
    }

    /// Whether the same call may succeed later, unchanged.
    pub fn is_retriable(&self) -> bool {
        match self.0.kind {
            _ if self.0.passes => true,
            ErrorKind::Broker(code) => code.is_retriable(),
            ErrorKind::Disconnected | ErrorKind::Timeout | ErrorKind::BufferFull => true,
            ErrorKind::RecordTooLarge
            | ErrorKind::NoOffset
            | ErrorKind::LogTruncated
            | ErrorKind::CommitFailed
            | ErrorKind::MaxPollExceeded
            | ErrorKind::Config
            | ErrorKind::Tls
            | ErrorKind::Authentication
            | ErrorKind::InvalidArgument
            | ErrorKind::Unsupported
            | ErrorKind::Corrupt
            | ErrorKind::Closed => false,
        }
    }

    /// Whether configuration or authorization is wrong: trying again is of no use before a person acted.
    pub fn is_fatal(&self) -> bool {
        match self.0.kind {
            _ if self.0.passes => false,
            ErrorKind::Broker(code) => code.class() == ErrorClass::Fatal,
            ErrorKind::Config | ErrorKind::Unsupported | ErrorKind::Tls | ErrorKind::Authentication => true,
            _ => false,
        }
    }

    /// Whether no broker will have this client before somebody has changed something.
    pub(crate) fn keeps_out(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Tls | ErrorKind::Authentication) && !self.0.passes
    }

    /// Whether somebody who goes on for ever tries again: what keeps a client out may be mended while it runs.
    pub(crate) fn may_pass(&self) -> bool {
        self.is_retriable() || self.keeps_out()
    }

    /// What failed, where, and why: the text without [`Self::what_to_do`].
    pub fn what_happened(&self) -> String {
        let mut text: String = self.0.context.iter().flat_map(|context| [context.as_str(), ": "]).collect();
        text += &self.0.message;
        text
    }

    /// What to do about it, where that is known.
    pub fn what_to_do(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

/// What a person can do about the codes that are mostly met through a mistake.
fn broker_hint(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => {
            "create the topic, or check its name; a topic that you may not describe looks the same"
        }
        ErrorCode::MESSAGE_TOO_LARGE | ErrorCode::RECORD_LIST_TOO_LARGE => {
            "raise `max.message.bytes` of the topic, or send smaller records"
        }
        ErrorCode::NOT_ENOUGH_REPLICAS | ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND => {
            "bring replicas back in sync, or lower `min.insync.replicas` of the topic"
        }
        ErrorCode::TOPIC_AUTHORIZATION_FAILED => "ask for an ACL on the topic",
        ErrorCode::GROUP_AUTHORIZATION_FAILED => "ask for an ACL on the group",
        ErrorCode::CLUSTER_AUTHORIZATION_FAILED => "ask for an ACL on the cluster",
        ErrorCode::INVALID_TIMESTAMP => {
            "set this machine's clock right, or raise `message.timestamp.before.max.ms` or `message.timestamp.after.max.ms` of \
             the topic"
        }
        ErrorCode::INVALID_REPLICATION_FACTOR => "ask for no more replicas than there are brokers",
        ErrorCode::OFFSET_OUT_OF_RANGE => {
            "seek to an offset that is still there, or set `auto.offset.reset` to `earliest` or `latest`"
        }
        _ => return None,
    })
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what_happened())?;
        match &self.0.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({:?}: {self})", self.0.kind)
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

impl From<ConfigErrors> for Error {
    fn from(errors: ConfigErrors) -> Self {
        Self::new(ErrorKind::Config, errors.to_string()).caused_by(errors)
    }
}

impl From<Malformed> for Error {
    fn from(malformed: Malformed) -> Self {
        Self::new(ErrorKind::Corrupt, format!("the broker's answer could not be read: {malformed}"))
            .caused_by(malformed)
    }
}

impl From<Unsupported> for Error {
    fn from(unsupported: Unsupported) -> Self {
        Self::new(ErrorKind::Unsupported, unsupported.to_string())
            .hint("use a newer broker, or leave the option unset")
            .caused_by(unsupported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_tells_the_story_from_the_outside_in() {
        let error = Error::broker(ErrorCode::NOT_LEADER_OR_FOLLOWER, Some("moved to broker 3"))
            .context("produce to `orders-3`")
            .context("flush");
        let text = error.to_string();
        assert_eq!(text, "flush: produce to `orders-3`: moved to broker 3 (NOT_LEADER_OR_FOLLOWER)");
        assert!(error.is_retriable());
        assert_eq!(error.code(), Some(ErrorCode::NOT_LEADER_OR_FOLLOWER));
    }

    #[test]
    fn a_hint_says_what_to_do() {
        let error = Error::broker(ErrorCode::MESSAGE_TOO_LARGE, None);
        assert!(error.to_string().ends_with("send smaller records"), "{error}");
        assert_eq!(error.to_string(), format!("{}; {}", error.what_happened(), error.what_to_do().unwrap()));
        assert!(!error.is_retriable());
    }

    #[test]
    fn context_given_to_a_clone_leaves_the_first_alone() {
        let first = Error::new(ErrorKind::Timeout, "no answer in 5 ms").caused_by(fmt::Error);
        let second = first.clone().context("list offsets");
        assert_eq!(first.to_string(), "no answer in 5 ms");
        assert_eq!(second.to_string(), "list offsets: no answer in 5 ms");
        let cause = error::Error::source(&second).map(ToString::to_string);
        assert_eq!(cause, Some(fmt::Error.to_string()), "the cause is kept");
    }
}

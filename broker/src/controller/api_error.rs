//! What is answered where a part of a request cannot be done.

use std::fmt;

use ottla_protocol::{error_code::ErrorCode, types::Str};

use crate::quota::ThrottlingQuotaExceeded;

/// An error code with the words that tell a person what to do (Kafka's `ApiError`).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ApiError {
    /// What a client acts on.
    pub(crate) code: ErrorCode,
    /// What a person reads.
    pub(crate) message: Str,
}

impl ApiError {
    /// `code`, said in `message`.
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: Str::from(message.into()) }
    }
}

impl From<ErrorCode> for ApiError {
    /// `code`, said in the words of its table.
    fn from(code: ErrorCode) -> Self {
        Self { code, message: Str::from_static(code.meaning()) }
    }
}

impl From<ThrottlingQuotaExceeded> for ApiError {
    fn from(error: ThrottlingQuotaExceeded) -> Self {
        let wait_s = error.hold_off.as_secs_f64();
        let message = format!(
            "the quota `controller_mutation_rate` of the client is used up; try again in {wait_s:.1} s"
        );
        Self::new(ErrorCode::THROTTLING_QUOTA_EXCEEDED, message)
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for ApiError {}

/// The code and message of an answer's part: of success, no message.
pub(crate) fn code_and_message<T>(result: &Result<T, ApiError>) -> (ErrorCode, Option<Str>) {
    match result {
        Ok(_) => (ErrorCode::NONE, None),
        Err(error) => (error.code, Some(error.message.clone())),
    }
}

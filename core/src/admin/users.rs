//! Users that log in by SCRAM (KIP-554).

use std::fmt;

use ottla_config::Secret;
use ottla_protocol::{
    messages::{
        alter_user_scram_credentials::{
            AlterUserScramCredentialsRequest, ScramCredentialDeletion, ScramCredentialUpsertion,
        },
        describe_user_scram_credentials::{
            DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse, UserName,
        },
    },
    types::Str,
};
use ottla_transport::sasl::{self, SCRAM_ITERATIONS_MIN, ScramHash, salted_password};

use super::{Admin, Target, controller_moved, outcome};
use crate::error::{Error, Result};

/// A mechanism that users log in by.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ScramMechanism {
    /// SCRAM-SHA-256.
    Sha256,
    /// SCRAM-SHA-512.
    Sha512,
}

impl ScramMechanism {
    /// As it is called in configurations.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }

    const fn number(self) -> i8 {
        match self {
            Self::Sha256 => 1,
            Self::Sha512 => 2,
        }
    }

    const fn hash(self) -> ScramHash {
        match self {
            Self::Sha256 => ScramHash::Sha256,
            Self::Sha512 => ScramHash::Sha512,
        }
    }
}

impl fmt::Display for ScramMechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A way for a user to log in. What it was made of, nobody is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ScramCredentialInfo {
    /// The mechanism.
    pub mechanism: ScramMechanism,
    /// Rounds of hashing.
    pub iterations: u32,
}

/// A change to a user. `Debug` shows no password.
#[derive(Clone, Debug)]
pub enum AlterScramUser {
    /// Lets the user log in by this mechanism and password, in place of the one it had for this mechanism.
    Set {
        /// The user.
        user: String,
        /// The mechanism.
        mechanism: ScramMechanism,
        /// The password, which does not leave this process.
        password: Secret,
        /// Rounds of hashing, 4,096 to 16,384; `None` for 4,096.
        iterations: Option<u32>,
    },
    /// Takes the user's password for this mechanism away.
    Remove {
        /// The user.
        user: String,
        /// The mechanism.
        mechanism: ScramMechanism,
    },
}

impl Admin {
    /// How these users may log in by SCRAM; without names, all users.
    pub async fn describe_scram_users<S: AsRef<str>>(
        &self,
        users: impl IntoIterator<Item = S>,
    ) -> Result<Vec<(String, Result<Vec<ScramCredentialInfo>>)>> {
        let users: Vec<_> =
            users.into_iter().map(|name| UserName { name: Str::from(name.as_ref()) }).collect();
        let request = DescribeUserScramCredentialsRequest { users: (!users.is_empty()).then_some(users) };
        let check = |response: &DescribeUserScramCredentialsResponse| {
            let message = response.error_message.as_deref();
            outcome(response.error_code, message, || "describe users".to_owned())
        };
        let response = self.ask(Target::Any, request, check).await?;
        let described = response.results.into_iter().map(|result| {
            let user = result.user.to_string();
            let known = |number| match number {
                1 => Some(ScramMechanism::Sha256),
                2 => Some(ScramMechanism::Sha512),
                // A broker of another time may have more.
                _ => None,
            };
            let infos = result.credential_infos.iter().filter_map(|info| {
                let iterations = u32::try_from(info.iterations).unwrap_or(0);
                Some(ScramCredentialInfo { mechanism: known(info.mechanism)?, iterations })
            });
            let outcome = outcome(result.error_code, result.error_message.as_deref(), || {
                format!("describe user `{user}`")
            });
            (user, outcome.map(|()| infos.collect()))
        });
        Ok(described.collect())
    }

    /// Makes, changes and removes users; an outcome for each that is named.
    pub async fn alter_scram_users(
        &self,
        alterations: impl IntoIterator<Item = AlterScramUser>,
    ) -> Result<Vec<(String, Result<()>)>> {
        let mut request = AlterUserScramCredentialsRequest::default();
        for alteration in alterations {
            match alteration {
                AlterScramUser::Remove { user, mechanism } => request
                    .deletions
                    .push(ScramCredentialDeletion { name: Str::from(user), mechanism: mechanism.number() }),
                AlterScramUser::Set { user, mechanism, password, iterations } => {
                    request.upsertions.push(upsertion(user, mechanism, &password, iterations));
                }
            }
        }
        let response = self
            .ask(Target::Controller, request, |response| {
                controller_moved(response.results.iter().map(|result| result.error_code))
            })
            .await?;
        let result =
            |it: ottla_protocol::messages::alter_user_scram_credentials::AlterUserScramCredentialsResult| {
                let user = it.user.to_string();
                let outcome =
                    outcome(it.error_code, it.error_message.as_deref(), || format!("alter user `{user}`"));
                let hint = "SCRAM takes 4,096 to 16,384 iterations, and a user's name that is not empty";
                let explain = |error: Error| match error.code() {
                    Some(ottla_protocol::error_code::ErrorCode::UNACCEPTABLE_CREDENTIAL) => error.hint(hint),
                    _ => error,
                };
                (user, outcome.map_err(explain))
            };
        Ok(response.results.into_iter().map(result).collect())
    }
}

/// What is sent of a password: salted and hashed, as SCRAM has it.
fn upsertion(
    user: String,
    mechanism: ScramMechanism,
    password: &Secret,
    iterations: Option<u32>,
) -> ScramCredentialUpsertion {
    let iterations = iterations.unwrap_or(SCRAM_ITERATIONS_MIN);
    let salt = sasl::salt();
    // More than a broker takes is for it to refuse, not for us to compute.
    let rounds = iterations.min(sasl::SCRAM_ITERATIONS_MAX);
    let salted_password = salted_password(mechanism.hash(), password.reveal().as_bytes(), &salt, rounds);
    ScramCredentialUpsertion {
        name: Str::from(user),
        mechanism: mechanism.number(),
        iterations: i32::try_from(iterations).unwrap_or(i32::MAX),
        salt: salt.to_vec().into(),
        salted_password: salted_password.into(),
    }
}

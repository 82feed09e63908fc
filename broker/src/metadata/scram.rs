//! Users with SCRAM credentials, as the metadata log says (KIP-554).

use std::collections::BTreeMap;

use ottla_protocol::{
    messages::metadata_log::{
        remove_user_scram_credential_record::RemoveUserScramCredentialRecord,
        user_scram_credential_record::UserScramCredentialRecord,
    },
    types::Str,
};
use ottla_transport::sasl::{ScramCredential, ScramHash};

/// Credentials of all users, in the order of their names and, of one user, of their mechanisms.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ScramUsers(BTreeMap<Str, BTreeMap<ScramHash, ScramCredential>>);

impl ScramUsers {
    /// What is kept of a user for a mechanism.
    pub(crate) fn credential(&self, user: &str, hash: ScramHash) -> Option<&ScramCredential> {
        self.0.get(user.as_bytes())?.get(&hash)
    }

    /// All that is kept of a user.
    pub(crate) fn user(&self, user: &str) -> Option<&BTreeMap<ScramHash, ScramCredential>> {
        self.0.get(user.as_bytes())
    }

    /// The names of all users.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Str> {
        self.0.keys()
    }

    pub(super) fn set(&mut self, record: &UserScramCredentialRecord) -> Result<(), String> {
        let hash = hash_of(record.mechanism).ok_or_else(|| unknown(record.mechanism))?;
        let iterations =
            u32::try_from(record.iterations).map_err(|_| "a credential with less than no iterations")?;
        let credential = ScramCredential {
            salt: record.salt.to_vec(),
            stored_key: record.stored_key.to_vec(),
            server_key: record.server_key.to_vec(),
            iterations,
        };
        self.0.entry(record.name.detached()).or_default().insert(hash, credential);
        Ok(())
    }

    pub(super) fn remove(&mut self, record: &RemoveUserScramCredentialRecord) -> Result<(), String> {
        let hash = hash_of(record.mechanism).ok_or_else(|| unknown(record.mechanism))?;
        let user = self.0.get_mut(&record.name);
        let found = user.and_then(|credentials| Some((credentials.remove(&hash)?, credentials.is_empty())));
        match found {
            Some((_, true)) => _ = self.0.remove(&record.name),
            Some(_) => {}
            None => {
                return Err(format!("`{}` has no credential of mechanism {}", record.name, record.mechanism));
            }
        }
        Ok(())
    }
}

fn unknown(mechanism: i8) -> String {
    format!("{mechanism} is no SCRAM mechanism")
}

/// SCRAM's hash by its number in records and requests (`ScramMechanism`).
pub(crate) fn hash_of(mechanism: i8) -> Option<ScramHash> {
    match mechanism {
        1 => Some(ScramHash::Sha256),
        2 => Some(ScramHash::Sha512),
        _ => None,
    }
}

/// The number of SCRAM's hash.
pub(crate) fn number_of(hash: ScramHash) -> i8 {
    match hash {
        ScramHash::Sha256 => 1,
        ScramHash::Sha512 => 2,
    }
}

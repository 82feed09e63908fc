//! Users with SCRAM credentials (KIP-554): Kafka's `ScramControlManager`.

use std::collections::BTreeMap;

use ottla_protocol::{
    error_code::ErrorCode,
    messages::{
        alter_user_scram_credentials::{
            AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse,
            AlterUserScramCredentialsResult, ScramCredentialUpsertion,
        },
        metadata_log::{
            remove_user_scram_credential_record::RemoveUserScramCredentialRecord,
            user_scram_credential_record::UserScramCredentialRecord,
        },
    },
    types::Str,
};
use ottla_transport::sasl::{SCRAM_ITERATIONS_MIN, ScramCredential, ScramHash};

use super::{ApiError, Decision, api_error::code_and_message};
use crate::metadata::{image::Image, record::MetadataRecord, scram::hash_of};

/// Most rounds that a credential may have (`ScramControlManager.MAX_ITERATIONS`).
pub(crate) const ITERATIONS_MAX: u32 = 16_384;
/// Longest name of a user, in bytes.
const USER_BYTES_MAX: usize = 1_024;
/// Longest salt, in bytes.
const SALT_BYTES_MAX: usize = 1_024;

/// Removes and sets credentials. Each user has one outcome; whoever is named twice is left as they are.
pub(crate) fn alter(
    image: &Image,
    request: &AlterUserScramCredentialsRequest,
) -> Decision<AlterUserScramCredentialsResponse> {
    let mut outcomes: BTreeMap<Str, Result<MetadataRecord, ApiError>> = BTreeMap::new();
    let mut take = |name: &Str, outcome: Result<MetadataRecord, ApiError>| {
        let twice = || ApiError::new(ErrorCode::DUPLICATE_RESOURCE, "a user may be named once in a request");
        outcomes.entry(name.detached()).and_modify(|known| *known = Err(twice())).or_insert(outcome);
    };
    for deletion in &request.deletions {
        take(&deletion.name, delete(image, &deletion.name, deletion.mechanism));
    }
    for upsertion in &request.upsertions {
        take(&upsertion.name, upsert(upsertion));
    }
    let result = |(user, outcome): (&Str, &Result<MetadataRecord, ApiError>)| {
        let (error_code, error_message) = code_and_message(outcome);
        AlterUserScramCredentialsResult { user: user.clone(), error_code, error_message }
    };
    let results = outcomes.iter().map(result).collect();
    let records = outcomes.into_values().filter_map(Result::ok).collect();
    Decision { records, answer: AlterUserScramCredentialsResponse { throttle_time_ms: 0, results } }
}

fn delete(image: &Image, name: &Str, mechanism: i8) -> Result<MetadataRecord, ApiError> {
    let hash = check(name, mechanism)?;
    if image.scram_credential(name, hash).is_none() {
        let message = "the user has no such credential";
        return Err(ApiError::new(ErrorCode::RESOURCE_NOT_FOUND, message));
    }
    Ok(RemoveUserScramCredentialRecord { name: name.detached(), mechanism }.into())
}

fn upsert(upsertion: &ScramCredentialUpsertion) -> Result<MetadataRecord, ApiError> {
    let ScramCredentialUpsertion { name, mechanism, iterations, salt, salted_password, .. } = upsertion;
    let hash = check(name, *mechanism)?;
    let unacceptable = |message: String| ApiError::new(ErrorCode::UNACCEPTABLE_CREDENTIAL, message);
    let rounds =
        u32::try_from(*iterations).ok().filter(|it| (SCRAM_ITERATIONS_MIN..=ITERATIONS_MAX).contains(it));
    let Some(rounds) = rounds else {
        return Err(unacceptable(format!("iterations go from {SCRAM_ITERATIONS_MIN} to {ITERATIONS_MAX}")));
    };
    if salt.is_empty() || salt.len() > SALT_BYTES_MAX {
        return Err(unacceptable(format!("a salt has 1 to {SALT_BYTES_MAX} bytes")));
    }
    if salted_password.len() != hash.bytes() {
        return Err(unacceptable(format!(
            "the salted password of this mechanism has {} bytes",
            hash.bytes()
        )));
    }
    let credential = ScramCredential::of_salted_password(hash, salted_password, salt, rounds);
    let record = UserScramCredentialRecord {
        name: name.detached(),
        mechanism: *mechanism,
        salt: credential.salt.into(),
        stored_key: credential.stored_key.into(),
        server_key: credential.server_key.into(),
        iterations: *iterations,
    };
    Ok(record.into())
}

fn check(name: &Str, mechanism: i8) -> Result<ScramHash, ApiError> {
    let unacceptable = |message: String| ApiError::new(ErrorCode::UNACCEPTABLE_CREDENTIAL, message);
    if name.is_empty() {
        return Err(unacceptable("a user has a name".into()));
    }
    if name.len() > USER_BYTES_MAX {
        return Err(unacceptable(format!("a user's name has at most {USER_BYTES_MAX} bytes")));
    }
    let unknown = || ApiError::new(ErrorCode::UNSUPPORTED_SASL_MECHANISM, "there is no such SCRAM mechanism");
    hash_of(mechanism).ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use ottla_protocol::messages::alter_user_scram_credentials::ScramCredentialDeletion;
    use ottla_transport::sasl::salted_password;

    use super::*;
    use crate::controller::testing::cluster_of;

    fn upsertion(name: &str) -> ScramCredentialUpsertion {
        ScramCredentialUpsertion {
            name: name.into(),
            mechanism: 1,
            iterations: 4096,
            salt: b"salt".as_slice().into(),
            salted_password: salted_password(ScramHash::Sha256, b"wonder", b"salt", 4096).into(),
        }
    }

    fn deletion(name: &str) -> ScramCredentialDeletion {
        ScramCredentialDeletion { name: name.into(), mechanism: 1 }
    }

    fn codes(decision: &Decision<AlterUserScramCredentialsResponse>) -> Vec<(&str, ErrorCode)> {
        decision.answer.results.iter().map(|result| (&*result.user, result.error_code)).collect()
    }

    #[test]
    fn a_user_is_made_changed_and_removed() {
        let image = cluster_of(&[1]);
        let request = AlterUserScramCredentialsRequest {
            upsertions: vec![upsertion("alice")],
            ..AlterUserScramCredentialsRequest::default()
        };
        let made = alter(&image, &request);
        assert_eq!(codes(&made), [("alice", ErrorCode::NONE)]);
        let image = image.apply(&made.records, 1).unwrap();
        let known = image.scram_credential("alice", ScramHash::Sha256).unwrap();
        assert_eq!(*known, ScramCredential::of_password(ScramHash::Sha256, "wonder", b"salt", 4096));
        assert_eq!(image.scram_credential("alice", ScramHash::Sha512), None);

        let request = AlterUserScramCredentialsRequest {
            deletions: vec![deletion("alice"), deletion("bob")],
            ..AlterUserScramCredentialsRequest::default()
        };
        let removed = alter(&image, &request);
        assert_eq!(codes(&removed), [("alice", ErrorCode::NONE), ("bob", ErrorCode::RESOURCE_NOT_FOUND)]);
        let image = image.apply(&removed.records, 1).unwrap();
        assert_eq!(image.scram_credential("alice", ScramHash::Sha256), None);
        assert!(image.apply(&removed.records, 1).is_err(), "there is nothing left to remove");
    }

    #[test]
    fn what_is_not_acceptable_changes_nothing() {
        let image = cluster_of(&[1]);
        let upsertions = vec![
            upsertion("twice"),
            upsertion("twice"),
            ScramCredentialUpsertion { name: "".into(), ..upsertion("") },
            ScramCredentialUpsertion { mechanism: 3, ..upsertion("unknown") },
            ScramCredentialUpsertion { iterations: 4095, ..upsertion("few") },
            ScramCredentialUpsertion { iterations: 16_385, ..upsertion("many") },
            ScramCredentialUpsertion { salted_password: b"short".as_slice().into(), ..upsertion("short") },
        ];
        let request =
            AlterUserScramCredentialsRequest { upsertions, ..AlterUserScramCredentialsRequest::default() };
        let decision = alter(&image, &request);
        assert!(decision.records.is_empty());
        assert_eq!(
            codes(&decision),
            [
                ("", ErrorCode::UNACCEPTABLE_CREDENTIAL),
                ("few", ErrorCode::UNACCEPTABLE_CREDENTIAL),
                ("many", ErrorCode::UNACCEPTABLE_CREDENTIAL),
                ("short", ErrorCode::UNACCEPTABLE_CREDENTIAL),
                ("twice", ErrorCode::DUPLICATE_RESOURCE),
                ("unknown", ErrorCode::UNSUPPORTED_SASL_MECHANISM),
            ]
        );
    }
}

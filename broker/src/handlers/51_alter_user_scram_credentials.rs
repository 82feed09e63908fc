//! AlterUserScramCredentials, version 0: lets users log in by SCRAM, or no more (KIP-554). The password itself never comes.

use std::collections::BTreeSet;

use ottla_protocol::{
    messages::alter_user_scram_credentials::{
        AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse, AlterUserScramCredentialsResult,
    },
    types::Str,
};

use super::{
    Context, RequestContext,
    access::{self, Access},
};

pub(crate) async fn handle(
    request: AlterUserScramCredentialsRequest,
    rq: &RequestContext,
    cx: &Context,
) -> AlterUserScramCredentialsResponse {
    let deleted = request.deletions.iter().map(|deletion| deletion.name.detached());
    let set = request.upsertions.iter().map(|upsertion| upsertion.name.detached());
    let users: BTreeSet<Str> = deleted.chain(set).collect();
    let altered = match Access::of(rq, cx).check_cluster(access::ALTER_CLUSTER) {
        Ok(()) => cx.controller.alter_scram_users(request).await,
        Err(code) => Err(code.into()),
    };
    match altered {
        Ok(response) => {
            for result in response.results.iter().filter(|result| !result.error_code.is_error()) {
                let user = result.user.escape_debug().to_string();
                tracing::info!(user, by = %rq.session.principal, peer = %rq.peer, "SCRAM credentials were changed");
            }
            response
        }
        Err(error) => {
            let refused = |user| AlterUserScramCredentialsResult {
                user,
                error_code: error.code,
                error_message: Some(error.message.clone()),
            };
            AlterUserScramCredentialsResponse {
                throttle_time_ms: 0,
                results: users.into_iter().map(refused).collect(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ottla_protocol::{
        error_code::ErrorCode,
        messages::{
            alter_user_scram_credentials::{ScramCredentialDeletion, ScramCredentialUpsertion},
            describe_user_scram_credentials::{
                DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse, UserName,
            },
        },
    };
    use ottla_transport::sasl::{ScramHash, salted_password};

    use super::*;
    use crate::handlers::{
        describe_user_scram_credentials,
        testing::{Broker, ask, sent},
    };

    async fn describe(broker: &Broker, names: &[&str]) -> Vec<(String, ErrorCode, Vec<(i8, i32)>)> {
        let users = names.iter().map(|&name| UserName { name: name.into() }).collect();
        let request = DescribeUserScramCredentialsRequest { users: Some(users) };
        let (request, rq) = broker.request(0, &request);
        let answer: DescribeUserScramCredentialsResponse =
            sent(&describe_user_scram_credentials::handle(request, &rq, &broker.cx).await, 0);
        let result = |it: ottla_protocol::messages::describe_user_scram_credentials::DescribeUserScramCredentialsResult| {
            let infos = it.credential_infos.iter().map(|info| (info.mechanism, info.iterations)).collect();
            (it.user.to_string(), it.error_code, infos)
        };
        answer.results.into_iter().map(result).collect()
    }

    #[tokio::test]
    async fn users_are_told_of_and_outlive_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let broker = Broker::start(directory.path(), "").await;
        let upsertion = |mechanism, hash| ScramCredentialUpsertion {
            name: "alice".into(),
            mechanism,
            iterations: 8192,
            salt: b"salt".as_slice().into(),
            salted_password: salted_password(hash, b"wonder", b"salt", 8192).into(),
        };
        for upsertion in [upsertion(1, ScramHash::Sha256), upsertion(2, ScramHash::Sha512)] {
            let request = AlterUserScramCredentialsRequest {
                upsertions: vec![upsertion],
                ..AlterUserScramCredentialsRequest::default()
            };
            let answer: AlterUserScramCredentialsResponse = ask!(broker, 0, request);
            assert_eq!(answer.results[0].error_code, ErrorCode::NONE);
        }
        let deletion = ScramCredentialDeletion { name: "alice".into(), mechanism: 1 };
        let request = AlterUserScramCredentialsRequest {
            deletions: vec![deletion],
            ..AlterUserScramCredentialsRequest::default()
        };
        let answer: AlterUserScramCredentialsResponse = ask!(broker, 0, request);
        assert_eq!(answer.results[0].error_code, ErrorCode::NONE);
        drop(broker);

        let broker = Broker::start(directory.path(), "").await;
        let alice = ("alice".to_owned(), ErrorCode::NONE, vec![(2, 8192)]);
        assert_eq!(describe(&broker, &[]).await, std::slice::from_ref(&alice));
        let nobody = |name: &str, code| (name.to_owned(), code, Vec::new());
        assert_eq!(
            describe(&broker, &["alice", "bob", "eve", "eve"]).await,
            [
                alice,
                nobody("bob", ErrorCode::RESOURCE_NOT_FOUND),
                nobody("eve", ErrorCode::DUPLICATE_RESOURCE)
            ]
        );
    }
}

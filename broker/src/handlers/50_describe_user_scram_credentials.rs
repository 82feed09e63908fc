//! DescribeUserScramCredentials, version 0: who may log in by SCRAM, and how (KIP-554).

use std::collections::BTreeMap;

use ottla_protocol::{
    error_code::ErrorCode,
    messages::describe_user_scram_credentials::{
        CredentialInfo, DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
        DescribeUserScramCredentialsResult,
    },
    types::Str,
};

use super::{
    Context, RequestContext,
    access::{self, Access},
};
use crate::metadata::scram::{ScramUsers, number_of};

pub(crate) async fn handle(
    request: DescribeUserScramCredentialsRequest,
    rq: &RequestContext,
    cx: &Context,
) -> DescribeUserScramCredentialsResponse {
    if let Err(error_code) = Access::of(rq, cx).check_cluster(access::DESCRIBE_CLUSTER) {
        return DescribeUserScramCredentialsResponse {
            error_code,
            error_message: Some(Str::from_static(error_code.meaning())),
            ..DescribeUserScramCredentialsResponse::default()
        };
    }
    let image = cx.image.load();
    let users = image.scram_users();
    // How often each is asked about.
    let mut asked: BTreeMap<Str, usize> = BTreeMap::new();
    for user in request.users.iter().flatten() {
        *asked.entry(user.name.detached()).or_default() += 1;
    }
    if asked.is_empty() {
        asked = users.names().map(|name| (name.clone(), 1)).collect();
    }
    let results = asked.into_iter().map(|(user, times)| describe(users, user, times)).collect();
    DescribeUserScramCredentialsResponse { results, ..DescribeUserScramCredentialsResponse::default() }
}

fn describe(users: &ScramUsers, user: Str, times: usize) -> DescribeUserScramCredentialsResult {
    let refuse = |error_code, message: &'static str| DescribeUserScramCredentialsResult {
        error_code,
        error_message: Some(Str::from_static(message)),
        ..DescribeUserScramCredentialsResult::default()
    };
    let result = match users.user(&user) {
        _ if times > 1 => refuse(ErrorCode::DUPLICATE_RESOURCE, "a user may be named once in a request"),
        None => refuse(ErrorCode::RESOURCE_NOT_FOUND, "there is no such user with SCRAM credentials"),
        Some(credentials) => DescribeUserScramCredentialsResult {
            credential_infos: credentials
                .iter()
                .map(|(hash, credential)| CredentialInfo {
                    mechanism: number_of(*hash),
                    iterations: i32::try_from(credential.iterations).unwrap_or(i32::MAX),
                })
                .collect(),
            ..DescribeUserScramCredentialsResult::default()
        },
    };
    DescribeUserScramCredentialsResult { user, ..result }
}

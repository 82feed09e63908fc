//! Who may do what: Kafka's StandardAuthorizer. The rules are in the metadata (`metadata/acls.rs`); here is who is above
//! them, and what goes where none speaks.

use std::{collections::HashSet, net::IpAddr};

use crate::{
    StartError,
    authentication::Principal,
    config::BrokerConfig,
    metadata::acls::{Acls, Operation, ResourceType, Verdict, Who},
};

/// The authorizer's names in `authorizer.class.name`: as Kafka has it, and without its package.
const NAMES: [&str; 2] = ["org.apache.kafka.metadata.authorizer.StandardAuthorizer", "StandardAuthorizer"];
/// The type of all principals that log in here.
const USER: &str = "User:";

/// Answers by the rules. A broker that has none lets everybody do everything.
#[derive(Debug)]
pub(crate) struct Authorizer {
    /// Names of users.
    super_users: HashSet<String>,
    /// `allow.everyone.if.no.acl.found`.
    everyone_if_no_rule: bool,
}

impl Authorizer {
    /// The authorizer that `config` asks for, if it does.
    ///
    /// # Errors
    ///
    /// If it asks for another one, or a super user is not written as a principal.
    pub(crate) fn new(config: &BrokerConfig) -> Result<Option<Self>, StartError> {
        match config.authorizer_class_name.trim() {
            "" => return Ok(None),
            name if NAMES.contains(&name) => {}
            other => {
                let why = format!("there is no authorizer `{other}`; there is `{}`", NAMES[0]);
                return Err(StartError::setting("authorizer.class.name", why));
            }
        }
        let mut super_users = HashSet::new();
        for principal in config.super_users.split(';').map(str::trim).filter(|it| !it.is_empty()) {
            let Some(name) = principal.strip_prefix(USER) else {
                let why = format!(
                    "`{principal}` does not begin with `{USER}`; write `{USER}NAME`, and `;` between two"
                );
                return Err(StartError::setting("super.users", why));
            };
            super_users.insert(name.to_owned());
        }
        Ok(Some(Self { super_users, everyone_if_no_rule: config.allow_everyone_if_no_acl_found }))
    }

    /// Whether `principal` may do `operation` with a resource.
    pub(crate) fn allows(
        &self,
        acls: &Acls,
        principal: &Principal,
        address: IpAddr,
        operation: Operation,
        resource_type: ResourceType,
        name: &str,
    ) -> bool {
        if self.super_users.contains(principal.name()) {
            return true;
        }
        let who = Who { user: principal.name(), address };
        match acls.decide(who, operation, resource_type, name) {
            Verdict::Allowed => true,
            Verdict::Denied => false,
            Verdict::NoRule => self.everyone_if_no_rule,
        }
    }

    /// Whether there is a resource of this type, or could be, with which `principal` may do `operation`.
    pub(crate) fn allows_with_any(
        &self,
        acls: &Acls,
        principal: &Principal,
        address: IpAddr,
        operation: Operation,
        resource_type: ResourceType,
    ) -> bool {
        /// Kafka asks of a topic of this name whether somebody may do everything.
        const SOME_NAME: &str = "hardcode";
        let who = Who { user: principal.name(), address };
        self.allows(acls, principal, address, operation, resource_type, SOME_NAME)
            || acls.may_with_any(who, operation, resource_type)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::testing::values;

    fn authorizer(properties: &str) -> Result<Option<Authorizer>, String> {
        Authorizer::new(&BrokerConfig::from_values(&values(properties))).map_err(|error| error.to_string())
    }

    #[test]
    fn there_is_one_authorizer_and_none_unless_it_is_asked_for() {
        assert!(authorizer("super.users=User:alice").unwrap().is_none());
        assert!(authorizer(&format!("authorizer.class.name={}", NAMES[0])).unwrap().is_some());
        let error = authorizer("authorizer.class.name=kafka.security.authorizer.AclAuthorizer").unwrap_err();
        assert!(
            error.contains("there is no authorizer `kafka.security.authorizer.AclAuthorizer`"),
            "{error}"
        );
        let error = authorizer("authorizer.class.name=StandardAuthorizer\nsuper.users=alice").unwrap_err();
        assert!(error.contains("`alice` does not begin with `User:`"), "{error}");
    }

    #[test]
    fn super_users_may_do_everything_and_others_what_the_rules_say() {
        let standard = "authorizer.class.name=StandardAuthorizer\nsuper.users=User:CN=a\\\\,b; User:admin;";
        let (strict, open) =
            (standard.to_owned(), format!("{standard}\nallow.everyone.if.no.acl.found=true"));
        let may = |properties: &str, user| {
            let authorizer = authorizer(properties).unwrap().unwrap();
            let address = "10.0.0.1".parse().unwrap();
            let (read, topic) = (Operation::Read, ResourceType::Topic);
            authorizer.allows(&Acls::default(), &Principal::user(user), address, read, topic, "t")
        };
        assert!(may(&strict, "admin"));
        assert!(!may(&strict, "alice"));
        assert!(!may(&strict, "ANONYMOUS"));
        assert!(may(&open, "alice"));
    }
}

//! The rules, against a reading of them that looks at each and every one.

use proptest::prelude::*;

use super::*;

/// Says the same as [`Acls::decide`], by looking at all rules in the words of people.
fn naive(
    acls: &[Acl],
    user: &str,
    address: &str,
    operation: Operation,
    kind: ResourceType,
    name: &str,
) -> Verdict {
    let matches_name = |acl: &&Acl| {
        acl.resource_type == kind
            && match acl.pattern_type {
                PatternType::Literal => acl.name == *name || acl.name == "*",
                PatternType::Prefixed => name.starts_with(&*acl.name),
            }
    };
    let of_resource: Vec<_> = acls.iter().filter(matches_name).collect();
    let is_for = |acl: &&&Acl| {
        (acl.principal == *format!("User:{user}") || acl.principal == "User:*")
            && (acl.host == "*" || acl.host == *address)
    };
    let denies = |acl: &&Acl| {
        acl.permission == Permission::Deny && [Operation::All, operation].contains(&acl.operation)
    };
    let allows = |acl: &&Acl| {
        use Operation as O;
        let enough: &[O] = match operation {
            O::Describe => &[O::All, O::Describe, O::Read, O::Write, O::Delete, O::Alter],
            O::DescribeConfigs => &[O::All, O::DescribeConfigs, O::AlterConfigs],
            _ => &[O::All, operation],
        };
        acl.permission == Permission::Allow && enough.contains(&acl.operation)
    };
    let mine: Vec<&Acl> = of_resource.iter().filter(is_for).copied().collect();
    if of_resource.is_empty() {
        Verdict::NoRule
    } else if mine.iter().any(denies) || !mine.iter().any(allows) {
        Verdict::Denied
    } else {
        Verdict::Allowed
    }
}

fn acls(of: &[Acl]) -> Acls {
    let mut acls = Acls::default();
    for (id, acl) in of.iter().enumerate() {
        acls.add(&acl.record(Uuid(id as u128 + 1))).unwrap();
    }
    acls
}

fn who<'a>(user: &'a str, address: &str) -> Who<'a> {
    Who { user, address: address.parse().unwrap() }
}

/// A rule, as `allow Read Topic orders* User:alice 10.0.0.1`; a name that ends in `*` is a prefix, unless it is `*`.
fn acl(text: &str) -> Acl {
    let words: Vec<_> = text.split(' ').collect();
    let [permission, operation, kind, name, principal, host] = words[..] else { panic!("{text}") };
    let (name, pattern_type) = match name.strip_suffix('*') {
        Some(prefix) if !prefix.is_empty() => (prefix, PatternType::Prefixed),
        _ => (name, PatternType::Literal),
    };
    use Operation as O;
    Acl {
        resource_type: match kind {
            "Topic" => ResourceType::Topic,
            "Group" => ResourceType::Group,
            _ => panic!("{text}"),
        },
        name: name.into(),
        pattern_type,
        principal: principal.into(),
        host: host.into(),
        operation: *[O::All, O::Read, O::Write, O::Describe, O::Alter, O::AlterConfigs]
            .iter()
            .find(|it| format!("{it:?}") == operation)
            .unwrap(),
        permission: if permission == "allow" { Permission::Allow } else { Permission::Deny },
    }
}

fn decide(rules: &[&str], user: &str, operation: Operation, topic: &str) -> Verdict {
    let rules: Vec<_> = rules.iter().map(|text| acl(text)).collect();
    acls(&rules).decide(who(user, "10.0.0.1"), operation, ResourceType::Topic, topic)
}

#[test]
fn what_denies_goes_before_what_allows_and_the_nearest_name_is_no_exception() {
    use Operation::Read;
    let everybody = "allow All Topic * User:* *";
    assert_eq!(decide(&[everybody], "alice", Read, "a"), Verdict::Allowed);
    assert_eq!(decide(&[everybody, "deny Read Topic a User:alice *"], "alice", Read, "a"), Verdict::Denied);
    assert_eq!(decide(&[everybody, "deny Read Topic a User:alice *"], "bob", Read, "a"), Verdict::Allowed);
    let near = ["allow Read Topic orders-eu User:alice *", "deny Read Topic orders* User:* *"];
    assert_eq!(decide(&near, "alice", Read, "orders-eu"), Verdict::Denied);
    assert_eq!(decide(&["deny All Topic * User:* *"], "alice", Read, "a"), Verdict::Denied);
}

#[test]
fn who_is_not_named_may_not_and_where_no_rule_speaks_nothing_is_said() {
    let rules = ["allow Read Topic a User:alice *"];
    assert_eq!(decide(&rules, "bob", Operation::Read, "a"), Verdict::Denied);
    assert_eq!(decide(&rules, "alice", Operation::Write, "a"), Verdict::Denied);
    assert_eq!(decide(&rules, "alice", Operation::Read, "ab"), Verdict::NoRule);
    assert_eq!(decide(&["allow Read Group a User:alice *"], "alice", Operation::Read, "a"), Verdict::NoRule);
}

#[test]
fn who_may_do_something_may_see_it_and_who_may_not_do_it_may_see_it_still() {
    use Operation::{Describe, DescribeConfigs, Read};
    let seen = |rule: &str, operation| decide(&[rule], "alice", operation, "a");
    assert_eq!(seen("allow Write Topic a User:alice *", Describe), Verdict::Allowed);
    assert_eq!(seen("allow AlterConfigs Topic a User:alice *", DescribeConfigs), Verdict::Allowed);
    assert_eq!(seen("allow AlterConfigs Topic a User:alice *", Describe), Verdict::Denied);
    assert_eq!(seen("allow Describe Topic a User:alice *", Read), Verdict::Denied);
    let rules = ["deny Write Topic a User:alice *", "allow Describe Topic a User:alice *"];
    assert_eq!(decide(&rules, "alice", Describe, "a"), Verdict::Allowed);
}

#[test]
fn a_host_is_an_address_however_it_is_written() {
    let from = |host: &str, address: &str| {
        let rules = acls(&[acl(&format!("allow Read Topic a User:alice {host}"))]);
        rules.decide(who("alice", address), Operation::Read, ResourceType::Topic, "a")
    };
    assert_eq!(from("10.0.0.1", "10.0.0.1"), Verdict::Allowed);
    assert_eq!(from("10.0.0.1", "10.0.0.2"), Verdict::Denied);
    // As Java writes it.
    assert_eq!(from("0:0:0:0:0:0:0:1", "::1"), Verdict::Allowed);
    assert_eq!(from("::ffff:10.0.0.1", "10.0.0.1"), Verdict::Allowed);
    assert_eq!(from("example.org", "10.0.0.1"), Verdict::Denied);
}

#[test]
fn a_name_is_a_pattern_only_where_it_is_said_to_be() {
    use Operation::Read;
    let literal = Acl { pattern_type: PatternType::Literal, ..acl("allow Read Topic a* User:alice *") };
    let prefix_of_stars = Acl { name: "*".into(), pattern_type: PatternType::Prefixed, ..literal.clone() };
    let verdict = |rule: &Acl, name| {
        acls(std::slice::from_ref(rule)).decide(who("alice", "10.0.0.1"), Read, ResourceType::Topic, name)
    };
    assert_eq!((verdict(&literal, "a"), verdict(&literal, "ab")), (Verdict::Allowed, Verdict::NoRule));
    assert_eq!(verdict(&prefix_of_stars, "ab"), Verdict::NoRule);
    assert_eq!(verdict(&prefix_of_stars, "*b"), Verdict::Allowed);
    let group = Acl { principal: "Group:alice".into(), ..literal };
    assert_eq!(verdict(&group, "a"), Verdict::Denied, "there is a rule, for somebody else");
}

#[test]
fn a_rule_is_there_once_and_gone_when_it_is_removed() {
    let rule = acl("allow Read Topic a* User:alice *");
    let mut acls = acls(std::slice::from_ref(&rule));
    let before = acls.clone();
    assert!(acls.add(&rule.record(Uuid(2))).is_err(), "the same rule");
    assert!(acls.add(&acl("allow Read Topic b User:alice *").record(Uuid(1))).is_err(), "the same id");
    assert_eq!(acls, before);
    let unknown = RemoveAccessControlEntryRecord { id: Uuid(9) };
    assert!(acls.remove(&unknown).is_err());
    acls.remove(&RemoveAccessControlEntryRecord { id: Uuid(1) }).unwrap();
    assert_eq!(acls, Acls::default());
    for wrong in [
        AccessControlEntryRecord { resource_type: 1, ..rule.record(Uuid(1)) },
        AccessControlEntryRecord { pattern_type: 2, ..rule.record(Uuid(1)) },
        AccessControlEntryRecord { operation: 16, ..rule.record(Uuid(1)) },
        AccessControlEntryRecord { permission_type: 0, ..rule.record(Uuid(1)) },
    ] {
        assert!(acls.add(&wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn who_may_write_somewhere_is_found_as_kafka_finds_it() {
    let may = |rules: &[&str]| {
        let rules: Vec<_> = rules.iter().map(|text| acl(text)).collect();
        acls(&rules).may_with_any(who("alice", "10.0.0.1"), Operation::Write, ResourceType::Topic)
    };
    assert!(!may(&[]));
    assert!(may(&["allow Write Topic a User:alice *"]));
    assert!(may(&["allow All Topic a* User:* 10.0.0.1"]));
    assert!(!may(&["allow Write Topic a User:bob *"]));
    assert!(!may(&["allow Write Topic a User:alice 10.0.0.2"]));
    assert!(!may(&["allow Read Topic a User:alice *"]));
    assert!(!may(&["allow Write Topic a User:alice *", "deny Write Topic a User:* *"]));
    assert!(!may(&["allow Write Topic abc User:alice *", "deny All Topic ab* User:alice *"]));
    assert!(!may(&["allow Write Topic abc* User:alice *", "deny All Topic abc* User:alice *"]));
    assert!(may(&["allow Write Topic ab* User:alice *", "deny All Topic abc* User:alice *"]));
    assert!(!may(&["allow Write Topic * User:alice *", "deny Write Topic * User:alice *"]));
    assert!(may(&["allow Write Topic * User:alice *", "deny Write Topic a User:alice *"]));
}

#[test]
fn filters_mean_what_kafkas_mean() {
    let rules = [
        acl("allow Read Topic orders User:alice *"),
        acl("allow Read Topic ord* User:alice *"),
        acl("allow Read Topic * User:alice *"),
        acl("deny Write Group orders User:bob 10.0.0.1"),
    ];
    let all = acls(&rules);
    let any = FilterNumbers {
        resource_type: 1,
        pattern_type: 1,
        operation: 1,
        permission: 1,
        ..Default::default()
    };
    let found = |numbers: FilterNumbers| {
        let filter = AclFilter::of(numbers).unwrap();
        let mut found: Vec<_> = all.matching(&filter).map(|(id, _)| id.0).collect();
        found.sort_unstable();
        found
    };
    assert_eq!(found(any.clone()), [1, 2, 3, 4]);
    let named =
        |pattern_type, name: &str| FilterNumbers { pattern_type, name: Some(name.into()), ..any.clone() };
    assert_eq!(found(named(1, "orders")), [1, 4], "any: the very name");
    assert_eq!(found(named(2, "orders")), [1, 2, 3, 4], "match: all that speak of it");
    assert_eq!(found(named(3, "orders")), [1, 4]);
    assert_eq!(found(named(4, "ord")), [2]);
    assert_eq!(found(named(3, "*")), [3]);
    assert_eq!(found(FilterNumbers { pattern_type: 4, ..any.clone() }), [2]);
    assert_eq!(found(FilterNumbers { principal: Some("User:bob".into()), ..any.clone() }), [4]);
    assert_eq!(found(FilterNumbers { host: Some("*".into()), ..any.clone() }), [1, 2, 3]);
    assert_eq!(found(FilterNumbers { permission: 2, ..any.clone() }), [4]);
    assert_eq!(found(FilterNumbers { operation: 3, resource_type: 2, ..any.clone() }), [1, 2, 3]);
    for wrong in [
        FilterNumbers { resource_type: 0, ..any.clone() },
        FilterNumbers { pattern_type: 5, ..any.clone() },
        FilterNumbers { operation: 99, ..any.clone() },
        FilterNumbers { permission: -1, ..any },
    ] {
        assert!(AclFilter::of(wrong).is_err());
    }
}

fn any_acl() -> impl Strategy<Value = Acl> {
    use Operation as O;
    let operations =
        vec![O::All, O::Read, O::Write, O::Describe, O::Alter, O::DescribeConfigs, O::AlterConfigs];
    (
        prop_oneof![Just(ResourceType::Topic), Just(ResourceType::Group)],
        prop_oneof![4 => "[ab]{1,4}", 1 => Just("*".to_owned())],
        prop_oneof![Just(PatternType::Literal), Just(PatternType::Prefixed)],
        prop_oneof![Just("User:alice"), Just("User:bob"), Just("User:*"), Just("Group:alice")],
        prop_oneof![Just("*"), Just("10.0.0.1"), Just("10.0.0.2")],
        proptest::sample::select(operations),
        prop_oneof![1 => Just(Permission::Deny), 3 => Just(Permission::Allow)],
    )
        .prop_map(|(resource_type, name, pattern_type, principal, host, operation, permission)| Acl {
            resource_type,
            name: name.into(),
            pattern_type,
            principal: principal.into(),
            host: host.into(),
            operation,
            permission,
        })
}

proptest! {
    #[test]
    fn the_rules_say_what_a_look_at_each_of_them_says(
        rules in proptest::collection::btree_set(any_acl(), 0..12),
        removed in proptest::collection::vec(any::<bool>(), 12),
        name in "[ab*]{0,5}",
    ) {
        let rules: Vec<_> = rules.into_iter().collect();
        let mut all = acls(&rules);
        for (id, _) in removed.iter().take(rules.len()).enumerate().filter(|(_, removed)| **removed) {
            all.remove(&RemoveAccessControlEntryRecord { id: Uuid(id as u128 + 1) }).unwrap();
        }
        let left: Vec<_> = rules.iter().zip(&removed).filter(|(_, gone)| !**gone).map(|(acl, _)| acl.clone()).collect();
        for user in ["alice", "carol"] {
            for operation in ResourceType::Topic.operations() {
                let found = all.decide(who(user, "10.0.0.1"), *operation, ResourceType::Topic, &name);
                let expected = naive(&left, user, "10.0.0.1", *operation, ResourceType::Topic, &name);
                prop_assert_eq!(found, expected, "{} {:?} {:?} of {:?}", user, operation, name, left);
            }
        }
    }
}

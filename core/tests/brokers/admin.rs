//! The admin client against real brokers.

use ottla::{
    Admin, AlterConfig, ConfigResource, ConfigSource, ErrorCode, ErrorKind, NewTopic, OffsetSpec,
    TopicPartition, config::AdminConfig,
};

use crate::common::{eventually, on_each, unique};

#[test]
fn a_topic_is_created_described_and_deleted() {
    on_each(async |target| {
        let admin = target.admin();
        let name = unique("admin");
        let created =
            admin.create_topic(NewTopic::new(&name).partitions(3).replication_factor(1)).await.unwrap();
        assert_eq!(created.partitions, Some(3));

        let topic = eventually("the topic is known", async || {
            admin.describe_topics([&name]).await.unwrap().remove(0).1.ok()
        })
        .await;
        assert_eq!(topic.id, created.id);
        assert_eq!(topic.partitions.len(), 3);
        assert!(topic.partitions.iter().all(|partition| partition.leader.is_some()), "{topic:?}");
        assert!(admin.list_topics().await.unwrap().iter().any(|listed| *listed.name == *name));

        let again = admin.create_topic(NewTopic::new(&name)).await.unwrap_err();
        assert_eq!(again.code(), Some(ErrorCode::TOPIC_ALREADY_EXISTS), "{again}");

        let deleted = admin.delete_topics([&name]).await.unwrap();
        deleted[0].1.as_ref().unwrap();
        let error = eventually("the topic is gone", async || {
            admin.describe_topics([&name]).await.unwrap().remove(0).1.err()
        })
        .await;
        assert_eq!(error.code(), Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), "{error}");
    });
}

#[test]
fn each_topic_has_its_own_outcome() {
    on_each(async |target| {
        let admin = target.admin();
        let good = unique("outcome");
        let topics = [NewTopic::new("not/legal").partitions(1), NewTopic::new(&good).partitions(1)];
        let outcomes = admin.create_topics(topics, false).await.unwrap();
        assert_eq!(outcomes[0].0, "not/legal");
        let refused = outcomes[0].1.as_ref().unwrap_err();
        assert_eq!(refused.code(), Some(ErrorCode::INVALID_TOPIC_EXCEPTION), "{refused}");
        assert!(outcomes[1].1.is_ok());

        let only_checked = unique("checked");
        let outcomes = admin.create_topics([NewTopic::new(&only_checked).partitions(1)], true).await.unwrap();
        assert!(outcomes[0].1.is_ok());
        let absent = admin.describe_topics([&only_checked]).await.unwrap();
        assert!(absent[0].1.is_err());
    });
}

#[test]
fn partitions_are_added_and_never_taken() {
    on_each(async |target| {
        let admin = target.admin();
        let name = target.topic("grow", 1).await;
        admin.create_partitions([(&name, 4)], false).await.unwrap()[0].1.as_ref().unwrap();
        eventually("there are four", async || {
            let described = admin.describe_topics([&name]).await.unwrap();
            (described[0].1.as_ref().unwrap().partitions.len() == 4).then_some(())
        })
        .await;
        let fewer = admin.create_partitions([(&name, 2)], false).await.unwrap();
        let error = fewer[0].1.as_ref().unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::INVALID_PARTITIONS), "{error}");
    });
}

#[test]
fn a_topics_configuration_is_read_changed_and_taken_back() {
    on_each(async |target| {
        let admin = target.admin();
        let name = unique("config");
        target.create(NewTopic::new(&name).partitions(1).config("max.message.bytes", "100000")).await;
        let resource = ConfigResource::Topic(name);
        let has = async |key: &str, wanted: Option<&str>| {
            eventually(&format!("`{key}` is {wanted:?}"), async || {
                let described = admin.describe_configs([resource.clone()]).await.unwrap();
                let entries = described[0].1.as_ref().ok()?;
                let entry = entries.iter().find(|entry| entry.name == key)?;
                let own = (entry.source == ConfigSource::Topic).then_some(entry.value.as_deref()).flatten();
                (own == wanted).then_some(())
            })
            .await;
        };
        has("max.message.bytes", Some("100000")).await;

        let changes = vec![
            AlterConfig::set("max.message.bytes", "200000"),
            AlterConfig::set("segment.bytes", "2000000"),
        ];
        let altered = admin.incremental_alter_configs([(resource.clone(), changes)], false).await.unwrap();
        altered[0].1.as_ref().unwrap();
        has("max.message.bytes", Some("200000")).await;
        has("segment.bytes", Some("2000000")).await;

        let changes = vec![AlterConfig::delete("segment.bytes")];
        let altered = admin.incremental_alter_configs([(resource.clone(), changes)], false).await.unwrap();
        altered[0].1.as_ref().unwrap();
        has("segment.bytes", None).await;

        let changes = vec![AlterConfig::set("max.message.bytes", "many")];
        let refused = admin.incremental_alter_configs([(resource.clone(), changes)], false).await.unwrap();
        let error = refused[0].1.as_ref().unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::INVALID_CONFIG), "{error}");
    });
}

#[test]
fn the_cluster_and_its_brokers_are_described() {
    on_each(async |target| {
        let admin = target.admin();
        let cluster = admin.describe_cluster().await.unwrap();
        assert!(!cluster.cluster_id.is_empty());
        let (_, port) = target.address.rsplit_once(':').unwrap();
        assert!(cluster.brokers.iter().any(|broker| broker.port.to_string() == port), "{cluster:?}");
        let broker = ConfigResource::Broker(cluster.brokers[0].id);
        let described = admin.describe_configs([broker]).await.unwrap();
        assert!(described[0].1.as_ref().unwrap().iter().any(|entry| entry.name == "log.dirs"));
    });
}

#[test]
fn offsets_of_an_empty_topic_are_zero_and_of_a_missing_one_an_error() {
    on_each(async |target| {
        let admin = target.admin();
        let name = target.topic("offsets", 2).await;
        let wanted = [
            (TopicPartition::new(name.as_str(), 0), OffsetSpec::Earliest),
            (TopicPartition::new(name.as_str(), 1), OffsetSpec::Latest),
        ];
        for (tp, listed) in admin.list_offsets(wanted).await.unwrap() {
            assert_eq!(listed.unwrap().offset, Some(0), "{tp}");
        }
        let none = [(TopicPartition::new(name.as_str(), 0), OffsetSpec::Timestamp(0))];
        assert_eq!(admin.list_offsets(none).await.unwrap()[0].1.as_ref().unwrap().offset, None);
    });
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_named_in_the_error() {
    let admin = Admin::new(AdminConfig {
        // A port of the discard protocol, which nothing serves.
        bootstrap_servers: vec!["127.0.0.1:9".to_owned()],
        default_api_timeout: std::time::Duration::from_millis(300),
        ..Default::default()
    })
    .unwrap();
    let error = admin.describe_cluster().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disconnected, "{error}");
    assert!(error.to_string().contains("`127.0.0.1:9` refused the connection"), "{error}");
}

#[test]
fn a_configuration_without_brokers_is_refused() {
    let error = Admin::new(AdminConfig::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("bootstrap.servers"), "{error}");
}

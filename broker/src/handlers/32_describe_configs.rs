//! DescribeConfigs, versions 1 to 4: every key of a resource, with its value and where it came from.
//!
//! Tools read all, change some, and write all (AlterConfigs): what is answered here must be complete.
//!
//! - 3: types and documentation (KIP-569).

use ottla_protocol::{
    error_code::ErrorCode,
    messages::describe_configs::{
        DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
        DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
    },
    types::{GroupId, Str, TopicName},
};

use super::{
    Context, RequestContext,
    access::{self, Access},
};
use crate::{
    controller::{ApiError, api_error::code_and_message},
    metadata::{
        effective::{ConfigEntry, Synonym},
        image::{DEFAULT_BROKER, Image, Settings, resource},
    },
};

pub(crate) async fn handle(
    request: DescribeConfigsRequest,
    rq: &RequestContext,
    cx: &Context,
) -> DescribeConfigsResponse {
    let (image, access) = (cx.image.load(), Access::of(rq, cx));
    let describe = |resource: &DescribeConfigsResource| {
        let allowed = check(resource, &access).map_err(ApiError::from);
        let entries = allowed.and_then(|()| entries(resource, &image, cx));
        let (error_code, error_message) = code_and_message(&entries);
        let keys = resource.configuration_keys.as_deref().unwrap_or_default();
        let wanted = |entry: &ConfigEntry| keys.is_empty() || keys.iter().any(|key| *key == entry.name);
        let entries = entries.unwrap_or_default().into_iter().filter(wanted);
        DescribeConfigsResult {
            error_code,
            error_message,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
            configs: entries.map(|entry| describe_entry(entry, &request)).collect(),
        }
    };
    let results = request.resources.iter().map(describe).collect();
    DescribeConfigsResponse { throttle_time_ms: 0, results }
}

fn check(asked: &DescribeConfigsResource, access: &Access<'_>) -> Result<(), ErrorCode> {
    match asked.resource_type {
        resource::TOPIC => access.check(access::DESCRIBE_TOPIC_CONFIGS, &asked.resource_name),
        resource::GROUP => access.check(access::DESCRIBE_GROUP_CONFIGS, &asked.resource_name),
        resource::BROKER | resource::BROKER_LOGGER | resource::CLIENT_METRICS => {
            access.check_cluster(access::DESCRIBE_CONFIGS)
        }
        // There is no such type, as is said to everybody.
        _ => Ok(()),
    }
}

fn entries(
    asked: &DescribeConfigsResource,
    image: &Image,
    cx: &Context,
) -> Result<Vec<ConfigEntry>, ApiError> {
    let name = &asked.resource_name;
    let configs = cx.controller.configs();
    let invalid = |message: String| ApiError::new(ErrorCode::INVALID_REQUEST, message);
    let this_broker = || match &**name == configs.node() {
        true => Ok(()),
        false => Err(invalid(format!("this is broker `{}`, not `{name}`; ask that one", configs.node()))),
    };
    match asked.resource_type {
        resource::TOPIC => {
            let topic = TopicName(name.clone());
            topic.check().map_err(|e| ApiError::new(ErrorCode::INVALID_TOPIC_EXCEPTION, e.to_string()))?;
            if image.topic(&topic).is_none() {
                let message = format!("there is no topic `{topic}`");
                return Err(ApiError::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, message));
            }
            let nothing = Settings::new();
            let own = image.topic_settings(&topic).map_or(&nothing, |own| own);
            Ok(configs.describe_topic(image, own))
        }
        resource::BROKER if &**name == DEFAULT_BROKER => Ok(configs.describe_all_brokers(image)),
        resource::BROKER => this_broker().map(|()| configs.describe_broker(image)),
        // Log levels are set when the broker starts, and are not of Kafka's loggers.
        resource::BROKER_LOGGER => this_broker().map(|()| Vec::new()),
        resource::GROUP | resource::CLIENT_METRICS if name.is_empty() => {
            Err(invalid("the name of the group or of the metrics subscription is empty".to_owned()))
        }
        resource::GROUP => {
            let nothing = Settings::new();
            let own = image.group_settings(&GroupId(name.clone())).map_or(&nothing, |own| own);
            Ok(configs.describe_group(image, own))
        }
        resource::CLIENT_METRICS => Ok(Vec::new()),
        other => Err(invalid(format!("`{other}` is no type of a resource"))),
    }
}

fn describe_entry(entry: ConfigEntry, request: &DescribeConfigsRequest) -> DescribeConfigsResourceResult {
    let synonym = |synonym: Synonym| DescribeConfigsSynonym {
        name: Str::from_static(synonym.name),
        value: synonym.value.map(Str::from),
        source: synonym.source,
    };
    DescribeConfigsResourceResult {
        name: Str::from_static(entry.name),
        read_only: entry.read_only,
        config_source: entry.source(),
        is_sensitive: entry.key.is_sensitive(),
        config_type: entry.type_number(),
        documentation: request.include_documentation.then(|| Str::from(entry.documentation())),
        synonyms: match request.include_synonyms {
            true => entry.synonyms.into_iter().map(synonym).collect(),
            false => Vec::new(),
        },
        value: entry.value.map(Str::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::testing::{Broker, ask, make_topics};

    fn request(resource_type: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsRequest {
        let resource = DescribeConfigsResource {
            resource_type,
            resource_name: name.into(),
            configuration_keys: keys.map(|keys| keys.iter().map(|&key| key.into()).collect()),
        };
        DescribeConfigsRequest {
            resources: vec![resource],
            include_synonyms: true,
            include_documentation: true,
        }
    }

    #[tokio::test]
    async fn a_topics_keys_are_described_in_every_version() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "log.segment.bytes=2000000").await;
        make_topics(&broker, &["a"]).await;
        for version in 1..=4 {
            let mut asked = request(resource::TOPIC, "a", None);
            asked.include_documentation = version >= 3;
            let answer = ask!(broker, version, asked);
            let configs = &answer.results[0].configs;
            let segment = configs.iter().find(|config| config.name == "segment.bytes").unwrap();
            assert_eq!((segment.value.as_deref(), segment.config_source), (Some("2000000"), 4));
            assert_eq!(segment.synonyms[0].name, "log.segment.bytes");
            if version >= 3 {
                assert_eq!(segment.config_type, 3);
                assert!(segment.documentation.as_ref().is_some_and(|text| !text.is_empty()));
            }
        }
    }

    #[tokio::test]
    async fn a_groups_keys_are_described_whether_or_not_there_is_such_a_group() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "group.consumer.session.timeout.ms=46000").await;
        let answer = ask!(broker, 4, request(resource::GROUP, "g", Some(&["consumer.session.timeout.ms"])));
        let config = &answer.results[0].configs[0];
        assert_eq!(
            (config.value.as_deref(), config.config_source, config.read_only),
            (Some("46000"), 4, false)
        );
        assert_eq!(config.synonyms[0].name, "group.consumer.session.timeout.ms");
        assert_eq!(ask!(broker, 4, request(resource::GROUP, "g", None)).results[0].configs.len(), 27);
    }

    #[tokio::test]
    async fn only_the_keys_that_were_named_are_answered() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "").await;
        let count =
            async |keys| ask!(broker, 4, request(resource::BROKER, "1", keys)).results[0].configs.len();
        assert_eq!(count(Some(&["node.id", "no.such.key"])).await, 1);
        assert_eq!(count(Some(&["broker.id"])).await, 1, "Kafka tells the id under both names");
        assert!(count(None).await > 300);
        assert_eq!(count(Some(&[])).await, count(None).await, "as Kafka has it");
    }

    #[tokio::test]
    async fn passwords_are_never_told() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "ssl.key.password=s3cret").await;
        let answer = ask!(broker, 4, request(resource::BROKER, "1", Some(&["ssl.key.password"])));
        let config = &answer.results[0].configs[0];
        assert!(config.is_sensitive);
        assert!(!format!("{answer:?}").contains("s3cret"));
        assert_eq!((&config.value, config.config_source), (&None, 4));
    }

    #[tokio::test]
    async fn what_cannot_be_described_is_refused_by_kafkas_codes() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "").await;
        let code = async |kind, name| ask!(broker, 4, request(kind, name, None)).results[0].error_code;
        use ErrorCode as E;
        assert_eq!(code(resource::TOPIC, "a").await, E::UNKNOWN_TOPIC_OR_PARTITION);
        assert_eq!(code(resource::TOPIC, "a/b").await, E::INVALID_TOPIC_EXCEPTION);
        assert_eq!(code(resource::BROKER, "2").await, E::INVALID_REQUEST);
        assert_eq!(code(resource::BROKER, "x").await, E::INVALID_REQUEST);
        assert_eq!(code(resource::BROKER_LOGGER, "").await, E::INVALID_REQUEST);
        assert_eq!(code(resource::GROUP, "").await, E::INVALID_REQUEST);
        assert_eq!(code(3, "a").await, E::INVALID_REQUEST);
        let empty = [(resource::BROKER, ""), (resource::BROKER_LOGGER, "1"), (resource::CLIENT_METRICS, "m")];
        for (kind, name) in empty {
            let answer = ask!(broker, 4, request(kind, name, None));
            assert_eq!((answer.results[0].error_code, answer.results[0].configs.len()), (E::NONE, 0));
        }
    }
}

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
    types::{Str, TopicName},
};

use super::{Context, RequestContext};
use crate::{
    controller::{
        ApiError,
        api_error::code_and_message,
        effective::{ConfigEntry, Synonym},
    },
    metadata::image::{DEFAULT_BROKER, Image, Settings, resource},
};

pub(crate) async fn handle(
    request: DescribeConfigsRequest,
    _rq: &RequestContext,
    cx: &Context,
) -> DescribeConfigsResponse {
    let image = cx.image.load();
    let describe = |resource: &DescribeConfigsResource| {
        let entries = entries(resource, &image, cx);
        let (error_code, error_message) = code_and_message(&entries);
        let keys = resource.configuration_keys.as_deref().unwrap_or_default();
        let wanted = |entry: &ConfigEntry| keys.is_empty() || keys.iter().any(|key| *key == entry.key.name);
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
        resource::GROUP | resource::CLIENT_METRICS => Ok(Vec::new()),
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
        name: Str::from_static(entry.key.name),
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

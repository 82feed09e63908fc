//! `ottla topic`: create, list, describe, alter, delete.

use std::io::{self, Write};

use clap::Subcommand;
use ottla::{
    Admin, BrokerId, ConfigResource, ConfigSource, NewTopic, OffsetSpec, TopicDescription, TopicPartition,
    config::AdminConfig,
};
use serde_json::{Value, json};

use crate::{
    client::{self, ClientArgs},
    configs::{self, first, key_value},
    storage,
};

/// Create, list, describe, alter and delete topics.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    client: ClientArgs,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Verb {
    /// Create a topic.
    Create {
        /// Its name.
        topic: String,
        /// How many partitions; the broker's `num.partitions` without it.
        #[arg(long, short)]
        partitions: Option<i32>,
        /// How many replicas each; the broker's `default.replication.factor` without it.
        #[arg(long, short)]
        replication_factor: Option<i16>,
        /// A key of its configuration; may be given more than once.
        #[arg(long, short = 'C', value_name = "KEY=VALUE")]
        topic_config: Vec<String>,
        /// Succeed if it is there already.
        #[arg(long)]
        if_not_exists: bool,
    },
    /// List all topics.
    List,
    /// Show partitions, leaders, offsets and configuration.
    Describe {
        /// Their names.
        #[arg(required = true)]
        topics: Vec<String>,
        /// Show what each replica takes on its broker's disk, instead.
        #[arg(long)]
        storage: bool,
    },
    /// Add partitions, or change the configuration.
    Alter {
        /// Its name.
        topic: String,
        /// How many partitions it is to have.
        #[arg(long, short)]
        partitions: Option<i32>,
        /// Set a key of its configuration; may be given more than once.
        #[arg(long, value_name = "KEY=VALUE")]
        add_config: Vec<String>,
        /// Take a key back to what holds without it; may be given more than once.
        #[arg(long, value_name = "KEY")]
        delete_config: Vec<String>,
    },
    /// Delete topics, with all that is in them.
    Delete {
        /// Their names.
        #[arg(required = true)]
        topics: Vec<String>,
    },
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    client::run(async {
        let (config, _) = AdminConfig::from_settings(&args.client.settings(&[]))?;
        let admin = Admin::new(config)?;
        match &args.verb {
            Verb::Create { topic, partitions, replication_factor, topic_config, if_not_exists } => {
                let topic = NewTopic {
                    name: topic.clone(),
                    partitions: *partitions,
                    replication_factor: *replication_factor,
                    configs: topic_config.iter().map(|pair| key_value(pair)).collect::<Result<_, _>>()?,
                    ..NewTopic::default()
                };
                create(&admin, topic, *if_not_exists, args.json).await
            }
            Verb::List => list(&admin, args.json).await,
            Verb::Describe { topics, storage: true } => storage::describe(&admin, topics, args.json).await,
            Verb::Describe { topics, storage: false } => describe(&admin, topics, args.json).await,
            Verb::Alter { topic, partitions, add_config, delete_config } => {
                if let Some(partitions) = partitions {
                    first(admin.create_partitions([(topic, *partitions)], false).await?)?;
                }
                let resource = ConfigResource::Topic(topic.clone());
                configs::alter(&admin, resource, add_config, delete_config).await
            }
            Verb::Delete { topics } => {
                for (_, result) in admin.delete_topics(topics).await? {
                    result?;
                }
                Ok(())
            }
        }
    })
}

async fn create(admin: &Admin, topic: NewTopic, if_not_exists: bool, json: bool) -> anyhow::Result<()> {
    let name = topic.name.clone();
    let created = match admin.create_topic(topic).await {
        Err(error)
            if if_not_exists
                && error.kind() == ottla::ErrorKind::Broker(ottla::ErrorCode::TOPIC_ALREADY_EXISTS) =>
        {
            return Ok(());
        }
        other => other?,
    };
    let mut out = io::stdout().lock();
    if json {
        writeln!(
            out,
            "{}",
            json!({ "topic": name, "id": created.id.to_string(), "partitions": created.partitions })
        )?;
    } else {
        let partitions = created.partitions.map_or(String::new(), |n| format!(" with {n} partitions"));
        writeln!(out, "created {name}{partitions}")?;
    }
    Ok(())
}

async fn list(admin: &Admin, json: bool) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    for topic in admin.list_topics().await? {
        if json {
            let fields =
                json!({ "topic": &*topic.name, "id": topic.id.to_string(), "partitions": topic.partitions });
            writeln!(out, "{fields}")?;
        } else {
            writeln!(out, "{}", topic.name)?;
        }
    }
    Ok(())
}

async fn describe(admin: &Admin, topics: &[String], json: bool) -> anyhow::Result<()> {
    for (_, described) in admin.describe_topics(topics).await? {
        let topic = described?;
        let offsets = offsets(admin, &topic).await?;
        let resource = ConfigResource::Topic(topic.name.to_string());
        let configs = configs::set(admin, resource, ConfigSource::Topic).await?;
        let mut out = io::stdout().lock();
        if json {
            let partitions: Vec<Value> = topic.partitions.iter().zip(&offsets).map(partition_json).collect();
            let configs: serde_json::Map<String, Value> =
                configs.into_iter().map(|(k, v)| (k, Value::from(v))).collect();
            let fields = json!({
                "topic": &*topic.name,
                "id": topic.id.to_string(),
                "configs": configs,
                "partitions": partitions,
            });
            writeln!(out, "{fields}")?;
            continue;
        }
        writeln!(out, "{}  id {}  {} partitions", topic.name, topic.id, topic.partitions.len())?;
        for (key, value) in configs {
            writeln!(out, "  {key} = {value}")?;
        }
        writeln!(
            out,
            "  {:>9}  {:>6}  {:>12}  {:>12}  replicas  in sync",
            "partition", "leader", "first", "next"
        )?;
        for (partition, (start, end)) in topic.partitions.iter().zip(&offsets) {
            let leader = partition.leader.map_or("none".to_owned(), |id| id.to_string());
            writeln!(
                out,
                "  {:>9}  {leader:>6}  {start:>12}  {end:>12}  {:8}  {}",
                partition.partition,
                ids(&partition.replicas),
                ids(&partition.in_sync)
            )?;
        }
    }
    Ok(())
}

/// First and next offset of each partition; -1 where it has no leader to ask.
pub(crate) async fn offsets(admin: &Admin, topic: &TopicDescription) -> anyhow::Result<Vec<(i64, i64)>> {
    let ask = |spec| {
        let partitions = topic.partitions.iter();
        admin.list_offsets(
            partitions
                .map(move |p| (TopicPartition::new(topic.name.clone(), p.partition), spec))
                .collect::<Vec<_>>(),
        )
    };
    let offset = |(_, listed): (TopicPartition, ottla::Result<ottla::ListedOffset>)| {
        listed.ok().and_then(|l| l.offset).unwrap_or(-1)
    };
    let starts = ask(OffsetSpec::Earliest).await?.into_iter().map(offset);
    let ends: Vec<i64> = ask(OffsetSpec::Latest).await?.into_iter().map(offset).collect();
    Ok(starts.zip(ends).collect())
}

fn partition_json((partition, (start, end)): (&ottla::PartitionDescription, &(i64, i64))) -> Value {
    let numbers = |ids: &[BrokerId]| ids.iter().map(|id| id.0).collect::<Vec<_>>();
    json!({
        "partition": partition.partition,
        "leader": partition.leader.map(|id| id.0),
        "leader_epoch": partition.leader_epoch,
        "replicas": numbers(&partition.replicas),
        "in_sync": numbers(&partition.in_sync),
        "first_offset": start,
        "next_offset": end,
    })
}

fn ids(ids: &[BrokerId]) -> String {
    ids.iter().map(BrokerId::to_string).collect::<Vec<_>>().join(",")
}

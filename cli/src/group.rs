//! `ottla group`: list, describe, lag, members, alter, reset-offsets, delete.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use clap::Subcommand;
use ottla::{
    Admin, ConfigResource, ConfigSource, ErrorCode, ErrorKind, GroupDescription, GroupMember, OffsetSpec,
    TopicPartition, config::AdminConfig,
};
use serde_json::{Value, json};

use crate::{
    client::{self, ClientArgs},
    configs, reset_offsets,
    table::{self, cell},
};

/// List, describe, configure, move and delete consumer groups.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    client: ClientArgs,
    /// Print JSON, an object a line.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Verb {
    /// List all groups.
    List {
        /// Only those in this state, as `Stable` or `Empty`; may be given more than once.
        #[arg(long)]
        state: Vec<String>,
        /// Only those of this type: `classic`, `consumer`, `share` or `streams`; may be given more than once.
        #[arg(long = "type", value_name = "TYPE")]
        group_type: Vec<String>,
    },
    /// Show state, coordinator, members and how far behind the group is in all.
    Describe {
        /// Their names.
        #[arg(required = true)]
        groups: Vec<String>,
    },
    /// Show for each partition how far it was read, and how much is left.
    Lag {
        /// Their names.
        #[arg(required = true)]
        groups: Vec<String>,
    },
    /// Show the members and the partitions they have.
    Members {
        /// Their names.
        #[arg(required = true)]
        groups: Vec<String>,
    },
    /// Change the configuration of a group, whether or not it is there yet.
    Alter {
        /// Its name.
        group: String,
        /// Set a key of its configuration; may be given more than once.
        #[arg(long, value_name = "KEY=VALUE")]
        add_config: Vec<String>,
        /// Take a key back to what holds without it; may be given more than once.
        #[arg(long, value_name = "KEY")]
        delete_config: Vec<String>,
    },
    /// Move a group without members to other offsets; only shows what it would do without `--execute`.
    ResetOffsets(reset_offsets::Args),
    /// Delete groups without members, with their offsets.
    Delete {
        /// Their names.
        #[arg(required = true)]
        groups: Vec<String>,
    },
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    client::run(async {
        let (config, _) = AdminConfig::from_settings(&args.client.settings(&[]))?;
        let admin = Admin::new(config)?;
        match &args.verb {
            Verb::List { state, group_type } => list(&admin, state, group_type, args.json).await,
            Verb::Describe { groups } => describe(&admin, groups, args.json).await,
            Verb::Lag { groups } => lag(&admin, groups, args.json).await,
            Verb::Members { groups } => members(&admin, groups, args.json).await,
            Verb::Alter { group, add_config, delete_config } => {
                let resource = ConfigResource::Group(group.clone());
                configs::alter(&admin, resource, add_config, delete_config).await
            }
            Verb::ResetOffsets(reset) => reset_offsets::run(&admin, reset, args.json).await,
            Verb::Delete { groups } => {
                for (_, result) in admin.delete_groups(groups).await? {
                    result?;
                }
                Ok(())
            }
        }
    })
}

async fn list(admin: &Admin, states: &[String], types: &[String], json: bool) -> anyhow::Result<()> {
    let wanted = |name: &str, among: &[String]| {
        among.is_empty() || among.iter().any(|wanted| wanted.eq_ignore_ascii_case(name))
    };
    let mut rows = Vec::new();
    let mut out = io::stdout().lock();
    for group in admin.list_groups().await? {
        let state = cell(group.state);
        let group_type = cell(group.group_type);
        if !wanted(&state, states) || !wanted(&group_type, types) {
            continue;
        }
        if json {
            let fields = json!({
                "group": group.group_id,
                "state": group.state.map(|state| state.name()),
                "type": group.group_type.map(|kind| kind.name()),
                "protocol_type": group.protocol_type,
            });
            writeln!(out, "{fields}")?;
        } else {
            rows.push([group.group_id, state, group_type, group.protocol_type]);
        }
    }
    table::print(&mut out, ["group", "state", "type", "protocol"], &rows)?;
    Ok(())
}

async fn describe(admin: &Admin, groups: &[String], json: bool) -> anyhow::Result<()> {
    for (name, described) in admin.describe_groups(groups).await? {
        let group = described?;
        let partitions = progress(admin, &group).await?;
        let left: i64 = partitions.iter().filter_map(Progress::lag).sum();
        let configs = configured(admin, &name).await?;
        let mut out = io::stdout().lock();
        if json {
            let configs: serde_json::Map<String, Value> =
                configs.into_iter().map(|(key, value)| (key, Value::from(value))).collect();
            let fields = json!({
                "group": name,
                "configs": configs,
                "type": group.group_type.name(),
                "state": group.state.name(),
                "assignor": group.assignor,
                "coordinator": group.coordinator.0,
                "epoch": group.group_epoch,
                "members": group.members.len(),
                "partitions": partitions.len(),
                "lag": left,
            });
            writeln!(out, "{fields}")?;
            continue;
        }
        writeln!(out, "{name}  {}  {}", group.group_type, group.state)?;
        writeln!(out, "  coordinator  broker {}", group.coordinator)?;
        if !group.assignor.is_empty() {
            writeln!(out, "  assignor     {}", group.assignor)?;
        }
        if let Some(epoch) = group.group_epoch {
            writeln!(out, "  epoch        {epoch}")?;
        }
        writeln!(out, "  members      {}", group.members.len())?;
        writeln!(out, "  partitions   {}", partitions.len())?;
        writeln!(out, "  lag          {left}")?;
        for (key, value) in configs {
            writeln!(out, "  {key} = {value}")?;
        }
    }
    Ok(())
}

/// What was set for the group; nothing where the broker knows of no such thing, or does not tell.
async fn configured(admin: &Admin, group: &str) -> anyhow::Result<Vec<(String, String)>> {
    let set = configs::set(admin, ConfigResource::Group(group.to_owned()), ConfigSource::Group).await;
    set.or_else(|error| match error.downcast_ref::<ottla::Error>().map(ottla::Error::kind) {
        // Kafka before 3.8.
        Some(ErrorKind::Broker(ErrorCode::INVALID_REQUEST | ErrorCode::GROUP_AUTHORIZATION_FAILED)) => {
            Ok(Vec::new())
        }
        _ => Err(error),
    })
}

/// How far a group has come with a partition.
struct Progress<'a> {
    partition: TopicPartition,
    committed: Option<i64>,
    /// Where the next record goes; `None` where that cannot be found out.
    end: Option<i64>,
    owner: Option<&'a GroupMember>,
}

impl Progress<'_> {
    /// Records left to read, as far as that is known.
    fn lag(&self) -> Option<i64> {
        Some((self.end? - self.committed?).max(0))
    }
}

/// All partitions that the group has committed offsets of, or that a member has.
async fn progress<'a>(admin: &Admin, group: &'a GroupDescription) -> anyhow::Result<Vec<Progress<'a>>> {
    let mut partitions: BTreeMap<TopicPartition, (Option<i64>, Option<&GroupMember>)> = BTreeMap::new();
    for (_, offsets) in admin.list_group_offsets([&group.group_id]).await? {
        partitions.extend(offsets?.into_iter().map(|(tp, committed)| (tp, (Some(committed.offset), None))));
    }
    for member in &group.members {
        for tp in &member.assignment {
            partitions.entry(tp.clone()).or_default().1 = Some(member);
        }
    }
    let ends = admin.list_offsets(partitions.keys().map(|tp| (tp.clone(), OffsetSpec::Latest))).await?;
    let each = partitions.into_iter().zip(ends);
    Ok(each
        .map(|((partition, (committed, owner)), (_, end))| Progress {
            partition,
            committed,
            end: end.ok().and_then(|listed| listed.offset),
            owner,
        })
        .collect())
}

async fn lag(admin: &Admin, groups: &[String], json: bool) -> anyhow::Result<()> {
    for (name, described) in admin.describe_groups(groups).await? {
        let group = described?;
        let partitions = progress(admin, &group).await?;
        let mut out = io::stdout().lock();
        if json {
            for it in &partitions {
                let fields = json!({
                    "group": name,
                    "topic": &*it.partition.topic,
                    "partition": it.partition.partition,
                    "committed": it.committed,
                    "end": it.end,
                    "lag": it.lag(),
                    "member": it.owner.map(|member| &member.member_id),
                });
                writeln!(out, "{fields}")?;
            }
            continue;
        }
        let left: i64 = partitions.iter().filter_map(Progress::lag).sum();
        writeln!(out, "{name}  {}  lag {left}", group.state)?;
        let row = |it: &Progress<'_>| {
            [
                it.partition.topic.to_string(),
                it.partition.partition.to_string(),
                cell(it.committed),
                cell(it.end),
                cell(it.lag()),
                cell(it.owner.map(|member| &member.member_id)),
            ]
        };
        let rows: Vec<_> = partitions.iter().map(row).collect();
        table::print(&mut out, ["topic", "partition", "committed", "end", "lag", "member"], &rows)?;
    }
    Ok(())
}

async fn members(admin: &Admin, groups: &[String], json: bool) -> anyhow::Result<()> {
    for (name, described) in admin.describe_groups(groups).await? {
        let group = described?;
        let mut out = io::stdout().lock();
        if json {
            for member in &group.members {
                let partitions = |list: &Vec<TopicPartition>| {
                    let fields =
                        |tp: &TopicPartition| json!({ "topic": &*tp.topic, "partition": tp.partition });
                    list.iter().map(fields).collect::<Vec<Value>>()
                };
                let fields = json!({
                    "group": name,
                    "member": member.member_id,
                    "instance": member.group_instance_id,
                    "client": member.client_id,
                    "host": member.host,
                    "epoch": member.member_epoch,
                    "assignment": partitions(&member.assignment),
                    "target": member.target_assignment.as_ref().map(partitions),
                });
                writeln!(out, "{fields}")?;
            }
            continue;
        }
        writeln!(out, "{name}  {}  {} members", group.state, group.members.len())?;
        let row = |member: &GroupMember| {
            [
                member.member_id.clone(),
                cell(member.group_instance_id.as_ref()),
                member.client_id.clone(),
                member.host.clone(),
                by_topic(&member.assignment),
            ]
        };
        let rows: Vec<_> = group.members.iter().map(row).collect();
        table::print(&mut out, ["member", "instance", "client", "host", "partitions"], &rows)?;
    }
    Ok(())
}

/// `orders:0,1 payments:3`
fn by_topic(partitions: &[TopicPartition]) -> String {
    let mut topics: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for tp in partitions {
        topics.entry(&tp.topic).or_default().push(tp.partition.to_string());
    }
    let topic = |(name, partitions): (&str, Vec<String>)| format!("{name}:{}", partitions.join(","));
    topics.into_iter().map(topic).collect::<Vec<_>>().join(" ")
}

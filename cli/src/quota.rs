//! `ottla quota`: list, set, remove. The names of flags and quotas are those of `kafka-configs`.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use anyhow::ensure;
use clap::Subcommand;
use ottla::{Admin, AlterQuota, QuotaEntity, QuotaFilter, QuotaName, QuotaNameFilter, config::AdminConfig};
use serde_json::json;

use crate::{
    client::{self, ClientArgs},
    table,
};

/// All quotas that Kafka knows of, and whether they are for addresses.
const QUOTAS: [(&str, bool); 5] = [
    (AlterQuota::PRODUCER_BYTE_RATE, false),
    (AlterQuota::CONSUMER_BYTE_RATE, false),
    (AlterQuota::REQUEST_PERCENTAGE, false),
    (AlterQuota::CONTROLLER_MUTATION_RATE, false),
    (AlterQuota::CONNECTION_CREATION_RATE, true),
];

/// List, set and remove quotas: how much users, clients and addresses may take.
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
    /// List quotas: all of them, or those of a user, a client id or an address, alone or with others.
    List {
        #[command(flatten)]
        whom: Whom,
    },
    /// Set quotas of a user, a client id, a user's client id, or an address. They hold at once, for connections that there are.
    ///
    /// Every broker counts for itself: `producer_byte_rate` and `consumer_byte_rate` in bytes a second; `request_percentage`, percent of
    /// the time of one thread; `controller_mutation_rate`, partitions a second that are made or deleted; and of an address,
    /// `connection_creation_rate`, connections a second.
    Set {
        #[command(flatten)]
        whom: Whom,
        /// What to set, as `producer_byte_rate=1048576`.
        #[arg(required = true, value_name = "QUOTA=VALUE", value_parser = setting)]
        quotas: Vec<(String, f64)>,
    },
    /// Remove quotas; without names, all that are set for whom is named.
    Remove {
        #[command(flatten)]
        whom: Whom,
        /// Which, as `producer_byte_rate`.
        #[arg(value_name = "QUOTA", value_parser = quota)]
        quotas: Vec<String>,
    },
}

#[derive(clap::Args)]
struct Whom {
    /// The user.
    #[arg(long, value_name = "USER", value_parser = name)]
    user: Option<String>,
    /// Each user that has no quota of its own.
    #[arg(long, conflicts_with = "user")]
    user_defaults: bool,
    /// The client id; with a user, that user's.
    #[arg(long, value_name = "CLIENT_ID", value_parser = name)]
    client: Option<String>,
    /// Each client id that has no quota of its own.
    #[arg(long, conflicts_with = "client")]
    client_defaults: bool,
    /// The IP address.
    #[arg(long, value_name = "ADDRESS", value_parser = address,
          conflicts_with_all = ["user", "user_defaults", "client", "client_defaults"])]
    ip: Option<String>,
    /// Each address that has no quota of its own.
    #[arg(long, conflicts_with_all = ["ip", "user", "user_defaults", "client", "client_defaults"])]
    ip_defaults: bool,
}

impl Whom {
    fn entity(&self) -> QuotaEntity {
        let part = |name: &Option<String>, is_default: bool| match name {
            Some(name) => Some(QuotaName::Named(name.clone())),
            None => is_default.then_some(QuotaName::Default),
        };
        QuotaEntity {
            user: part(&self.user, self.user_defaults),
            client_id: part(&self.client, self.client_defaults),
            ip: part(&self.ip, self.ip_defaults),
        }
    }

    /// The one that quotas are changed of.
    fn named(&self) -> anyhow::Result<QuotaEntity> {
        let entity = self.entity();
        ensure!(
            entity != QuotaEntity::default(),
            "say whose quotas, by `--user`, `--client`, `--ip`, or `--user-defaults`, `--client-defaults`, `--ip-defaults`"
        );
        Ok(entity)
    }
}

fn name(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("the name is empty".to_owned()) } else { Ok(text.to_owned()) }
}

fn address(text: &str) -> Result<String, String> {
    match text.parse::<std::net::IpAddr>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("a quota knows addresses, and no names".to_owned()),
    }
}

fn quota(text: &str) -> Result<String, String> {
    match QUOTAS.iter().any(|(name, _)| *name == text) {
        true => Ok(text.to_owned()),
        false => {
            let all: Vec<_> = QUOTAS.iter().map(|(name, _)| format!("`{name}`")).collect();
            Err(format!("there are {}", all.join(", ")))
        }
    }
}

fn setting(text: &str) -> Result<(String, f64), String> {
    let (name, value) = text.split_once('=').ok_or("write it as `producer_byte_rate=1048576`")?;
    let value = value.parse::<f64>().ok().filter(|value| value.is_finite() && *value > 0.0);
    Ok((quota(name)?, value.ok_or("the value must be a number above 0")?))
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    // What is wrong with the command is said before there is a connection.
    let entity = match &args.verb {
        Verb::List { whom } => whom.entity(),
        Verb::Set { whom, quotas } => {
            let entity = whom.named()?;
            for (name, _) in quotas {
                let is_of_addresses = QUOTAS.contains(&(name.as_str(), true));
                ensure!(
                    is_of_addresses == entity.ip.is_some(),
                    "`{name}` is for {}",
                    if is_of_addresses { "addresses: name one by `--ip`" } else { "users and clients" }
                );
            }
            entity
        }
        Verb::Remove { whom, .. } => whom.named()?,
    };
    client::run(async {
        let (config, _) = AdminConfig::from_settings(&args.client.settings(&[]))?;
        let admin = Admin::new(config)?;
        match &args.verb {
            Verb::List { .. } => list(&admin, entity, args.json).await,
            Verb::Set { quotas, .. } => set(&admin, entity, quotas, args.json).await,
            Verb::Remove { quotas, .. } => remove(&admin, entity, quotas, args.json).await,
        }
    })
}

type Quotas = Vec<(QuotaEntity, BTreeMap<String, f64>)>;

async fn list(admin: &Admin, entity: QuotaEntity, json: bool) -> anyhow::Result<()> {
    let only = |name: Option<QuotaName>| name.map(QuotaNameFilter::Only);
    let QuotaEntity { user, client_id, ip } = entity;
    let filter = QuotaFilter { user: only(user), client_id: only(client_id), ip: only(ip), strict: false };
    print(&admin.describe_client_quotas(filter).await?, json)
}

async fn set(admin: &Admin, entity: QuotaEntity, quotas: &[(String, f64)], json: bool) -> anyhow::Result<()> {
    let alteration =
        quotas.iter().fold(AlterQuota::of(entity.clone()), |it, (name, value)| it.set(name, *value));
    alter(admin, alteration).await?;
    print(&admin.describe_client_quotas(QuotaFilter::only(entity)).await?, json)
}

async fn remove(admin: &Admin, entity: QuotaEntity, quotas: &[String], json: bool) -> anyhow::Result<()> {
    let mut there = admin.describe_client_quotas(QuotaFilter::only(entity.clone())).await?;
    for (_, values) in &mut there {
        values.retain(|name, _| quotas.is_empty() || quotas.contains(name));
    }
    let names: Vec<_> = there.iter().flat_map(|(_, values)| values.keys().cloned()).collect();
    ensure!(!names.is_empty(), "there is no such quota; `ottla quota list` shows which there are");
    alter(admin, names.into_iter().fold(AlterQuota::of(entity), |it, name| it.remove(name))).await?;
    print(&there, json)
}

async fn alter(admin: &Admin, alteration: AlterQuota) -> anyhow::Result<()> {
    for (_, outcome) in admin.alter_client_quotas([alteration], false).await? {
        outcome?;
    }
    Ok(())
}

fn print(quotas: &Quotas, json: bool) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let mut rows = Vec::new();
    for (entity, values) in quotas {
        if json {
            let mut fields = serde_json::Map::new();
            for (kind, name) in [("user", &entity.user), ("clientId", &entity.client_id), ("ip", &entity.ip)]
            {
                // The default has no name.
                match name {
                    Some(QuotaName::Named(name)) => _ = fields.insert(kind.to_owned(), json!(name)),
                    Some(QuotaName::Default) => _ = fields.insert(kind.to_owned(), json!(null)),
                    None => {}
                }
            }
            fields.insert("quotas".to_owned(), json!(values));
            writeln!(out, "{}", serde_json::Value::Object(fields))?;
        } else {
            let cell =
                |name: &Option<QuotaName>| name.as_ref().map_or(table::NONE.to_owned(), ToString::to_string);
            rows.extend(values.iter().map(|(name, value)| {
                [
                    cell(&entity.user),
                    cell(&entity.client_id),
                    cell(&entity.ip),
                    name.escape_debug().to_string(),
                    value.to_string(),
                ]
            }));
        }
    }
    table::print(&mut out, ["user", "client", "ip", "quota", "value"], &rows)?;
    Ok(())
}

//! `ottla user`: list, add, remove.

use std::{
    fs,
    io::{self, BufRead, IsTerminal, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use clap::{Subcommand, ValueEnum};
use ottla::{Admin, AlterScramUser, ScramMechanism, config::AdminConfig};
use ottla_config::Secret;
use serde_json::json;

use crate::{
    client::{self, ClientArgs},
    table,
};

/// List, add and remove users that log in by SCRAM.
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
    /// List all users, with the mechanisms by which they may log in.
    List,
    /// Let a user log in, or give one another password.
    ///
    /// The password is the first line of the standard input, or of a file. The brokers learn what SCRAM needs to check it, and
    /// not the password.
    Add {
        /// The user's name.
        user: String,
        /// How the user logs in.
        #[arg(long, value_enum, default_value_t = Mechanism::Sha512)]
        mechanism: Mechanism,
        /// The file whose first line is the password.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// Rounds of hashing, 4096 to 16384.
        #[arg(long, default_value_t = 4096)]
        iterations: u32,
    },
    /// Let users no longer log in. Connections that they have stay, unless `connections.max.reauth.ms` ends them.
    Remove {
        /// Their names.
        #[arg(required = true)]
        users: Vec<String>,
        /// Only by this mechanism; without it, by all.
        #[arg(long, value_enum)]
        mechanism: Option<Mechanism>,
    },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Mechanism {
    #[value(name = "SCRAM-SHA-512", alias = "scram-sha-512")]
    Sha512,
    #[value(name = "SCRAM-SHA-256", alias = "scram-sha-256")]
    Sha256,
}

impl From<Mechanism> for ScramMechanism {
    fn from(mechanism: Mechanism) -> Self {
        match mechanism {
            Mechanism::Sha512 => Self::Sha512,
            Mechanism::Sha256 => Self::Sha256,
        }
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    // Asked for before there is a connection that would have to wait.
    let password = match &args.verb {
        Verb::Add { user, password_file, .. } => Some(password(user, password_file.as_deref())?),
        _ => None,
    };
    client::run(async {
        let (config, _) = AdminConfig::from_settings(&args.client.settings(&[]))?;
        let admin = Admin::new(config)?;
        match (&args.verb, password) {
            (Verb::Add { user, mechanism, iterations, .. }, Some(password)) => {
                let set = AlterScramUser::Set {
                    user: user.clone(),
                    mechanism: (*mechanism).into(),
                    password,
                    iterations: Some(*iterations),
                };
                alter(&admin, vec![set]).await
            }
            (Verb::Remove { users, mechanism }, _) => remove(&admin, users, *mechanism).await,
            _ => list(&admin, args.json).await,
        }
    })
}

async fn list(admin: &Admin, json: bool) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let mut rows = Vec::new();
    for (user, credentials) in admin.describe_scram_users([""; 0]).await? {
        for credential in credentials? {
            let (mechanism, iterations) = (credential.mechanism.name(), credential.iterations);
            if json {
                let fields = json!({ "user": user, "mechanism": mechanism, "iterations": iterations });
                writeln!(out, "{fields}")?;
            } else {
                rows.push([user.escape_debug().to_string(), mechanism.to_owned(), iterations.to_string()]);
            }
        }
    }
    table::print(&mut out, ["user", "mechanism", "iterations"], &rows)?;
    Ok(())
}

async fn remove(admin: &Admin, users: &[String], mechanism: Option<Mechanism>) -> anyhow::Result<()> {
    let mut removals = Vec::new();
    for (user, credentials) in admin.describe_scram_users(users).await? {
        let credentials = credentials?;
        let wanted = |it: &ScramMechanism| mechanism.is_none_or(|only| ScramMechanism::from(only) == *it);
        let mechanisms: Vec<_> = credentials.iter().map(|it| it.mechanism).filter(wanted).collect();
        ensure!(!mechanisms.is_empty(), "`{user}` does not log in by that mechanism");
        removals.push(
            mechanisms
                .into_iter()
                .map(|mechanism| AlterScramUser::Remove { user: user.clone(), mechanism })
                .collect::<Vec<_>>(),
        );
    }
    // A request names each user once.
    while removals.iter().any(|of_one| !of_one.is_empty()) {
        alter(admin, removals.iter_mut().filter_map(Vec::pop).collect()).await?;
    }
    Ok(())
}

async fn alter(admin: &Admin, alterations: Vec<AlterScramUser>) -> anyhow::Result<()> {
    for (_, outcome) in admin.alter_scram_users(alterations).await? {
        outcome?;
    }
    Ok(())
}

/// The first line of a file, or of the standard input.
fn password(user: &str, file: Option<&Path>) -> anyhow::Result<Secret> {
    let line = match file {
        Some(file) => {
            let text = fs::read_to_string(file).with_context(|| format!("reading `{}`", file.display()))?;
            text.lines().next().unwrap_or_default().to_owned()
        }
        None => {
            let stdin = io::stdin();
            if stdin.is_terminal() {
                bail!(
                    "the password of `{user}` would be shown as it is typed; give it by a pipe, or in `--password-file`"
                );
            }
            let mut line = String::new();
            stdin.lock().read_line(&mut line).context("reading the password")?;
            line.trim_end_matches(['\n', '\r']).to_owned()
        }
    };
    ensure!(
        !line.is_empty(),
        "the password of `{user}` is empty; give it by a pipe, or in `--password-file`"
    );
    Ok(Secret::new(line))
}

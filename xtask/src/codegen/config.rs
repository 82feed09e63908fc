//! Configuration tables into Rust statics, typed structs and the reference pages.
//!
//! | table | makes |
//! |---|---|
//! | `core/config/security.table` | `core/config/src/security.rs`: the keys that clients and broker share |
//! | `core/src/config.table` | `core/src/config.rs`, `docs/guide/client-configuration.md`, `node/src/config.ts`, Java's `ProducerConfig` and its kin, .NET's `ProducerOptions` and its kin |
//! | `broker/src/config.table`, `topic.table`, `group.table` | `broker/src/config.rs` and a page for each |

mod dotnet;
mod java;
mod node;
mod pages;
mod rust;
mod table;

use super::files::Files;
use table::Tables;

const SECURITY: &str = "core/config/security.table";
const CLIENT: &str = "core/src/config.table";
const BROKER: &str = "broker/src/config.table";
const TOPIC: &str = "broker/src/topic.table";
const GROUP: &str = "broker/src/group.table";

/// Adds all that is generated from the configuration tables.
pub fn generate(files: &mut Files) -> anyhow::Result<()> {
    let security = Tables::read(SECURITY)?;
    let client = Tables::read(CLIENT)?;
    let broker = Tables::read(BROKER)?;
    let topic = Tables::read(TOPIC)?;
    let group = Tables::read(GROUP)?;

    files.add_rust("core/config/src/security.rs", &rust::shared(&security, SECURITY))?;
    let clients = [rust::PRODUCER, rust::CONSUMER, rust::ADMIN];
    files.add_rust("core/src/config.rs", &rust::client(&client, &security, &clients, CLIENT)?)?;
    let all = broker.clone().and(topic.clone()).and(group.clone());
    let owners = [rust::BROKER, rust::TOPIC, rust::GROUP];
    files.add_rust("broker/src/config.rs", &rust::broker(&all, &security, &owners)?)?;

    let client = client.and(security.clone());
    let broker = broker.and(security);
    java::generate(files, &client);
    dotnet::generate(files, &client);
    files.add("docs/guide/client-configuration.md", pages::client(&client)?);
    files.add("node/src/config.ts", node::client(&client));
    files.add("docs/guide/broker-configuration.md", pages::broker(&broker));
    files.add("docs/guide/topic-configuration.md", pages::topic(&topic));
    files.add("docs/guide/group-configuration.md", pages::group(&group));
    Ok(())
}

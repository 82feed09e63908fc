//! The configuration of topics and groups, as `ottla topic` and `ottla group` change and show it.

use anyhow::Context;
use ottla::{Admin, AlterConfig, ConfigResource, ConfigSource};

/// Sets the keys `add`, each a `KEY=VALUE`, and takes the keys `delete` back.
pub(crate) async fn alter(
    admin: &Admin,
    resource: ConfigResource,
    add: &[String],
    delete: &[String],
) -> anyhow::Result<()> {
    let set = add.iter().map(|pair| key_value(pair).map(|(key, value)| AlterConfig::set(key, value)));
    let delete = delete.iter().map(|key| Ok(AlterConfig::delete(key)));
    let changes: Vec<AlterConfig> = set.chain(delete).collect::<anyhow::Result<_>>()?;
    if !changes.is_empty() {
        first(admin.incremental_alter_configs([(resource, changes)], false).await?)?;
    }
    Ok(())
}

/// The keys whose values come from `source`, with their values.
pub(crate) async fn set(
    admin: &Admin,
    resource: ConfigResource,
    source: ConfigSource,
) -> anyhow::Result<Vec<(String, String)>> {
    let set = first(admin.describe_configs([resource]).await?)?.into_iter();
    let set = set.filter(|entry| entry.source == source);
    Ok(set.map(|entry| (entry.name, entry.value.unwrap_or_default())).collect())
}

/// The only answer there is.
pub(crate) fn first<K, T>(results: Vec<(K, ottla::Result<T>)>) -> anyhow::Result<T> {
    let (_, result) = results.into_iter().next().context("the broker left the answer out")?;
    Ok(result?)
}

/// The two sides of a `KEY=VALUE`.
pub(crate) fn key_value(pair: &str) -> anyhow::Result<(String, String)> {
    let (key, value) =
        pair.split_once('=').with_context(|| format!("`{pair}` is not of the form KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}

//! `ottla group reset-offsets`: where a group goes on, changed from outside (KIP-122).

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use anyhow::{Context, bail};
use jiff::{SpanRelativeTo, Timestamp, civil, tz::TimeZone};
use ottla::{Admin, ErrorCode, GroupState, OffsetAndMetadata, OffsetSpec, TopicPartition};
use serde_json::json;

use crate::table::{self, cell};

/// Which group, which partitions, and where to.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Its name.
    group: String,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    to: To,
    /// Do it; without this, only show what would be done.
    #[arg(long)]
    execute: bool,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Scope {
    /// A topic, all of it or as `orders:0,1` some of its partitions; may be given more than once.
    #[arg(long, value_name = "TOPIC[:PARTITIONS]")]
    topic: Vec<String>,
    /// All partitions that the group has committed offsets of.
    #[arg(long)]
    all_topics: bool,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct To {
    /// To the first record that is still there.
    #[arg(long)]
    to_earliest: bool,
    /// Behind the last record.
    #[arg(long)]
    to_latest: bool,
    /// To what is committed now, and behind the last record where nothing is.
    #[arg(long)]
    to_current: bool,
    /// To this offset, or to the nearest that is there.
    #[arg(long, value_name = "OFFSET")]
    to_offset: Option<i64>,
    /// By so many records on, or back with a minus, as far as there are any.
    #[arg(long, value_name = "RECORDS", allow_negative_numbers = true)]
    shift_by: Option<i64>,
    /// To the first record of that long ago or later, as `PT15M` or `P1DT12H`.
    #[arg(long, value_name = "DURATION")]
    by_duration: Option<String>,
    /// To the first record of that time or later, as `2026-01-31T12:00:00.000`; UTC unless it says `+02:00`.
    #[arg(long, value_name = "TIME")]
    to_datetime: Option<String>,
}

/// Where to, once it is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Aim {
    Earliest,
    Latest,
    Current,
    Offset(i64),
    Shift(i64),
    /// Milliseconds since the epoch.
    Time(i64),
}

impl To {
    fn aim(&self, now: Timestamp) -> anyhow::Result<Aim> {
        Ok(match self {
            Self { to_earliest: true, .. } => Aim::Earliest,
            Self { to_latest: true, .. } => Aim::Latest,
            Self { to_current: true, .. } => Aim::Current,
            Self { to_offset: Some(offset), .. } => Aim::Offset(*offset),
            Self { shift_by: Some(records), .. } => Aim::Shift(*records),
            Self { by_duration: Some(text), .. } => Aim::Time(ago(text, now)?),
            Self { to_datetime: Some(text), .. } => Aim::Time(time(text)?),
            _ => bail!("name where to: `--to-earliest`, `--to-latest`, `--to-offset` ..."),
        })
    }
}

/// The time that long before `now`; days have 24 hours, and units above days no fixed length.
fn ago(text: &str, now: Timestamp) -> anyhow::Result<i64> {
    let wrong = || format!("`{text}` is no duration: write it as `PT15M` or `P1DT12H`");
    let span: jiff::Span = text.parse().with_context(wrong)?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).with_context(wrong)?;
    if duration.is_negative() {
        bail!("`{text}` lies in the future: leave the minus away");
    }
    Ok(now.checked_sub(duration).with_context(wrong)?.as_millisecond())
}

/// A time of day, in UTC where the text names no offset from it.
fn time(text: &str) -> anyhow::Result<i64> {
    let parsed = text.parse::<Timestamp>().or_else(|_| {
        let local: civil::DateTime = text.parse()?;
        local.to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp())
    });
    let time =
        parsed.with_context(|| format!("`{text}` is no time: write it as `2026-01-31T12:00:00.000`"))?;
    Ok(time.as_millisecond())
}

/// What becomes of one partition.
#[derive(Debug, Eq, PartialEq)]
struct Move {
    partition: TopicPartition,
    from: Option<i64>,
    to: i64,
}

/// What is known of a partition before it is decided.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    committed: Option<i64>,
    earliest: i64,
    latest: i64,
    /// The first record of the time aimed at, if there is one.
    at_time: Option<i64>,
}

impl Aim {
    /// The offset that a partition goes to; the rules are those of Kafka's tool.
    fn offset(self, partition: &TopicPartition, known: &Known) -> anyhow::Result<i64> {
        let nearest = |offset: i64| offset.clamp(known.earliest, known.latest.max(known.earliest));
        Ok(match self {
            Self::Earliest => known.earliest,
            Self::Latest => known.latest,
            Self::Current => known.committed.unwrap_or(known.latest),
            Self::Offset(offset) => nearest(offset),
            Self::Shift(records) => match known.committed {
                Some(committed) => nearest(committed.saturating_add(records)),
                None => bail!("cannot shift `{partition}`: nothing is committed; use `--to-offset` for it"),
            },
            Self::Time(_) => known.at_time.unwrap_or(known.latest),
        })
    }
}

pub(crate) async fn run(admin: &Admin, args: &Args, json: bool) -> anyhow::Result<()> {
    let aim = args.to.aim(Timestamp::now())?;
    check_inactive(admin, &args.group).await?;
    let (_, committed) =
        admin.list_group_offsets([&args.group]).await?.pop().context("the broker left the answer out")?;
    let committed = committed?;
    let partitions = match args.scope.all_topics {
        true => committed.keys().cloned().collect(),
        false => partitions(admin, &args.scope.topic).await?,
    };
    let moves = plan(admin, aim, &partitions, &committed).await?;
    if args.execute {
        let offsets = moves.iter().map(|it| (it.partition.clone(), it.to));
        for (_, result) in admin.alter_group_offsets(&args.group, offsets).await? {
            result?;
        }
    }
    show(&args.group, &moves, args.execute, json)?;
    Ok(())
}

/// Members would commit over what is set here, from where they are.
async fn check_inactive(admin: &Admin, group: &str) -> anyhow::Result<()> {
    let (_, described) =
        admin.describe_groups([group]).await?.pop().context("the broker left the answer out")?;
    let state = match described {
        Ok(described) => described.state,
        // It will be there as soon as an offset is.
        Err(error) if error.code() == Some(ErrorCode::GROUP_ID_NOT_FOUND) => GroupState::Dead,
        Err(error) => return Err(error.into()),
    };
    if !state.is_inactive() {
        bail!("group `{group}` is {state}: its members go on from where they are; stop them first");
    }
    Ok(())
}

/// The partitions that `orders` and `orders:0,1` mean.
async fn partitions(admin: &Admin, topics: &[String]) -> anyhow::Result<Vec<TopicPartition>> {
    let mut partitions = Vec::new();
    for text in topics {
        let (name, only) = match text.split_once(':') {
            Some((name, list)) => {
                let index = |text: &str| text.trim().parse::<i32>();
                let only: Result<Vec<i32>, _> = list.split(',').map(index).collect();
                let only =
                    only.with_context(|| format!("`{text}` names no partitions: write `orders:0,1`"))?;
                (name, Some(only))
            }
            None => (text.as_str(), None),
        };
        let (_, described) =
            admin.describe_topics([name]).await?.pop().context("the broker left the answer out")?;
        let there: Vec<i32> = described?.partitions.iter().map(|p| p.partition).collect();
        if let Some(missing) = only.iter().flatten().find(|index| !there.contains(index)) {
            bail!("topic `{name}` has no partition `{missing}`: it has {}", there.len());
        }
        partitions.extend(only.unwrap_or(there).into_iter().map(|index| TopicPartition::new(name, index)));
    }
    partitions.sort_unstable();
    partitions.dedup();
    Ok(partitions)
}

async fn plan(
    admin: &Admin,
    aim: Aim,
    partitions: &[TopicPartition],
    committed: &BTreeMap<TopicPartition, OffsetAndMetadata>,
) -> anyhow::Result<Vec<Move>> {
    let ask = async |spec: OffsetSpec| -> anyhow::Result<Vec<Option<i64>>> {
        let listed = admin.list_offsets(partitions.iter().map(|tp| (tp.clone(), spec))).await?;
        listed.into_iter().map(|(_, listed)| Ok(listed?.offset)).collect()
    };
    let (earliest, latest) = (ask(OffsetSpec::Earliest).await?, ask(OffsetSpec::Latest).await?);
    let at_time = match aim {
        Aim::Time(ms) => ask(OffsetSpec::Timestamp(ms)).await?,
        _ => vec![None; partitions.len()],
    };
    let mut moves = Vec::with_capacity(partitions.len());
    for (index, partition) in partitions.iter().enumerate() {
        let from = committed.get(partition).map(|committed| committed.offset);
        let known = Known {
            committed: from,
            earliest: earliest[index]
                .with_context(|| format!("`{partition}` does not tell its first offset"))?,
            latest: latest[index].with_context(|| format!("`{partition}` does not tell its last offset"))?,
            at_time: at_time[index],
        };
        moves.push(Move { partition: partition.clone(), from, to: aim.offset(partition, &known)? });
    }
    Ok(moves)
}

fn show(group: &str, moves: &[Move], executed: bool, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        for it in moves {
            let fields = json!({
                "group": group,
                "topic": &*it.partition.topic,
                "partition": it.partition.partition,
                "from": it.from,
                "to": it.to,
                "executed": executed,
            });
            writeln!(out, "{fields}")?;
        }
        return Ok(());
    }
    let row = |it: &Move| {
        [it.partition.topic.to_string(), it.partition.partition.to_string(), cell(it.from), it.to.to_string()]
    };
    let rows: Vec<_> = moves.iter().map(row).collect();
    table::print(&mut out, ["topic", "partition", "from", "to"], &rows)?;
    match (moves.is_empty(), executed) {
        (true, _) => writeln!(out, "group `{group}` has committed nothing: name topics with `--topic`"),
        (false, true) => Ok(()),
        (false, false) => writeln!(out, "nothing was changed; add `--execute` to do it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(aim: Aim, known: Known) -> anyhow::Result<i64> {
        aim.offset(&TopicPartition::new("orders", 0), &known)
    }

    #[test]
    fn offsets_stay_within_what_is_there() {
        let known = Known { committed: Some(20), earliest: 10, latest: 50, at_time: None };
        for (aim, wanted) in [
            (Aim::Earliest, 10),
            (Aim::Latest, 50),
            (Aim::Current, 20),
            (Aim::Offset(30), 30),
            (Aim::Offset(0), 10),
            (Aim::Offset(99), 50),
            (Aim::Shift(5), 25),
            (Aim::Shift(-15), 10),
            (Aim::Shift(i64::MAX), 50),
            (Aim::Time(1), 50),
        ] {
            assert_eq!(to(aim, known).unwrap(), wanted, "{aim:?}");
        }
        assert_eq!(to(Aim::Time(1), Known { at_time: Some(12), ..known }).unwrap(), 12);
    }

    #[test]
    fn what_is_not_committed_has_no_current_offset_to_shift() {
        let known = Known { committed: None, earliest: 10, latest: 50, at_time: None };
        assert_eq!(to(Aim::Current, known).unwrap(), 50);
        let error = to(Aim::Shift(1), known).unwrap_err().to_string();
        assert!(error.contains("cannot shift `orders-0`"), "{error}");
    }

    #[test]
    fn durations_and_times_are_read_as_kafkas_tool_reads_them() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        let noon = now.as_millisecond();
        assert_eq!(ago("PT15M", now).unwrap(), noon - 15 * 60_000);
        assert_eq!(ago("P1DT2H", now).unwrap(), noon - 26 * 3_600_000);
        for wrong in ["P1M", "15 apples", "", "-PT1H"] {
            assert!(ago(wrong, now).is_err(), "{wrong}");
        }
        assert_eq!(time("2026-01-31T12:00:00.000").unwrap(), noon, "UTC where nothing is said");
        assert_eq!(time("2026-01-31T12:00:00.250Z").unwrap(), noon + 250);
        assert_eq!(time("2026-01-31T14:00:00.000+02:00").unwrap(), noon);
        for wrong in ["yesterday", "", "2026-02-30T00:00:00.000"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}

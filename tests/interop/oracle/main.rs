//! Kafka's own codec as the judge of ours: every message in every version, both ways.
//!
//! A seed makes values in the JSON of Kafka's converters. Kafka writes each as bytes and reads it back; ours must read
//! from the bytes what the JSON says, field by field, and write the same bytes again. The number of values for each
//! version is `OTTLA_ORACLE_VALUES`; the first three are the defaults and both ends of every range.

mod java;
mod model;
mod random;

use std::time::Instant;

use anyhow::{Context, ensure};
use bytes::Bytes;
use fastrand::Rng;
use java::{Answer, Content, Oracle, Question};
use model::Model;
use ottla_interop::or_skip;
use ottla_protocol::messages::{ALL, Message};
use xtask::codegen::{
    messages::RustNames,
    schema::{Kind, Schema},
};

/// Values for each version of each message, unless `OTTLA_ORACLE_VALUES` says otherwise.
const VALUES: usize = 10;
/// Damaged copies of one message, for each version.
const DAMAGED: usize = 12;
/// The one thing that Kafka refuses and we read: a tag that only later versions know. To us it is as any tag that we do
/// not know, and skipped.
const TAG_OF_A_LATER_VERSION: &str = "is not valid for version";

#[test]
fn every_message_in_every_version_is_read_and_written_as_kafka_does() -> anyhow::Result<()> {
    let Some(mut oracle) = or_skip(Oracle::start()) else { return Ok(()) };
    let began = Instant::now();
    let values = values_per_version();
    let (mut messages, mut asked) = (0, 0);
    let (of_apis, of_others) = for_every_message(|message, models| {
        let mut questions = Vec::new();
        let mut of = Vec::new();
        for model in models {
            for index in 0..values {
                let json = random::value(model, index, seed(model, index));
                questions.push(question(model, Content::Json(json)));
                of.push(model);
            }
        }
        let mut of = of.into_iter();
        oracle.ask(&questions, |question, answer| {
            let model = of.next().context("each question has its model")?;
            compare(model, message, question, answer)
        })?;
        messages += 1;
        asked += questions.len();
        Ok(models.len())
    })?;
    println!(
        "oracle: {messages} messages, {of_apis} request and response versions, {of_others} of others, \
         {asked} values in {:.1} s",
        began.elapsed().as_secs_f64()
    );
    assert_eq!((messages, of_apis), (ALL.len(), 618));
    Ok(())
}

/// Ours may be stricter than Kafka, never laxer; and what both take, both must understand alike.
#[test]
fn damaged_messages_that_we_read_kafka_reads_alike() -> anyhow::Result<()> {
    let Some(mut oracle) = or_skip(Oracle::start()) else { return Ok(()) };
    let (mut taken, mut refused) = (0_usize, 0_usize);
    for_every_message(|message, models| {
        for model in models {
            let json = random::value(model, 3, seed(model, 3));
            let mut whole = None;
            oracle.ask(&[question(model, Content::Json(json))], |_, answer| {
                whole = answer.bytes;
                Ok(())
            })?;
            let whole = whole.context("Kafka writes what it was given")?;
            let mut rng = Rng::with_seed(seed(model, 4));
            let damaged: Vec<Question> =
                (0..DAMAGED).map(|i| question(model, Content::Bytes(damage(&whole, i, &mut rng)))).collect();
            oracle.ask(&damaged, |question, answer| {
                let Content::Bytes(bytes) = &question.content else { return Ok(()) };
                let Ok(ours) = (message.debug)(bytes.clone(), model.version) else {
                    refused += 1;
                    return Ok(());
                };
                taken += 1;
                let theirs = match answer.read {
                    Ok(theirs) => theirs,
                    Err(why) if why.contains(TAG_OF_A_LATER_VERSION) => return Ok(()),
                    Err(why) => anyhow::bail!("we read {bytes:?} as {ours}, and Kafka refuses it: {why}"),
                };
                // Of records Kafka's JSON has the size only.
                if !model.carries_records() {
                    ensure!(ours == model.debug(&theirs), "{bytes:?}: ours {ours}, Kafka's {theirs}");
                }
                Ok(())
            })?;
        }
        Ok(models.len())
    })?;
    println!("oracle: of {} damaged messages, {taken} were read and {refused} refused", taken + refused);
    assert!(taken > 1000 && refused > 1000, "{taken} taken, {refused} refused");
    Ok(())
}

/// One value, from its JSON over Kafka's bytes to our Debug text and back.
fn compare(model: &Model<'_>, message: &Message, question: &Question, answer: Answer) -> anyhow::Result<()> {
    let Content::Json(json) = &question.content else { return Ok(()) };
    let bytes = match (answer.bytes, &answer.read) {
        (Some(bytes), Ok(_)) => bytes,
        (_, Err(why)) => anyhow::bail!("Kafka refuses {json}: {why}"),
        (None, Ok(_)) => anyhow::bail!("Kafka wrote nothing for {json}"),
    };
    let theirs = answer.read.unwrap_or_default();
    let given = model.without_records(json);
    ensure!(theirs == given, "Kafka was given {given} and reads back {theirs}");

    let ours = (message.debug)(bytes.clone(), model.version)
        .map_err(|error| anyhow::anyhow!("{error}, in {bytes:?}, which is {json}"))?;
    let wanted = model.debug(json);
    ensure!(ours == wanted, "from {bytes:?}\nours reads {ours}\n   Kafka's {wanted}");

    let again = (message.recode)(bytes.clone(), model.version)
        .map_err(|error| anyhow::anyhow!("{error}"))?
        .map_err(|error| anyhow::anyhow!("{error}, in {json}"))?;
    ensure!(again == bytes, "Kafka writes {bytes:?}, ours {again:?}, of {json}");
    Ok(())
}

/// Calls `each` with every message and a model for each of its versions; gives the numbers of versions it counted, of
/// requests and responses, and of others.
fn for_every_message(
    mut each: impl FnMut(&Message, &[Model<'_>]) -> anyhow::Result<usize>,
) -> anyhow::Result<(usize, usize)> {
    let schemas = Schema::read_all()?;
    let (mut of_apis, mut of_others) = (0, 0);
    let mut table = ALL.iter();
    for schema in &schemas {
        let Some(versions) = schema.versions else { continue };
        let names = RustNames::of(schema);
        for section in &schema.sections {
            let models: Vec<Model<'_>> =
                versions.iter().map(|version| Model::new(schema, section, &names, version)).collect();
            let message = table.next().context("the table of messages ends early")?;
            let name = schema.message_name(section);
            ensure!(message.name == name, "the table has {} where the schemas have {name}", message.name);
            let count = each(message, &models)?;
            *(if schema.kind == Kind::Api { &mut of_apis } else { &mut of_others }) += count;
        }
    }
    Ok((of_apis, of_others))
}

fn question(model: &Model<'_>, content: Content) -> Question {
    Question { message: model.message.clone(), version: model.version, content }
}

/// One of the ways in which bytes go wrong; the first is no damage but a tag of a later release.
fn damage(whole: &Bytes, way: usize, rng: &mut Rng) -> Bytes {
    let mut bytes = whole.to_vec();
    if bytes.is_empty() {
        return Bytes::from(vec![rng.u8(..)]);
    }
    let at = rng.usize(..bytes.len());
    match way {
        0 if bytes.last() == Some(&0) => {
            bytes.pop();
            bytes.extend([1, 99, 2, 0xca, 0xfe]);
        }
        1 => bytes.truncate(at),
        2 => bytes.push(0),
        3 => bytes.insert(at, rng.u8(..)),
        4 => _ = bytes.remove(at),
        5 => bytes[at] = 0xff,
        6 => bytes[at] = 0,
        _ => bytes[at] ^= 1 << rng.u8(..8),
    }
    bytes.into()
}

/// The same in every run, and another for each value.
fn seed(model: &Model<'_>, index: usize) -> u64 {
    let text = format!("{} {} {index}", model.message, model.version);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

fn values_per_version() -> usize {
    std::env::var("OTTLA_ORACLE_VALUES").ok().and_then(|n| n.parse().ok()).unwrap_or(VALUES)
}

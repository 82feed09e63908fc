//! Groups of our client's members at Apache Kafka: they come, leave, die and come back while records flow.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod members;

use members::{Given, Member, PARTITIONS, Place, Protocol, come_and_go, produce_ours, sizes};
use ottla::{Admin, NewTopic, config::AdminConfig};
use ottla_interop::{
    kafka::Kafka,
    or_skip,
    peers::{self, Peer},
};

#[test]
fn our_members_come_and_go_while_records_flow() {
    members_come_and_go_while_records_flow("ours", Protocol::Classic, None);
}

#[test]
fn our_members_of_a_consumer_group_come_and_go_while_records_flow() {
    members_come_and_go_while_records_flow("ours", Protocol::Consumer, None);
}

#[test]
fn our_members_and_kafka_clients_come_and_go_while_records_flow() {
    members_come_and_go_while_records_flow("java", Protocol::Classic, Some(peers::java()));
}

#[test]
fn our_members_and_kafka_clients_of_a_consumer_group_come_and_go_while_records_flow() {
    members_come_and_go_while_records_flow("java", Protocol::Consumer, Some(peers::java()));
}

#[test]
fn our_members_and_confluent_kafkas_come_and_go_while_records_flow() {
    members_come_and_go_while_records_flow("confluent", Protocol::Classic, Some(peers::confluent()));
}

#[test]
fn our_members_and_confluent_kafkas_of_a_consumer_group_come_and_go_while_records_flow() {
    members_come_and_go_while_records_flow("confluent", Protocol::Consumer, Some(peers::confluent()));
}

/// Our members, in turn with the peer's, if there is one.
fn members_come_and_go_while_records_flow(
    name: &str,
    protocol: Protocol,
    peer: Option<anyhow::Result<Peer>>,
) {
    let peer = match peer.map(or_skip) {
        Some(None) => return,
        Some(Some(peer)) => Some(peer),
        None => None,
    };
    let Some(kafka) = or_skip(Kafka::shared()) else { return };
    // librdkafka's member of a KIP-848 group, given a partition that was another's, was twice seen to begin where that one had
    // begun, half a second after the other's commit was acknowledged. What it is given is its own affair here.
    let rereads = name == "confluent" && protocol == Protocol::Consumer;
    for size in sizes() {
        let name = format!("{name}-{protocol:?}-{size}");
        let place = Place { bootstrap: kafka.bootstrap(), topic: name.clone(), group: name };
        create_topic(&place);
        let start = |number: usize, given: &Given| match &peer {
            Some(peer) if number % 2 == 1 => Member::start(peer, &place, protocol, number, given),
            _ => Member::our_process(&place, protocol, number, given),
        };
        let given = come_and_go(size, start, |count| produce_ours(&place, count));
        given.check_nothing_committed_comes_again_to(|number| number % 2 == 0 || !rereads);
    }
}

fn create_topic(place: &Place) {
    let config = AdminConfig { bootstrap_servers: vec![place.bootstrap.clone()], ..Default::default() };
    let admin = Admin::new(config).unwrap();
    let topic = NewTopic::new(&place.topic).partitions(PARTITIONS);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(admin.create_topic(topic)).unwrap();
}

//! A broker starts and stops many times in one process, and leaves nothing behind but its data.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use ottla_broker::Broker;
use ottla_config::Settings;
use ottla_protocol::{
    Bytes, frame,
    messages::{ApiVersionsRequest, MetadataRequest, metadata::MetadataRequestTopic},
};

const ROUNDS: usize = 20;

fn start(data: &std::path::Path, listener: &str) -> Broker {
    let mut settings = Settings::new();
    settings.set("listeners", listener);
    settings.set("log.dirs", data.display().to_string());
    Broker::start(&settings).unwrap()
}

fn connect(broker: &Broker) -> TcpStream {
    let stream = TcpStream::connect(broker.addresses()[0]).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

fn call<R: ottla_protocol::api::Api>(stream: &mut TcpStream, version: i16, request: &R) -> R::Response {
    stream.write_all(&frame::request(request, version, 1, None).unwrap().concat()).unwrap();
    let mut size = [0; frame::SIZE_BYTES];
    stream.read_exact(&mut size).unwrap();
    let mut bytes = vec![0; i32::from_be_bytes(size) as usize];
    stream.read_exact(&mut bytes).unwrap();
    frame::read_response::<R>(Bytes::from(bytes), version, 1).unwrap()
}

/// How many of something `/proc` knows of this process.
#[cfg(target_os = "linux")]
fn count(of: &str) -> usize {
    std::fs::read_dir(format!("/proc/self/{of}")).unwrap().count()
}

#[test]
fn a_broker_starts_and_stops_twenty_times_in_one_process_and_leaves_no_thread_or_file_open() {
    let data = tempfile::tempdir().unwrap();
    let mut address: Option<SocketAddr> = None;
    let mut cluster = None;
    #[cfg(target_os = "linux")]
    let mut before = None;
    for round in 0..ROUNDS {
        // The same port again and again: the one before has let go of it.
        let listener = address.map_or("PLAINTEXT://127.0.0.1:0".to_owned(), |a| format!("PLAINTEXT://{a}"));
        let broker = start(data.path(), &listener);
        assert_eq!(*address.get_or_insert(broker.addresses()[0]), broker.addresses()[0]);
        assert_eq!(cluster.get_or_insert_with(|| broker.cluster_id().to_owned()), broker.cluster_id());
        let mut stream = connect(&broker);
        // A client makes a topic more each time; all of them are there.
        let name = format!("t{round}");
        let topic = MetadataRequestTopic { name: Some(name.as_str().into()), ..Default::default() };
        let request = MetadataRequest {
            topics: Some(vec![topic]),
            allow_auto_topic_creation: true,
            ..Default::default()
        };
        call(&mut stream, 12, &request);
        let all = MetadataRequest { topics: None, ..Default::default() };
        assert_eq!(call(&mut stream, 12, &all).topics.len(), round + 1);
        broker.stop().unwrap();
        // Stopped means closed, not only deaf.
        assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0);
        TcpStream::connect(address.unwrap()).unwrap_err();
        drop(stream);
        #[cfg(target_os = "linux")]
        {
            let now = (count("task"), count("fd"));
            assert_eq!(*before.get_or_insert(now), now, "threads and open files after round {round}");
        }
    }
    // Dropping it stops it too.
    let broker = start(data.path(), "PLAINTEXT://127.0.0.1:0");
    let mut stream = connect(&broker);
    call(&mut stream, 0, &ApiVersionsRequest::default());
    drop(broker);
    assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0);
    start(data.path(), "PLAINTEXT://127.0.0.1:0").stop().unwrap();
}

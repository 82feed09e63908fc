//! What the broker shows of itself over HTTP: counts that are right, in a form that scrapers read.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use ottla_interop::{
    program::{Launch, PATIENCE, Running},
    wire::{self, Wire},
};
use ottla_protocol::error_code::ErrorCode;

/// Sends a request and gives status and body.
fn ask(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

fn get(address: SocketAddr, path: &str) -> (String, String) {
    ask(address, &format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"))
}

/// All samples of the metrics' page, by name and labels as they stand there.
fn metrics(address: SocketAddr) -> BTreeMap<String, f64> {
    let (status, body) = get(address, "/metrics");
    assert_eq!(status, "HTTP/1.1 200 OK");
    let rows = body.lines().filter(|line| !line.starts_with('#'));
    rows.map(|row| {
        let (sample, value) = row.rsplit_once(' ').unwrap();
        (sample.to_owned(), value.parse().unwrap())
    })
    .collect()
}

fn http_of(broker: &Running) -> SocketAddr {
    broker.log().wait_for("metrics and health are served").field("address").unwrap().parse().unwrap()
}

#[test]
fn what_came_and_went_is_counted_in_all_and_by_topic() {
    let data = tempfile::tempdir().unwrap();
    let launch =
        Launch::new(env!("CARGO_BIN_EXE_ottla"), data.path()).set("ottla.http.listener", "127.0.0.1:0");
    let broker = launch.start();
    let http = http_of(&broker);
    let mut wire = Wire::connect(broker.address());
    wire.create_topic("a.b", 2, &[("flush.messages", "1")]);
    wire.create_topic("c", 1, &[]);
    let batch = wire::batch(&[b"1", b"2", b"3"]);
    for partition in [0, 0, 1] {
        assert_eq!(wire.produce("a.b", partition, &batch).error_code, ErrorCode::NONE);
    }
    assert_eq!(wire.produce("c", 0, &batch).error_code, ErrorCode::NONE);
    assert!(wire.produce("missing", 0, &batch).error_code.is_error());
    assert_eq!(wire.values("a.b", 0).len(), 6);

    let shown = metrics(http);
    let of = |sample: &str| *shown.get(sample).unwrap_or_else(|| panic!("{sample} is not among {shown:#?}"));
    let traffic = |name: &str| format!("kafka_server_brokertopicmetrics_{name}_total");
    assert_eq!(of(&traffic("messagesin")), 12.0);
    assert_eq!(of(&(traffic("messagesin") + "{topic=\"a.b\"}")), 9.0);
    assert_eq!(of(&traffic("bytesin")), 4.0 * batch.len() as f64);
    assert_eq!(of(&(traffic("bytesin") + "{topic=\"c\"}")), batch.len() as f64);
    assert_eq!(of(&traffic("bytesout")), 2.0 * batch.len() as f64);
    assert_eq!(of(&(traffic("bytesout") + "{topic=\"a.b\"}")), 2.0 * batch.len() as f64);
    assert_eq!(of("kafka_network_requestmetrics_requests_total{request=\"Produce\"}"), 5.0);
    assert!(of("ottla_request_seconds_total{request=\"Produce\"}") > 0.0);
    assert_eq!(of("kafka_server_replicamanager_partitioncount"), 3.0);
    assert_eq!(of("kafka_controller_kafkacontroller_globaltopiccount"), 2.0);
    assert_eq!(of("kafka_server_replicamanager_offlinereplicacount"), 0.0);
    assert_eq!(of("kafka_log_log_logendoffset{topic=\"a.b\",partition=\"0\"}"), 6.0);
    assert_eq!(of("ottla_log_flushed_offset{topic=\"a.b\",partition=\"0\"}"), 6.0, "each answer was flushed");
    assert_eq!(of("kafka_log_log_size{topic=\"c\",partition=\"0\"}"), batch.len() as f64);
    assert!(of("kafka_log_logflushstats_logflushrateandtimems_count") >= 3.0);
    assert_eq!(of("kafka_server_socketservermetrics_connectioncount"), 1.0);

    // What the reference page names is what is shown, each with its words and its type before it.
    let (_, body) = get(http, "/metrics");
    let named: BTreeSet<&str> =
        body.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()).collect();
    let page = ottla_broker::metrics_reference();
    let listed: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    #[cfg(target_os = "linux")]
    assert_eq!(named, listed);
    for sample in shown.keys() {
        assert!(named.contains(sample.split('{').next().unwrap()), "{sample}");
    }
    assert_eq!(body.matches("# TYPE ").count(), named.len());
    assert!(broker.terminate().0.success());
}

#[test]
fn health_names_what_is_offline_and_nothing_else_is_served() {
    let root = tempfile::tempdir().unwrap();
    let (first, second) = (root.path().join("first"), root.path().join("second"));
    let launch = Launch::new(env!("CARGO_BIN_EXE_ottla"), &first)
        .set("log.dirs", format!("{},{}", first.display(), second.display()))
        .set("ottla.http.listener", "127.0.0.1:0");
    let broker = launch.start();
    let http = http_of(&broker);
    Wire::connect(broker.address()).create_topic("t", 2, &[]);
    let health = |http| {
        let (status, body) = get(http, "/health");
        assert_eq!(status, "HTTP/1.1 200 OK");
        serde_json::from_str::<serde_json::Value>(&body).unwrap()
    };
    let well = health(http);
    assert_eq!((&well["status"], &well["partitions"]), (&"ok".into(), &2.into()), "{well}");

    assert_eq!(get(http, "/secret").0, "HTTP/1.1 404 Not Found");
    assert_eq!(get(http, "/metrics/../../etc/passwd").0, "HTTP/1.1 404 Not Found");
    let post = "POST /metrics HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc";
    assert_eq!(ask(http, post).0, "HTTP/1.1 405 Method Not Allowed");
    let long = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(100_000));
    let mut stream = TcpStream::connect(http).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // It may be closed before all is written, and either way nothing but a refusal comes.
    let _ = stream.write_all(long.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"));

    assert!(broker.terminate().0.success());
    fs::rename(&second, second.with_extension("aside")).unwrap();
    fs::write(&second, b"").unwrap();
    let broker = launch.start();
    let ill = health(http_of(&broker));
    assert_eq!((&ill["status"], &ill["offline_partition_count"]), (&"degraded".into(), &1.into()), "{ill}");
    assert_eq!(ill["offline_log_dirs"][0], second.to_string_lossy().as_ref());
}

#[test]
fn a_broker_shows_nothing_unless_it_is_told_to() {
    let data = tempfile::tempdir().unwrap();
    let broker = Launch::new(env!("CARGO_BIN_EXE_ottla"), data.path()).start();
    assert!(broker.log().with("metrics and health").is_empty());
    let wrong = Launch::new(env!("CARGO_BIN_EXE_ottla"), &data.path().join("other"))
        .set("ottla.http.listener", "nowhere");
    let (code, line) = wrong.refused();
    assert!(code == 2 && line.contains("`host:port`"), "{line}");
}

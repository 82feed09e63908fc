//! kcat against our broker: every codec that it has, keys, headers, null values, and reading by offset and by time.

use ottla_interop::{broker::TestBroker, or_skip, peers};

#[test]
fn kcat_writes_and_reads_in_every_codec() {
    let Some(kcat) = or_skip(peers::kcat()) else { return };
    let broker = TestBroker::start(&[]);
    let bootstrap = broker.bootstrap();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = format!("kcat-{codec}");
        let lines: String = (0..1000).map(|i| format!("k{i}|value {i}\n")).collect();
        let produce =
            ["-b", &bootstrap, "-P", "-t", &topic, "-z", codec, "-K", "|", "-H", "h=1", "-H", "h=2", "-Z"];
        kcat.run(&produce, Some(lines + "null|\n")).unwrap();
        let consume =
            ["-b", &bootstrap, "-C", "-q", "-t", &topic, "-o", "beginning", "-e", "-f", "%o %k %S %h\\n"];
        let output = kcat.run(&consume, None).unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let read: Vec<&str> = text.lines().collect();
        assert_eq!(read.len(), 1001, "{codec}");
        for (i, line) in read.iter().take(1000).enumerate() {
            assert_eq!(*line, format!("{i} k{i} {} h=1,h=2", format!("value {i}").len()));
        }
        assert_eq!(read[1000], "1000 null -1 h=1,h=2");

        let from = ["-b", &bootstrap, "-C", "-q", "-t", &topic, "-p", "0", "-o", "998", "-e", "-f", "%k\\n"];
        let output = kcat.run(&from, None).unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "k998\nk999\nnull\n");
    }
    let metadata = kcat.run(&["-b", &bootstrap, "-L"], None).unwrap();
    let text = String::from_utf8(metadata.stdout).unwrap();
    assert!(text.contains("broker 1 at") && text.contains("topic \"kcat-zstd\" with 1 partitions"), "{text}");
}

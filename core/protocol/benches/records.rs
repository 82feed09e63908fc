//! What a record costs: push and seal on the producer's side, validate on the broker's, walk on the consumer's.
//!
//! `cargo bench -p ottla-protocol`. Records are 100 bytes of value without a key, 1,000 to a batch; figures are per
//! batch, so a nanosecond per record is a microsecond here.

use std::{hint::black_box, time::Duration};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ottla_protocol::{
    compression::{Codec, Compression, Compressor, Decompressor, Limits},
    record::{Batch, BatchBuilder, Headers, Rules, Scratch, Seal, validate},
};

const RECORDS: usize = 1000;
const VALUE_BYTES: usize = 100;
const BATCH_BYTES_MAX: usize = 256 << 10;
const NOW_MS: i64 = 1_700_000_000_000;

/// Values as services send them: a frame of sameness around a few bytes that change.
fn values() -> Vec<[u8; VALUE_BYTES]> {
    let mut state = 1_u32;
    let mut byte = |i: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if i % 5 < 2 { (state >> 24) as u8 } else { b"{\"id\":,\"name\":\"\"}"[i % 17] }
    };
    (0..RECORDS).map(|_| std::array::from_fn(&mut byte)).collect()
}

fn fill(builder: &mut BatchBuilder, values: &[[u8; VALUE_BYTES]]) {
    for (i, value) in values.iter().enumerate() {
        let pushed = builder.push(NOW_MS + i as i64 / 100, None, Some(value), Headers::NONE);
        black_box(pushed.expect("there is room"));
    }
}

fn sealed(compression: Compression) -> Batch {
    let mut builder = BatchBuilder::new(Vec::new(), BATCH_BYTES_MAX);
    fill(&mut builder, &values());
    let seal = Seal { codec: Codec::new(compression), ..Seal::default() };
    builder.seal(&seal, &mut Compressor::new()).expect("sealed")
}

fn records(c: &mut Criterion) {
    let values = values();
    let mut group = c.benchmark_group("1000 records of 100 bytes");
    group.throughput(Throughput::Elements(RECORDS as u64));
    group.measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(300)).sample_size(30);

    let mut builder = BatchBuilder::new(Vec::with_capacity(BATCH_BYTES_MAX), BATCH_BYTES_MAX);
    group.bench_function("push", |b| {
        b.iter(|| {
            builder.clear();
            fill(&mut builder, black_box(&values));
        });
    });

    for compression in Compression::ALL {
        let mut compressor = Compressor::new();
        let seal = Seal { codec: Codec::new(compression), ..Seal::default() };
        group.bench_function(format!("seal/{compression}"), |b| {
            b.iter_batched_ref(
                || {
                    let mut builder = BatchBuilder::new(Vec::with_capacity(BATCH_BYTES_MAX), BATCH_BYTES_MAX);
                    fill(&mut builder, &values);
                    builder
                },
                |builder| builder.seal(&seal, &mut compressor).expect("sealed"),
                BatchSize::SmallInput,
            );
        });
    }

    for compression in Compression::ALL {
        let batch = sealed(compression);
        let (rules, mut scratch) = (Rules::at(NOW_MS), Scratch::new());
        group.bench_function(format!("validate/{compression}"), |b| {
            b.iter(|| validate(black_box(&batch), &rules, &mut scratch).expect("valid"));
        });
        let mut decompressor = Decompressor::new();
        group.bench_function(format!("inflate and walk/{compression}"), |b| {
            b.iter(|| {
                let records =
                    black_box(&batch).records(&mut decompressor, &Limits::CLIENT).expect("readable");
                let bytes: usize = records
                    .iter()
                    .map(|r| black_box(r.expect("readable")).value.map_or(0, <[u8]>::len))
                    .sum();
                assert_eq!(bytes, RECORDS * VALUE_BYTES);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, records);
criterion_main!(benches);

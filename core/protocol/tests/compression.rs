//! The codecs through the public API: what they write is read back, what others write is read too, and nothing
//! inflates beyond its limit.

use std::io::Write;

use ottla_protocol::compression::{
    Codec, Compression, Compressor, DecompressError, DecompressFault, Decompressor, LevelOutOfRange, Limits,
    RATIO_FREE_BYTES,
};

const CODECS: [Compression; 4] =
    [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

/// Bytes that compress somewhat: runs of noise among runs of sameness.
fn content(n: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let next = |i: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if (i / 1000).is_multiple_of(3) { (state >> 24) as u8 } else { (i / 100) as u8 }
    };
    (0..n).map(next).collect()
}

fn inflate(compression: Compression, bytes: &[u8]) -> Result<Vec<u8>, DecompressFault> {
    inflate_within(compression, bytes, &Limits::BROKER)
}

fn inflate_within(
    compression: Compression,
    bytes: &[u8],
    limits: &Limits,
) -> Result<Vec<u8>, DecompressFault> {
    let mut out = Vec::new();
    match Decompressor::new().decompress(compression, bytes, limits, &mut out) {
        Ok(()) => Ok(out),
        Err(DecompressError { compression: named, fault }) => {
            assert_eq!(named, compression);
            Err(fault)
        }
    }
}

#[test]
fn every_size_reads_back_whole_and_through_windows_of_any_size() {
    let mut compressor = Compressor::new();
    let mut decompressor = Decompressor::new();
    for compression in Compression::ALL {
        for n in [0, 1, 100, 32_767, 32_768, 65_535, 65_536, 65_537, 300_000, 6_000_000] {
            let content = content(n);
            let compressed = compressor.compress(Codec::new(compression), &content).expect("compressed");
            let mut out = b"before".to_vec();
            decompressor.decompress(compression, compressed, &Limits::BROKER, &mut out).expect("inflated");
            assert_eq!(&out[..6], b"before");
            assert!(out[6..] == content[..], "{compression}, {n} bytes");

            for window_bytes in [1, 7, 1000, 65_536, 131_072] {
                let mut inflate =
                    decompressor.inflate(compression, compressed, &Limits::BROKER).expect("a frame");
                let mut window = vec![0; window_bytes];
                let mut rest = &content[..];
                loop {
                    let filled = inflate.fill(&mut window).expect("inflated");
                    let (front, back) = rest.split_at(filled);
                    assert!(window[..filled] == *front, "{compression}, {n} bytes through {window_bytes}");
                    rest = back;
                    if filled == 0 || (window_bytes < 1000 && content.len() - rest.len() > 70_000) {
                        break;
                    }
                }
                assert!(rest.is_empty() || window_bytes < 1000);
                assert_eq!(inflate.produced(), content.len() - rest.len());
            }
        }
    }
}

#[test]
fn every_level_reads_back_and_levels_beyond_are_refused() {
    let content = content(100_000);
    let mut compressor = Compressor::new();
    for compression in [Compression::Gzip, Compression::Lz4, Compression::Zstd] {
        let (lowest, highest) = compression.levels().expect("levels");
        for level in [lowest, lowest + 1, compression.default_level(), highest - 1, highest] {
            let codec = Codec::with_level(compression, level).expect("a level");
            let compressed = compressor.compress(codec, &content).expect("compressed");
            assert!(inflate(compression, compressed).expect("inflated") == content, "{compression} {level}");
        }
        for level in [lowest - 1, highest + 1] {
            if (compression, level) != (Compression::Gzip, 0) {
                assert_eq!(
                    Codec::with_level(compression, level),
                    Err(LevelOutOfRange { compression, level })
                );
            }
        }
    }
    assert!(Codec::with_level(Compression::Gzip, -1).is_ok(), "the library's choice");
    assert!(Codec::with_level(Compression::Gzip, 0).is_err(), "no compression is not a level of KIP-390");
    assert!(Codec::with_level(Compression::Snappy, 1).is_err());
    let best = |level| {
        let codec = Codec::with_level(Compression::Gzip, level).expect("a level");
        Compressor::new().compress(codec, &content).expect("compressed").len()
    };
    assert!(best(9) < best(1), "levels have an effect");
}

#[test]
fn names_are_kafkas() {
    for compression in Compression::ALL {
        assert_eq!(compression.to_string().parse(), Ok(compression));
        assert_eq!(Compression::from_number(compression as u8), Some(compression));
    }
    assert_eq!(Compression::from_number(5), None);
    let error = "brotli".parse::<Compression>().expect_err("not Kafka's");
    assert_eq!(
        error.to_string(),
        "`brotli` is no compression; use `none`, `gzip`, `snappy`, `lz4` or `zstd`"
    );
}

#[test]
fn every_cut_of_a_frame_and_every_byte_behind_it_is_seen() {
    let content = content(5000);
    let mut compressor = Compressor::new();
    for compression in CODECS {
        let frame = compressor.compress(Codec::new(compression), &content).expect("compressed").to_vec();
        for cut in 0..frame.len() {
            let cut_content = inflate(compression, &frame[..cut]);
            // Framed snappy has no end mark: a header alone is an empty frame.
            let empty = compression == Compression::Snappy && cut == 16;
            assert_eq!(cut_content.is_ok(), empty, "{compression} cut at {cut}");
        }
        let longer = inflate(compression, &[&frame[..], b"x"].concat());
        match compression {
            Compression::Snappy => assert_eq!(longer, Err(DecompressFault::Truncated), "half a length"),
            _ => assert_eq!(longer, Err(DecompressFault::Trailing { bytes: 1 }), "{compression}"),
        }
    }
}

#[test]
fn content_beyond_the_limit_is_refused_and_content_at_the_limit_is_not() {
    let content = content(200_000);
    let mut compressor = Compressor::new();
    for compression in CODECS {
        let frame = compressor.compress(Codec::new(compression), &content).expect("compressed");
        let within = |bytes_max| inflate_within(compression, frame, &Limits { bytes_max, ..Limits::BROKER });
        assert!(within(200_000).is_ok(), "{compression}");
        for bytes_max in [199_999, 70_000, 1, 0] {
            assert_eq!(within(bytes_max), Err(DecompressFault::TooLarge { bytes_max }), "{compression}");
        }
    }
}

#[test]
fn the_ratio_counts_only_beyond_what_is_free() {
    let limits = Limits { ratio_max: 10, ..Limits::BROKER };
    assert_eq!(limits.output_max(100), RATIO_FREE_BYTES);
    assert_eq!(limits.output_max(RATIO_FREE_BYTES), 10 * RATIO_FREE_BYTES);
    assert_eq!(limits.output_max(usize::MAX), limits.bytes_max);
    let zeros = |n: usize| {
        Compressor::new().compress(Codec::new(Compression::Zstd), &vec![0; n]).expect("small").to_vec()
    };
    assert!(inflate_within(Compression::Zstd, &zeros(RATIO_FREE_BYTES), &limits).is_ok());
    let beyond = inflate_within(Compression::Zstd, &zeros(RATIO_FREE_BYTES + 1), &limits);
    assert_eq!(beyond, Err(DecompressFault::TooLarge { bytes_max: RATIO_FREE_BYTES }));
}

#[test]
fn gzip_with_every_optional_field_is_read_and_a_second_member_is_not() {
    let mut encoder = flate2::GzBuilder::new()
        .filename("name")
        .comment("comment")
        .extra(vec![1, 2, 3])
        .mtime(77)
        .write(Vec::new(), flate2::Compression::best());
    encoder.write_all(b"content").expect("in memory");
    let member = encoder.finish().expect("in memory");
    assert_eq!(inflate(Compression::Gzip, &member).expect("inflated"), b"content");
    let with_header_crc =
        [&[0x1f, 0x8b, 8, 2, 0, 0, 0, 0, 0, 255, 0xaa, 0xbb], &member[member.len() - 17..]].concat();
    assert_eq!(inflate(Compression::Gzip, &with_header_crc).expect("inflated"), b"content");

    let two = inflate(Compression::Gzip, &[&member[..], &member].concat());
    assert_eq!(two, Err(DecompressFault::Trailing { bytes: member.len() }));
    let damaged = |at: usize| {
        let mut member = member.clone();
        let at = member.len() - at;
        member[at] ^= 1;
        inflate(Compression::Gzip, &member)
    };
    assert!(matches!(damaged(8), Err(DecompressFault::Corrupt(_))), "CRC");
    assert!(matches!(damaged(4), Err(DecompressFault::Corrupt(_))), "length");
}

#[test]
fn a_bare_snappy_block_is_read_and_one_that_announces_too_much_is_refused() {
    let content = content(100_000);
    let block = snap::raw::Encoder::new().compress_vec(&content).expect("compressed");
    assert!(inflate(Compression::Snappy, &block).expect("inflated") == content);
    let announces_4_gib = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0];
    assert!(matches!(inflate(Compression::Snappy, &announces_4_gib), Err(DecompressFault::Corrupt(_))));
    // The densest there is, zeros, is well within the ratio that a block may have.
    let zeros = vec![0; 1 << 20];
    let block = snap::raw::Encoder::new().compress_vec(&zeros).expect("compressed");
    assert!(inflate(Compression::Snappy, &block).expect("inflated") == zeros);
}

/// An LZ4 frame with these flags; blocks refer back to the content before them if they are linked.
fn lz4_frame(flg: u8, bd: u8, content: &[u8]) -> Vec<u8> {
    use lz4_flex::block::{compress, compress_with_dict};
    use twox_hash::XxHash32;
    let linked = flg & 0x20 == 0;
    let mut descriptor = vec![flg, bd];
    if flg & 0x08 != 0 {
        descriptor.extend((content.len() as u64).to_le_bytes());
    }
    let mut frame = vec![0x04, 0x22, 0x4d, 0x18];
    frame.extend(&descriptor);
    frame.push((XxHash32::oneshot(0, &descriptor) >> 8) as u8);
    let block_bytes = 1 << (8 + 2 * (bd >> 4));
    for (i, block) in content.chunks(block_bytes).enumerate() {
        let before = &content[..i * block_bytes];
        let window = &before[before.len().saturating_sub(65_536)..];
        let bytes = if linked { compress_with_dict(block, window) } else { compress(block) };
        let (bytes, stored) = if bytes.len() < block.len() { (&bytes[..], 0) } else { (block, 1 << 31) };
        frame.extend((bytes.len() as u32 | stored).to_le_bytes());
        frame.extend(bytes);
        if flg & 0x10 != 0 {
            frame.extend(XxHash32::oneshot(0, bytes).to_le_bytes());
        }
    }
    frame.extend([0; 4]);
    if flg & 0x04 != 0 {
        frame.extend(XxHash32::oneshot(0, content).to_le_bytes());
    }
    frame
}

#[test]
fn lz4_frames_of_every_kind_are_read_and_their_checksums_count() {
    let content = content(700_000);
    for flags in 0..16_u8 {
        let flg = 0x40 | flags << 2;
        for bd in [0x40, 0x50, 0x60, 0x70] {
            let frame = lz4_frame(flg, bd, &content);
            assert!(inflate(Compression::Lz4, &frame).expect("inflated") == content, "{flg:#x} {bd:#x}");
        }
        let frame = lz4_frame(flg, 0x40, b"some content");
        for at in 0..frame.len() {
            let mut damaged = frame.clone();
            damaged[at] ^= 0x08;
            let content_at = 4 + 3 + usize::from(flg & 0x08) + 4;
            let in_content = (content_at..content_at + 12).contains(&at);
            let unseen = flg & 0x14 == 0 && in_content;
            assert!(unseen || inflate(Compression::Lz4, &damaged).is_err(), "{flg:#x}, byte {at}");
        }
    }
}

#[test]
fn lz4_is_written_as_javas_reader_takes_it() {
    let content = content(150_000);
    let mut compressor = Compressor::new();
    let mut rest = compressor.compress(Codec::new(Compression::Lz4), &content).expect("compressed");
    let mut take = |n: usize| {
        let (front, back) = rest.split_at(n);
        rest = back;
        front
    };
    assert_eq!(take(7), [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82]);
    let mut whole = Vec::new();
    loop {
        let size = u32::from_le_bytes(take(4).try_into().expect("four"));
        if size == 0 {
            break;
        }
        let bytes = take((size & 0x7fff_ffff) as usize);
        match size >> 31 {
            0 => whole.extend(lz4_flex::block::decompress(bytes, 65_536).expect("an independent block")),
            _ => whole.extend(bytes),
        }
    }
    assert!(rest.is_empty() && whole == content);
}

#[test]
fn zstd_windows_beyond_the_limit_are_refused() {
    let content = content(100_000);
    let frame = |window_log: u32| {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("a context");
        encoder.set_parameter(zstd::zstd_safe::CParameter::WindowLog(window_log)).expect("a window");
        encoder.set_parameter(zstd::zstd_safe::CParameter::ChecksumFlag(true)).expect("a flag");
        encoder.write_all(&content).expect("in memory");
        encoder.finish().expect("in memory")
    };
    for (window_log, broker, client) in [(23, true, true), (24, false, true), (27, false, true)] {
        assert_eq!(inflate_within(Compression::Zstd, &frame(window_log), &Limits::BROKER).is_ok(), broker);
        assert_eq!(inflate_within(Compression::Zstd, &frame(window_log), &Limits::CLIENT).is_ok(), client);
    }
    // A small content is refused no less, though it would fit any buffer, and so need no window.
    let mut small = frame(23);
    assert_eq!(small[4] & 0x20, 0, "a window, not one segment");
    small[5] = 14 << 3;
    assert!(matches!(inflate(Compression::Zstd, &small), Err(DecompressFault::Unsupported(_))));
    let one_segment_of_16_mib = [0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 1];
    assert!(matches!(
        inflate(Compression::Zstd, &one_segment_of_16_mib),
        Err(DecompressFault::Unsupported(_))
    ));
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0];
    assert!(matches!(inflate(Compression::Zstd, &skippable), Err(DecompressFault::Corrupt(_))));

    let mut damaged = frame(20);
    *damaged.last_mut().expect("a checksum") ^= 1;
    assert!(matches!(inflate(Compression::Zstd, &damaged), Err(DecompressFault::Corrupt(_))));

    // However large the input and high the level, we write what our own broker takes.
    let large = vec![7; 20 << 20];
    let codec = Codec::with_level(Compression::Zstd, 19).expect("a level");
    let frame = Compressor::new().compress(codec, &large).expect("compressed").to_vec();
    let limits = Limits { ratio_max: usize::MAX, ..Limits::BROKER };
    assert!(inflate_within(Compression::Zstd, &frame, &limits).expect("inflated") == large);
}

#[test]
fn a_frame_that_failed_leaves_nothing_behind_in_the_context() {
    let mut decompressor = Decompressor::new();
    let mut compressor = Compressor::new();
    let content = content(300_000);
    for compression in CODECS {
        let frame = compressor.compress(Codec::new(compression), &content).expect("compressed");
        let mut window = [0; 100];
        let mut abandoned = decompressor.inflate(compression, frame, &Limits::BROKER).expect("a frame");
        assert!(abandoned.fill(&mut window).expect("inflated") > 0);
        let cut = &frame[..frame.len() / 2];
        assert!(decompressor.decompress(compression, cut, &Limits::BROKER, &mut Vec::new()).is_err());
        let mut out = Vec::new();
        decompressor.decompress(compression, frame, &Limits::BROKER, &mut out).expect("inflated");
        assert!(out == content, "{compression}");
    }
}

#![allow(clippy::unwrap_used)]

use std::io::Read as _;

use cairn_formats::Sha256;
use proptest::prelude::*;

use super::*;

fn compress(compression: Compression, threads: usize, cut: usize, data: &[u8]) -> Vec<u8> {
    let mut writer = Compressor::new(compression, threads, Vec::new()).unwrap();
    for part in data.chunks(cut) {
        writer.write_all(part).unwrap();
        writer.flush().unwrap();
    }
    writer.finish().unwrap()
}

fn expand(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match compression {
        Compression::Gzip => flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut out).unwrap(),
        Compression::Zstd => ::zstd::Decoder::new(bytes).unwrap().read_to_end(&mut out).unwrap(),
    };
    out
}

/// Text-like and noisy stretches that need no file: a linear congruential generator.
fn sample(len: usize) -> Vec<u8> {
    let mut state = 1u32;
    (0..len)
        .map(|i| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = (state >> 24) as u8;
            if (i >> 14) % 3 == 0 { noise } else { b"cairn layers\n"[(i + usize::from(noise) / 128) % 13] }
        })
        .collect()
}

#[test]
fn bytes_depend_neither_on_threads_nor_on_how_the_input_is_cut() {
    let data = sample(9 * (1 << 20) + 12_345);
    for compression in [Compression::Gzip, Compression::Zstd] {
        let one = compress(compression, 1, data.len(), &data);
        for (threads, cut) in [(2, 1 << 16), (3, 4_096), (8, 1 << 21), (1, 100_003), (0, 1 << 20)] {
            assert!(compress(compression, threads, cut, &data) == one, "{compression:?} {threads} {cut}");
        }
        assert!(expand(compression, &one) == data, "{compression:?}");
    }
}

#[test]
fn boundaries_and_the_empty_input_read_back() {
    for len in [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 2 << 20] {
        let data = sample(len);
        for compression in [Compression::Gzip, Compression::Zstd] {
            let bytes = compress(compression, 2, 1 << 16, &data);
            assert!(expand(compression, &bytes) == data, "{compression:?} {len}");
        }
    }
}

/// If this fails after an update of a compressor, change [`Compression::id`] and these values.
#[test]
fn the_compressors_are_pinned() {
    let data = sample(3 * (1 << 20));
    for (compression, expected) in [
        (Compression::Gzip, "70bf19df59812cb216ee40763bee1acd339853418dcc3113a367330af86ddb32"),
        (Compression::Zstd, "952dad38c7b8ecf5ed5f8431aaa860a90c8510602f843389c9c483291829db8c"),
    ] {
        let bytes = compress(compression, 2, 1 << 16, &data);
        assert_eq!(Sha256::of(&bytes).hex(), expected, "{}", compression.id());
    }
}

proptest! {
    #[test]
    fn any_input_reads_back(data in proptest::collection::vec(any::<u8>(), 0..5000), cut in 1..700usize) {
        for compression in [Compression::Gzip, Compression::Zstd] {
            prop_assert_eq!(&expand(compression, &compress(compression, 2, cut, &data)), &data);
        }
    }
}

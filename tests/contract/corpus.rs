//! The corpus of the fuzz targets, replayed, and mutations of it by a fixed seed.

use std::path::Path;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

#[path = "../../fuzz/properties.rs"]
mod properties;

/// Mutations of each input.
const MUTATIONS: usize = 200;
/// The same for Parquet, of which a damaged file often is a panic that is caught: that takes its time.
const MUTATIONS_OF_PARQUET: usize = 40;
/// Bytes that mean something to a reader of CSV or JSON.
const SIGNS: &[u8] = b"\"',;\t|\n\r\\#\0\xff\xef{}[]:09";

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// Bytes changed, left out, put in and moved, a few at a time.
fn mutated(input: &[u8], others: &[Vec<u8>], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..random.random_range(1..6) {
        let at = random.random_range(0..=bytes.len());
        let sign = SIGNS[random.random_range(0..SIGNS.len())];
        match random.random_range(0..5) {
            0 if at < bytes.len() => bytes[at] = sign,
            1 => bytes.insert(at, sign),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 => bytes.truncate(at),
            _ => {
                let other = &others[random.random_range(0..others.len())];
                let from = random.random_range(0..=other.len());
                let tail = bytes.split_off(at);
                bytes.extend(&other[from..(from + 20).min(other.len())]);
                bytes.extend(tail);
            }
        }
    }
    bytes
}

fn replay(target: &str, mutations: usize, property: fn(&[u8])) {
    let corpus = corpus(target);
    assert!(corpus.len() > 10, "{} inputs", corpus.len());
    let mut random = StdRng::seed_from_u64(1);
    for input in &corpus {
        property(input);
        for _ in 0..mutations {
            let input = mutated(input, &corpus, &mut random);
            let held = std::panic::catch_unwind(|| property(&input));
            assert!(
                held.is_ok(),
                "an input for the corpus: {:?}",
                input.escape_ascii().to_string()
            );
        }
    }
}

#[test]
fn the_corpus_of_csv_files_holds() {
    replay("csv", MUTATIONS, properties::csv);
}

#[test]
fn the_corpus_of_envelopes_holds() {
    replay("envelope", MUTATIONS, properties::envelope);
}

#[test]
fn the_corpus_of_json_files_holds() {
    replay("json", MUTATIONS, properties::json);
}

#[test]
fn the_corpus_of_parquet_files_holds() {
    replay("parquet", MUTATIONS_OF_PARQUET, properties::parquet);
}

//! Compressed files: what they are is in their first bytes, whatever they are called. They are unpacked as they
//! are read.
//!
//! Every format that is read here begins with bytes of its own, so neither a name nor a Content-Encoding has to
//! be believed.

use std::io::{BufReader, Error, Read, Result};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Limits;
use super::peek::Peeked;

/// Layers of compression: some uploads compress a compressed file once more.
const MOST_LAYERS: usize = 3;
/// Bytes of packed input that are read at a time.
const PACKED: usize = 64 * 1024;
/// The largest window of zstd, as a power of two (I7): what `zstd -19` uses, and twice that.
const ZSTD_WINDOW: u32 = 24;
/// Bytes that bzip2 takes for each level.
const BZIP2_LEVEL: u64 = 400 * 1024;
/// The largest memory of xz in KiB (I7): what `xz -8` uses.
const XZ_KIBIBYTES: u32 = 40 * 1024;
/// Bytes of a window that do not matter.
const SMALL_WINDOW: u64 = 256 * 1024;
/// Expanded bytes of which the ratio does not matter.
const SMALL: u64 = 16 * 1024 * 1024;

/// Why a compressed file is refused; it is inside the [`Error`] that `read` returns.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// The packed bytes are wrong, or end too early.
    #[error("its {kind} data is corrupt or ends too early")]
    Corrupt {
        kind: &'static str,
        #[source]
        source: Error,
    },
    /// It expands too much.
    #[error("it expands to more than {limit} times its size")]
    Ratio { limit: u64 },
    /// It expands to too many bytes.
    #[error("it expands to more than {limit} bytes")]
    Size { limit: u64 },
    /// There is another packed file in it, and so on.
    #[error("it is compressed more than {MOST_LAYERS} times")]
    Layers,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

impl Kind {
    fn of(head: &[u8]) -> Option<Self> {
        // The digits are those of pi; the byte before them is the size of a block.
        let is_bzip2 = matches!(head, [b'B', b'Z', b'h', b'1'..=b'9', ..])
            && head.get(4..10) == Some(b"1AY&SY");
        match head {
            [0x1F, 0x8B, 8, ..] => Some(Self::Gzip),
            [0x28, 0xB5, 0x2F, 0xFD, ..] => Some(Self::Zstd),
            [0xFD, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            _ if is_bzip2 => Some(Self::Bzip2),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
        }
    }

    /// All members, frames or streams of the file, one after the other.
    fn decoder(self, packed: Packed) -> Result<Box<dyn Read + Send>> {
        let packed = BufReader::with_capacity(PACKED, packed);
        Ok(match self {
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
                decoder.window_log_max(ZSTD_WINDOW)?;
                Box::new(decoder)
            }
            Self::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(packed)),
            Self::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(packed, true, XZ_KIBIBYTES)),
        })
    }
}

/// Bytes of memory that unpacking a file takes, by its first bytes; 0 where they are so few as with gzip. Unpacked
/// again, or behind its first frame, it may take more.
pub(super) fn memory(head: &[u8]) -> u64 {
    let most = |window: Option<u64>, most: u64| window.map_or(most, |window| window.min(most));
    let memory = match Kind::of(head) {
        None | Some(Kind::Gzip) => 0,
        Some(Kind::Bzip2) => head.get(3).map_or(0, |digit| BZIP2_LEVEL * u64::from(digit - b'0')),
        Some(Kind::Zstd) => most(zstd_window(head), 1 << ZSTD_WINDOW),
        Some(Kind::Xz) => most(xz_dictionary(head), 1024 * u64::from(XZ_KIBIBYTES)),
    };
    if memory < SMALL_WINDOW { 0 } else { memory }
}

/// The window of the first frame
/// ([Frame header](https://datatracker.ietf.org/doc/html/rfc8878#name-frame-header)).
fn zstd_window(head: &[u8]) -> Option<u64> {
    let descriptor = *head.get(4)?;
    if descriptor & 0x20 == 0 {
        let window = *head.get(5)?;
        let base = 1_u64 << (10 + (window >> 3));
        return Some(base + base / 8 * u64::from(window & 7));
    }
    // One segment: its window is its content, whose size stands behind the number of a dictionary.
    let start = 5 + [0, 1, 2, 4][usize::from(descriptor & 3)];
    let length = 1 << (descriptor >> 6);
    let size = head.get(start..start + length)?;
    Some(size.iter().rev().fold(0, |size, byte| size << 8 | u64::from(*byte)))
}

/// The dictionary of the first block, where no other filter stands before it
/// ([Block header](https://tukaani.org/xz/xz-file-format.txt)).
fn xz_dictionary(head: &[u8]) -> Option<u64> {
    let flags = *head.get(13)?;
    let mut filter = head.get(14..)?;
    // The sizes of the block: the highest bit of a byte says that another one follows.
    for has_size in [flags & 0x40, flags & 0x80] {
        if has_size != 0 {
            filter = &filter[filter.iter().position(|byte| byte & 0x80 == 0)? + 1..];
        }
    }
    match (flags & 3, filter) {
        (0, [0x21, 1, size @ 0..40, ..]) => Some(u64::from(2 | size & 1) << (size / 2 + 11)),
        _ => None,
    }
}

/// The bytes of a file, unpacked if they are packed.
pub(super) fn unpacked(mut input: Peeked, limits: Limits) -> Result<Peeked> {
    for _ in 0..MOST_LAYERS {
        let Some(kind) = Kind::of(input.head()) else { return Ok(input) };
        let (read, failed) = (Arc::new(AtomicU64::new(0)), Failed::default());
        let packed = Packed { input, read: read.clone(), failed: failed.clone() };
        let decoder = kind.decoder(packed)?;
        input = Peeked::new(Box::new(Expanded { decoder, kind, read, failed, bytes: 0, limits }));
    }
    match Kind::of(input.head()) {
        Some(_) => Err(Error::other(Refused::Layers)),
        None => Ok(input),
    }
}

/// A failure of the input, which a decoder must not hide in an error of its own.
type Failed = Arc<Mutex<Option<Error>>>;

/// The packed bytes, counted.
struct Packed {
    input: Peeked,
    read: Arc<AtomicU64>,
    failed: Failed,
}

impl Read for Packed {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        match self.input.read(buffer) {
            Ok(read) => {
                self.read.fetch_add(read as u64, Ordering::Relaxed);
                Ok(read)
            }
            Err(error) => {
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Err(Error::other("the input failed"))
            }
        }
    }
}

/// The unpacked bytes, within limits.
struct Expanded {
    decoder: Box<dyn Read + Send>,
    kind: Kind,
    read: Arc<AtomicU64>,
    failed: Failed,
    bytes: u64,
    limits: Limits,
}

impl Read for Expanded {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let read = self.decoder.read(buffer).map_err(|source| {
            let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
            let kind = self.kind.name();
            failed.unwrap_or_else(|| Error::other(Refused::Corrupt { kind, source }))
        })?;
        self.bytes += read as u64;
        let Limits { expanded_bytes, expansion, .. } = self.limits;
        if self.bytes > expanded_bytes {
            return Err(Error::other(Refused::Size { limit: expanded_bytes }));
        }
        let packed = self.read.load(Ordering::Relaxed);
        if self.bytes > SMALL && self.bytes > packed.saturating_mul(expansion) {
            return Err(Error::other(Refused::Ratio { limit: expansion }));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn bzip2(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = bzip2::write::BzEncoder::new(vec![], bzip2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// `xz` of `id\n1\n2\n`, made by the program of that name: the crate here only reads.
    const XZ: &[u8] = include_bytes!("../../tests/support/rows.csv.xz");

    fn read(bytes: Vec<u8>, limits: Limits) -> std::result::Result<Vec<u8>, Refused> {
        let mut read = vec![];
        let input = Peeked::new(Box::new(Cursor::new(bytes)));
        match unpacked(input, limits).and_then(|mut input| input.read_to_end(&mut read)) {
            Ok(_) => Ok(read),
            Err(error) => Err(error.downcast::<Refused>().unwrap()),
        }
    }

    #[test]
    fn files_are_unpacked_by_their_first_bytes() {
        let text = b"id\n1\n2\n".repeat(30_000);
        let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
        let two = |pack: &dyn Fn(&[u8]) -> Vec<u8>| {
            let (first, second) = text.split_at(1_000);
            [pack(first), pack(second)].concat()
        };
        for packed in [
            text.clone(),
            gzip(&text),
            two(&gzip),
            zstd(&text),
            two(&zstd),
            bzip2(&text),
            two(&bzip2),
            gzip(&gzip(&text)),
            zstd(&bzip2(&gzip(&text))),
        ] {
            assert_eq!(read(packed, Limits::default()).unwrap(), text);
        }
        assert_eq!(read(XZ.to_vec(), Limits::default()).unwrap(), b"id\n1\n2\n");
        assert_eq!(read(vec![], Limits::default()).unwrap(), b"");
    }

    #[test]
    fn the_first_bytes_say_how_much_memory_unpacking_takes() {
        let text = b"id\n1\n2\n".repeat(300_000);
        let stream = |window: u32| {
            let mut encoder = zstd::Encoder::new(vec![], 1).unwrap();
            encoder.window_log(window).unwrap();
            encoder.write_all(&text).unwrap();
            encoder.finish().unwrap()
        };
        // At this level the window holds all of the text, and the header says its size instead.
        let whole = |text: &[u8]| zstd::bulk::compress(text, 3).unwrap();
        // The same header with the sizes of the block in it.
        let sized = [&XZ[..13], &[0xC0, 0x90, 0x01, 0x07], &XZ[14..]].concat();
        for (packed, memory) in [
            (text.clone(), 0),
            (gzip(&text), 0),
            (bzip2(&text), BZIP2_LEVEL),
            (stream(21), 2 * 1024 * 1024),
            (stream(24), 16 * 1024 * 1024),
            (stream(27), 16 * 1024 * 1024),
            (whole(&text[..1_000_000]), 1_000_000),
            (whole(b"id\n1\n"), 0),
            (XZ.to_vec(), 8 * 1024 * 1024),
            (sized, 8 * 1024 * 1024),
            (XZ[..14].to_vec(), 40 * 1024 * 1024),
            (b"BZh\x001AY&SY".to_vec(), 0),
        ] {
            assert_eq!(super::memory(&packed), memory, "{:?}", &packed[..20.min(packed.len())]);
        }
    }

    #[test]
    fn corrupt_files_are_refused_and_never_cut_off() {
        let text = b"id\n1\n2\n".repeat(30_000);
        let all = [gzip(&text), bzip2(&text), XZ.to_vec(), zstd::encode_all(&*text, 1).unwrap()];
        for packed in &all {
            let cut = packed[..packed.len() - 5].to_vec();
            assert!(matches!(read(cut, Limits::default()), Err(Refused::Corrupt { .. })));
        }
        // A frame of zstd has a checksum only where its writer asks for one.
        for packed in &all[..3] {
            let mut wrong = packed.clone();
            wrong[packed.len() / 2] ^= 0x55;
            assert!(matches!(read(wrong, Limits::default()), Err(Refused::Corrupt { .. })));
        }
        let error = read(gzip(&gzip(&gzip(&gzip(b"id\n")))), Limits::default()).unwrap_err();
        assert_eq!(error.to_string(), "it is compressed more than 3 times");
    }

    #[test]
    fn bombs_are_refused() {
        let bomb = zstd::encode_all(&*vec![b'0'; 40 * 1024 * 1024], 1).unwrap();
        let error = read(bomb, Limits { expansion: 100, ..Limits::default() }).unwrap_err();
        assert_eq!(error.to_string(), "it expands to more than 100 times its size");
        let limits = Limits { expanded_bytes: 1_000, ..Limits::default() };
        let error = read(gzip(&vec![b'0'; 10_000]), limits).unwrap_err();
        assert_eq!(error.to_string(), "it expands to more than 1000 bytes");
    }

    #[test]
    fn a_failure_of_the_input_is_not_taken_for_corrupt_data() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> Result<usize> {
                Err(Error::new(std::io::ErrorKind::ConnectionReset, "reset"))
            }
        }
        let packed = gzip(&b"id\n1\n2\n".repeat(30_000));
        let half = Cursor::new(packed[..packed.len() / 2].to_vec()).chain(Failing);
        let mut input = unpacked(Peeked::new(Box::new(half)), Limits::default()).unwrap();
        let error = input.read_to_end(&mut vec![]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
}

//! The readers of `sweep::checkpoint` on hostile files: made by hand, and made by a hundred thousand mutations.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Cursor, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use sweep::checkpoint::{self, Array, Checkpoint, CheckpointError, Facts, Phase, Weights};
use sweep::spec::ExportFormat;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// Counts what the current thread has allocated, so that a reader's appetite can be measured.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    HELD.with(|held| {
        held.set(held.get() + change);
        PEAK.with(|peak| peak.set(peak.get().max(held.get())));
    });
}

// SAFETY: every call goes to the system's allocator unchanged; the counters are plain cells of this thread.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Most bytes that were held at once during `work`, beyond what was held before.
pub fn peak_of(work: impl FnOnce()) -> usize {
    let before = HELD.get();
    PEAK.set(before);
    work();
    usize::try_from(PEAK.get() - before).unwrap()
}

fn small() -> Checkpoint {
    crate::sandbox::know_the_selector();
    let array = |shape: &[usize]| {
        let count = shape.iter().product::<usize>();
        Array { shape: shape.to_vec(), values: (0..count).map(|index| index as f32 / 8.0 - 1.0).collect() }
    };
    let shapes: [(&str, &[usize]); 4] = [
        ("attn_norms.0.bias", &[4]),
        ("cand_proj.weight", &[4, 4]),
        ("cross_attn_layers.0.in_proj_weight", &[12, 4]),
        ("query_proj.weight", &[4, 4]),
    ];
    let weights: Weights = shapes.iter().map(|(name, shape)| ((*name).to_string(), array(shape))).collect();
    let facts = Facts {
        phase: Some(Phase::called("grpo")),
        epoch: Some(2),
        kl_beta: Some(0.15),
        config: Some(serde_json::json!({ "train": { "kl_beta": 0.15, "seed": 0 } })),
        metrics: [("val_loss".to_string(), 8.5)].into(),
        ..Facts::default()
    };
    Checkpoint { weights, facts }
}

fn bytes_of(fill: impl FnOnce(&Path)) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fill(&path);
    std::fs::read(path).unwrap()
}

fn torch_small() -> Vec<u8> {
    crate::sandbox::know_the_selector();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/checkpoints/torch_small.pt");
    std::fs::read(path).unwrap()
}

/// The entries of a zip, and the number of the one that holds the pickle.
pub fn unzip(bytes: &[u8]) -> (Vec<(String, Vec<u8>)>, usize) {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).unwrap();
    let mut entries = Vec::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        entries.push((entry.name().to_string(), content));
    }
    let pickle = entries.iter().position(|(name, _)| name.ends_with("data.pkl")).unwrap();
    (entries, pickle)
}

pub fn rezip(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        zip.start_file(name.as_str(), options).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A `.pt` file around a pickle written by hand.
fn around(pickle: &[u8]) -> Vec<u8> {
    rezip(&[
        ("archive/data.pkl".into(), pickle.to_vec()),
        ("archive/data/0".into(), vec![0; 64]),
        ("archive/version".into(), b"3\n".to_vec()),
    ])
}

fn error_of(bytes: &[u8]) -> CheckpointError {
    crate::sandbox::know_the_selector();
    checkpoint::read_bytes(bytes, Path::new("evil.pt")).expect_err("a hostile file")
}

/// A tensor of the given storage size, offset, shape and stride, as protocol 2 pickles it.
fn tensor(count: &str, offset: &str, shape: &str, stride: &str) -> Vec<u8> {
    let int = |text: &str| {
        let mut bytes = vec![0x8a, 8];
        bytes.extend(text.parse::<i64>().unwrap().to_le_bytes());
        bytes
    };
    let tuple = |text: &str| {
        let numbers: Vec<u8> = text.split_whitespace().flat_map(int).collect();
        [b"(".as_slice(), &numbers, b"t"].concat()
    };
    [
        b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu".as_slice(),
        &int(count),
        b"tQ",
        &int(offset),
        &tuple(shape),
        &tuple(stride),
        b"\x89}tRs.",
    ]
    .concat()
}

#[test]
fn a_pickle_that_would_run_code_is_refused_by_name() {
    let error = error_of(&around(b"\x80\x02cposix\nsystem\nX\x09\x00\x00\x00touch /xx\x85R."));
    assert!(matches!(&error, CheckpointError::Refused { global, .. } if global == "posix.system"), "{error}");
    assert!(error.to_string().contains("nothing was executed"), "{error}");
    let stack_global = b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.";
    assert!(matches!(error_of(&around(stack_global)), CheckpointError::Refused { .. }));
}

#[test]
fn sizes_are_checked_before_memory_is_asked_for() {
    let fine = checkpoint::read_bytes(&around(&tensor("16", "0", "4 4", "4 1")), Path::new("x")).unwrap();
    assert_eq!(fine.weights["w"].shape, [4, 4]);
    for (count, offset, shape, stride) in [
        ("16", "0", "4 5", "5 1"),
        ("16", "1", "4 4", "4 1"),
        ("16", "-1", "4 4", "4 1"),
        ("17", "0", "4 4", "4 1"),
        ("1000000000000", "0", "1000000 1000000", "1000000 1"),
        ("4611686018427387904", "0", "4611686018427387904", "1"),
        ("16", "0", "4611686018427387904 4", "0 0"),
        ("16", "0", "9223372036854775807 9223372036854775807", "1 1"),
        ("16", "0", "2 2", "9223372036854775807 9223372036854775807"),
        // 4 million views of one element: 16 MB out of a file of less than 1 kB.
        ("16", "0", "2000 2000", "0 0"),
        ("16", "0", "4 4", "4"),
    ] {
        let bytes = around(&tensor(count, offset, shape, stride));
        let peak = peak_of(|| {
            let error = error_of(&bytes);
            assert!(matches!(error, CheckpointError::Damaged { .. }), "{count} {offset} {shape}: {error}");
        });
        assert!(peak < 1 << 20, "{peak} bytes for {count} {offset} {shape} {stride}");
    }
    let broadcast =
        checkpoint::read_bytes(&around(&tensor("16", "2", "2 4", "0 1")), Path::new("x")).unwrap();
    assert_eq!(broadcast.weights["w"].values.len(), 8, "a modest broadcast is an honest view");
}

#[test]
fn small_pickles_cannot_ask_for_much() {
    // Each level holds the one below ten times: 10^40 values for a reader that copies.
    let mut laughs = b"\x80\x02]q\x00".to_vec();
    for level in 0..40u8 {
        laughs.extend([b'0', b']', b'q', level + 1, b'(']);
        laughs.extend([b'h', level].repeat(10));
        laughs.push(b'e');
    }
    laughs.push(b'.');
    let inside = [b"\x80\x02}X\x03\x00\x00\x00foo".as_slice(), &laughs[2..laughs.len() - 1], b"s."].concat();
    let deep = [b"\x80\x02".as_slice(), b")".as_slice(), &b"\x85".repeat(1_000_000), b"."].concat();
    let text = [b"\x80\x02X".as_slice(), &u32::MAX.to_le_bytes(), b"short."].concat();
    let bytes = [b"\x80\x04\x8e".as_slice(), &u64::MAX.to_le_bytes(), b"short."].concat();
    let endless = [b"\x80\x02".as_slice(), &b"}".repeat(3_000_000), b"."].concat();
    for (name, pickle) in
        [("laughs", inside), ("deep", deep), ("text", text), ("bytes", bytes), ("endless", endless)]
    {
        let file = around(&pickle);
        let peak = peak_of(|| drop(error_of(&file)));
        assert!(peak < 128 * file.len() + (1 << 20), "{name}: {peak} bytes for a file of {}", file.len());
    }
}

#[test]
fn other_zips_are_told_what_is_missing() {
    let error = error_of(&rezip(&[("a.txt".into(), b"hello".to_vec())])).to_string();
    assert!(error.contains("a zip without data.pkl"), "{error}");
    let (entries, _) = unzip(&torch_small());
    let lacking: Vec<_> = entries.iter().filter(|(name, _)| !name.ends_with("data/1")).cloned().collect();
    let error = error_of(&rezip(&lacking)).to_string();
    assert!(error.contains("has no entry `torch_small/data/1`"), "{error}");
    let mut big: Vec<_> = entries.clone();
    big.iter_mut().find(|(name, _)| name.ends_with("byteorder")).unwrap().1 = b"big".to_vec();
    assert!(error_of(&rezip(&big)).to_string().contains("big-endian"));
    // A central directory that claims the entry unfolds to 4 GB.
    let mut bomb = rezip(&entries);
    let directory = bomb.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    bomb[directory + 24..directory + 28].copy_from_slice(&u32::MAX.to_le_bytes()[..]);
    let peak = peak_of(|| drop(error_of(&bomb)));
    assert!(peak < 1 << 20, "{peak}");
}

#[test]
fn what_training_scripts_leave_in_a_checkpoint_is_understood() {
    let read = checkpoint::read_bytes(&torch_small(), Path::new("torch_small.pt")).unwrap();
    let values = |name: &str| read.weights[name].values.clone();
    assert_eq!(values("input_proj.weight")[..3], [0.0, 0.125, 0.25]);
    assert_eq!(
        values("query_proj.weight"),
        [12., 15., 18., 21., 13., 16., 19., 22., 14., 17., 20., 23.].map(|v| v / 8.0)
    );
    assert_eq!(values("cand_proj.weight"), [0.5; 12]);
    assert_eq!(values("attn_norms.0.weight"), [1.0, -0.25, 65504.0]);
    assert_eq!(values("attn_norms.0.bias"), [1.0, 0.1]);
    assert_eq!(values("cross_attn_layers.0.in_proj_bias"), [1.0, -3.0]);
    assert_eq!(read.weights["cross_attn_layers.0.empty"].shape, [0, 3]);
    let facts = read.facts;
    assert_eq!(
        (facts.phase, facts.epoch, facts.stored_epoch),
        (Some(Phase::called("grpo")), Some(3), Some(2))
    );
    assert_eq!((facts.kl_beta, facts.lr), (Some(0.12), Some(5e-6)));
    assert_eq!((facts.metrics["val_loss"], facts.metrics["steps"]), (8.5, 57.0));
    assert!(facts.metrics["kl"].is_nan());
    assert_eq!(facts.extra["negative"], -(1i64 << 40));
}

/// SplitMix64: the same mutations in every run.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// One to four changes: bits, bytes, awkward numbers, cuts, repeats, moved pieces.
pub fn mutate(original: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for _ in 0..=random.below(4) {
        if bytes.is_empty() {
            break;
        }
        let at = random.below(bytes.len());
        let end = (at + 1 + random.below(32)).min(bytes.len());
        match random.below(8) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next() as u8,
            2 => {
                let awkward =
                    [0, 1, 0x7f, 0x80, 0xff, u64::from(u32::MAX), u64::MAX, i64::MAX as u64, 1 << 40];
                let number = awkward[random.below(awkward.len())].to_le_bytes();
                let width = [1, 2, 4, 8][random.below(4)].min(bytes.len() - at);
                bytes[at..at + width].copy_from_slice(&number[..width]);
            }
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(at..end)),
            5 => {
                let piece = bytes[at..end].to_vec();
                let to = random.below(bytes.len() + 1);
                bytes.splice(to..to, piece);
            }
            6 => {
                let digit = b'0' + random.below(10) as u8;
                if let Some(place) = bytes[at..].iter().position(u8::is_ascii_digit) {
                    bytes[at + place] = digit;
                }
            }
            _ => {
                let opcodes = b"\x80(.0]})tRbQcXJKMGNehqrsu\x85\x86\x87\x88\x89\x81\x8a\x8c\x93\x94\x95";
                bytes[at] = opcodes[random.below(opcodes.len())];
            }
        }
    }
    bytes
}

/// Reads a mutated file: no panic, no more memory than a file of its size may ask for. `true` if it was read.
fn survives(bytes: &[u8], what: &str, round: usize) -> bool {
    let mut read = false;
    let peak = peak_of(|| {
        let outcome = catch_unwind(AssertUnwindSafe(|| checkpoint::read_bytes(bytes, Path::new("mutated"))));
        read = outcome.unwrap_or_else(|_| panic!("{what}, round {round}: the reader panicked")).is_ok();
    });
    assert!(
        peak < 256 * bytes.len() + (256 << 10),
        "{what}, round {round}: {peak} bytes for {}",
        bytes.len()
    );
    read
}

#[test]
fn a_hundred_thousand_mutations_neither_panic_nor_allocate_much() {
    let checkpoint = small();
    let ours = bytes_of(|path| checkpoint::write(path, &checkpoint.weights, &checkpoint.facts).unwrap());
    let lightning = bytes_of(|path| checkpoint::export(path, &checkpoint, ExportFormat::V2).unwrap());
    let torch = torch_small();
    let mut random = Random(20_240_607);
    let mut total = 0;
    let mut read = 0;
    for (what, file) in [("safetensors", &ours), ("ckpt", &lightning), ("pt", &torch)] {
        assert!(survives(file, what, 0), "{what} itself is read");
        for round in 0..20_000 {
            read += usize::from(survives(&mutate(file, &mut random), what, round));
            total += 1;
        }
    }
    // A checksum guards the pickle, so it is mutated inside an intact zip, and likewise the header of safetensors
    // under a length that fits.
    for (what, file) in [("pickle of ckpt", &lightning), ("pickle of pt", &torch)] {
        let (entries, pickle) = unzip(file);
        for round in 0..15_000 {
            let mut entries = entries.clone();
            entries[pickle].1 = mutate(&entries[pickle].1, &mut random);
            read += usize::from(survives(&rezip(&entries), what, round));
            total += 1;
        }
    }
    let header = 8 + usize::try_from(u64::from_le_bytes(ours[..8].try_into().unwrap())).unwrap();
    for round in 0..20_000 {
        let mutated = mutate(&ours[8..header], &mut random);
        let file = [&(mutated.len() as u64).to_le_bytes()[..], &mutated, &ours[header..]].concat();
        read += usize::from(survives(&file, "header of safetensors", round));
        total += 1;
    }
    assert!(total >= 100_000, "{total}");
    assert!(
        read > 100 && read < total / 2,
        "{read} of {total} were still readable: the mutations bite, but not too deep"
    );
}

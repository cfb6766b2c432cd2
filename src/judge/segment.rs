//! One file of the cache: records that are only ever appended.
//!
//! ```text
//! magic (4) | kind (1) | zero (3) | length of the body (4, little-endian) | id (16) | checksum (16) | body
//! ```
//! The checksum is the beginning of the blake3 hash of everything else but the magic. A record whose checksum does not
//! hold is never believed: reading goes on at the next one that is whole, and what follows the last one is a torn tail.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const MAGIC: [u8; 4] = *b"\xf5qa1";
pub const HEADER: usize = 44;
/// Longest body that is believed.
const LONGEST: usize = 64 << 20;
/// How much is read at once.
const BLOCK: usize = 1 << 20;

/// The identity of a question, or of a judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub [u8; 16]);

impl Id {
    /// The beginning of a blake3 hash.
    pub fn of(hash: &blake3::Hash) -> Self {
        let mut id = [0; 16];
        id.copy_from_slice(&hash.as_bytes()[..16]);
        Self(id)
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a record says of its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The answer to a question.
    Answer,
    /// The writer is about to ask this question.
    Asking,
    /// It asked in vain.
    GivenUp,
    /// The id is that of a judge; the body describes it.
    Judge,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Answer, Self::Asking, Self::GivenUp, Self::Judge];

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// A record and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub kind: Kind,
    pub id: Id,
    pub body: &'a [u8],
    /// Offset of its first byte.
    pub at: u64,
}

/// The bytes of a record.
pub fn encode(kind: Kind, id: Id, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend(MAGIC);
    bytes.extend([kind as u8, 0, 0, 0]);
    bytes.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend(id.0);
    let sum = checksum(&bytes[4..28], body);
    bytes.extend(sum);
    bytes.extend(body);
    bytes
}

fn checksum(header: &[u8], body: &[u8]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(header).update(body);
    Id::of(&hasher.finalize()).0
}

enum Parsed<'a> {
    Whole(Kind, Id, &'a [u8]),
    /// Not a record, and never will be.
    Wrong,
    /// It may become one with more bytes.
    Short,
}

fn parse(bytes: &[u8]) -> Parsed<'_> {
    let begins = bytes.len().min(MAGIC.len());
    if bytes[..begins] != MAGIC[..begins] {
        return Parsed::Wrong;
    }
    let Some(header) = bytes.get(..HEADER) else { return Parsed::Short };
    let length = u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize;
    let Some(kind) = Kind::from_byte(header[4]).filter(|_| length <= LONGEST) else { return Parsed::Wrong };
    let Some(body) = bytes.get(HEADER..HEADER + length) else { return Parsed::Short };
    if checksum(&header[4..28], body) != header[28..44] {
        return Parsed::Wrong;
    }
    let mut id = [0; 16];
    id.copy_from_slice(&header[12..28]);
    Parsed::Whole(kind, Id(id), body)
}

/// How far a file could be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Behind the last whole record.
    pub end: u64,
    /// Bytes before it that belong to no whole record.
    pub damaged: u64,
}

/// Calls `each` with every whole record of `file` from `from` on.
///
/// # Errors
/// A file that cannot be read.
pub fn scan(file: &File, from: u64, each: &mut dyn FnMut(Record)) -> io::Result<Extent> {
    let mut extent = Extent { end: from, damaged: 0 };
    // `buffer` holds the file from `base` on; everything before `at` (in it) is done with.
    let (mut buffer, mut base, mut at, mut all) = (Vec::new(), from, 0, false);
    loop {
        match parse(&buffer[at..]) {
            Parsed::Whole(kind, id, body) => {
                let here = base + at as u64;
                each(Record { kind, id, body, at: here });
                extent.damaged += here - extent.end;
                at += HEADER + body.len();
                extent.end = base + at as u64;
            }
            Parsed::Short if !all => {
                buffer.drain(..at);
                base += at as u64;
                at = 0;
                all = !read_block(file, base, &mut buffer)?;
            }
            Parsed::Wrong | Parsed::Short => match next_magic(&buffer, at + 1) {
                Some(next) => at = next,
                None if all => return Ok(extent),
                None => {
                    // The last bytes may be the beginning of the magic.
                    at = buffer.len().saturating_sub(MAGIC.len() - 1).max(at + 1).min(buffer.len());
                    buffer.drain(..at);
                    base += at as u64;
                    at = 0;
                    all = !read_block(file, base, &mut buffer)?;
                }
            },
        }
    }
}

fn next_magic(buffer: &[u8], from: usize) -> Option<usize> {
    let rest = buffer.get(from..)?;
    rest.windows(MAGIC.len()).position(|window| window == MAGIC).map(|found| from + found)
}

/// Appends the next bytes of `file`, of which `buffer` has those from `base` on; whether there were any.
fn read_block(file: &File, base: u64, buffer: &mut Vec<u8>) -> io::Result<bool> {
    let have = buffer.len();
    buffer.resize(have + BLOCK, 0);
    let read = loop {
        match file.read_at(&mut buffer[have..], base + have as u64) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read,
        }
    };
    buffer.truncate(have + read.as_ref().copied().unwrap_or(0));
    read.map(|read| read > 0)
}

/// The body of the record at `at`, if it is that of `id` and whole.
///
/// # Errors
/// A file that cannot be read.
pub fn read_at(file: &File, at: u64, id: Id) -> io::Result<Option<Vec<u8>>> {
    /// Most answers are shorter: one read is enough.
    const FIRST: usize = 512;
    let mut bytes = vec![0; FIRST];
    let mut have = 0;
    loop {
        match file.read_at(&mut bytes[have..], at + have as u64) {
            Ok(0) => return Ok(None),
            Ok(read) => have += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        match parse(&bytes[..have]) {
            Parsed::Whole(_, found, body) => return Ok((found == id).then(|| body.to_vec())),
            Parsed::Wrong => return Ok(None),
            Parsed::Short if have >= HEADER => {
                let length = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]) as usize;
                bytes.resize(HEADER + length, 0);
            }
            Parsed::Short => {}
        }
    }
}

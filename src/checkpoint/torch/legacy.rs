//! PyTorch's files from before 1.6 (`_use_new_zipfile_serialization=False` since): five pickles, then the storages in
//! the order of the last one, each with its number of elements before it. A file that holds only one pickle, as
//! `pickle.dump` writes it, is read as one without storages.

use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};

use super::super::error::Flaw;
use super::super::pickle::{MAX_PICKLE, Node, Pickle};
use super::super::unpickle::unpickle_first;

/// 0x1950a86a20f9469cfc6c as a pickle writes it, after the protocol.
const MAGIC: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
const FORMAT: i64 = 1001;

/// Where each storage's numbers are: first byte, and length in bytes.
pub(in super::super) type Places = HashMap<String, (u64, u64)>;

/// Reads the pickles and finds the storages of a file of `length` bytes.
pub(in super::super) fn open(mut reader: impl Read + Seek, length: u64) -> Result<(Pickle, Places), Flaw> {
    reader.seek(SeekFrom::Start(0))?;
    let mut head = Vec::new();
    reader.by_ref().take(MAX_PICKLE.min(length)).read_to_end(&mut head)?;
    let mut at = 0;
    if head.get(2..).is_none_or(|rest| !rest.starts_with(MAGIC)) {
        return Ok((next(&head, &mut at)?, Places::new()));
    }
    at = 2 + MAGIC.len();
    let version = next(&head, &mut at)?;
    if version.int(version.root) != Some(FORMAT) {
        return Err(Flaw::damaged("its version is not that of PyTorch's old format"));
    }
    let system = next(&head, &mut at)?;
    let little =
        system.get(system.root, "little_endian").map(|id| matches!(system.node(id), Node::Bool(true)));
    if little == Some(false) {
        return Err(Flaw::foreign("it was saved on a big-endian machine", "save it again on a PC"));
    }
    let pickle = next(&head, &mut at)?;
    let keys = next(&head, &mut at)?;
    let places = places(&mut reader, length, &pickle, &keys, at as u64)?;
    Ok((pickle, places))
}

fn next(head: &[u8], at: &mut usize) -> Result<Pickle, Flaw> {
    let (pickle, used) = unpickle_first(&head[*at..])?;
    *at += used;
    Ok(pickle)
}

fn places(
    reader: &mut (impl Read + Seek),
    length: u64,
    pickle: &Pickle,
    keys: &Pickle,
    mut at: u64,
) -> Result<Places, Flaw> {
    let Node::List(list) = keys.node(keys.root) else {
        return Err(Flaw::damaged("its list of storages is missing"));
    };
    let widths: HashMap<&str, (u64, usize)> =
        pickle.storages().map(|storage| (storage.key.as_str(), (storage.width, storage.count))).collect();
    let mut places = Places::new();
    for id in list {
        let key = keys.text(*id).ok_or_else(|| Flaw::damaged("a storage without a name"))?;
        let Some(&(width, count)) = widths.get(key) else {
            return Err(Flaw::damaged(format!("nothing says what its storage `{key}` holds")));
        };
        reader.seek(SeekFrom::Start(at))?;
        let mut stated = [0; 8];
        reader.read_exact(&mut stated)?;
        let bytes = (count as u64).checked_mul(width).filter(|_| u64::from_le_bytes(stated) == count as u64);
        let bytes = bytes.ok_or_else(|| {
            let stated = u64::from_le_bytes(stated);
            Flaw::damaged(format!("storage `{key}` has {stated} elements of {count}"))
        })?;
        at += 8;
        let end = at.checked_add(bytes).filter(|end| *end <= length);
        let end = end.ok_or_else(|| Flaw::damaged(format!("it ends inside storage `{key}`")))?;
        places.insert(key.to_string(), (at, bytes));
        at = end;
    }
    if at != length {
        return Err(Flaw::damaged(format!("{} bytes follow its last storage", length - at)));
    }
    Ok(places)
}

//! Text files as people's tools leave them: gzip'ed, with a byte order mark, or not text at all.

use std::io::{Error, ErrorKind, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

/// JSON shrinks by a factor of about 10, with much repetition by 50.
const MOST_UNPACKED: u64 = 500;

/// The text of `path`: unpacked where it is gzip'ed (known by its first bytes, not by its name), without a byte order
/// mark. Numbers of lines and columns count from the first byte after it.
///
/// # Errors
/// I/O errors; an empty file, a git-LFS pointer, UTF-16, a damaged or absurd archive, each named as what it is.
pub(crate) fn read_text(path: &Path) -> Result<Vec<u8>, Error> {
    let bytes = fs_err::read(path)?;
    let text = if bytes.starts_with(&[0x1f, 0x8b]) { unpack(path, &bytes)? } else { bytes };
    let wrong = |what: &str| Err(Error::new(ErrorKind::InvalidData, format!("`{}` {what}", path.display())));
    if text.iter().all(u8::is_ascii_whitespace) {
        return wrong(
            "is empty\nhint: was the program that was to write it interrupted, or is the disk full?",
        );
    }
    if text.starts_with(b"version https://git-lfs") {
        return wrong(
            "is a pointer of git-LFS, not the file itself\nhint: `git lfs pull` in its repository fetches the file",
        );
    }
    if text.starts_with(&[0xff, 0xfe]) || text.starts_with(&[0xfe, 0xff]) {
        return wrong(
            "is UTF-16, not UTF-8\nhint: save it as UTF-8 (in PowerShell: `Out-File -Encoding utf8`)",
        );
    }
    Ok(match text.strip_prefix(b"\xef\xbb\xbf") {
        Some(rest) => rest.to_vec(),
        None => text,
    })
}

fn unpack(path: &Path, bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let limit = (bytes.len() as u64).saturating_mul(MOST_UNPACKED).saturating_add(1 << 16);
    let mut text = Vec::new();
    let read = MultiGzDecoder::new(bytes).take(limit + 1).read_to_end(&mut text);
    let wrong = |what: String| Error::new(ErrorKind::InvalidData, format!("`{}` {what}", path.display()));
    read.map_err(|error| {
        wrong(format!("is gzip'ed and damaged: {error}\nhint: `gzip -t` says the same? then copy it again"))
    })?;
    if text.len() as u64 > limit {
        return Err(wrong(format!(
            "unpacks to more than {MOST_UNPACKED} times its size: that is no data set"
        )));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<u8>, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.json");
        crate::disk::write(&path, bytes).unwrap();
        read_text(&path).map_err(|error| error.to_string())
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn packed_and_marked_texts_are_the_same_text() {
        let text = b"{\"a\": 1}\n";
        let marked = [b"\xef\xbb\xbf".as_slice(), text].concat();
        let two = [gzip(text), gzip(text)].concat();
        assert_eq!(read(text).unwrap(), text);
        assert_eq!(read(&marked).unwrap(), text);
        assert_eq!(read(&gzip(text)).unwrap(), text);
        assert_eq!(read(&gzip(&marked)).unwrap(), text);
        assert_eq!(read(&two).unwrap(), [text.as_slice(), text].concat());
    }

    #[test]
    fn what_is_no_text_is_named() {
        let packed = gzip(b"{}");
        for (bytes, expected) in [
            (&b""[..], "is empty"),
            (&b" \n"[..], "is empty"),
            (&gzip(b"")[..], "is empty"),
            (&b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n"[..], "pointer of git-LFS"),
            (&b"\xff\xfe{\x00}\x00"[..], "UTF-16"),
            (&packed[..packed.len() - 3], "gzip'ed and damaged"),
            (&packed[..4], "gzip'ed and damaged"),
            (&gzip(&vec![b' '; 100 << 20])[..], "more than 500 times"),
        ] {
            let error = read(bytes).unwrap_err();
            assert!(error.contains(expected) && error.contains("x.json"), "{error}");
        }
    }

    #[test]
    fn mutated_archives_neither_panic_nor_unfold() {
        let packed = gzip(&b"{\"query_id\": 1}\n".repeat(50));
        let mut state = 1_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize
        };
        let mut damaged = 0;
        for _ in 0..20_000 {
            let mut bytes = packed.clone();
            for _ in 0..=random() % 4 {
                let at = random() % bytes.len();
                bytes[at] = random() as u8;
            }
            bytes.truncate(bytes.len() - if random() % 4 == 0 { random() % bytes.len() } else { 0 });
            if bytes.starts_with(&[0x1f, 0x8b]) {
                damaged += usize::from(unpack(Path::new("x"), &bytes).is_err());
            }
        }
        assert!(damaged > 10_000, "{damaged}");
    }
}

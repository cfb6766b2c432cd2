//! Arrays as numpy stores them: `.npy`, `.npz`, and the same arrays inside a pickle.

use std::io::{Read, Seek};

use flate2::read::DeflateDecoder;
use zip::{CompressionMethod, ZipArchive};

use super::Array;
use super::bytes::Element;
use super::error::{Flaw, zip_flaw};

/// What a `.npy` file begins with.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";
/// Longest header that is believed (numpy's own limit is 10,000 bytes).
const MAX_HEADER: usize = 1 << 16;

/// Element type and byte order: `<f4`, `>f8`, `|u1`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Dtype {
    pub(super) element: Element,
    /// Most significant byte first.
    pub(super) big: bool,
}

impl Dtype {
    /// From numpy's short name, with or without a byte order.
    pub(super) fn parse(descr: &str) -> Self {
        let big = descr.starts_with('>') || descr.starts_with('=') && cfg!(target_endian = "big");
        let element = match descr.trim_start_matches(['<', '>', '=', '|']) {
            "f2" => Element::F16,
            "f4" => Element::F32,
            "f8" => Element::F64,
            "f12" | "f16" => Element::Other { name: "longdouble" },
            "b1" => Element::Other { name: "bool" },
            "i1" => Element::Other { name: "int8" },
            "i2" => Element::Other { name: "int16" },
            "i4" => Element::Other { name: "int32" },
            "i8" => Element::Other { name: "int64" },
            "u1" => Element::Other { name: "uint8" },
            "u2" => Element::Other { name: "uint16" },
            "u4" => Element::Other { name: "uint32" },
            "u8" => Element::Other { name: "uint64" },
            "c8" => Element::Other { name: "complex64" },
            "c16" => Element::Other { name: "complex128" },
            "O" | "O8" => Element::Other { name: "object" },
            other if other.starts_with(['U', 'S', 'a']) => Element::Other { name: "text" },
            other if other.starts_with('V') => Element::Other { name: "void (bfloat16 of ml_dtypes?)" },
            _ => Element::Other { name: "an unusual type" },
        };
        Self { element, big }
    }
}

/// Shape and layout of an array, without its numbers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Form {
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    /// Column-major.
    pub(super) fortran: bool,
}

impl Form {
    /// Number of bytes of all values, if they are floating point and it fits.
    pub(super) fn size(&self, name: &str) -> Result<usize, Flaw> {
        let Some(size) = self.dtype.element.size() else {
            return Err(self.dtype.element.unreadable(name));
        };
        let bytes = self.shape.iter().try_fold(size, |all, size| all.checked_mul(*size));
        // A zero hides the product of the others, which indices are made of.
        let others = self.shape.iter().filter(|size| **size > 0).try_fold(size, |all, n| all.checked_mul(*n));
        bytes.filter(|_| others.is_some()).ok_or_else(|| Flaw::damaged(format!("shape {:?}", self.shape)))
    }

    /// The values of `bytes`, row-major.
    ///
    /// # Errors
    /// Types that are not floating point; another number of bytes than the shape needs.
    pub(super) fn decode(&self, bytes: &[u8], name: &str) -> Result<Array, Flaw> {
        let expected = self.size(name)?;
        if bytes.len() != expected {
            return Err(Flaw::damaged(format!(
                "its array of shape {:?} needs {expected} bytes, {} are there",
                self.shape,
                bytes.len()
            )));
        }
        let values = if self.dtype.big {
            let size = self.dtype.element.size().unwrap_or(1);
            let swapped: Vec<u8> = bytes.chunks(size).flat_map(|one| one.iter().rev().copied()).collect();
            self.dtype.element.decode(&swapped, name)?
        } else {
            self.dtype.element.decode(bytes, name)?
        };
        let values =
            if self.fortran && self.shape.len() > 1 { transposed(&values, &self.shape) } else { values };
        Ok(Array { shape: self.shape.clone(), values })
    }
}

/// Column-major -> row-major.
fn transposed(values: &[f32], shape: &[usize]) -> Vec<f32> {
    let mut index = vec![0; shape.len()];
    let place =
        |index: &[usize]| index.iter().zip(shape).rev().fold(0, |place, (index, size)| place * size + index);
    let mut rows = Vec::with_capacity(values.len());
    for _ in 0..values.len() {
        rows.push(values[place(&index)]);
        for (index, size) in index.iter_mut().zip(shape).rev() {
            *index += 1;
            if *index < *size {
                break;
            }
            *index = 0;
        }
    }
    rows
}

/// Reads a `.npy` file of `length` bytes.
pub(super) fn read_npy(mut reader: impl Read, length: u64, name: &str) -> Result<Array, Flaw> {
    let (form, header) = read_header(&mut reader)?;
    let expected = form.size(name)?;
    let rest = length.saturating_sub(header as u64);
    if rest != expected as u64 {
        return Err(Flaw::damaged(format!(
            "its array of shape {:?} needs {expected} bytes, {rest} are there",
            form.shape
        )));
    }
    let mut bytes = Vec::new();
    reader.take(rest).read_to_end(&mut bytes)?;
    form.decode(&bytes, name)
}

/// The header of a `.npy` file, and its length with everything before the numbers.
fn read_header(reader: &mut impl Read) -> Result<(Form, usize), Flaw> {
    let mut start = [0; 8];
    reader.read_exact(&mut start)?;
    if &start[..6] != MAGIC {
        return Err(Flaw::damaged("it is not a numpy array"));
    }
    let (size, before) = match start[6] {
        1 => {
            let mut size = [0; 2];
            reader.read_exact(&mut size)?;
            (u16::from_le_bytes(size).into(), 10)
        }
        2 | 3 => {
            let mut size = [0; 4];
            reader.read_exact(&mut size)?;
            (u32::from_le_bytes(size) as usize, 12)
        }
        other => return Err(Flaw::damaged(format!("version {other} of numpy's format"))),
    };
    if size > MAX_HEADER {
        return Err(Flaw::damaged(format!("its header claims {size} bytes")));
    }
    let mut text = vec![0; size];
    reader.read_exact(&mut text)?;
    let text = String::from_utf8(text).map_err(|_| Flaw::damaged("its header is not text"))?;
    let form = parse_header(&text).ok_or_else(|| {
        Flaw::foreign(
            format!("its numpy header is `{}`", text.trim()),
            "expected one array of numbers: np.save(file, matrix)",
        )
    })?;
    Ok((form, before + size))
}

/// `{'descr': '<f4', 'fortran_order': False, 'shape': (20, 12), }` in any order; nothing else.
fn parse_header(text: &str) -> Option<Form> {
    let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
    let (mut descr, mut fortran, mut shape) = (None, None, None);
    while !rest.is_empty() {
        let (key, after) = quoted(rest)?;
        let value = after.trim_start().strip_prefix(':')?.trim_start();
        rest = match key {
            "descr" => {
                let (text, after) = quoted(value)?;
                descr = Some(text);
                after
            }
            "fortran_order" => {
                let word = ["True", "False"].into_iter().find(|word| value.starts_with(word))?;
                fortran = Some(word == "True");
                &value[word.len()..]
            }
            "shape" => {
                let (inside, after) = value.strip_prefix('(')?.split_once(')')?;
                let sizes = inside.split(',').map(str::trim).filter(|size| !size.is_empty());
                let sizes = sizes.map(|size| size.trim_end_matches('L').parse());
                shape = Some(sizes.collect::<Result<Vec<usize>, _>>().ok()?);
                after
            }
            _ => return None,
        };
        rest = rest.trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
    Some(Form { dtype: Dtype::parse(descr?), shape: shape?, fortran: fortran? })
}

fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|letter| ['\'', '"'].contains(letter))?;
    text[1..].split_once(quote)
}

/// Whether a zip holds numpy arrays.
pub(super) fn is_npz<R: Read + Seek>(archive: &ZipArchive<R>) -> bool {
    !archive.is_empty() && archive.file_names().all(|name| name.ends_with(".npy"))
}

/// The one array of an `.npz` file of `length` bytes.
pub(super) fn read_npz<R: Read + Seek>(mut archive: ZipArchive<R>, length: u64) -> Result<Array, Flaw> {
    if archive.len() != 1 {
        let names: Vec<&str> =
            archive.file_names().take(8).map(|name| name.trim_end_matches(".npy")).collect();
        return Err(Flaw::foreign(
            format!("it holds {} arrays ({})", archive.len(), names.join(", ")),
            "expected exactly one matrix [rows, dim]: np.savez(file, matrix)",
        ));
    }
    let mut entry = archive.by_index_raw(0).map_err(zip_flaw)?;
    let (name, size, crc) = (entry.name().trim_end_matches(".npy").to_string(), entry.size(), entry.crc32());
    // Numbers do not shrink much: what claims to unfold into a hundred times its size lies.
    if size > length.saturating_mul(100) {
        return Err(Flaw::damaged(format!("its entry `{name}` claims {size} bytes in a file of {length}")));
    }
    let mut bytes = Vec::new();
    let cannot = |error: std::io::Error| Flaw::damaged(format!("its entry `{name}` cannot be read: {error}"));
    match entry.compression() {
        CompressionMethod::Stored => entry.by_ref().take(size).read_to_end(&mut bytes).map_err(cannot)?,
        // The zip reader is built without decompression.
        CompressionMethod::DEFLATE => {
            DeflateDecoder::new(entry.by_ref()).take(size).read_to_end(&mut bytes).map_err(cannot)?
        }
        other => return Err(Flaw::foreign(format!("it is compressed by {other}"), "use np.savez")),
    };
    let mut sum = flate2::Crc::new();
    sum.update(&bytes);
    if bytes.len() as u64 != size || sum.sum() != crc {
        return Err(Flaw::damaged(format!("its entry `{name}` is not what it was when it was written")));
    }
    read_npy(bytes.as_slice(), size, &name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_all_versions_of_python_are_read() {
        let form = |text: &str| parse_header(text);
        let expected = Form { dtype: Dtype::parse("<f4"), shape: vec![20, 12], fortran: false };
        for text in [
            "{'descr': '<f4', 'fortran_order': False, 'shape': (20, 12), }  \n",
            "{'fortran_order': False, 'descr': \"<f4\", 'shape': (20L, 12L)}",
            "{'shape': (20,12), 'fortran_order':False,'descr':'<f4'}",
        ] {
            assert_eq!(form(text).as_ref(), Some(&expected), "{text}");
        }
        assert_eq!(form("{'descr': '>f8', 'fortran_order': True, 'shape': (), }").unwrap().shape, [0; 0]);
        for text in [
            "",
            "{}",
            "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }",
            "{'descr': '<f4', 'fortran_order': 0, 'shape': (2,), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'more': 1}",
        ] {
            assert_eq!(form(text), None, "{text}");
        }
    }

    #[test]
    fn column_major_becomes_row_major() {
        assert_eq!(transposed(&[0.0, 3.0, 1.0, 4.0, 2.0, 5.0], &[2, 3]), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    }
}

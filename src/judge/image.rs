//! Images on disk as data URLs.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;

/// Images that are kept in memory, in bytes of their URLs: demonstrations are shown again and again.
const KEPT: usize = 256 << 20;

/// Reads images and remembers them.
#[derive(Debug)]
pub struct Images {
    /// Largest image in bytes.
    limit: u64,
    kept: Mutex<(HashMap<String, Arc<str>>, usize)>,
}

impl Images {
    /// Refuses images of more than `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self { limit, kept: Mutex::default() }
    }

    /// What a request says for `image`: an address as it is, a file as a data URL.
    ///
    /// # Errors
    /// A file that cannot be read, is too large, or is neither JPEG nor PNG.
    pub fn url(&self, image: &str) -> Result<Arc<str>, String> {
        if ["http://", "https://", "data:"].iter().any(|scheme| image.starts_with(scheme)) {
            return Ok(image.into());
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(url) = kept.0.get(image) {
            return Ok(Arc::clone(url));
        }
        let url: Arc<str> = self.read(Path::new(image))?.into();
        if kept.1 + url.len() <= KEPT {
            kept.1 += url.len();
            kept.0.insert(image.to_owned(), Arc::clone(&url));
        }
        Ok(url)
    }

    fn read(&self, path: &Path) -> Result<String, String> {
        let cannot = |error: std::io::Error| format!("cannot read the image `{}`: {error}", path.display());
        let file = std::fs::File::open(path).map_err(cannot)?;
        let mut bytes = Vec::new();
        file.take(self.limit + 1).read_to_end(&mut bytes).map_err(cannot)?;
        if bytes.len() as u64 > self.limit {
            return Err(format!(
                "the image `{}` has more than {} bytes\nhint: make it smaller, or raise `eval.endpoint.max_image_bytes`",
                path.display(),
                self.limit
            ));
        }
        let kind = match &bytes[..] {
            [0xff, 0xd8, 0xff, ..] => "jpeg",
            [0x89, b'P', b'N', b'G', ..] => "png",
            _ => return Err(format!("the image `{}` is neither JPEG nor PNG", path.display())),
        };
        let engine = base64::engine::general_purpose::STANDARD;
        Ok(format!("data:image/{kind};base64,{}", engine.encode(&bytes)))
    }
}

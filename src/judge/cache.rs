//! Answers on disk: whatever was asked once is never asked again, by any sweep that shares the directory.
//!
//! Every process appends to a file (segment) of its own, which it holds by a lock, and reads those of all others: no
//! process waits for another one's writes. A segment whose holder has ended is taken over by the next process, so
//! there are as many as there were processes at once. The index (16 bytes of hash and a place) is in memory, answers
//! are read where they are needed.
//!
//! Why not SQLite: what is kept is a map that only grows, and of its guarantees those that are needed here are few.
//! Appending costs one `write` per answer and no journal; a torn tail loses one answer, a flipped bit loses one answer,
//! and neither can make the rest unreadable; it works on the network file systems of clusters, where SQLite's locks
//! and shared memory do not; and two processes can tell each other what they are asking (see [`Cache::claim`]).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::segment::{Extent, Id, Kind, Record, encode, read_at, scan};
use crate::disk::{self, Lock};

/// How often answers are forced to the disk: a machine that loses power loses that much.
const SYNC: Duration = Duration::from_secs(5);
/// Bits of a place that are the offset; the others are the segment.
const OFFSET_BITS: u32 = 44;

/// The answers in one directory.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    index: HashMap<Id, u64>,
    /// By their numbers, which start at 1.
    segments: Vec<Segment>,
    /// Questions that processes are asking, and the segments that say so.
    asking: HashMap<Id, Vec<usize>>,
    judges: HashMap<Id, Vec<u8>>,
    own: Option<Own>,
}

#[derive(Debug)]
struct Segment {
    number: usize,
    file: File,
    /// Which file it is: [`Cache::prune`] puts another one in its place.
    inode: u64,
    extent: Extent,
    /// Length at the last look, so that a segment that has not grown costs nothing.
    seen: u64,
}

/// The segment that this process writes.
#[derive(Debug)]
struct Own {
    segment: usize,
    file: File,
    synced: Instant,
    _lock: Lock,
}

/// Who asks a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It has been answered.
    Answered(Vec<u8>),
    /// This process.
    Mine,
    /// Another process is asking it now.
    Theirs,
}

/// What is in a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    pub answers: usize,
    pub segments: usize,
    /// On disk.
    pub bytes: u64,
    /// That belong to no whole record.
    pub damaged: u64,
}

impl Cache {
    /// Reads what is in `dir`, which need not exist yet. Nothing is written before there is an answer to keep.
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let cache = Self { dir: dir.to_owned(), inner: Mutex::default() };
        cache.inner().refresh(dir)?;
        Ok(cache)
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what other processes have added.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn refresh(&self) -> io::Result<()> {
        self.inner().refresh(&self.dir)
    }

    /// Whether `id` has an answer, as far as is known without looking at the disk.
    pub fn contains(&self, id: Id) -> bool {
        self.inner().index.contains_key(&id)
    }

    /// The answer to `id`. What is no longer whole on disk is none.
    pub fn get(&self, id: Id) -> Option<Vec<u8>> {
        self.inner().get(id)
    }

    /// Says to other processes that this one is about to ask `id`, unless it has been answered or one of them is about
    /// to ask it. What a process said that has ended since counts for nothing.
    ///
    /// # Errors
    /// A directory that cannot be read or written.
    pub fn claim(&self, id: Id) -> io::Result<Claim> {
        let mut inner = self.inner();
        inner.refresh(&self.dir)?;
        if let Some(answer) = inner.get(id) {
            return Ok(Claim::Answered(answer));
        }
        if inner.asked_elsewhere(&self.dir, id) {
            return Ok(Claim::Theirs);
        }
        inner.append(&self.dir, Kind::Asking, id, &[])?;
        // Another one may have said so at the same time. Whoever sees that steps back; both may, and both come again.
        // Or it has said so and got its answer between the two looks.
        inner.refresh(&self.dir)?;
        let answer = inner.get(id);
        if answer.is_none() && !inner.asked_elsewhere(&self.dir, id) {
            return Ok(Claim::Mine);
        }
        inner.append(&self.dir, Kind::GivenUp, id, &[])?;
        Ok(answer.map_or(Claim::Theirs, Claim::Answered))
    }

    /// Keeps the answer to `id`.
    ///
    /// # Errors
    /// A directory that cannot be written.
    pub fn put(&self, id: Id, answer: &[u8]) -> io::Result<()> {
        self.inner().append(&self.dir, Kind::Answer, id, answer)
    }

    /// Says that a question that was claimed has no answer.
    ///
    /// # Errors
    /// A directory that cannot be written.
    pub fn give_up(&self, id: Id) -> io::Result<()> {
        self.inner().append(&self.dir, Kind::GivenUp, id, &[])
    }

    /// Says which judge `id` is, once.
    ///
    /// # Errors
    /// A directory that cannot be written.
    pub fn describe(&self, id: Id, judge: &[u8]) -> io::Result<()> {
        let mut inner = self.inner();
        if inner.judges.contains_key(&id) { Ok(()) } else { inner.append(&self.dir, Kind::Judge, id, judge) }
    }

    /// The judges that have answered, by id.
    pub fn judges(&self) -> HashMap<Id, Vec<u8>> {
        self.inner().judges.clone()
    }

    /// The ids of all answers.
    pub fn ids(&self) -> Vec<Id> {
        let mut ids: Vec<Id> = self.inner().index.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// How much there is.
    pub fn contents(&self) -> Contents {
        let inner = self.inner();
        Contents {
            answers: inner.index.len(),
            segments: inner.segments.len(),
            bytes: inner.segments.iter().map(|segment| segment.seen).sum(),
            damaged: inner.segments.iter().map(|segment| segment.extent.damaged).sum(),
        }
    }

    /// Forces everything to the disk.
    ///
    /// # Errors
    /// A disk that fails.
    pub fn sync(&self) -> io::Result<()> {
        match &self.inner().own {
            Some(own) => own.file.sync_data(),
            None => Ok(()),
        }
    }

    /// Replaces all segments by one with the answers that `keep` lets through; returns how many went. Only while no
    /// other process writes.
    ///
    /// # Errors
    /// Another process holds a segment (its number is in the message); a directory that cannot be written.
    pub fn prune(&self, mut keep: impl FnMut(Id, &[u8]) -> bool) -> io::Result<usize> {
        let mut inner = self.inner();
        inner.refresh(&self.dir)?;
        inner.own = None;
        let numbers: Vec<usize> = inner.segments.iter().map(|segment| segment.number).collect();
        let mut locks = Vec::new();
        for number in &numbers {
            match disk::take(&lock_path(&self.dir, *number), false)? {
                Ok(lock) => locks.push(lock),
                Err(_) => {
                    let text = format!(
                        "a run is asking with this cache (segment {number} of `{}`)\nhint: wait for it to end",
                        self.dir.display()
                    );
                    return Err(io::Error::new(io::ErrorKind::WouldBlock, text));
                }
            }
        }
        let mut ids: Vec<Id> = inner.index.keys().copied().collect();
        ids.sort_unstable();
        let before = ids.len();
        let kept: Vec<(Id, Vec<u8>)> = ids
            .into_iter()
            .filter_map(|id| Some((id, inner.get(id)?)))
            .filter(|(id, answer)| keep(*id, answer))
            .collect();
        let judges: Vec<(Id, Vec<u8>)> = inner.judges.clone().into_iter().collect();
        disk::write_with(&segment_path(&self.dir, 1), |file| {
            let judges = judges.iter().map(|(id, body)| encode(Kind::Judge, *id, body));
            let answers = kept.iter().map(|(id, body)| encode(Kind::Answer, *id, body));
            judges.chain(answers).try_for_each(|record| file.write_all(&record))
        })?;
        for number in numbers.iter().filter(|number| **number != 1) {
            std::fs::remove_file(segment_path(&self.dir, *number))?;
        }
        drop(locks);
        *inner = Inner::default();
        inner.refresh(&self.dir)?;
        Ok(before - inner.index.len())
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        // What cannot be forced to the disk is written all the same.
        let _ = self.sync();
    }
}

impl Inner {
    fn refresh(&mut self, dir: &Path) -> io::Result<()> {
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(named(dir, "read", &error)),
        };
        let mut numbers: Vec<usize> =
            entries.flatten().filter_map(|entry| number_of(&entry.file_name().to_string_lossy())).collect();
        numbers.sort_unstable();
        let inode = |number| std::fs::metadata(segment_path(dir, number)).map(|meta| meta.ino()).ok();
        if self.segments.iter().any(|segment| inode(segment.number) != Some(segment.inode)) {
            *self = Self { own: self.own.take(), ..Self::default() };
        }
        for number in numbers {
            if !self.segments.iter().any(|segment| segment.number == number) {
                let path = segment_path(dir, number);
                let file = File::open(&path).map_err(|error| named(&path, "read", &error))?;
                let inode = file.metadata()?.ino();
                self.segments.push(Segment { number, file, inode, extent: Extent::default(), seen: 0 });
            }
        }
        (0..self.segments.len()).try_for_each(|at| self.read(dir, at))
    }

    /// Reads what has been added to one segment.
    fn read(&mut self, dir: &Path, at: usize) -> io::Result<()> {
        let Self { index, segments, asking, judges, .. } = self;
        let segment = &mut segments[at];
        let length = segment.file.metadata()?.len();
        // A tail that was torn may have been cut and written anew since, to the same length.
        if length == segment.seen && length == segment.extent.end {
            return Ok(());
        }
        if length < segment.extent.end {
            segment.extent = Extent::default();
        }
        let place = (segment.number as u64) << OFFSET_BITS;
        let number = segment.number;
        let mut each = |record: Record| match record.kind {
            Kind::Answer => {
                index.insert(record.id, place | record.at);
                asking.remove(&record.id);
            }
            Kind::Asking => asking.entry(record.id).or_default().push(number),
            Kind::GivenUp => {
                if let Entry::Occupied(mut by) = asking.entry(record.id) {
                    by.get_mut().retain(|one| *one != number);
                    if by.get().is_empty() {
                        by.remove();
                    }
                }
            }
            Kind::Judge => drop(judges.insert(record.id, record.body.to_vec())),
        };
        let found = scan(&segment.file, segment.extent.end, &mut each)
            .map_err(|error| named(&segment_path(dir, number), "read", &error))?;
        segment.extent.end = found.end;
        segment.extent.damaged += found.damaged;
        segment.seen = length;
        Ok(())
    }

    fn get(&mut self, id: Id) -> Option<Vec<u8>> {
        let place = *self.index.get(&id)?;
        let (number, at) = ((place >> OFFSET_BITS) as usize, place & ((1 << OFFSET_BITS) - 1));
        let segment = self.segments.iter().find(|segment| segment.number == number)?;
        let answer = read_at(&segment.file, at, id).ok().flatten();
        if answer.is_none() {
            self.index.remove(&id);
        }
        answer
    }

    /// Whether another process that is alive is asking `id`.
    fn asked_elsewhere(&mut self, dir: &Path, id: Id) -> bool {
        let own = self.own.as_ref().map(|own| own.segment);
        let Some(by) = self.asking.get_mut(&id) else { return false };
        by.retain(|&number| Some(number) == own || disk::look(&lock_path(dir, number), false).is_some());
        by.iter().any(|&number| Some(number) != own)
    }

    /// Appends a record to the own segment, and believes it.
    fn append(&mut self, dir: &Path, kind: Kind, id: Id, body: &[u8]) -> io::Result<()> {
        if self.own.is_none() {
            let own = self.take_over(dir)?;
            // What its last holder was asking is lost with it, and others know of it by its segment, which lives again.
            let lost: Vec<Id> =
                self.asking.iter().filter(|(_, by)| by.contains(&own.segment)).map(|(id, _)| *id).collect();
            self.own = Some(own);
            lost.into_iter().try_for_each(|id| self.append(dir, Kind::GivenUp, id, &[]))?;
        }
        let Some(own) = &mut self.own else { return Ok(()) };
        let path = segment_path(dir, own.segment);
        own.file.write_all(&encode(kind, id, body)).map_err(|error| named(&path, "write", &error))?;
        if own.synced.elapsed() >= SYNC {
            own.file.sync_data().map_err(|error| named(&path, "write", &error))?;
            own.synced = Instant::now();
        }
        let own = own.segment;
        match self.segments.iter().position(|segment| segment.number == own) {
            Some(at) => self.read(dir, at),
            None => self.refresh(dir),
        }
    }

    /// The first segment that nobody holds, or a new one. Its torn tail is cut.
    fn take_over(&mut self, dir: &Path) -> io::Result<Own> {
        fs_err::create_dir_all(dir)?;
        let mut number = 1;
        let lock = loop {
            let path = lock_path(dir, number);
            if disk::look(&path, false).is_none()
                && let Ok(lock) = disk::take(&path, false)?
            {
                break lock;
            }
            number += 1;
        };
        let path = segment_path(dir, number);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(|error| named(&path, "write", &error))?;
        self.refresh(dir)?;
        if let Some(segment) = self.segments.iter_mut().find(|segment| segment.number == number)
            && segment.seen > segment.extent.end
        {
            file.set_len(segment.extent.end).map_err(|error| named(&path, "write", &error))?;
            segment.seen = segment.extent.end;
        }
        Ok(Own { segment: number, file, synced: Instant::now(), _lock: lock })
    }
}

fn segment_path(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("{number:04}.answers"))
}

fn lock_path(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("{number:04}.lock"))
}

fn number_of(name: &str) -> Option<usize> {
    name.strip_suffix(".answers")?.parse().ok().filter(|number| (1..1 << (64 - OFFSET_BITS)).contains(number))
}

fn named(path: &Path, what: &str, error: &io::Error) -> io::Error {
    let text = format!(
        "cannot {what} the judge's cache `{}`: {error}\nhint: `--cache DIR` keeps it elsewhere",
        path.display()
    );
    io::Error::new(error.kind(), text)
}

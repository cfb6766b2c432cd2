//! A program that judges: started once, fed with JSON lines, read line by line. Where it dies it is started once more.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command as Process, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::fault::{Fault, FaultKind};
use super::http::beginning;
use super::question::{Answer, Identity, Question};
use crate::finite::Finite;

/// Times that a program is started.
const STARTS: usize = 2;
/// Longest line that is read.
const LONGEST: u64 = 8 << 20;
/// Files among the program's arguments whose contents are part of its identity, up to this size: larger ones (weights of
/// a model) count by name and size.
const HASHED: u64 = 16 << 20;

/// How a program is run.
#[derive(Clone, Debug)]
pub struct CommandSettings {
    /// The program and its arguments.
    pub program: Vec<String>,
    /// What its user calls this version of it.
    pub version: String,
    /// Where it runs.
    pub directory: PathBuf,
    /// How long it may take for one answer.
    pub timeout: Duration,
}

/// A program that judges.
#[derive(Debug)]
pub struct Command {
    settings: CommandSettings,
    /// Where what it says on stderr goes.
    stderr: OnceLock<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: Option<Running>,
    starts: usize,
    next: u64,
}

#[derive(Debug)]
struct Running {
    child: Child,
    lines: Sender<String>,
    waiting: Waiting,
}

/// Who waits for the answer to which line; `None` once the program's stdout has ended.
type Waiting = Arc<Mutex<Option<HashMap<u64, Sender<Result<Answer, Fault>>>>>>;

impl Command {
    /// Starts nothing yet.
    pub fn new(settings: CommandSettings) -> Self {
        Self { settings, stderr: OnceLock::new(), state: Mutex::default() }
    }

    /// Keeps what it says on stderr at `path`; otherwise nobody hears it.
    pub fn keep_stderr(&self, path: &Path) {
        let _ = self.stderr.set(path.to_owned());
    }

    /// Who answers.
    pub fn identity(&self) -> Identity {
        let CommandSettings { program, version, directory, timeout: _ } = &self.settings;
        let files: Vec<String> =
            program.iter().filter_map(|argument| contents(&directory.join(argument))).collect();
        Identity {
            form: "command".to_owned(),
            model: json!({ "program": program, "version": version, "files": files }).to_string(),
            template: String::new(),
            settings: serde_json::Value::Null,
        }
    }

    /// What a question is, without the number that its line gets.
    pub fn body(question: &Question) -> Vec<u8> {
        let Question { demonstrations, query_id, wanted: _ } = question;
        json!({ "query_id": query_id, "demonstrations": demonstrations }).to_string().into_bytes()
    }

    /// Asks, and waits for the answer; others may ask meanwhile.
    ///
    /// # Errors
    /// A program that cannot be started, ends, takes too long, or answers something else.
    pub fn ask(&self, question: &Question) -> Result<Answer, Fault> {
        let (answer, answers) = channel();
        let id = {
            let mut state = self.state();
            state.next += 1;
            let id = state.next;
            let Question { demonstrations, query_id, wanted: _ } = question;
            let line =
                json!({ "id": id, "query_id": query_id, "demonstrations": demonstrations }).to_string();
            let running = self.started(&mut state)?;
            match &mut *lock(&running.waiting) {
                Some(waiting) => drop(waiting.insert(id, answer)),
                // It ended just now; its end is told below.
                None => drop(answer),
            }
            // Where its stdin is closed its end is told below.
            let _ = running.lines.send(line);
            id
        };
        match answers.recv_timeout(self.settings.timeout) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => {
                if let Some(running) = &self.state().running
                    && let Some(waiting) = &mut *lock(&running.waiting)
                {
                    waiting.remove(&id);
                }
                let text = format!("no answer from the program within {:?}", self.settings.timeout);
                Err(Fault::new(FaultKind::Timeout, text))
            }
            Err(RecvTimeoutError::Disconnected) => Err(self.ended()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The running program; starts it where it does not run and may.
    fn started<'a>(&self, state: &'a mut State) -> Result<&'a mut Running, Fault> {
        if let Some(running) = &mut state.running
            && lock(&running.waiting).is_none()
        {
            let _ = running.child.kill();
            let status = running.child.wait().ok();
            state.running = None;
            if state.starts >= STARTS {
                return Err(Fault::new(FaultKind::Denied, self.end_text(status)));
            }
        }
        if state.running.is_none() {
            if state.starts >= STARTS {
                return Err(Fault::new(FaultKind::Denied, self.end_text(None)));
            }
            state.starts += 1;
            state.running = Some(self.start()?);
        }
        state.running.as_mut().ok_or_else(|| Fault::new(FaultKind::Program, "the program does not run"))
    }

    fn start(&self) -> Result<Running, Fault> {
        let CommandSettings { program, directory, .. } = &self.settings;
        let name = program.first().map(String::as_str).unwrap_or_default();
        let cannot = |error: std::io::Error| {
            let text = format!(
                "cannot start `{name}`: {error}\nhint: see `eval.command.program`; it runs in the sweep file's directory"
            );
            Fault::new(FaultKind::Denied, text)
        };
        let stderr = match self.stderr.get() {
            Some(path) => Stdio::from(append(path).map_err(cannot)?),
            None => Stdio::null(),
        };
        let beside = directory.join(name);
        let file = if name.contains('/') && beside.is_file() { beside } else { PathBuf::from(name) };
        let file = fs_err::canonicalize(&file).ok().filter(|_| name.contains('/')).unwrap_or(file);
        let mut process = Process::new(file);
        process.args(program.iter().skip(1)).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr);
        if directory.is_dir() {
            process.current_dir(directory);
        }
        let mut child = process.spawn().map_err(cannot)?;
        let waiting: Waiting = Arc::new(Mutex::new(Some(HashMap::new())));
        let (lines, to_write) = channel::<String>();
        if let Some(stdin) = child.stdin.take() {
            std::thread::spawn(move || write_lines(stdin, to_write));
        }
        if let Some(stdout) = child.stdout.take() {
            let waiting = Arc::clone(&waiting);
            std::thread::spawn(move || {
                read_lines(stdout, &waiting);
                // Whoever waits is told by the end of its channel.
                drop(lock(&waiting).take());
            });
        }
        Ok(Running { child, lines, waiting })
    }

    fn ended(&self) -> Fault {
        let mut state = self.state();
        let status = state.running.as_mut().and_then(|running| running.child.try_wait().ok().flatten());
        Fault::new(FaultKind::Program, self.end_text(status))
    }

    fn end_text(&self, status: Option<ExitStatus>) -> String {
        let how = status.map_or_else(String::new, |status| format!(" ({status})"));
        let told = match self.stderr.get() {
            Some(path) => format!("; what it said is in `{}`", path.display()),
            None => String::new(),
        };
        format!("the program ended before it had answered{how}{told}")
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        if let Some(running) = self.state().running.take() {
            let Running { mut child, lines, .. } = running;
            // Without further lines it may end by itself; nobody needs it any more.
            drop(lines);
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn append(path: &Path) -> std::io::Result<std::fs::File> {
    if let Some(parent) = path.parent() {
        fs_err::create_dir_all(parent)?;
    }
    std::fs::OpenOptions::new().create(true).append(true).open(path)
}

fn write_lines(mut stdin: ChildStdin, lines: std::sync::mpsc::Receiver<String>) {
    for line in lines {
        let written = stdin.write_all(format!("{line}\n").as_bytes()).and_then(|()| stdin.flush());
        if written.is_err() {
            // It has ended, or closed its stdin: its stdout ends too, or its answers come too late.
            return;
        }
    }
}

#[derive(Deserialize)]
struct Line {
    id: u64,
    #[serde(default)]
    score: Option<f64>,
    #[serde(default)]
    answer: Option<String>,
    #[serde(default)]
    error: Option<String>,
}

/// Hands every answer to whoever waits for it. Lines that are none are left out: programs greet.
fn read_lines(stdout: impl Read, waiting: &Waiting) {
    let mut reader = BufReader::new(stdout);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        match reader.by_ref().take(LONGEST).read_until(b'\n', &mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let Ok(line) = serde_json::from_slice::<Line>(&bytes) else {
            if let Some((id, fault)) = unreadable(&bytes) {
                tell(waiting, id, Err(fault));
            }
            continue;
        };
        tell(waiting, line.id, answer_of(line));
    }
}

fn tell(waiting: &Waiting, id: u64, answer: Result<Answer, Fault>) {
    let waits = lock(waiting).as_mut().and_then(|waiting| waiting.remove(&id));
    if let Some(waits) = waits {
        // Whoever asked may have given up.
        let _ = waits.send(answer);
    }
}

/// A line that names a question and is no answer.
fn unreadable(bytes: &[u8]) -> Option<(u64, Fault)> {
    let text = String::from_utf8_lossy(bytes);
    let value: serde_json::Value = serde_json::from_str(&text).ok()?;
    let text = format!("the program's line cannot be read: {}", beginning(text.trim()));
    Some((value.get("id")?.as_u64()?, Fault::new(FaultKind::Unreadable, text)))
}

fn answer_of(line: Line) -> Result<Answer, Fault> {
    if let Some(error) = line.error {
        return Err(Fault::new(FaultKind::Refused, beginning(&error)));
    }
    let Some(score) = line.score.and_then(Finite::new).filter(|score| (0.0..=1.0).contains(&score.get()))
    else {
        let text = match line.score {
            Some(score) => format!("the program's score {score} is not between 0 and 1"),
            None => "the program's line has no `score`".to_owned(),
        };
        return Err(Fault::new(FaultKind::Refused, text));
    };
    Ok(Answer { text: line.answer.unwrap_or_default(), score: Some(score), ..Answer::default() })
}

/// What a file among the arguments contributes to the identity.
fn contents(path: &Path) -> Option<String> {
    let length = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?.len();
    if length > HASHED {
        return Some(format!("{length} bytes"));
    }
    Some(blake3::hash(&std::fs::read(path).ok()?).to_hex()[..16].to_owned())
}

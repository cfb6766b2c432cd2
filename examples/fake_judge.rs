//! A judge that knows nothing: speaks OpenAI's protocol, answers at once and always the same, and fails where it is told
//! to. For tests, and to try a sweep without a model:
//!
//! ```text
//! cargo run --release --example fake_judge -- --port 8000 --latency-ms 50 --slots 16 --plant busy:10 --plant half:7
//! ```
//! It embeds texts too (`/v1/embeddings`): what words they have in common, in 16 numbers.
//!
//! `--plant FAULT:N` plants a fault into every N-th request: slow, busy, busy-after (with `Retry-After: 1`), error, drop,
//! half, wrong-model, empty, not-utf8, gigantic, cut, echo-key, denied.
#![allow(dead_code, reason = "tests and benches use parts of it")]
#![expect(clippy::print_stdout, reason = "an example that says where it listens")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

/// What can be wrong with one response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    Slow,
    Busy,
    BusyAfter,
    Error,
    Drop,
    Half,
    WrongModel,
    Empty,
    NotUtf8,
    Gigantic,
    Cut,
    EchoKey,
    Denied,
}

impl Plant {
    /// By its name on the command line.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "slow" => Self::Slow,
            "busy" => Self::Busy,
            "busy-after" => Self::BusyAfter,
            "error" => Self::Error,
            "drop" => Self::Drop,
            "half" => Self::Half,
            "wrong-model" => Self::WrongModel,
            "empty" => Self::Empty,
            "not-utf8" => Self::NotUtf8,
            "gigantic" => Self::Gigantic,
            "cut" => Self::Cut,
            "echo-key" => Self::EchoKey,
            "denied" => Self::Denied,
            _ => return None,
        })
    }
}

/// How the server behaves.
#[derive(Clone, Debug)]
pub struct Manner {
    /// Time per answer.
    pub latency: Duration,
    /// Answers made at a time; others wait for their turn.
    pub slots: usize,
    /// Faults, each in every so-many-th request.
    pub plants: Vec<(Plant, usize)>,
    /// The model it says it is; that of the request when empty.
    pub model: String,
    /// One answer in so many is another one on every request; 0 = none.
    pub noise: usize,
}

impl Default for Manner {
    fn default() -> Self {
        Self { latency: Duration::ZERO, slots: 64, plants: Vec::new(), model: String::new(), noise: 0 }
    }
}

/// A running server; it ends with its process.
pub struct Server {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    manner: Mutex<Manner>,
    requests: AtomicUsize,
    connections: AtomicUsize,
    /// Requests by their bodies, and the whole answers among them.
    bodies: Mutex<HashMap<Vec<u8>, usize>>,
    answered: AtomicUsize,
    most: AtomicUsize,
    working: Mutex<usize>,
    free: Condvar,
}

impl Server {
    /// Listens on `port` of this machine; 0 = any that is free.
    pub fn start(port: u16, manner: Manner) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared {
            manner: Mutex::new(manner),
            requests: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            bodies: Mutex::default(),
            answered: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            working: Mutex::new(0),
            free: Condvar::new(),
        });
        let for_all = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&for_all);
                shared.connections.fetch_add(1, Ordering::Relaxed);
                std::thread::spawn(move || drop(serve(stream, &shared)));
            }
        });
        Self { port, shared }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    /// Requests so far.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Whole answers so far.
    pub fn answered(&self) -> usize {
        self.shared.answered.load(Ordering::Relaxed)
    }

    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Most requests that were worked on at a time.
    pub fn most(&self) -> usize {
        self.shared.most.load(Ordering::Relaxed)
    }

    /// How often each body was asked.
    pub fn bodies(&self) -> HashMap<Vec<u8>, usize> {
        self.shared.bodies.lock().expect("not poisoned").clone()
    }

    pub fn set(&self, manner: Manner) {
        *self.shared.manner.lock().expect("not poisoned") = manner;
    }
}

struct Request {
    body: Vec<u8>,
    key: String,
}

fn serve(stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    while let Some(request) = read(&mut reader)? {
        let number = shared.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let manner = shared.manner.lock().expect("not poisoned").clone();
        let plant =
            manner.plants.iter().find(|(_, every)| number.is_multiple_of(*every)).map(|(plant, _)| *plant);
        *shared.bodies.lock().expect("not poisoned").entry(request.body.clone()).or_default() += 1;
        enter(shared, manner.slots);
        std::thread::sleep(manner.latency);
        if plant == Some(Plant::Slow) {
            std::thread::sleep(Duration::from_secs(3));
        }
        let done = respond(&mut writer, (&request, number), (&manner, plant), shared);
        *shared.working.lock().expect("not poisoned") -= 1;
        shared.free.notify_one();
        if !done? {
            return Ok(());
        }
    }
    Ok(())
}

/// Waits for a turn.
fn enter(shared: &Shared, slots: usize) {
    let mut working = shared.working.lock().expect("not poisoned");
    while *working >= slots {
        working = shared.free.wait(working).expect("not poisoned");
    }
    *working += 1;
    shared.most.fetch_max(*working, Ordering::Relaxed);
}

fn read(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<Request>> {
    let (mut length, mut key, mut first) = (0, String::new(), true);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        if line.is_empty() && !first {
            break;
        }
        first = false;
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap_or(0),
            "authorization" => key = value.trim_start_matches("Bearer ").to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Request { body, key }))
}

/// Writes a response; whether the connection stays.
fn respond(
    writer: &mut TcpStream,
    (request, number): (&Request, usize),
    (manner, plant): (&Manner, Option<Plant>),
    shared: &Shared,
) -> std::io::Result<bool> {
    let status = match plant {
        Some(Plant::Busy) => Some(("429 Too Many Requests", "")),
        Some(Plant::BusyAfter) => Some(("503 Service Unavailable", "Retry-After: 1\r\n")),
        Some(Plant::Error) => Some(("500 Internal Server Error", "")),
        Some(Plant::Denied) => Some(("401 Unauthorized", "")),
        _ => None,
    };
    if let Some((status, more)) = status {
        let text = format!("{{\"error\": \"planted, with key {}\"}}", request.key);
        write!(writer, "HTTP/1.1 {status}\r\n{more}Content-Length: {}\r\n\r\n{text}", text.len())?;
        return Ok(true);
    }
    if plant == Some(Plant::Drop) {
        return Ok(false);
    }
    let asked: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let mut text = answer(&asked);
    if manner.noise > 0 && number.is_multiple_of(manner.noise) {
        text = format!("noise {number}");
    }
    match plant {
        Some(Plant::Empty) => text.clear(),
        Some(Plant::Gigantic) => text = "x".repeat(9 << 20),
        Some(Plant::EchoKey) => text = format!("the key is {}", request.key),
        _ => {}
    }
    let mut bytes = response(&asked, &text, manner, plant).to_string().into_bytes();
    if plant == Some(Plant::NotUtf8) {
        bytes.splice(bytes.len() / 2..bytes.len() / 2, [0xff, 0xfe]);
    }
    write!(
        writer,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        bytes.len()
    )?;
    if plant == Some(Plant::Half) {
        writer.write_all(&bytes[..bytes.len() / 2])?;
        return Ok(false);
    }
    writer.write_all(&bytes)?;
    if plant.is_none() || plant == Some(Plant::Slow) {
        shared.answered.fetch_add(1, Ordering::Relaxed);
    }
    Ok(true)
}

/// Of every word one of 16 numbers grows.
fn embedding(text: &str) -> Vec<f64> {
    let mut vector = vec![0.0; 16];
    for word in text.split_whitespace() {
        let hash =
            word.bytes().fold(7_usize, |hash, byte| hash.wrapping_mul(31).wrapping_add(usize::from(byte)));
        vector[hash % 16] += 1.0 + (hash / 16 % 7) as f64 / 8.0;
    }
    vector
}

fn response(asked: &Value, text: &str, manner: &Manner, plant: Option<Plant>) -> Value {
    let asked_for = asked["model"].as_str().unwrap_or_default();
    let model = match plant {
        Some(Plant::WrongModel) => "another-model",
        _ if !manner.model.is_empty() => &manner.model,
        _ => asked_for,
    };
    if let Some(texts) = asked["input"].as_array() {
        let one = |(index, text): (usize, &Value)| json!({ "index": index, "embedding": embedding(text.as_str().unwrap_or_default()) });
        let data: Vec<Value> = texts.iter().enumerate().map(one).collect();
        return json!({ "object": "list", "model": model, "data": data });
    }
    let (finish, tokens) = if plant == Some(Plant::Cut) { ("length", 1) } else { ("stop", 2) };
    let choice = if asked["messages"].is_array() {
        json!({ "index": 0, "message": { "role": "assistant", "content": text }, "finish_reason": finish })
    } else if asked["echo"] == true {
        let prompt: Vec<char> = asked["prompt"].as_str().unwrap_or_default().chars().collect();
        let tokens: Vec<String> = prompt.chunks(3).map(|chunk| chunk.iter().collect()).collect();
        let probable = |index: usize| if index == 0 { Value::Null } else { json!(-0.25) };
        let log_probs: Vec<Value> = (0..tokens.len()).map(probable).collect();
        json!({ "index": 0, "text": asked["prompt"], "finish_reason": "length",
            "logprobs": { "tokens": tokens, "token_logprobs": log_probs } })
    } else {
        json!({ "index": 0, "text": text, "finish_reason": finish })
    };
    json!({ "id": "fake", "model": model, "choices": [choice], "usage": { "completion_tokens": tokens } })
}

/// One of the answers in the prompt, by the prompt's hash; nothing where there is none.
fn answer(asked: &Value) -> String {
    let prompt = match &asked["prompt"] {
        Value::String(prompt) => prompt.clone(),
        _ => asked["messages"].to_string().replace("\\n", "\n"),
    };
    let answers: Vec<&str> = prompt.lines().filter_map(|line| line.strip_prefix("A: ")).collect();
    let hash = prompt.bytes().fold(7_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let chosen = answers.get(hash as usize % answers.len().max(1));
    chosen.map(|text| format!(" {text}")).unwrap_or_default()
}

fn main() {
    let mut manner = Manner::default();
    let mut port = 8000;
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        let value = arguments.next().unwrap_or_default();
        let number =
            || -> usize { value.parse().unwrap_or_else(|_| panic!("`{flag} {value}`: a number is needed")) };
        match flag.as_str() {
            "--port" => port = number() as u16,
            "--latency-ms" => manner.latency = Duration::from_millis(number() as u64),
            "--slots" => manner.slots = number().max(1),
            "--noise" => manner.noise = number(),
            "--model" => manner.model.clone_from(&value),
            "--plant" => {
                let parts = value.split_once(':');
                let plant = parts.and_then(|(name, every)| Some((Plant::named(name)?, every.parse().ok()?)));
                manner.plants.push(plant.unwrap_or_else(|| panic!("`--plant {value}`: FAULT:N")));
            }
            _ => panic!("unknown flag {flag}; see the top of examples/fake_judge.rs"),
        }
    }
    let server = Server::start(port, manner);
    println!("{}", server.url());
    loop {
        std::thread::park();
    }
}

//! How much time and memory the judge's side of a sweep takes: `cargo bench --bench judge`.
//!
//! 1. 2,000 questions to a server with 50 ms latency and 16 slots, against the ideal (2,000 / 16 x 50 ms), and the
//!    program's CPU time per question (the server's is measured apart).
//! 2. 1,000,000 cached answers: memory, time to open; 100,000 look-ups.
#![expect(clippy::print_stdout, reason = "a benchmark")]

#[path = "../examples/fake_judge.rs"]
mod fake_judge;

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sweep::judge::{
    Api, Asker, Cache, Client, Endpoint, EndpointSettings, Form, Id, Items, Judge, Pace, Question, Template,
    Wanted,
};

const QUESTIONS: u64 = 2_000;
const SLOTS: usize = 16;
const LATENCY: Duration = Duration::from_millis(50);

fn main() {
    // The server is a process of its own, so that its CPU time is not taken for ours.
    if std::env::args().any(|argument| argument == "serve") {
        let manner = fake_judge::Manner { latency: LATENCY, slots: SLOTS, ..fake_judge::Manner::default() };
        println!("{}", fake_judge::Server::start(0, manner).url());
        loop {
            std::thread::park();
        }
    }
    asking();
    cached();
}

fn asking() {
    let me = std::env::current_exe().expect("a path");
    let mut server = Command::new(me).arg("serve").stdout(Stdio::piped()).spawn().expect("it starts");
    let mut url = String::new();
    let mut out = std::io::BufReader::new(server.stdout.take().expect("a pipe"));
    std::io::BufRead::read_line(&mut out, &mut url).expect("an address");
    let settings = EndpointSettings {
        url: url.trim().to_owned(),
        model: "fake".to_owned(),
        api: Api::Completions,
        template: Template {
            system: String::new(),
            demonstration: "Q: {question}\nA: {answer}\n".to_owned(),
            query: "Q: {question}\nA:".to_owned(),
        },
        max_tokens: 8,
        stop: Vec::new(),
        extra: serde_json::Map::new(),
        max_image_bytes: 1,
    };
    let items = concat!(env!("CARGO_MANIFEST_DIR"), "/sweeps/data/factqa/items.jsonl");
    let items = Arc::new(Items::load(std::path::Path::new(items)).expect("items"));
    let address = Endpoint::address(&settings.url, settings.api);
    let client = Client::new(&address, Duration::from_secs(30), SLOTS, None, None).expect("a client");
    let form = Arc::new(Form::Endpoint(Endpoint::new(settings, client)));
    let dir = tempfile::tempdir().expect("a directory");
    let judge = Arc::new(Judge::new(form, items, dir.path()).expect("a judge"));
    let question = |n: u64| Question {
        demonstrations: vec![n / 50, n / 25 + 1, n % 1000],
        query_id: (n * 7) % 1400,
        wanted: Wanted::Answer,
    };
    let all: Vec<(Id, Question)> = (0..QUESTIONS)
        .map(question)
        .map(|question| (judge.question(&question).expect("an id"), question))
        .collect();
    let (began, cpu) = (Instant::now(), cpu_seconds());
    let asker = Asker::start(judge, Pace { concurrency: SLOTS, retries: 5 });
    asker.ask(all);
    for _ in 0..QUESTIONS {
        asker.wait(Duration::from_secs(30)).expect("a reply").outcome.expect("an answer");
    }
    let (wall, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let ideal = QUESTIONS as f64 / SLOTS as f64 * LATENCY.as_secs_f64();
    println!(
        "{QUESTIONS} questions, {SLOTS} at a time, {LATENCY:?} each: {wall:.3} s, ideal {ideal:.3} s, {:.3} times",
        wall / ideal
    );
    println!("CPU time of the program: {:.0} us per question", cpu * 1e6 / QUESTIONS as f64);
    server.kill().expect("it ends");
    server.wait().expect("it ends");
}

fn cached() {
    const ANSWERS: u64 = 1_000_000;
    const LOOKED_UP: u64 = 100_000;
    let id = |n: u64| Id::of(&blake3::hash(&n.to_le_bytes()));
    let dir = tempfile::tempdir().expect("a directory");
    let cache = Cache::open(dir.path()).expect("a cache");
    let began = Instant::now();
    for n in 0..ANSWERS {
        let answer = format!("{{\"text\":\" answer {n}\",\"judge\":\"0123456789abcdef0123456789abcdef\"}}");
        cache.put(id(n), answer.as_bytes()).expect("kept");
    }
    println!("{ANSWERS} answers written in {:.2} s", began.elapsed().as_secs_f64());
    drop(cache);
    let before = resident();
    let began = Instant::now();
    let cache = Cache::open(dir.path()).expect("a cache");
    let opened = began.elapsed().as_secs_f64();
    println!("opened in {opened:.2} s; {} MB more resident", (resident() - before) / 1_000_000);
    let began = Instant::now();
    let found = (0..LOOKED_UP).filter(|n| cache.get(id(n * 9)).is_some()).count();
    println!("{found} of {LOOKED_UP} looked up in {:.3} s", began.elapsed().as_secs_f64());
}

/// CPU time of this process so far.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn resident() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|text| text.split_whitespace().next()?.parse::<i64>().ok()).unwrap_or(0) * 1024
}

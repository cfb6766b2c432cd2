//! The judge on its own: against a server and a program that fail in every planned way.
#![expect(clippy::print_stderr, reason = "says why a test is skipped")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sweep::judge::{
    Api, Asker, Cache, Claim, Client, Command, CommandSettings, Endpoint, EndpointSettings, FaultKind, Form,
    Id, Items, Judge, Pace, Question, Reply, Secret, Template, Wanted, ask_again,
};

use crate::fake_judge::{Manner, Plant, Server};
use crate::sandbox::repository;

const KEY: &str = "sk-planted-0815";

fn items() -> Arc<Items> {
    Arc::new(Items::load(&repository("sweeps/data/factqa/items.jsonl")).expect("items"))
}

fn settings(url: &str, api: Api) -> EndpointSettings {
    EndpointSettings {
        url: url.to_owned(),
        model: "fake".to_owned(),
        api,
        template: Template {
            system: String::new(),
            demonstration: "Q: {question}\nA: {answer}\n".to_owned(),
            query: "Q: {question}\nA:".to_owned(),
        },
        max_tokens: 8,
        stop: vec!["\n".to_owned()],
        extra: serde_json::Map::new(),
        max_image_bytes: 1 << 20,
    }
}

fn judge_with(settings: EndpointSettings, cache: &Path) -> Arc<Judge> {
    let address = Endpoint::address(&settings.url, settings.api);
    let timeout = Duration::from_secs(2);
    let client = Client::new(&address, timeout, 8, Some(Secret::new(KEY)), None).expect("a client");
    let form = Form::Endpoint(Endpoint::new(settings, client));
    Arc::new(Judge::new(Arc::new(form), items(), cache).expect("a judge"))
}

fn judge(server: &Server, cache: &Path) -> Arc<Judge> {
    judge_with(settings(&server.url(), Api::Completions), cache)
}

/// Distinct questions with one or two demonstrations.
fn questions(judge: &Judge, count: u64) -> Vec<(Id, Question)> {
    let one = |n: u64| Question {
        demonstrations: (0..=n % 2).map(|step| 100 + n / 7 + step).collect(),
        query_id: n % 1400,
        wanted: Wanted::Answer,
    };
    (0..count)
        .map(one)
        .map(|question| (judge.question(&question).expect("it can be put"), question))
        .collect()
}

/// Asks until every question has its reply.
fn replies(judge: &Arc<Judge>, asked: &[(Id, Question)], pace: Pace) -> (Vec<Reply>, sweep::judge::Progress) {
    let asker = Asker::start(Arc::clone(judge), pace);
    asker.ask(asked.iter().cloned());
    let mut replies = Vec::new();
    while replies.len() < asked.len() {
        replies.push(asker.wait(Duration::from_secs(60)).expect("a reply for every question"));
    }
    (replies, asker.progress())
}

const PACE: Pace = Pace { concurrency: 4, retries: 5 };
const ONCE: Pace = Pace { concurrency: 2, retries: 0 };

#[test]
fn everything_is_asked_once_and_nothing_a_second_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(0, Manner::default());
    let judge = judge(&server, dir.path());
    let asked = questions(&judge, 300);
    let (first, progress) = replies(&judge, &asked, PACE);
    assert!(first.iter().all(|reply| reply.outcome.is_ok() && !reply.known));
    assert_eq!((server.requests(), progress.answered, progress.left), (300, 300, 0));
    assert!(server.bodies().values().all(|count| *count == 1));
    assert!(server.connections() <= 4, "{} connections for 4 slots", server.connections());
    drop(judge);
    let again = self::judge(&server, dir.path());
    let (second, _) = replies(&again, &asked, PACE);
    assert!(second.iter().all(|reply| reply.known));
    assert_eq!(server.requests(), 300, "another process asks nothing");
    let text = |replies: &[Reply]| -> BTreeSet<(Id, String)> {
        replies.iter().map(|reply| (reply.id, reply.outcome.clone().expect("an answer").text)).collect()
    };
    assert_eq!(text(&first), text(&second));
}

/// Every fault that passes: all questions are answered, rightly.
#[test]
fn faults_that_pass_cost_time_and_no_answer() {
    let undisturbed = tempfile::tempdir().expect("a directory");
    let server = Server::start(0, Manner::default());
    let plain = judge(&server, undisturbed.path());
    let asked = questions(&plain, 12);
    replies(&plain, &asked, PACE);
    for plant in [Plant::Busy, Plant::BusyAfter, Plant::Error, Plant::Drop, Plant::Half, Plant::NotUtf8] {
        let dir = tempfile::tempdir().expect("a directory");
        server.set(Manner { plants: vec![(plant, 5)], ..Manner::default() });
        let judge = judge(&server, dir.path());
        let (found, progress) = replies(&judge, &asked, PACE);
        for reply in found {
            let answer = reply.outcome.unwrap_or_else(|fault| panic!("{plant:?}: {fault}"));
            assert_eq!(Some(answer.text), plain.known(reply.id).map(|answer| answer.text), "{plant:?}");
        }
        // A connection that was closed is opened again by the client itself, once.
        assert!(progress.retried > 0 || plant == Plant::Drop, "{plant:?}");
        assert_eq!(progress.faults.total(), 0, "{plant:?}");
    }
}

/// `Retry-After: 1` is heeded: without it the second attempt would come after half of that.
#[test]
fn a_judge_that_asks_for_a_second_gets_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(0, Manner { plants: vec![(Plant::BusyAfter, 12)], ..Manner::default() });
    let judge = judge(&server, dir.path());
    let asked = questions(&judge, 12);
    let began = std::time::Instant::now();
    let (found, progress) = replies(&judge, &asked, PACE);
    assert!(found.iter().all(|reply| reply.outcome.is_ok()));
    assert_eq!((server.requests(), progress.retried), (13, 1));
    assert!(began.elapsed() >= Duration::from_secs(1), "asked again after {:?}", began.elapsed());
}

/// Every fault that stays: counted by its kind, with the query and without the key, and nothing is kept.
#[test]
fn faults_that_stay_are_counted_and_never_kept() {
    let server = Server::start(0, Manner::default());
    for (plant, kind) in [
        (Plant::Busy, FaultKind::Busy),
        (Plant::Error, FaultKind::Server),
        (Plant::Drop, FaultKind::Connection),
        (Plant::Half, FaultKind::Connection),
        (Plant::NotUtf8, FaultKind::Unreadable),
        (Plant::Gigantic, FaultKind::TooLarge),
        (Plant::WrongModel, FaultKind::WrongModel),
        (Plant::Cut, FaultKind::Cut),
        (Plant::Denied, FaultKind::Denied),
        (Plant::Slow, FaultKind::Timeout),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        server.set(Manner { plants: vec![(plant, 1)], ..Manner::default() });
        let judge = judge(&server, dir.path());
        let asked = questions(&judge, 3);
        let (found, progress) = replies(&judge, &asked, ONCE);
        assert!(found.iter().all(|reply| reply.outcome.is_err()), "{plant:?}");
        assert!(progress.faults.0.contains_key(&kind), "{plant:?}: {:?}", progress.faults);
        assert_eq!(progress.faults.total(), 3, "{plant:?}");
        assert_eq!(judge.cache().contents().answers, 0, "{plant:?}");
        let said = progress.faults.sentences().join("\n");
        assert!(said.contains("query ") && !said.contains(KEY), "{said}");
    }
}

#[test]
fn a_wrong_model_ends_the_asking_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(0, Manner { model: "other".to_owned(), ..Manner::default() });
    let judge = judge(&server, dir.path());
    let asked = questions(&judge, 100);
    let (_, progress) = replies(&judge, &asked, ONCE);
    assert!(server.requests() <= 4, "{} requests", server.requests());
    let said = progress.faults.sentences().join("\n");
    assert!(said.contains("answers as model `other`, and `eval.endpoint.model` is `fake`"), "{said}");
}

#[test]
fn a_server_that_is_gone_is_not_asked_for_ever() {
    let dir = tempfile::tempdir().expect("a directory");
    let judge = judge_with(settings("http://127.0.0.1:9/v1", Api::Completions), dir.path());
    let asked = questions(&judge, 200);
    let (found, progress) = replies(&judge, &asked, ONCE);
    assert_eq!(found.len(), 200);
    let not_asked = progress.faults.0[&FaultKind::NotAsked].count;
    assert!(not_asked > 150, "{:?}", progress.faults);
}

#[test]
fn an_empty_text_is_an_answer() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(0, Manner { plants: vec![(Plant::Empty, 1)], ..Manner::default() });
    let judge = judge(&server, dir.path());
    let asked = questions(&judge, 2);
    let (found, _) = replies(&judge, &asked, ONCE);
    assert!(found.iter().all(|reply| reply.outcome.as_ref().is_ok_and(|answer| answer.text.is_empty())));
    assert_eq!(judge.cache().contents().answers, 2);
}

#[test]
fn a_key_that_the_server_repeats_is_nowhere() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(0, Manner { plants: vec![(Plant::EchoKey, 1)], ..Manner::default() });
    let judge = judge(&server, dir.path());
    let asked = questions(&judge, 2);
    let (found, _) = replies(&judge, &asked, ONCE);
    assert!(found.iter().all(|reply| reply.outcome.as_ref().expect("an answer").text == "the key is ***"));
    for entry in std::fs::read_dir(dir.path()).expect("listed") {
        let bytes = std::fs::read(entry.expect("listed").path()).expect("read");
        assert!(!bytes.windows(KEY.len()).any(|window| window == KEY.as_bytes()));
    }
}

/// The way back after trouble is short: as many at a time as before.
#[test]
fn concurrency_comes_back_after_errors() {
    let dir = tempfile::tempdir().expect("a directory");
    let latency = Duration::from_millis(10);
    let server = Server::start(0, Manner { plants: vec![(Plant::Busy, 2)], latency, ..Manner::default() });
    let judge = judge(&server, dir.path());
    let asked = questions(&judge, 200);
    let pace = Pace { concurrency: 8, retries: 9 };
    let asker = Asker::start(Arc::clone(&judge), pace);
    asker.ask(asked[..20].iter().cloned());
    let got = (0..20).filter_map(|_| asker.wait(Duration::from_secs(60))).count();
    assert_eq!(got, 20);
    let before = server.most();
    server.set(Manner { latency, ..Manner::default() });
    asker.ask(asked[20..].iter().cloned());
    let got = (0..180).filter_map(|_| asker.wait(Duration::from_secs(60))).count();
    assert_eq!((got, server.most()), (180, 8), "{before} at a time before");
}

#[test]
fn two_processes_share_a_cache_and_the_work() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(0, Manner { latency: Duration::from_millis(20), ..Manner::default() });
    // Two caches on one directory, as two processes have them: neither knows of the other but through the files. An answer
    // takes long enough for both to have begun.
    let (one, other) = (judge(&server, dir.path()), judge(&server, dir.path()));
    let asked = questions(&one, 200);
    let askers = [&one, &other].map(|judge| Asker::start(Arc::clone(judge), PACE));
    for asker in &askers {
        asker.ask(asked.iter().cloned());
    }
    for asker in &askers {
        for _ in 0..200 {
            asker.wait(Duration::from_secs(60)).expect("a reply").outcome.expect("an answer");
        }
    }
    assert_eq!(server.requests(), 200, "no question is asked by both");
    assert_eq!(one.cache().contents().segments, 2);
}

#[test]
fn torn_tails_and_flipped_bits_are_never_believed() {
    let dir = tempfile::tempdir().expect("a directory");
    let id = |n: u8| Id([n; 16]);
    let cache = Cache::open(dir.path()).expect("a cache");
    for n in 1..=5 {
        cache.put(id(n), &vec![n; 100 * usize::from(n)]).expect("kept");
    }
    drop(cache);
    let path = dir.path().join("0001.answers");
    let whole = std::fs::read(&path).expect("read");
    for cut in [1, 40, 44, 300, 543] {
        sweep::disk::write(&path, &whole[..whole.len() - cut]).expect("written");
        let cache = Cache::open(dir.path()).expect("a cache");
        assert_eq!(cache.ids(), [1, 2, 3, 4].map(id), "cut by {cut}");
        // The next writer cuts the tail, and what it adds is read.
        cache.put(id(9), b"nine").expect("kept");
        drop(cache);
        let cache = Cache::open(dir.path()).expect("a cache");
        assert_eq!(cache.ids(), [1, 2, 3, 4, 9].map(id));
        assert_eq!((cache.get(id(9)), cache.contents().damaged), (Some(b"nine".to_vec()), 0));
    }
    // A bit in each of the records: the others stay.
    for at in [0, 5, 9, 20, 30, 60, whole.len() / 2, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        sweep::disk::write(&path, &bytes).expect("written");
        let cache = Cache::open(dir.path()).expect("a cache");
        assert_eq!(cache.ids().len(), 4, "bit at {at}");
        assert!(
            cache
                .ids()
                .into_iter()
                .all(|one| cache.get(one) == Some(vec![one.0[0]; 100 * usize::from(one.0[0])]))
        );
    }
    sweep::disk::write(&path, b"nothing of ours").expect("written");
    assert_eq!(Cache::open(dir.path()).expect("a cache").contents().answers, 0);
}

#[test]
fn who_has_ended_asks_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let id = Id([7; 16]);
    let (one, other) = (Cache::open(dir.path()).expect("one"), Cache::open(dir.path()).expect("other"));
    assert_eq!(one.claim(id).expect("claimed"), Claim::Mine);
    assert_eq!(other.claim(id).expect("claimed"), Claim::Theirs);
    drop(one);
    assert_eq!(other.claim(id).expect("claimed"), Claim::Mine);
    other.put(id, b"text").expect("kept");
    let third = Cache::open(dir.path()).expect("third");
    assert_eq!(third.claim(id).expect("claimed"), Claim::Answered(b"text".to_vec()));
}

/// Claims and answers that cross: however the looks of four processes fall between them, one of them asks.
#[test]
fn of_many_that_claim_one_asks() {
    let dir = tempfile::tempdir().expect("a directory");
    let ids: Vec<Id> = (0..400_u16)
        .map(|n| Id([n.to_le_bytes()[0], n.to_le_bytes()[1]].repeat(8).try_into().expect("16")))
        .collect();
    let asks = || {
        let cache = Cache::open(dir.path()).expect("a cache");
        let mut asked = 0;
        for id in &ids {
            loop {
                match cache.claim(*id).expect("claimed") {
                    Claim::Answered(_) => break,
                    Claim::Theirs => std::thread::yield_now(),
                    Claim::Mine => {
                        asked += 1;
                        cache.put(*id, b"text").expect("kept");
                    }
                }
            }
        }
        asked
    };
    let asked: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(asks)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    assert_eq!(asked, ids.len());
}

/// What a process was asking when it ended does not look as if the next holder of its segment asked it.
#[test]
fn who_takes_a_segment_over_does_not_ask_what_its_last_holder_asked() {
    let dir = tempfile::tempdir().expect("a directory");
    let (lost, id) = (Id([7; 16]), Id([8; 16]));
    let one = Cache::open(dir.path()).expect("one");
    assert_eq!(one.claim(lost).expect("claimed"), Claim::Mine);
    let other = Cache::open(dir.path()).expect("other");
    assert_eq!(other.claim(lost).expect("claimed"), Claim::Theirs);
    drop(one);
    let third = Cache::open(dir.path()).expect("third");
    assert_eq!(third.claim(id).expect("claimed"), Claim::Mine);
    assert_eq!((third.contents().segments, other.claim(lost).expect("claimed")), (1, Claim::Mine));
}

#[test]
fn what_is_pruned_is_gone_and_the_rest_stays() {
    let dir = tempfile::tempdir().expect("a directory");
    let cache = Cache::open(dir.path()).expect("a cache");
    for n in 0..10 {
        cache.put(Id([n; 16]), &[n]).expect("kept");
    }
    let reader = Cache::open(dir.path()).expect("a reader");
    assert!(reader.prune(|_, _| true).is_err(), "while it is held");
    drop(cache);
    assert_eq!(reader.prune(|id, _| id.0[0] % 2 == 0).expect("pruned"), 5);
    let after = Cache::open(dir.path()).expect("a cache");
    assert_eq!(after.ids(), [0, 2, 4, 6, 8].map(|n| Id([n; 16])));
    assert_eq!(after.get(Id([8; 16])), Some(vec![8]));
}

#[test]
fn images_go_as_data_urls_in_their_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let jpeg = [&[0xff, 0xd8, 0xff, 0xe0][..], b"one"].concat();
    let png = [&[0x89][..], b"PNG two"].concat();
    sweep::disk::write(&dir.path().join("one.jpg"), &jpeg).expect("written");
    sweep::disk::write(&dir.path().join("two.png"), &png).expect("written");
    sweep::disk::write(&dir.path().join("large.png"), &[&png[..], &[0; 4000]].concat()).expect("written");
    let lines = r#"{"id": 1, "question": "What?", "answers": ["cat"], "image": "one.jpg"}
{"id": 2, "question": "Which {answer}?", "answers": ["a", "dog", "dog"], "image": "two.png"}
{"id": 3, "question": "Where?", "answers": ["sea"], "image": "large.png"}
{"id": 4, "question": "Who?", "answers": ["me"]}"#;
    let file = dir.path().join("items.jsonl");
    sweep::disk::write(&file, lines.as_bytes()).expect("written");
    let mut settings = settings("http://127.0.0.1:9", Api::Chat);
    settings.max_image_bytes = 1000;
    settings.template.system = "Be short.".to_owned();
    settings.template.demonstration = "{image}Q: {question} A: {answer}\n".to_owned();
    settings.template.query = "{image}Q: {question} A:".to_owned();
    let client = Client::new("http://127.0.0.1:9", Duration::from_secs(1), 1, None, None).expect("a client");
    let endpoint = Endpoint::new(settings, client);
    let items = Items::load(&file).expect("items");
    let ask = |demonstrations: &[u64], query_id| Question {
        demonstrations: demonstrations.to_vec(),
        query_id,
        wanted: Wanted::Answer,
    };
    let body = endpoint.body(&ask(&[2], 1), &items).expect("a body");
    insta::assert_snapshot!(String::from_utf8(body).expect("UTF-8"), @r#"{"model":"fake","messages":[{"role":"system","content":"Be short."},{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORyB0d28="}},{"type":"text","text":"Q: Which {answer}? A: dog\n"},{"type":"image_url","image_url":{"url":"data:image/jpeg;base64,/9j/4G9uZQ=="}},{"type":"text","text":"Q: What? A:"}]}],"max_tokens":8,"stop":["\n"],"temperature":0,"seed":0}"#);
    let fault = endpoint.body(&ask(&[3], 1), &items).expect_err("too large");
    assert!(fault.message.contains("more than 1000 bytes") && fault.message.contains("large.png"), "{fault}");
    assert!(endpoint.body(&ask(&[1], 4), &items).expect_err("no image").message.contains("no `image`"));
}

#[test]
fn the_probability_of_the_accepted_answer_is_asked_by_echo() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(0, Manner::default());
    let judge = judge(&server, dir.path());
    let question = Question { demonstrations: vec![3], query_id: 0, wanted: Wanted::Probability };
    let answer = judge.ask_again(&question).expect("an answer");
    assert!((answer.log_prob.expect("a figure").get() + 0.25).abs() < 1e-12);
}

#[test]
fn a_second_asking_is_compared_with_the_first_and_not_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(0, Manner::default());
    let judge = judge(&server, dir.path());
    let asked = questions(&judge, 40);
    replies(&judge, &asked, PACE);
    server.set(Manner { noise: 4, ..Manner::default() });
    let second = ask_again(&judge, &asked, 2, &|| false);
    assert_eq!(second.pairs.len(), 40);
    assert_eq!(second.pairs.iter().filter(|(_, first, second)| first.text != second.text).count(), 10);
    assert_eq!(judge.cache().contents().answers, 40);
}

/// A judge in shell: says half of the query's id is its score; `die N` ends after N answers.
const PROGRAM: &str = r#"#!/bin/sh
echo "judge starts" >&2
echo "a greeting"
n=0
while read -r line; do
  id=${line#*'"id":'}; id=${id%%,*}
  query=${line#*'"query_id":'}; query=${query%%,*}
  n=$((n+1))
  [ "$n" -gt "$2" ] && exit 3
  case "$query" in
    7) echo "{\"id\":$id,\"score\":7}" ;;
    8) echo "{\"id\":$id,\"error\":\"no picture\"}" ;;
    *) echo "{\"id\":$id,\"score\":0.5,\"answer\":\"of $query\"}" ;;
  esac
done
"#;

fn command(dir: &Path, lives: u32) -> Arc<Judge> {
    sweep::disk::write(&dir.join("judge.sh"), PROGRAM.as_bytes()).expect("written");
    let settings = CommandSettings {
        program: ["sh", "judge.sh", "x", &lives.to_string()].map(str::to_owned).to_vec(),
        version: String::new(),
        directory: dir.to_owned(),
        timeout: Duration::from_secs(10),
    };
    let command = Command::new(settings);
    command.keep_stderr(&dir.join("stderr.log"));
    Arc::new(
        Judge::new(Arc::new(Form::Command(command)), Arc::default(), &dir.join("cache")).expect("a judge"),
    )
}

#[test]
fn a_program_is_started_once_and_its_stderr_is_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let judge = command(dir.path(), 1000);
    let asked = questions(&judge, 60);
    let (found, progress) = replies(&judge, &asked, PACE);
    let right =
        found.iter().filter(|reply| reply.outcome.as_ref().is_ok_and(|answer| answer.score.is_some()));
    assert_eq!(right.count(), 58);
    let faults = &progress.faults.0[&FaultKind::Refused];
    assert_eq!((faults.count, faults.query_id), (2, faults.query_id));
    let said = std::fs::read_to_string(dir.path().join("stderr.log")).expect("kept");
    assert_eq!(said, "judge starts\n");
}

#[test]
fn a_program_that_dies_is_started_once_more() {
    let dir = tempfile::tempdir().expect("a directory");
    let judge = command(dir.path(), 30);
    let asked: Vec<_> =
        questions(&judge, 80).into_iter().filter(|(_, q)| !(7..9).contains(&q.query_id)).collect();
    let (found, progress) = replies(&judge, &asked, PACE);
    let answered = found.iter().filter(|reply| reply.outcome.is_ok()).count();
    assert_eq!(answered, 60, "{:?}", progress.faults);
    assert!(progress.faults.0.contains_key(&FaultKind::Denied));
    let text = progress.faults.sentences().join("\n");
    assert!(text.contains("stderr.log"), "{text}");
    let said = std::fs::read_to_string(dir.path().join("stderr.log")).expect("kept");
    assert_eq!(said, "judge starts\njudge starts\n");
}

/// TLS by `openssl s_server` with a certificate of its own, which nobody trusts.
#[test]
fn an_unknown_authority_is_named_and_can_be_made_known() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name).display().to_string();
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args([
            "-addext",
            "subjectAltName=DNS:localhost",
            "-addext",
            "basicConstraints=CA:FALSE",
            "-keyout",
            &at("key"),
            "-out",
            &at("cert"),
        ])
        .output();
    if !made.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: there is no `openssl`");
        return;
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("an address").port();
    drop(free);
    let mut server = std::process::Command::new("openssl")
        .args([
            "s_server",
            "-accept",
            &port.to_string(),
            "-cert",
            &at("cert"),
            "-key",
            &at("key"),
            "-www",
            "-quiet",
        ])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("it starts");
    crate::sweeps::wait_for(|| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let address = format!("https://localhost:{port}/v1/completions");
    let timeout = Duration::from_secs(5);
    let unknown = Client::new(&address, timeout, 1, None, None).expect("a client").post(b"{}");
    let pem = std::fs::read(at("cert")).expect("made");
    let known = Client::new(&address, timeout, 1, None, Some(&pem)).expect("a client").post(b"{}");
    server.kill().expect("it ends");
    server.wait().expect("it ends");
    let fault = unknown.expect_err("nobody trusts it");
    assert_eq!(fault.kind, FaultKind::Certificate, "{fault}");
    assert!(fault.message.contains("hint: for an authority of your own, `SSL_CERT_FILE`"), "{fault}");
    assert!(known.is_ok() || known.is_err_and(|fault| fault.kind != FaultKind::Certificate));
    assert!(Client::new(&address, timeout, 1, None, Some(b"no PEM")).is_err());
}

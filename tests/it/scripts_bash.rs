//! The reader of scripts against the shell: what it reads is what `bash` starts, and what it drops is listed.

#![expect(clippy::print_stderr, reason = "says why a test is skipped")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

use sweep::selector::scripts::{Given, Reading, Script, read};

use crate::sandbox::{Sandbox, repository};

const KEYS: [&str; 3] = ["kl_beta", "grpo_lr", "grpo_epochs"];

/// Stands for `python` and the like: writes its words down, does nothing.
const STUB: &str = "#!/bin/bash\nfor word in \"$@\"; do printf '%s\\x1f' \"$word\"; done >> \"$STARTED\"\n\
                    printf '\\x1e' >> \"$STARTED\"\nexit 0\n";

type Run = BTreeMap<String, String>;

fn cases() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(repository("tests/fixtures/scripts/bash.json")).expect("there");
    serde_json::from_str(&text).expect("cases")
}

fn reading(text: &str) -> Reading {
    let script = Script { name: "a.sh".to_owned(), path: "/lab/a.sh".into(), text: text.to_owned() };
    read(&script, &Given { root: "/lab".into(), ..Given::default() })
}

/// A number as a number, everything else as it is.
fn plain(text: &str) -> String {
    text.trim().parse::<f64>().map_or_else(|_| format!("{text:?}"), |number| number.to_string())
}

/// The runs of `reading`, by their keys.
fn read_runs(reading: &Reading) -> Vec<Run> {
    let keys = |point: &sweep::selector::scripts::Point| -> Run {
        let settings = point.settings.iter().filter(|setting| KEYS.contains(&setting.key.name));
        settings.map(|setting| (setting.key.name.to_owned(), plain(&setting.value.to_string()))).collect()
    };
    reading.points.iter().map(keys).filter(|run| !run.is_empty()).collect()
}

/// A folder with programs that do nothing.
fn stubs() -> Sandbox {
    let place = Sandbox::new();
    for name in ["python", "python3", "torchrun", "lever-train", "poetry", "uv", "nohup", "srun"] {
        place.write(name, STUB.as_bytes());
        let executable = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
        std::fs::set_permissions(place.path().join(name), executable).expect("set");
    }
    place
}

/// The runs that `bash` starts, by their keys as argparse and Hydra understand them.
fn started_runs(text: &str, bin: &Path) -> Vec<Run> {
    let place = Sandbox::new();
    place.write("a.sh", text.as_bytes());
    place.write("started", b"");
    Command::new("bash")
        .arg("a.sh")
        .current_dir(place.path())
        .env_clear()
        .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
        .env("HOME", place.path())
        .env("STARTED", place.path().join("started"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("it runs");
    let started = String::from_utf8_lossy(&place.read("started")).into_owned();
    let words = |run: &str| run.split('\x1f').map(str::to_owned).collect::<Vec<_>>();
    started.split('\x1e').map(|run| flags(&words(run))).filter(|run| !run.is_empty()).collect()
}

fn flags(words: &[String]) -> Run {
    let mut run = Run::new();
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        let (name, value) = word.split_once('=').map_or((word.as_str(), None), |(name, v)| (name, Some(v)));
        let key = name.trim_start_matches(['-', '+']).replace('-', "_");
        if KEYS.contains(&key.as_str())
            && let Some(value) = value.map(str::to_owned).or_else(|| words.next().cloned())
        {
            run.insert(key, plain(&value));
        }
    }
    run
}

#[test]
fn what_is_read_is_what_bash_starts() {
    if Command::new("bash").arg("-c").arg("exit 0").status().is_err() {
        eprintln!("skipped: there is no bash");
        return;
    }
    let bin = stubs();
    let (mut whole, mut wrong, cases) = (0, Vec::new(), cases());
    for (name, text) in &cases {
        let (reading, mut started) = (reading(text), started_runs(text, bin.path()));
        let read = read_runs(&reading);
        for run in &read {
            match started.iter().position(|known| known == run) {
                Some(at) => drop(started.remove(at)),
                None => wrong.push(format!("{name}: {run:?} is read, but never starts\n{text}")),
            }
        }
        match (started.is_empty(), reading.unread.is_empty()) {
            (true, _) => whole += 1,
            (false, false) => {}
            (false, true) => {
                wrong.push(format!("{name}: {started:?} starts, and is not even listed\n{text}"))
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Whoever lists everything as unread is never wrong either.
    assert!(whole * 2 > cases.len(), "{whole} of {} are read", cases.len());
}

/// Scripts of the fixtures, torn, doubled and put together anew.
#[test]
fn no_mutation_panics() {
    let mut texts: Vec<Vec<u8>> = cases().into_values().map(String::into_bytes).collect();
    for folder in ["lab", "other"] {
        for entry in std::fs::read_dir(repository("tests/fixtures/scripts").join(folder)).expect("there") {
            texts.push(std::fs::read(entry.expect("listed").path()).expect("read"));
        }
    }
    let parts: [&[u8]; 16] = [
        b"$(",
        b")",
        b"${",
        b"}",
        b"`",
        b"\"",
        b"'",
        b"\\\n",
        b"<<EOF\n",
        b"((",
        b"[[ ",
        b"\0",
        b"\xff",
        b"\xe5\x86",
        b" && ",
        b"&",
    ];
    let mut state = 12_u64;
    let mut below = |limit: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).expect("31 bits") % limit.max(1)
    };
    for _ in 0..3_000 {
        let mut text = texts[below(texts.len())].clone();
        for _ in 0..=below(5) {
            let from = below(text.len() + 1);
            let to = (from + below(40)).min(text.len());
            match below(6) {
                0 => drop(text.drain(from..to)),
                1 => drop(text.splice(from..from, parts[below(parts.len())].iter().copied())),
                2 => text.truncate(from),
                3 => text[from..to].reverse(),
                4 => {
                    let again = text[from..to].repeat(3);
                    drop(text.splice(from..from, again));
                }
                _ => {
                    let other = &texts[below(texts.len())];
                    let start = below(other.len());
                    let piece = other[start..(start + 60).min(other.len())].to_vec();
                    drop(text.splice(from..from, piece));
                }
            }
        }
        reading(&String::from_utf8_lossy(&text));
    }
}

/// What is nested, repeated or doubled beyond all measure ends soon, in little memory, and is read or listed.
#[test]
fn no_script_is_too_much() {
    let train = "python train.py --kl_beta 0.1\n";
    let deep =
        |open: &str, inner: &str, close: &str| open.repeat(2_000) + inner + &close.repeat(2_000) + "\n";
    let loops = |body: &str| format!("for a in {}; do {body}; done\n", "1 ".repeat(900));
    let mut silent = BTreeSet::new();
    for (name, text) in [
        ("subshells", deep("(", "python train.py --kl_beta 0.1", ")")),
        ("branches", deep("if true; then\n", train, "fi\n")),
        ("and", deep("true && ", "python train.py --kl_beta 0.1", "")),
        ("pipes", deep("true | ", "python train.py --kl_beta 0.1", "")),
        ("substitutions", format!("X={}python train.py --kl_beta $X\n", deep("$(", "echo", ")"))),
        ("defaults", format!("X={}python train.py --kl_beta $X\n", deep("${A:-", "1", "}"))),
        ("doubled", "A=x\n".to_owned() + &"A=\"$A$A\"\n".repeat(40) + "python train.py --kl_beta $A\n"),
        ("list", loops("A+=(x \"${A[@]}\")") + "python train.py --kl_beta $A\n"),
        (
            "arguments",
            "set -- x\n".to_owned() + &loops("set -- \"$@\" \"$@\"") + "python train.py --kl_beta $1\n",
        ),
        ("eval", "C=:\n".to_owned() + &loops("C=\"$C; $C\"; eval \"$C\"") + train),
        ("recursion", format!("f() {{ for a in 1 2 3 4; do f; done; {train} }}\nf\n")),
    ] {
        let reading = reading(&text);
        if reading.unread.is_empty() && reading.points.is_empty() {
            silent.insert(name);
        }
    }
    assert_eq!(silent, BTreeSet::new(), "nothing is said of them");
}

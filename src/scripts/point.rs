//! A script's training commands -> points: which key came from which line, and what contradicts itself.

use std::path::Path;

use super::shell::{Invocation, Trace, follow};
use super::value::{Value, Word, short};
use super::{Given, Remark, Script};
use crate::spec::{self, Key, Kind};

/// A key that a script sets.
#[derive(Clone, Debug)]
pub struct Setting {
    pub key: &'static Key,
    /// Paths are absolute.
    pub value: spec::Value,
    pub line: usize,
    /// As the script has it: `--kl_beta`.
    pub name: String,
}

/// One training run of a script.
#[derive(Clone, Debug)]
pub struct Point {
    pub script: String,
    /// Of the training command.
    pub line: usize,
    pub settings: Vec<Setting>,
    /// Flags that are no key of a sweep: `--device cuda:0`.
    pub other: Vec<String>,
}

/// What was read of a script.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    pub script: String,
    pub points: Vec<Point>,
    pub unread: Vec<Remark>,
    /// Programs that train nothing.
    pub programs: Vec<Remark>,
    pub contradictions: Vec<Remark>,
}

/// Words in the names of programs that train nothing.
const NOT_TRAINING: [&str; 14] = [
    "eval", "infer", "test", "plot", "generat", "convert", "visual", "analy", "compare", "check", "export",
    "download", "prepare", "predict",
];

/// Follows a script.
pub fn read(script: &Script, given: &Given) -> Reading {
    let mut reading = Reading { script: script.name.clone(), ..Reading::default() };
    let first = follow(script, given, None);
    let asks =
        script.text.contains("SLURM_ARRAY_TASK_ID") && !given.values.contains_key("SLURM_ARRAY_TASK_ID");
    let traces = match asks && !first.array.is_empty() {
        true => first.array.iter().map(|task| follow(script, given, Some(task))).collect(),
        false => vec![first],
    };
    for trace in &traces {
        for invocation in &trace.invocations {
            command(script, invocation, &mut reading);
        }
        if let Some(line) = trace.ended.filter(|line| *line > 0)
            && trace.invocations.is_empty()
            && script.text.contains("python")
        {
            let text =
                "the script ends here as it is called (--set 1=VALUE gives its first argument)".to_owned();
            reading.unread.push(Remark { line, text });
        }
        comments(trace, &mut reading);
    }
    for point in &reading.points {
        reading.contradictions.extend(name_against_values(point, &script.name));
    }
    for list in [&mut reading.unread, &mut reading.programs, &mut reading.contradictions] {
        list.sort_by(|a, b| (a.line, &a.text).cmp(&(b.line, &b.text)));
        list.dedup();
    }
    reading
}

/// The program that is started, past `nohup`, `srun` and the like: its name, and where its own words start.
fn program(words: &[Word]) -> Option<(String, usize)> {
    let texts: Vec<Option<String>> = words.iter().map(|word| word.value.text().ok()).collect();
    let base = |text: &Option<String>| {
        text.as_deref().and_then(|text| text.rsplit('/').next()).unwrap_or("").to_owned()
    };
    let wrappers = ["nohup", "time", "exec", "srun", "env", "command", "nice", "stdbuf", "numactl"];
    let mut at = 0;
    if wrappers.contains(&base(texts.first()?).as_str()) {
        at = texts.iter().position(|text| launcher(&base(text)).is_some())?;
    }
    match launcher(&base(texts.get(at)?))? {
        Launcher::Python => loop {
            at += 1;
            match texts.get(at)?.as_deref()? {
                "-m" => return Some((texts.get(at + 1)?.clone()?, at + 2)),
                option if option.starts_with('-') => {}
                file => return Some((file.to_owned(), at + 1)),
            }
        },
        Launcher::Starter => {
            let found = texts[at..].iter().position(|text| {
                text.as_deref().is_some_and(|text| {
                    text == "-m"
                        || text == "--module"
                        || Path::new(text).extension().is_some_and(|e| e == "py")
                })
            })? + at;
            match texts[found].as_deref()? {
                "-m" | "--module" => Some((texts.get(found + 1)?.clone()?, found + 2)),
                file => Some((file.to_owned(), found + 1)),
            }
        }
    }
}

enum Launcher {
    Python,
    Starter,
}

fn launcher(name: &str) -> Option<Launcher> {
    let version = name.strip_prefix("python")?;
    match version.chars().all(|c| c.is_ascii_digit() || c == '.') {
        true => Some(Launcher::Python),
        false => None,
    }
    .or_else(|| ["torchrun", "accelerate", "deepspeed"].contains(&name).then_some(Launcher::Starter))
}

fn command(script: &Script, invocation: &Invocation, reading: &mut Reading) {
    let line = invocation.line;
    let shown = shown(&invocation.words);
    let mut unread = |line: usize, text: String| reading.unread.push(Remark { line, text });
    let Some((program, start)) = program(&invocation.words) else {
        let hides = |text: &str| {
            ["python", ".py", ".sh", "torchrun", "accelerate"].iter().any(|part| text.contains(part))
        };
        let unknown = invocation.words.first().is_none_or(|word| word.value.text().is_err());
        if unknown || hides(&shown) || shown.starts_with("parallel") || shown.starts_with("xargs") {
            let why = invocation.words.first().and_then(|word| word.value.text().err());
            let why = why.map_or_else(String::new, |why| format!(": {why}"));
            unread(line, format!("`{}` is not followed{why}", short(&shown)));
        }
        return;
    };
    let stem = program.rsplit('/').next().unwrap_or(&program).trim_end_matches(".py");
    let stem = stem.rsplit('.').next().unwrap_or(stem).to_ascii_lowercase();
    let arguments = &invocation.words[start..];
    let flags = match flags(arguments, line) {
        Ok(flags) => flags,
        Err(why) => {
            if !NOT_TRAINING.iter().any(|word| stem.contains(word)) {
                unread(line, format!("`{}`: {why}", short(&shown)));
            }
            return;
        }
    };
    match trains(&stem, &flags) {
        Some(true) => {}
        Some(false) => return reading.programs.push(Remark { line, text: program }),
        None => return unread(line, format!("`{program}`: it is not clear whether this trains")),
    }
    if let Some(doubt) = &invocation.doubt {
        return unread(line, format!("`{}`: {doubt}", short(&shown)));
    }
    match settings(invocation, &flags) {
        Ok((settings, other)) if settings.is_empty() => {
            drop(other);
            unread(line, format!("`{}`: none of its flags is a key of a sweep", short(&shown)));
        }
        Ok((settings, other)) => {
            reading.contradictions.extend(not_passed(invocation, &settings));
            reading.points.push(Point { script: script.name.clone(), line, settings, other });
        }
        Err(problem) => unread(problem.line, problem.text),
    }
}

/// Whether a program of this name with these flags trains; `None` where name and flags contradict each other.
fn trains(stem: &str, flags: &[Flag]) -> Option<bool> {
    let keys = || flags.iter().filter_map(|flag| Some(spec::setting(&flag.name, "1", |_| None)?.ok()?.0));
    let in_training = keys().any(|key| key.scope.contains(['R', 'G']));
    // A plot may be of one KL weight; only who trains needs to know how fast and for how long.
    let only_training = keys().any(|key| key.name.ends_with("_lr") || key.name.ends_with("_epochs"));
    let says_train = stem.contains("train") || stem.contains("tune");
    match NOT_TRAINING.iter().any(|word| stem.contains(word)) {
        true if only_training || says_train && in_training => None,
        true => Some(false),
        false => Some(says_train || in_training),
    }
}

fn shown(words: &[Word]) -> String {
    let text = |word: &Word| word.value.text().unwrap_or_else(|_| "?".to_owned());
    words.iter().map(text).collect::<Vec<_>>().join(" ")
}

/// `--name value`, `--name=value`, `--name`, `name=value`.
struct Flag {
    /// With underscores, without dashes.
    name: String,
    /// As written.
    written: String,
    /// `None`: a bare flag.
    value: Option<Value>,
    line: usize,
}

/// # Errors
/// A word that may be several, or none.
fn flags(words: &[Word], line: usize) -> Result<Vec<Flag>, String> {
    let mut flags: Vec<Flag> = Vec::new();
    let mut takes = false;
    for word in words {
        let line = word.value.line().filter(|line| *line > 0).unwrap_or(line);
        let start =
            word.value.0.first().and_then(|piece| piece.text.as_ref().ok()).cloned().unwrap_or_default();
        let is_flag = start
            .strip_prefix('-')
            .is_some_and(|rest| rest.starts_with(|c: char| c == '-' || c.is_ascii_alphabetic()));
        if is_flag {
            let name = match start.split_once('=') {
                Some((name, _)) => name.to_owned(),
                None => word.value.text()?,
            };
            let value = start.contains('=').then(|| after(&word.value, name.len() + 1));
            takes = value.is_none();
            flags.push(Flag { name: plain(&name), written: name, value, line });
        } else if let Some(flag) = flags.last_mut().filter(|_| takes) {
            flag.value = Some(word.value.clone());
            flag.line = line;
            takes = false;
        } else if word.loose {
            return Err(word.value.text().err().unwrap_or_default());
        } else if let Some((name, _)) = start.split_once('=') {
            let value = Some(after(&word.value, name.len() + 1));
            flags.push(Flag { name: plain(name), written: name.to_owned(), value, line });
        } else {
            flags.push(Flag { name: String::new(), written: start, value: None, line });
        }
    }
    Ok(flags)
}

fn plain(name: &str) -> String {
    name.trim_start_matches(['-', '+']).replace('-', "_")
}

/// `value` without its first `count` bytes.
fn after(value: &Value, mut count: usize) -> Value {
    let mut rest = value.clone();
    for piece in &mut rest.0 {
        if let Ok(text) = &mut piece.text {
            let cut = count.min(text.len());
            *text = text.get(cut..).unwrap_or_default().to_owned();
            count -= cut;
        }
    }
    rest
}

/// The keys of a training command, and its flags that are none.
fn settings(invocation: &Invocation, flags: &[Flag]) -> Result<(Vec<Setting>, Vec<String>), Remark> {
    let (mut settings, mut other): (Vec<Setting>, Vec<String>) = (Vec::new(), Vec::new());
    for flag in flags {
        let bare = Value::known("true", flag.line);
        let value = flag.value.as_ref().unwrap_or(&bare);
        if set(&mut settings, invocation, &flag.name, &flag.written, value, flag.line)? {
            continue;
        }
        let value = flag.value.as_ref().map(|value| value.text().unwrap_or_else(|_| "?".to_owned()));
        other.push(match value {
            Some(value) => format!("{} {value}", flag.written),
            None => flag.written.clone(),
        });
    }
    for (name, value) in &invocation.environment {
        let is_lab = spec::KEYS.iter().flat_map(|key| key.lab).any(|lab| lab.name.eq_ignore_ascii_case(name));
        let known = spec::setting(name, "1", |_| None).and_then(Result::ok).map(|(key, _)| key);
        let passed = known.is_some_and(|key| settings.iter().any(|setting| setting.key == key));
        if is_lab && !passed {
            let line = value.line().unwrap_or(invocation.line);
            set(&mut settings, invocation, name, name, value, line)?;
        }
    }
    Ok((settings, other))
}

/// Whether `name` is a key; it then has its value.
fn set(
    settings: &mut Vec<Setting>,
    invocation: &Invocation,
    name: &str,
    written: &str,
    value: &Value,
    line: usize,
) -> Result<bool, Remark> {
    let remark = |text: String| Remark { line, text };
    let so_far = |key: &Key| Some(settings.iter().find(|setting| setting.key == key)?.value.clone());
    if name.eq_ignore_ascii_case("batch_size") {
        return match value.text().as_deref() {
            Ok("1") => Ok(true),
            Ok(other) => {
                Err(remark(format!("{written} {other}: a step of a sweep is one query, as batch size 1")))
            }
            Err(why) => Err(remark(format!("{written}: {why}"))),
        };
    }
    let Some(probe) = spec::setting(name, "1", so_far) else { return Ok(false) };
    let text = value.text().map_err(|why| remark(format!("{written}: {why}")))?;
    let is_path = match &probe {
        Ok((key, _)) => matches!(key.kind, Kind::Path | Kind::OptionalPath),
        Err(_) => false,
    };
    let text = match is_path && !text.is_empty() && text != "none" {
        true => {
            let from = invocation.directory.as_ref().map_err(|why| remark(format!("{written}: {why}")))?;
            super::shell::join(from, &text)
        }
        false => text,
    };
    if is_path && text.is_empty() {
        return Ok(true);
    }
    let found = spec::setting(name, &text, so_far);
    let (key, value) = match found {
        Some(Ok(found)) => found,
        Some(Err(why)) => return Err(remark(format!("{written}: {why}"))),
        None => return Ok(false),
    };
    let setting = Setting { key, value, line, name: written.to_owned() };
    match settings.iter_mut().find(|setting| setting.key == key) {
        Some(old) => *old = setting,
        None => settings.push(setting),
    }
    Ok(true)
}

/// Variables with the name of a key whose value the command does not get.
fn not_passed(invocation: &Invocation, settings: &[Setting]) -> Vec<Remark> {
    let mut remarks = Vec::new();
    for (name, value) in &invocation.variables {
        let Ok(text) = value.text() else { continue };
        let is_lab = spec::KEYS.iter().flat_map(|key| key.lab).any(|lab| lab.name.eq_ignore_ascii_case(name));
        let so_far = |key: &Key| Some(settings.iter().find(|setting| setting.key == key)?.value.clone());
        let Some(Ok((key, meant))) = spec::setting(name, &text, so_far).filter(|_| is_lab) else { continue };
        if matches!(key.kind, Kind::Path | Kind::OptionalPath) {
            continue;
        }
        let line = value.line().unwrap_or(invocation.line);
        let runs = so_far(key).or_else(|| key.default());
        if let Some(runs) = runs.filter(|runs| *runs != meant) {
            let text =
                format!("{name} is set to {text}, but the command runs with {} = {runs}", key.dotted());
            remarks.push(Remark { line, text });
        }
    }
    remarks
}

/// Comments that say frozen or unfrozen, against what runs.
fn comments(trace: &Trace, reading: &mut Reading) {
    let Some(point) = reading.points.last() else { return };
    let Some(frozen) = is_frozen(point) else { return };
    for comment in &trace.comments {
        if let Some(says) = says_frozen(&comment.text)
            && says != frozen
        {
            let (word, what) =
                if says { ("frozen", "freezes nothing") } else { ("unfrozen", "freezes the backbone") };
            let text = format!("the comment says {word}, but the command {what}: `{}`", short(&comment.text));
            reading.contradictions.push(Remark { line: comment.line, text });
        }
    }
}

fn is_frozen(point: &Point) -> Option<bool> {
    let set = point.settings.iter().find(|setting| setting.key.kind == Kind::Freeze);
    Some(match set.map(|setting| &setting.value) {
        Some(spec::Value::Freeze(set)) => !set.is_empty(),
        _ => false,
    })
}

/// Whether a text claims that the backbone is frozen (`true`) or not (`false`); `None` where it says neither, or both.
fn says_frozen(text: &str) -> Option<bool> {
    let text = text.to_lowercase();
    let open = ["解冻", "不冻结", "未冻结", "unfrozen", "unfreeze", "not frozen"];
    let closed = ["冻结", "frozen", "freeze"];
    let says_open = open.iter().any(|word| text.contains(word));
    let rest = open.iter().fold(text, |text, word| text.replace(word, ""));
    let says_closed = closed.iter().any(|word| rest.contains(word));
    (says_open != says_closed).then_some(says_closed)
}

/// `kl0145` in the name of a script that runs with 0.15.
fn name_against_values(point: &Point, name: &str) -> Vec<Remark> {
    let stem = name.rsplit('/').next().unwrap_or(name);
    let stem = stem.strip_suffix(".sh").unwrap_or(stem).to_ascii_lowercase();
    let mut remarks = Vec::new();
    let mut say = |text: String| remarks.push(Remark { line: point.line, text });
    for part in stem.split('_') {
        let clashing =
            spec::KEYS.iter().filter(|key| !key.short.is_empty() && key.is_axis()).find_map(|key| {
                let digits = part.strip_prefix(key.short)?;
                let value = point.settings.iter().find(|setting| setting.key == key)?;
                let runs = value.value.to_string().parse::<f64>().ok()?;
                let meanings = meanings(digits)?;
                let same = meanings.iter().any(|meant| (meant - runs).abs() <= 1e-9 * runs.abs());
                (!same).then(|| (key.dotted(), value))
            });
        if let Some((key, setting)) = clashing {
            say(format!("the name says {part}, but {key} = {} (line {})", setting.value, setting.line));
        }
    }
    if let (Some(says), Some(runs)) = (says_frozen(&stem), is_frozen(point))
        && says != runs
    {
        let what = if runs { "freezes the backbone" } else { "freezes nothing" };
        say(format!("the name says {}, but the command {what}", if says { "frozen" } else { "unfrozen" }));
    }
    remarks
}

/// What digits in a name can mean: `0145` 0.145, `2e-5` and `2e5` 2e-5, `3` 3.
fn meanings(digits: &str) -> Option<Vec<f64>> {
    let plain = digits.replace('p', ".");
    if !plain.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let mut all: Vec<f64> = plain.parse().ok().into_iter().collect();
    if plain.len() > 1 && plain.starts_with('0') && plain.chars().all(|c| c.is_ascii_digit()) {
        all.extend(format!("0.{}", &plain[1..]).parse::<f64>());
    }
    if let Some((digits, exponent)) = plain.split_once('e').filter(|(_, exponent)| !exponent.starts_with('-'))
    {
        all.extend(format!("{digits}e-{exponent}").parse::<f64>());
    }
    (!all.is_empty()).then_some(all)
}

//! A script's training commands -> points: which key came from which line, and what contradicts itself.

use super::flags::{Flag, flags, multirun};
use super::program::program;
use super::shell::{Invocation, Trace, follow};
use super::value::{Value, Word, short};
use super::{Given, Remark, Script};
use crate::selector::SCHEMA;
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
    let mut unsure = None;
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
        reading.unread.extend(trace.lost.iter().cloned());
        if let Some(doubt) = trace.doubt.clone().filter(|_| hides(&script.text)) {
            unsure = Some(Remark { line: 1, text: doubt });
        }
        comments(trace, &mut reading);
    }
    if reading.points.is_empty() && reading.unread.is_empty() && reading.programs.is_empty() {
        reading.unread.extend(unsure);
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

fn command(script: &Script, invocation: &Invocation, reading: &mut Reading) {
    let line = invocation.line;
    let shown = shown(&invocation.words);
    let mut unread = |line: usize, text: String| reading.unread.push(Remark { line, text });
    let Some((program, start)) = program(&invocation.words) else {
        let unknown = invocation.words.first().is_none_or(|word| word.value.text().is_err());
        if unknown
            || hides(&shown)
            || takes_more(&invocation.words)
            || shown.starts_with("parallel")
            || shown.starts_with("xargs")
        {
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
    let hidden = elsewhere(&invocation.words[..start], &flags);
    let runs = match hidden.map_or_else(|| multirun(flags), Err) {
        Ok(runs) => runs,
        Err(why) => return unread(line, format!("`{}`: {why}", short(&shown))),
    };
    for flags in runs {
        match settings(invocation, &flags) {
            Ok((settings, _)) if settings.is_empty() => {
                unread(line, format!("`{}`: none of its flags is a key of a sweep", short(&shown)));
            }
            Ok((settings, other)) => {
                reading.contradictions.extend(not_passed(invocation, &settings));
                reading.points.push(Point { script: script.name.clone(), line, settings, other });
            }
            Err(problems) => problems.into_iter().for_each(|problem| unread(problem.line, problem.text)),
        }
    }
}

/// Whether a text may start a program that trains.
fn hides(text: &str) -> bool {
    ["python", ".py", ".sh", "torchrun", "accelerate"].iter().any(|part| text.contains(part))
}

/// Whether a program that is none of Python's is a shell, which may be fed with commands, or takes a key of a sweep.
fn takes_more(words: &[Word]) -> bool {
    let texts = words.iter().filter_map(|word| word.value.text().ok());
    texts.enumerate().any(|(at, text)| {
        let base = text.rsplit('/').next().unwrap_or_default();
        let name =
            text.trim_start_matches(['-', '+']).split('=').next().unwrap_or_default().replace('-', "_");
        let flag = at > 0 && (text.starts_with("--") || text.contains('='));
        ["bash", "sh", "zsh", "dash", "ksh"].contains(&base)
            || flag && spec::setting(&SCHEMA, &name, "1", |_| None).is_some()
    })
}

/// Why more values come from where they cannot be read, if any may.
fn elsewhere(before: &[Word], flags: &[Flag]) -> Option<String> {
    let key = |name: &str| spec::setting(&SCHEMA, name, "1", |_| None).is_some();
    let assigned = before
        .iter()
        .filter_map(|word| word.value.text().ok())
        .find(|text| text.split_once('=').is_some_and(|(name, _)| key(name)));
    if let Some(text) = assigned {
        return Some(format!("`{text}` before the program is not followed"));
    }
    flags.iter().find_map(|flag| {
        let value = || flag.value.as_ref().and_then(|value| value.text().ok()).unwrap_or_default();
        // `main.py train`; a number, a path or `@args.txt` says something that only the program understands.
        let is_word =
            flag.written.chars().all(|letter| letter.is_ascii_alphabetic() || letter == '_' || letter == '-');
        match flag.name.as_str() {
            "" if !is_word => Some(format!("what `{}` means is not known", flag.written)),
            "config" | "config_file" | "config_path" | "config_name" | "cfg" | "args_file"
            | "params_file" => Some(format!("values also stand in `{}`, which is not read", value())),
            _ => None,
        }
    })
}

/// Whether a program of this name with these flags trains; `None` where name and flags contradict each other.
fn trains(stem: &str, flags: &[Flag]) -> Option<bool> {
    let keys =
        || flags.iter().filter_map(|flag| Some(spec::setting(&SCHEMA, &flag.name, "1", |_| None)?.ok()?.0));
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

/// The keys of a training command, and its flags that are none.
///
/// # Errors
/// All values that are not known or that no sweep can have.
fn settings(invocation: &Invocation, flags: &[Flag]) -> Result<(Vec<Setting>, Vec<String>), Vec<Remark>> {
    let (mut settings, mut other): (Vec<Setting>, Vec<String>) = (Vec::new(), Vec::new());
    let mut problems = Vec::new();
    for flag in flags {
        let bare = Value::known("true", flag.line);
        let value = flag.value.as_ref().unwrap_or(&bare);
        match set(&mut settings, invocation, &flag.name, &flag.written, value, flag.line) {
            Ok(true) => continue,
            Ok(false) => {}
            Err(problem) => {
                problems.push(problem);
                continue;
            }
        }
        let value = flag.value.as_ref().map(|value| value.text().unwrap_or_else(|_| "?".to_owned()));
        other.push(match value {
            Some(value) => format!("{} {value}", flag.written),
            None => flag.written.clone(),
        });
    }
    for (name, value) in &invocation.environment {
        let is_lab =
            SCHEMA.keys.iter().flat_map(|key| key.lab).any(|lab| lab.name.eq_ignore_ascii_case(name));
        let known = spec::setting(&SCHEMA, name, "1", |_| None).and_then(Result::ok).map(|(key, _)| key);
        let passed = known.is_some_and(|key| settings.iter().any(|setting| setting.key == key));
        if is_lab && !passed {
            let line = value.line().unwrap_or(invocation.line);
            problems.extend(set(&mut settings, invocation, name, name, value, line).err());
        }
    }
    if problems.is_empty() { Ok((settings, other)) } else { Err(problems) }
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
    let Some(probe) = spec::setting(&SCHEMA, name, "1", so_far) else { return Ok(false) };
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
    let found = spec::setting(&SCHEMA, name, &text, so_far);
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
        let is_lab =
            SCHEMA.keys.iter().flat_map(|key| key.lab).any(|lab| lab.name.eq_ignore_ascii_case(name));
        let so_far = |key: &Key| Some(settings.iter().find(|setting| setting.key == key)?.value.clone());
        let Some(Ok((key, meant))) = spec::setting(&SCHEMA, name, &text, so_far).filter(|_| is_lab) else {
            continue;
        };
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
    let set = point.settings.iter().find(|setting| matches!(setting.key.kind, Kind::Set(_)));
    Some(match set.map(|setting| &setting.value) {
        Some(spec::Value::Set(set)) => !set.is_empty(),
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
            SCHEMA.keys.iter().filter(|key| !key.short.is_empty() && key.is_axis()).find_map(|key| {
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

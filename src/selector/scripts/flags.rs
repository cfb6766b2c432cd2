//! The words after a program as its flags: those of argparse, and the overrides of Hydra.

use super::value::{Value, Word};

/// Hydra's flags that run a program once per combination of values; neither takes one itself.
const MULTIRUN: [&str; 2] = ["-m", "--multirun"];

/// Runs of one command that are listed.
const MOST: usize = 10_000;

/// `--name value`, `--name=value`, `--name`, `name=value`.
#[derive(Clone, Debug)]
pub struct Flag {
    /// With underscores, without dashes.
    pub name: String,
    /// As written.
    pub written: String,
    /// `None`: a bare flag.
    pub value: Option<Value>,
    pub line: usize,
}

/// The flags of a program.
///
/// # Errors
/// A word that may be several, or none.
pub fn flags(words: &[Word], line: usize) -> Result<Vec<Flag>, String> {
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
            takes = value.is_none() && !MULTIRUN.contains(&name.as_str());
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

/// The runs of a command: `kl_beta=0.1,0.2` is two under Hydra's `--multirun`.
///
/// # Errors
/// Values that only Hydra understands (`range(0,3)`), and too many of them.
pub fn multirun(flags: Vec<Flag>) -> Result<Vec<Vec<Flag>>, String> {
    if !flags.iter().any(|flag| MULTIRUN.contains(&flag.written.as_str())) {
        return Ok(vec![flags]);
    }
    let mut runs: Vec<Vec<Flag>> = vec![Vec::new()];
    for flag in flags.into_iter().filter(|flag| !MULTIRUN.contains(&flag.written.as_str())) {
        let text = flag.value.as_ref().and_then(|value| value.text().ok()).unwrap_or_default();
        let is_list = !flag.written.starts_with('-') && text.contains(',');
        if !flag.written.starts_with('-') && text.contains(['(', '[', '{', '\'', '"']) {
            return Err(format!("`{}={text}` under `--multirun` is not followed", flag.written));
        }
        let values: Vec<Option<Value>> = match is_list {
            true => text.split(',').map(|one| Some(Value::known(one.trim(), flag.line))).collect(),
            false => vec![flag.value.clone()],
        };
        if runs.len().saturating_mul(values.len()) > MOST {
            return Err(format!("`--multirun` of more than {MOST} runs is not followed"));
        }
        let with = |run: &Vec<Flag>, value: &Option<Value>| {
            let flag = Flag { value: value.clone(), ..flag.clone() };
            run.iter().cloned().chain([flag]).collect()
        };
        runs = runs.iter().flat_map(|run| values.iter().map(move |value| with(run, value))).collect();
    }
    Ok(runs)
}

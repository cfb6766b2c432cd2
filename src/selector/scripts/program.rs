//! Which program a command starts.

use std::path::Path;

use super::value::Word;

/// Programs that start another one with the same files and arguments.
const WRAPPERS: [&str; 22] = [
    "nohup",
    "time",
    "exec",
    "srun",
    "env",
    "command",
    "nice",
    "stdbuf",
    "numactl",
    "conda",
    "mamba",
    "micromamba",
    "poetry",
    "uv",
    "pipenv",
    "pdm",
    "timeout",
    "taskset",
    "ionice",
    "setsid",
    "sudo",
    "mpirun",
];

/// The program that is started, past `nohup`, `srun` and the like: its name, and where its own words start.
pub fn program(words: &[Word]) -> Option<(String, usize)> {
    let texts: Vec<Option<String>> = words.iter().map(|word| word.value.text().ok()).collect();
    let base = |text: &Option<String>| {
        text.as_deref().and_then(|text| text.rsplit('/').next()).unwrap_or("").to_owned()
    };
    let mut at = 0;
    if WRAPPERS.contains(&base(texts.first()?).as_str()) {
        at = texts.iter().position(|text| launcher(&base(text)).is_some())?;
    }
    match launcher(&base(texts.get(at)?))? {
        Launcher::Python => loop {
            at += 1;
            match texts.get(at)?.as_deref()? {
                option if option.starts_with("--") => {}
                option if option.starts_with('-') => {
                    // `-u -m x`, `-um x`, `-mx`, `-W ignore`.
                    let Some(place) = option.find(['m', 'W', 'X', 'c']) else { continue };
                    let inline = option.get(place + 1..).filter(|rest| !rest.is_empty()).map(str::to_owned);
                    let next = if inline.is_some() { at + 1 } else { at + 2 };
                    if option[place..].starts_with(['m', 'c']) {
                        return Some((inline.or_else(|| texts.get(at + 1)?.clone())?, next));
                    }
                    at = next - 1;
                }
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
    if ["torchrun", "accelerate", "deepspeed"].contains(&name) {
        return Some(Launcher::Starter);
    }
    let version = name.strip_prefix("python")?;
    version.chars().all(|c| c.is_ascii_digit() || c == '.').then_some(Launcher::Python)
}

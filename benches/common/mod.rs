//! What the benches have in common: arguments, the machine's description, memory, saving.

use std::path::Path;

use sweep::disk;

/// Whether `--name` was given. `cargo bench` itself adds `--bench`.
pub fn flag(name: &str) -> bool {
    std::env::args().any(|argument| argument == name)
}

/// What follows `--name`.
#[allow(dead_code, reason = "not every bench has options")]
pub fn option(name: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != name).nth(1)
}

fn line_of(path: &str, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Processor, cores, vector units, memory, load, versions: one Markdown list.
pub fn machine() -> String {
    let unknown = || "unknown".to_owned();
    let flags = line_of("/proc/cpuinfo", "flags").unwrap_or_default();
    let vectors: Vec<&str> = ["avx2", "fma", "avx512f"]
        .into_iter()
        .filter(|unit| flags.split(' ').any(|flag| flag == *unit))
        .collect();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let output = |program: &str, arguments: &[&str]| {
        let output = std::process::Command::new(program).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    format!(
        "- {} ({cores} cores usable; {})\n- memory {}; load before {}\n- {}; sweep {} ({})\n",
        line_of("/proc/cpuinfo", "model name").unwrap_or_else(unknown),
        vectors.join(", "),
        line_of("/proc/meminfo", "MemTotal").unwrap_or_else(unknown),
        load.split(' ').take(1).collect::<String>(),
        output("rustc", &["--version"]).unwrap_or_else(unknown),
        env!("CARGO_PKG_VERSION"),
        output("git", &["rev-parse", "--short", "HEAD"]).unwrap_or_else(unknown),
    )
}

/// Largest resident memory of a process so far, in MB; `process` is a number or `self`.
pub fn peak_memory(process: &str) -> Option<f64> {
    let text = line_of(&format!("/proc/{process}/status"), "VmHWM")?;
    text.split(' ').next()?.parse::<f64>().ok().map(|kilobytes| kilobytes / 1024.0)
}

/// CPU seconds of all children that have ended (`proc(5)`: cutime and cstime, in ticks of 10 ms).
#[allow(dead_code, reason = "not every bench has children")]
pub fn children_cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(13) + ticks(14)) / 100.0
}

/// Prints `text`, and with `--save` writes it to `benches/results/<name>.md`.
#[expect(clippy::print_stdout, reason = "a bench's result")]
pub fn report(name: &str, text: &str) {
    println!("{text}");
    if flag("--save") {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("benches/results/{name}.md"));
        match disk::write(&path, text.as_bytes()) {
            Ok(()) => println!("saved to {}", path.display()),
            Err(error) => println!("error: {error}"),
        }
    }
}

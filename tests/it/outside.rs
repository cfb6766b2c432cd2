//! When the outside world fails: full disks behind redirections, readers and terminals that go away, places that are
//! not files. Every case runs the real binary under a shell.
#![expect(clippy::print_stderr, reason = "says why a test is skipped")]

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use sweep::disk;

use crate::sweeps::{Place, Running, assert_same, events, facts, said, wait_for};

/// `sh -c TEXT` in the place, where `sweep` is the program.
fn shell(place: &Place, text: &str) -> Output {
    let mut command = Command::new("bash");
    let text = format!("sweep() {{ \"$SWEEP_BINARY\" \"$@\"; }}\n{text}");
    command.arg("-c").arg(text).current_dir(place.dir.path()).stdin(Stdio::null());
    command.env("SWEEP_BINARY", env!("CARGO_BIN_EXE_sweep")).output().expect("bash")
}

/// The exit code of `text` and what it printed, both together.
fn code(place: &Place, text: &str) -> (Option<i32>, String) {
    let output = shell(place, text);
    let printed = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.code(), printed.concat())
}

/// A place with two sweeps, one of which cannot finish: `bad` has a learning rate at which every point diverges.
fn two() -> Place {
    let place = Place::new();
    place.write("good.toml", &[("name = \"small\"", "name = \"good\"")]);
    place.write("bad.toml", &[("name = \"small\"", "name = \"bad\""), ("grpo_lr = 1e-4", "grpo_lr = 1e30")]);
    place
}

const FINISHED: &str = "--on-finish 'echo $SWEEP_EXIT_CODE >> finished'";

fn finished(place: &Place) -> String {
    std::fs::read_to_string(place.dir.path().join("finished")).unwrap_or_default()
}

#[test]
fn a_full_disk_behind_stdout_costs_the_output_and_nothing_else() {
    let place = two();
    let (ended, text) = code(&place, &format!("sweep run small.toml good.toml {FINISHED} >/dev/full"));
    assert_eq!(ended, Some(2), "{text}");
    assert!(text.contains("error: cannot write results to stdout: No space left on device"), "{text}");
    assert_eq!(finished(&place), "0\n0\n", "both sweeps have run");
    assert!(place.results("good").join("matrix.csv").is_file());
    // What the work has earned comes first.
    let (ended, text) = code(&place, &format!("sweep run bad.toml good.toml {FINISHED} >/dev/full"));
    assert_eq!(ended, Some(1), "{text}");
    assert!(text.contains("cannot write results to stdout"), "{text}");
    for command in [
        "sweep table results/good",
        "sweep table results/good --format csv",
        "sweep plan small.toml",
        "sweep status results/good",
        "sweep status results/good --follow",
        "sweep report results/good",
        "sweep why results/good --point kl0.1-ep1-s0 --shot 1",
        "sweep ckpt ls results/good",
        "sweep schema",
        "sweep completions bash",
        "sweep --help",
        "sweep --version",
    ] {
        let (ended, text) = code(&place, &format!("{command} >/dev/full"));
        assert_eq!(ended, Some(2), "{command}: {text}");
        assert!(text.contains("No space left on device"), "{command}: {text}");
    }
    let output = shell(&place, "sweep tabel >/dev/full");
    assert_eq!(output.status.code(), Some(2), "a mistake is a mistake");
}

#[test]
fn a_reader_that_goes_away_is_quiet() {
    let place = two();
    let pipe = "set -o pipefail; ";
    for (command, earned) in [
        ("sweep run small.toml 2>/dev/null | true", 0),
        ("sweep run bad.toml 2>/dev/null | true", 1),
        ("sweep table results/small | head -1 >/dev/null", 0),
        ("sweep table results/small --format csv | head -1 >/dev/null", 0),
        ("sweep plan small.toml | head -1 >/dev/null", 0),
        ("sweep status results/small --follow | head -1 >/dev/null", 0),
        ("sweep report results/small | true", 0),
        ("sweep schema | head -1 >/dev/null", 0),
        ("sweep --help | head -1 >/dev/null", 0),
        ("sweep table results/small | (read line; exec 0<&-; sleep 0.1)", 0),
    ] {
        let (ended, text) = code(&place, &format!("{pipe}{command}"));
        assert_eq!(ended, Some(earned), "{command}: {text}");
        assert!(text.is_empty(), "{command}: {text}");
    }
}

#[test]
fn what_cannot_be_said_is_dropped() {
    for (how, earned) in [
        ("sweep run small.toml 2>/dev/full >out", 0),
        ("sweep run small.toml 2>&- >out", 0),
        ("sweep run small.toml >&- 2>/dev/null", 0),
        ("sweep run small.toml >&- 2>&-", 0),
        ("set -o pipefail; sweep run small.toml 2>&1 | head -1 >/dev/null", 0),
        ("sweep run bad.toml good.toml 2>/dev/full >out", 1),
        ("sweep run small.toml --device cpu,cpu 2>/dev/full >out", 0),
        ("nohup sh -c 'exec \"$SWEEP_BINARY\" run small.toml' >out 2>&1", 0),
        ("setsid --wait \"$SWEEP_BINARY\" run small.toml >out 2>/dev/full", 0),
    ] {
        let place = two();
        let (ended, text) = code(&place, &format!("{how} ; code=$?; exit $code"));
        assert_eq!(ended, Some(earned), "{how}: {text}");
        let matrix = place.results(if earned == 0 { "small" } else { "good" }).join("matrix.csv");
        let matrix = std::fs::read_to_string(matrix).expect("a matrix");
        assert_eq!(matrix.matches(",done,").count(), 8, "{how}: {matrix}");
    }
    let place = two();
    assert_eq!(code(&place, "sweep run small.toml").0, Some(0));
    for command in [
        "plan small.toml",
        "status results/small --follow",
        "table results/small",
        "report results/small",
        "why results/small --point kl0.1-ep1-s0 --shot 1",
    ] {
        for redirection in ["2>/dev/full >out", "2>&- >out", ">&- 2>/dev/null", ">&- 2>&-"] {
            let (ended, text) = code(&place, &format!("sweep {command} {redirection}"));
            assert_eq!(ended, Some(0), "{command} {redirection}: {text}");
        }
        for before in ["nohup", "setsid --wait"] {
            let (ended, text) =
                code(&place, &format!("{before} \"$SWEEP_BINARY\" {command} >out 2>/dev/full"));
            assert_eq!(ended, Some(0), "{before} {command}: {text}");
        }
    }
    assert_eq!(code(&place, "sweep run no.toml 2>/dev/full").0, Some(2));
    assert_eq!(code(&place, "sweep tabel 2>/dev/full").0, Some(2));
}

/// A folder with an `sbatch` that takes every job as number 77.
fn fake_cluster(place: &Place) -> PathBuf {
    let fake = place.dir.path().join("bin");
    std::fs::create_dir(&fake).expect("a directory");
    for (name, text) in [("sbatch", "#!/bin/sh\necho 77\n"), ("squeue", "#!/bin/sh\nexit 0\n")] {
        write(&fake.join(name), text, 0o755);
    }
    fake
}

#[test]
fn a_cluster_job_is_submitted_though_nobody_listens() {
    let place = Place::new();
    fake_cluster(&place);
    for (redirection, earned) in [("2>/dev/full >out", 0), (">/dev/full", 0), ("2>&- >&-", 0)] {
        let text = format!("PATH=$PWD/bin:$PATH sweep run small.toml --launcher slurm {redirection}");
        let (ended, text) = code(&place, &text);
        assert_eq!(ended, Some(earned), "{redirection}: {text}");
        let job = std::fs::read_to_string(place.results("small").join("workers/job")).expect("a job");
        assert_eq!(job.trim(), "77", "{redirection}");
    }
}

/// A terminal: the side that the test holds, and the name of the other. `None` where there are none.
pub fn open_terminal() -> Option<(File, String)> {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).ok()?;
    grantpt(&terminal).and_then(|()| unlockpt(&terminal)).ok()?;
    let name = ptsname(&terminal, Vec::new()).ok()?.into_string().ok()?;
    // The copy is not passed on to the child, which would keep its terminal alive.
    let reader = File::from(terminal.as_fd().try_clone_to_owned().ok()?);
    Some((reader, name))
}

/// The shell text `text` as the leader of a session whose terminal the test holds.
fn on_a_terminal(place: &Place, text: &str) -> Option<(Running, File)> {
    let (reader, name) = open_terminal()?;
    let side = || File::options().read(true).write(true).open(&name).map(Stdio::from);
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait", "bash", "-c", text]).current_dir(place.dir.path());
    command.env("SWEEP_BINARY", env!("CARGO_BIN_EXE_sweep")).env("TERM", "xterm");
    command.stdin(side().ok()?).stdout(side().ok()?).stderr(side().ok()?);
    let child = Running::spawn(&mut command).ok()?;
    Some((child, reader))
}

/// Replaces the shell by a program that SIGHUP ends. Whoever runs the tests may ignore it (`nohup`, a service); only
/// `env` can take that back.
const HANGS_UP: &str = "exec env --default-signal=HUP \"$SWEEP_BINARY\"";
const IGNORES: &str = "trap '' HUP; exec \"$SWEEP_BINARY\"";

#[test]
fn a_terminal_that_vanishes_ends_nothing() {
    let long = [("grpo_epochs = [1, 2]", "grpo_epochs = [1, 40]")];
    let undisturbed = Place::with(&long);
    assert_eq!(said(&undisturbed.run(&["--cohort", "1"], "")).0, Some(0));
    let expected = facts(&undisturbed.results("small"));
    let runs = ["small.toml", "small.toml good.toml", "small.toml --device cpu,cpu"];
    for (ignored, what) in [false, true].into_iter().flat_map(|ignored| runs.map(|what| (ignored, what))) {
        let place = Place::with(&long);
        place.write("good.toml", &[("name = \"small\"", "name = \"good\"")]);
        let sweep = if ignored { IGNORES } else { HANGS_UP };
        let text = format!("{sweep} run {what} --cohort 1");
        let Some((mut child, terminal)) = on_a_terminal(&place, &text) else { return };
        let epochs = || events(&place.results("small"), "epoch_done");
        wait_for(|| epochs() > 0);
        drop(terminal);
        let status = child.wait().expect("it ends");
        match ignored {
            // All of it, though the table could not be shown.
            true => assert_eq!(status.code(), Some(0), "{what}: {status}"),
            false => assert_eq!(status.code(), Some(129), "{what}: {status}"),
        }
        if ignored {
            assert_same(&place.results("small"), &expected);
        }
        let good = place.results("good").join("matrix.csv").is_file();
        assert_eq!(good, ignored && what.contains("good"), "{what}: the next sweep");
        let (ended, text) = said(&place.run(&["--cohort", "1"], ""));
        assert_eq!(ended, Some(0), "{text}");
        assert_same(&place.results("small"), &expected);
    }
}

#[test]
fn commands_that_only_tell_outlive_their_terminal() {
    for ignored in [false, true] {
        // Somebody follows a run, and goes home.
        let place = Place::with(&[("grpo_epochs = [1, 2]", "grpo_epochs = [1, 40]")]);
        let mut run = place.command();
        run.args(["--cohort", "1"]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut run = Running::spawn(&mut run).expect("it starts");
        wait_for(|| events(&place.results("small"), "epoch_done") > 0);
        let sweep = if ignored { IGNORES } else { HANGS_UP };
        let text = format!("{sweep} status results/small --follow");
        let Some((mut child, mut terminal)) = on_a_terminal(&place, &text) else { return };
        std::io::Read::read_exact(&mut terminal, &mut [0; 16]).expect("it tells");
        drop(terminal);
        let (followed, ran) = (child.wait().expect("it ends"), run.wait().expect("it ends"));
        // Without anybody to tell, to the end; otherwise as the signal asks.
        match ignored {
            true => assert_eq!(followed.code(), Some(0), "{followed}"),
            false => assert_eq!(followed.signal(), Some(1), "{followed}"),
        }
        assert_eq!(ran.code(), Some(0), "the run is another process");
    }
    // These are over before a terminal can go: theirs has gone when they begin.
    let place = two();
    assert_eq!(said(&place.run(&[], "")).0, Some(0));
    let path = format!("{}:{}", fake_cluster(&place).display(), std::env::var("PATH").unwrap_or_default());
    for command in [
        "plan small.toml",
        "status results/small --follow",
        "table results/small",
        "table results/small --format csv",
        "report results/small",
        "why results/small --point kl0.1-ep1-s0 --shot 1",
        "run small.toml",
        "run small.toml good.toml",
        "run small.toml --fresh --device cpu,cpu",
        "run small.toml --fresh --launcher slurm",
    ] {
        let page = place.results("small").join("report.html");
        let _ = std::fs::remove_file(&page);
        let text = format!(
            "PATH={path}; trap '' HUP; echo ready; read line; \"$SWEEP_BINARY\" {command}; echo $? > code"
        );
        let Some((mut child, mut terminal)) = on_a_terminal(&place, &text) else { return };
        std::io::Read::read_exact(&mut terminal, &mut [0; 5]).expect("the shell is there");
        drop(terminal);
        child.wait().expect("it ends");
        let code = std::fs::read_to_string(place.dir.path().join("code")).expect("a code");
        assert_eq!(code.trim(), "0", "{command}");
        assert_eq!(page.is_file(), command.starts_with("report"), "{command}");
    }
    for (name, file) in [("good", "matrix.csv"), ("small-2", "matrix.csv"), ("small-3", "workers/job")] {
        assert!(place.results(name).join(file).is_file(), "{name}");
    }
}

#[test]
fn a_pager_that_is_left_early_is_a_reader_that_goes_away() {
    if Command::new("less").arg("--version").output().is_err() {
        eprintln!("skipped: there is no `less`");
        return;
    }
    let place = two();
    assert_eq!(said(&place.run(&[], "")).0, Some(0));
    for (command, earned) in [
        ("table results/small --format csv", 0),
        ("schema", 0),
        ("status results/small --follow", 0),
        ("report results/small", 0),
        ("plan small.toml", 0),
        ("run bad.toml 2>&1", 1),
    ] {
        let text = format!("set -o pipefail; \"$SWEEP_BINARY\" {command} | less; echo $? > code");
        let Some((mut child, mut terminal)) = on_a_terminal(&place, &text) else { return };
        std::io::Read::read_exact(&mut terminal, &mut [0; 16]).expect("a page");
        std::io::Write::write_all(&mut terminal, b"q").expect("left");
        let mut rest = Vec::new();
        let _ = std::io::Read::read_to_end(&mut terminal, &mut rest);
        child.wait().expect("it ends");
        let code = std::fs::read_to_string(place.dir.path().join("code")).expect("a code");
        assert_eq!(code.trim(), earned.to_string(), "{command}");
        let rest = String::from_utf8_lossy(&rest);
        assert!(!rest.contains("error: ") || earned == 1, "{command}: {rest}");
    }
}

#[test]
fn a_defect_ends_with_a_documented_code() {
    // While a point is evaluated: that point has failed, the rest and the matrix are there, and the next run mends it.
    let undisturbed = Place::new();
    assert_eq!(said(&undisturbed.run(&[], "")).0, Some(0));
    let place = Place::new();
    let (ended, text) = said(&place.run(&[], "before-point:3:panic"));
    assert_eq!(ended, Some(1), "{text}");
    assert!(text.contains("FAILED: its evaluation failed: planted fault"), "{text}");
    assert!(text.contains("7 points done, 1 failed, 0 pending"), "{text}");
    let matrix = std::fs::read_to_string(place.results("small").join("matrix.csv")).expect("a matrix");
    assert_eq!((matrix.matches(",done,").count(), matrix.matches(",failed,").count()), (7, 1), "{matrix}");
    assert_eq!(said(&place.run(&[], "")).0, Some(0));
    assert_same(&place.results("small"), &facts(&undisturbed.results("small")));
    // Anywhere else.
    let place = Place::new();
    let (ended, text) = said(&place.run(&[], "data-loaded:1:panic"));
    assert_eq!(ended, Some(4), "{text}");
    assert!(text.contains("error: this is a defect in sweep: planted fault\nhint: "), "{text}");
    let (ended, text) = said(&place.run(&[], "matrix:1:panic"));
    assert_eq!(ended, Some(4), "{text}");
    let help = code(&place, "sweep --help").1;
    for code in ["  0 ", "  1 ", "  2 ", "  3 ", "  4 ", "  5 ", "  130/143 ", "  129 "] {
        assert!(help.contains(code), "{code}: {help}");
    }
}

fn write(path: &Path, text: &str, mode: u32) {
    disk::write(path, text.as_bytes()).expect("written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("set");
}

#[test]
fn files_on_demand_are_written_as_other_programs_write_them() {
    let place = Place::new();
    assert_eq!(said(&place.run(&[], "")).0, Some(0));
    let at = |name: &str| place.dir.path().join(name);
    let table = "sweep table results/small --format csv";
    let expected = shell(&place, table).stdout;
    let ok = |text: &str| {
        let (ended, said) = code(&place, text);
        assert_eq!(ended, Some(0), "{text}: {said}");
        said
    };
    // A regular file is replaced whole and keeps its mode.
    write(&at("private.csv"), "old", 0o600);
    let inode = std::fs::metadata(at("private.csv")).expect("there").ino();
    ok(&format!("{table} -o private.csv"));
    let found = std::fs::metadata(at("private.csv")).expect("there");
    assert_eq!((found.mode() & 0o777, found.ino() == inode), (0o600, false));
    assert_eq!(std::fs::read(at("private.csv")).expect("read"), expected);
    // Links are followed, also those that lead to what is not there yet.
    write(&at("end.csv"), "old", 0o640);
    symlink("end.csv", at("link.csv")).expect("a link");
    symlink("later.csv", at("ahead.csv")).expect("a link");
    for (link, end) in [("link.csv", "end.csv"), ("ahead.csv", "later.csv")] {
        ok(&format!("{table} -o {link}"));
        assert!(std::fs::symlink_metadata(at(link)).expect("there").is_symlink());
        assert_eq!(std::fs::read(at(end)).expect("read"), expected, "{end}");
    }
    assert_eq!(std::fs::metadata(at("end.csv")).expect("there").mode() & 0o777, 0o640);
    // Devices and FIFOs are written into; `-` and the names of stdout are stdout.
    let kind = std::fs::metadata("/dev/null").expect("there").mode();
    ok(&format!("{table} -o /dev/null"));
    assert_eq!(std::fs::metadata("/dev/null").expect("there").mode(), kind, "still a device");
    ok(&format!("mkfifo fifo; cat fifo > read.csv & {table} -o fifo && wait"));
    assert_eq!(std::fs::read(at("read.csv")).expect("read"), expected);
    assert!(!std::fs::metadata(at("fifo")).expect("there").is_file());
    for stdout in ["-", "/dev/stdout"] {
        assert_eq!(shell(&place, &format!("{table} -o {stdout}")).stdout, expected, "{stdout}");
        ok(&format!("{table} -o {stdout} > redirected.csv"));
        assert_eq!(std::fs::read(at("redirected.csv")).expect("read"), expected, "{stdout}");
    }
    assert!(!at("-").exists());
    let page = shell(&place, "sweep report results/small -o -").stdout;
    assert!(page.starts_with(b"<!DOCTYPE html>") || page.starts_with(b"<!doctype html>"));
    // What cannot be written is said with its name.
    std::fs::create_dir(at("folder")).expect("a directory");
    for (target, cause) in [
        ("folder", "`folder` is a directory"),
        ("no/such/file.csv", "there is no directory `no/such`"),
        ("/dev/full", "cannot write `/dev/full`"),
    ] {
        let (ended, text) = code(&place, &format!("{table} -o {target}"));
        assert_eq!(ended, Some(2), "{target}: {text}");
        assert!(text.contains(cause), "{target}: {text}");
    }
    // Exports, too.
    let checkpoint = shell(&place, "ls results/small/stages/*/grpo_epoch2.safetensors | head -1").stdout;
    let checkpoint = String::from_utf8_lossy(&checkpoint).trim().to_owned();
    ok(&format!("sweep ckpt export {checkpoint} --to pt -o /dev/null"));
    write(&at("mine.pt"), "old", 0o600);
    ok(&format!("sweep ckpt export {checkpoint} --to pt -o mine.pt --force"));
    assert_eq!(std::fs::metadata(at("mine.pt")).expect("there").mode() & 0o777, 0o600);
    ok(&format!("sweep ckpt diff mine.pt {checkpoint}"));
}

#[test]
fn edited_markdown_keeps_its_lines_and_links() {
    let place = Place::new();
    assert_eq!(said(&place.run(&[], "")).0, Some(0));
    let at = |name: &str| place.dir.path().join(name);
    let marked = "Intro\n<!-- sweep: table results/small --best 2 -->\nold\n<!-- /sweep -->\nEnd\n";
    write(&at("real.md"), &marked.replace('\n', "\r\n"), 0o600);
    symlink("real.md", at("link.md")).expect("a link");
    assert_eq!(code(&place, "sweep table --check link.md").0, Some(1));
    let (ended, text) = code(&place, "sweep table --write link.md");
    assert_eq!(ended, Some(0), "{text}");
    let written = std::fs::read_to_string(at("real.md")).expect("read");
    assert!(written.lines().count() > 5 && written.contains("configuration"), "{written}");
    assert_eq!(written.matches('\n').count(), written.matches("\r\n").count(), "{written:?}");
    assert!(std::fs::symlink_metadata(at("link.md")).expect("there").is_symlink());
    assert_eq!(std::fs::metadata(at("real.md")).expect("there").mode() & 0o777, 0o600);
    assert_eq!(code(&place, "sweep table --check link.md").0, Some(0));
    // Nothing to keep in step is no success, and neither is what is almost a marker.
    for (text, cause) in [
        ("Only text.\n", "`odd.md` has no table to keep in step"),
        (
            "<!-- sweep table results/small -->\nold\n<!-- /sweep -->\n",
            "line 1: `<!-- sweep table results/small -->` is not quite",
        ),
        ("<!--sweep: table results/small-->\nold\n<!-- /sweep -->\n", "line 1: "),
        ("<!-- sweep: table results/small -->\nold\n<!-- / sweep -->\n", "line 3: "),
        ("text\n<!-- /sweep -->\n", "line 2: "),
    ] {
        write(&at("odd.md"), text, 0o644);
        for flag in ["--check", "--write"] {
            let (ended, said) = code(&place, &format!("sweep table {flag} odd.md"));
            assert_eq!(ended, Some(2), "{flag} {text}: {said}");
            assert!(said.contains(cause), "{flag} {text}: {said}");
            assert_eq!(std::fs::read_to_string(at("odd.md")).expect("read"), text);
        }
    }
}

#[test]
fn a_dumb_terminal_gets_no_control_codes() {
    let place = Place::new();
    let text = "TERM=dumb exec \"$SWEEP_BINARY\" run small.toml";
    let Some((mut child, mut terminal)) = on_a_terminal(&place, text) else { return };
    let mut text = Vec::new();
    // At the end of the session reading a terminal is an error rather than an end.
    let _ = std::io::Read::read_to_end(&mut terminal, &mut text);
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    let text = String::from_utf8_lossy(&text);
    assert!(text.contains("8 points done") && !text.contains('\u{1b}'), "{text:?}");
}

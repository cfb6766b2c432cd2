//! Runs as jobs of a real Slurm, started here on one machine; skipped with a message where it is not installed.
#![expect(clippy::print_stderr, reason = "says why the test is skipped")]
#![expect(clippy::print_stdout, reason = "shows the job list to whoever asks for it")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sweep::disk;

use crate::sweeps::{Place, assert_same, events, facts, said, wait_for};

/// A controller and two nodes on this machine; all end when this is dropped.
struct Cluster {
    dir: tempfile::TempDir,
    /// The ports are for one cluster at a time.
    _alone: MutexGuard<'static, ()>,
}

const NODES: [&str; 2] = ["n1", "n2"];

static ALONE: Mutex<()> = Mutex::new(());

impl Cluster {
    /// `None` (and a message) where Slurm is not installed or this is not root.
    fn start() -> Option<Self> {
        let installed = ["/usr/sbin/slurmctld", "/usr/sbin/slurmd", "/usr/sbin/munged"];
        let root =
            std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0);
        if !root || !installed.iter().all(|path| Path::new(path).exists()) {
            eprintln!("skipped: needs root, and Debian's `slurm-wlm` and `munge`");
            return None;
        }
        shell("mkdir -p /run/munge && chown munge:munge /run/munge");
        shell("munge -n | unmunge >/dev/null 2>&1 || su -s /bin/sh munge -c /usr/sbin/munged");
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let cluster = Self { dir: tempfile::tempdir().expect("a temporary directory"), _alone: alone };
        let dir = cluster.dir.path();
        for name in ["state", "spool", "log"] {
            std::fs::create_dir(dir.join(name)).expect("a directory");
        }
        disk::write(&cluster.configuration(), cluster.text().as_bytes()).expect("written");
        let start = |daemon: &str, arguments: &[&str]| {
            let output =
                cluster.command(daemon).arg("-f").arg(cluster.configuration()).args(arguments).output();
            assert!(output.expect("it starts").status.success(), "{daemon}");
        };
        start("slurmctld", &[]);
        NODES.into_iter().for_each(|node| start("slurmd", &["-N", node]));
        let ready = || {
            let states = cluster.ask("sinfo", &["-h", "-N", "-o", "%T"]).stdout;
            String::from_utf8_lossy(&states).split_whitespace().eq(["idle", "idle"])
        };
        wait_for(ready);
        Some(cluster)
    }

    fn configuration(&self) -> PathBuf {
        self.dir.path().join("slurm.conf")
    }

    fn text(&self) -> String {
        let host = String::from_utf8_lossy(&shell("hostname -s").stdout).trim().to_owned();
        let dir = self.dir.path().display();
        let node = |(name, port): (&str, u16)| {
            format!(
                "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=1 RealMemory=2000 State=UNKNOWN\n"
            )
        };
        let nodes: String = NODES.into_iter().zip(16818..).map(node).collect();
        // Credentials that expire soon: a job that is put back into the queue may start again after that time.
        format!(
            "ClusterName=t\nSlurmctldHost={host}(127.0.0.1)\nSlurmUser=root\nSlurmdUser=root\nAuthType=auth/munge\n\
             AuthInfo=cred_expire=5\nStateSaveLocation={dir}/state\nSlurmdSpoolDir={dir}/spool/%n\n\
             SlurmctldPidFile={dir}/ctld.pid\nSlurmdPidFile={dir}/%n.pid\nSlurmctldLogFile={dir}/log/ctld.log\n\
             SlurmdLogFile={dir}/log/%n.log\nProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\n\
             SelectType=select/cons_tres\nSelectTypeParameters=CR_Core\nSwitchType=switch/none\nMpiDefault=none\n\
             ReturnToService=2\nSlurmctldPort=16817\nSchedulerParameters=sched_interval=1\n{nodes}\
             PartitionName=debug Nodes={} Default=YES MaxTime=INFINITE State=UP\n",
            NODES.join(",")
        )
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("SLURM_CONF", self.configuration());
        command
    }

    fn ask(&self, program: &str, arguments: &[&str]) -> Output {
        self.command(program).args(arguments).output().expect("it starts")
    }

    /// `sweep run small.toml --launcher slurm` in `place`.
    fn run(&self, place: &Place, arguments: &[&str]) -> Output {
        let mut command = place.command();
        command.env("SLURM_CONF", self.configuration()).args(["--launcher", "slurm"]).args(arguments);
        command.output().expect("it starts")
    }

    /// All jobs, also those that have ended, for whoever reads the test's output.
    fn jobs(&self) -> String {
        let list =
            self.ask("squeue", &["--states=all", "--array", "-o", "%.10i %.14j %.10T %.10M %.9N %.8r"]);
        String::from_utf8_lossy(&list.stdout).into_owned()
    }

    fn details(&self, job: &str) -> String {
        String::from_utf8_lossy(&self.ask("scontrol", &["show", "job", job]).stdout).into_owned()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for name in ["n1.pid", "n2.pid", "ctld.pid"] {
            if let Ok(process) = std::fs::read_to_string(self.dir.path().join(name)) {
                let _ = Command::new("kill").arg(process.trim()).output();
            }
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn shell(text: &str) -> Output {
    Command::new("sh").arg("-c").arg(text).output().expect("sh")
}

const SLURM: (&str, &str) =
    ("[eval]", "[slurm]\npartition = \"debug\"\ntime = \"10\"\nextra = [\"--cpus-per-task=1\"]\n[eval]");
/// Some seconds of work.
const LONGER: [(&str, &str); 2] = [SLURM, ("grpo_epochs = [1, 2]", "grpo_epochs = [1, 60]")];

/// One test: there is one cluster at a time.
#[test]
fn jobs_of_a_real_cluster() {
    let Some(cluster) = Cluster::start() else { return };
    a_job_that_is_waited_for(&cluster);
    a_job_that_is_left_alone_and_put_back_into_the_queue(&cluster);
    a_job_with_a_budget(&cluster);
    a_job_that_stops_after_failures(&cluster);
    println!("{}", cluster.jobs());
}

/// The job's time limit ends it in the middle, several times: `cargo test --release --test it -- --ignored
/// --nocapture time_limit`. It takes five minutes, since Slurm counts in whole minutes.
#[test]
#[ignore = "takes five minutes"]
fn a_job_that_meets_its_time_limit_goes_on_in_the_queue() {
    let Some(cluster) = Cluster::start() else { return };
    let limit = ("time = \"10\"", "time = \"1\"");
    // Much to compute and little to write.
    let deeper = ("hidden = 32", "hidden = 32\nheads = 8\nlayers = 16");
    let longer = ("grpo_epochs = [1, 2]", "grpo_epochs = [1, 120]");
    let straight = Place::with(&[longer, deeper]);
    assert_eq!(said(&straight.run(&[], "")).0, Some(0));
    let place = Place::with(&[SLURM, limit, longer, deeper]);
    assert_eq!(said(&cluster.run(&place, &["--tasks", "2"])).0, Some(0));
    let results = place.results("small");
    let job = std::fs::read_to_string(results.join("workers/job")).expect("a number").trim().to_owned();
    let queued = || !cluster.ask("squeue", &["-h", "-j", &job]).stdout.is_empty();
    let began = Instant::now();
    while queued() {
        assert!(began.elapsed().as_secs() < 600, "{}\n{}", cluster.jobs(), logs(&place));
        println!(
            "{} s, {} epochs\n{}",
            began.elapsed().as_secs(),
            events(&results, "epoch_done"),
            cluster.jobs()
        );
        std::thread::sleep(Duration::from_secs(10));
    }
    println!("{}\n{}", cluster.details(&job), logs(&place));
    assert!(logs(&place).contains("back into the queue"), "{}", logs(&place));
    let (code, text) = said(&cluster.run(&place, &["--wait"]));
    assert_eq!(code, Some(0), "{text}\n{}", logs(&place));
    assert_same(&results, &facts(&straight.results("small")));
}

/// Waits until nobody works in `place` any more.
fn until_free(cluster: &Cluster, place: &Place) -> sweep::run::Status {
    let began = Instant::now();
    loop {
        let status = sweep::run::status(&place.results("small"), 0.0).expect("a status");
        let job = std::fs::read_to_string(place.results("small").join("workers/job")).expect("a number");
        let queued = cluster.ask("squeue", &["-h", "-j", job.trim()]).stdout;
        if queued.is_empty() && status.holder.is_none() {
            return status;
        }
        assert!(began.elapsed().as_secs() < 60, "{}\n{}", cluster.jobs(), logs(place));
        std::thread::sleep(Duration::from_millis(100));
    }
}

const ENDLESS: (&str, &str) = ("grpo_epochs = [1, 2]", "grpo_epochs = [1, 5000]");

fn a_job_with_a_budget(cluster: &Cluster) {
    // Left alone: the tasks know when it is time, and the last one writes the matrix.
    let place = Place::with(&[SLURM, ENDLESS]);
    let (code, text) = said(&cluster.run(&place, &["--tasks", "2", "--budget", "20s"]));
    assert_eq!(code, Some(0), "{text}");
    let began = Instant::now();
    let status = until_free(cluster, &place);
    assert!(began.elapsed().as_secs() < 40, "{:?}", began.elapsed());
    assert_eq!((status.done, status.failed, status.pending), (4, 0, 4), "{}", logs(&place));
    assert!(logs(&place).contains("the time is up"), "{}", logs(&place));
    assert!(!logs(&place).contains("back into the queue"), "{}", logs(&place));
    let matrix = std::fs::read_to_string(place.results("small").join("matrix.csv")).expect("a matrix");
    assert!(matrix.contains("done") && matrix.contains("pending"), "{matrix}");
    // Waited for.
    let (code, text) = said(&cluster.run(&place, &["--tasks", "2", "--budget", "6s", "--wait"]));
    assert_eq!(code, Some(5), "{text}\n{}", logs(&place));
    assert!(text.contains("the time is up; this goes on:\n"), "{text}");
    println!("{}", cluster.jobs());
}

fn a_job_that_stops_after_failures(cluster: &Cluster) {
    let place = Place::with(&[
        SLURM,
        ("kl_beta = [0.1, 0.15]", "grpo_lr = [1e30, 2e30, 1e-4, 2e-4]"),
        ENDLESS,
        ("seed = [0, 1]", "seed = [0]"),
    ]);
    let arguments = ["--tasks", "2", "--cohort", "1", "--fail-fast", "--wait"];
    let (code, text) = said(&cluster.run(&place, &arguments));
    assert_eq!(code, Some(1), "{text}\n{}", logs(&place));
    assert!(text.contains("stopped because points failed; this goes on:\n"), "{text}");
    let status = until_free(cluster, &place);
    assert!(status.failed >= 2 && status.pending >= 4, "{status:?}\n{}", logs(&place));
}

fn a_job_that_is_waited_for(cluster: &Cluster) {
    let straight = Place::with(&[SLURM]);
    assert_eq!(said(&straight.run(&[], "")).0, Some(0));
    let place = Place::with(&[SLURM]);
    let output = cluster.run(&place, &["--dry-run", "--tasks", "3"]);
    let script = String::from_utf8_lossy(&output.stdout).into_owned();
    for line in
        ["#SBATCH --array=0-2", "#SBATCH --partition=debug", "#SBATCH --time=10", "#SBATCH --cpus-per-task=1"]
    {
        assert!(script.lines().any(|found| found == line), "{line}: {script}");
    }
    assert!(!place.out().exists(), "a dry run writes nothing");
    let (code, text) = said(&cluster.run(&place, &["--tasks", "3", "--wait"]));
    assert_eq!(code, Some(0), "{text}\n{}\n{}", cluster.jobs(), logs(&place));
    assert_same(&place.results("small"), &facts(&straight.results("small")));
    // Nothing is left to do: no job is submitted.
    let before = cluster.jobs();
    assert_eq!(said(&cluster.run(&place, &[])).0, Some(0));
    assert_eq!(cluster.jobs(), before);
}

fn a_job_that_is_left_alone_and_put_back_into_the_queue(cluster: &Cluster) {
    let straight = Place::with(&LONGER);
    assert_eq!(said(&straight.run(&[], "")).0, Some(0));
    let place = Place::with(&LONGER);
    let results = place.results("small");
    let (code, text) = said(&cluster.run(&place, &["--tasks", "2"]));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("is in the queue; its results go to `results/small`"), "{text}");
    let job = std::fs::read_to_string(results.join("workers/job")).expect("a number").trim().to_owned();
    wait_for(|| events(&results, "epoch_done") > 3);
    assert_eq!(said(&cluster.run(&place, &[])).0, Some(3), "it is not submitted twice");
    let (code, text) = said(&place.run(&[], ""));
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("tasks of a cluster job"), "{text}");
    // What Slurm does near the time limit, to one of the tasks.
    let first = format!("{job}_0");
    assert!(cluster.ask("scancel", &["--batch", "--signal=USR1", &first]).status.success());
    let began = Instant::now();
    while !cluster.details(&first).contains("Restarts=1") {
        assert!(began.elapsed().as_secs() < 30, "{}\n{}", cluster.details(&first), logs(&place));
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("{}", cluster.jobs());
    let (code, text) = said(&cluster.run(&place, &["--wait"]));
    assert_eq!(code, Some(0), "{text}\n{}\n{}", cluster.jobs(), logs(&place));
    assert!(logs(&place).contains("back into the queue"), "{}", logs(&place));
    assert_same(&results, &facts(&straight.results("small")));
}

/// What the tasks said.
fn logs(place: &Place) -> String {
    let entries = std::fs::read_dir(place.results("small").join("workers")).expect("logs");
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let logs = paths.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.map(|path| std::fs::read_to_string(path).unwrap_or_default()).collect()
}

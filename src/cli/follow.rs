//! `sweep report --follow`: the page of a running sweep, written again as it goes on.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::output;
use super::report::{self, ReportArgs};
use super::run::{listen, signal_code};
use crate::experiment::Cancel;
use crate::run::{Status, status};

/// How often the directory is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// The page is written no more often than so many times the time that it takes: the run needs the processor.
const SHARE: u32 = 10;
/// Seconds after which the open page loads itself again, at least.
const AGAIN: u64 = 3;

/// Runs `sweep report --follow`.
///
/// # Errors
/// As [`report::run`], and a page that goes to stdout.
pub fn run(args: &ReportArgs) -> anyhow::Result<u8> {
    anyhow::ensure!(
        args.page() != Path::new("-"),
        "`--follow` writes the page again and again, which stdout cannot take back\nhint: name a file with `-o`"
    );
    let cancel = Cancel::default();
    let signal = listen(&cancel)?;
    let mut said = None;
    let mut next = Instant::now();
    while !cancel.is_raised() {
        let found = status(args.dir(), now())?;
        if found.holder.is_none() {
            return report::run(args);
        }
        let news = news(&found);
        if said != Some(news) && Instant::now() >= next {
            let began = Instant::now();
            // A directory that has just been made has no page yet to be written.
            report::write_page(args, Some(AGAIN.max(2 * began.elapsed().as_secs())))?;
            if said.is_none() {
                report::say_where(&args.page());
            }
            output::note(&format!(
                "{}: {} of {} points",
                found.name,
                found.done + found.failed,
                found.points
            ));
            next = Instant::now() + began.elapsed() * SHARE;
            said = Some(news);
        }
        wait(&cancel);
    }
    // The page that is left stands still.
    report::run(args)?;
    Ok(signal_code(&signal))
}

/// What a page shows: points that have ended, and epochs.
fn news(found: &Status) -> [usize; 3] {
    let epochs =
        found.training.iter().flat_map(|training| &training.stages).map(|stage| stage.epoch as usize);
    [found.done, found.failed, epochs.sum()]
}

fn wait(cancel: &Cancel) {
    let end = Instant::now() + LOOK;
    while !cancel.is_raised() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

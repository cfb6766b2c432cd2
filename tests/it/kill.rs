//! Killed at any moment and run again = never killed, byte for byte.

use std::time::Duration;

use sweep::disk::fault::Passage;

use crate::sweeps::{Place, assert_same, facts, said, was_killed};

/// Runs until done, killed at the n-th passage of one place after another; returns how often it was killed.
fn run_through(place: &Place, passage: Passage, steps: &[u64]) -> usize {
    let mut kills = 0;
    for n in steps {
        let output = place.run(&[], &format!("{}:{n}", passage.name()));
        if !was_killed(output.status) {
            assert_eq!(said(&output).0, Some(0), "{}", said(&output).1);
            break;
        }
        kills += 1;
    }
    kills
}

fn finish(place: &Place) {
    let output = place.run(&[], "");
    assert_eq!(said(&output).0, Some(0), "{}", said(&output).1);
}

#[test]
fn killed_at_every_kind_of_place_and_run_again() {
    let straight = Place::new();
    finish(&straight);
    let expected = facts(&straight.results("small"));
    assert!(expected.len() > 30, "{:?}", expected.keys());
    let mut kills = 0;
    for passage in Passage::ALL {
        let place = Place::new();
        kills += run_through(&place, passage, &[1, 2, 3, 5, 8, 13]);
        if passage == Passage::Step {
            kills += run_through(&place, passage, &[100, 150, 171, 172, 173, 180]);
        }
        finish(&place);
        assert_same(&place.results("small"), &expected);
        assert_eq!(leftovers(&place), Vec::<String>::new(), "after {}", passage.name());
    }
    kills += killed_at_random(&expected);
    assert!(kills >= 50, "only {kills} kills");
}

/// SIGKILL from outside after 1, 2, ... unequal fractions of the run's own time.
fn killed_at_random(expected: &std::collections::BTreeMap<std::path::PathBuf, Vec<u8>>) -> usize {
    let mut kills = 0;
    let place = Place::new();
    // A fixed irrational stride: spread evenly over the interval and the same in every run of the test.
    for turn in 1..=12u32 {
        let mut child = place.start(&["--cohort", "1"], "");
        std::thread::sleep(Duration::from_secs_f64(0.02 + 0.25 * (f64::from(turn) * 0.618_034).fract()));
        child.kill().expect("it can be killed");
        let status = child.wait().expect("it ends");
        kills += usize::from(was_killed(status));
    }
    finish(&place);
    assert_same(&place.results("small"), expected);
    kills
}

/// Temporary files that nobody cleared away.
fn leftovers(place: &Place) -> Vec<String> {
    let all = walkdir::WalkDir::new(place.results("small")).into_iter().filter_map(Result::ok);
    let names = all.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.contains("tmp")).collect()
}

//! Tests of the whole way from text to points; the topics are in files of their own.

mod build;
mod expansion;
mod files;
mod grids;
mod judges;
mod messages;
mod overriding;
mod places;
mod ranges;
mod schema;
mod table;

use std::path::Path;

use super::{LoadOptions, Point, SweepSpec, parse};
use crate::selector::Params;

/// What every sweep needs.
const HEAD: &str = "name = \"t\"\n[data]\ntrajectories = \"a.json\"\nembeddings = \"e.safetensors\"\n";

/// `HEAD` with `body` below it, parsed with `--set` and `--where`.
fn with(body: &str, set: &[&str], filter: &[&str]) -> Result<SweepSpec, String> {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let options = LoadOptions { set: owned(set), filter: owned(filter), allow_huge: false };
    parse(&format!("{HEAD}{body}"), Path::new("sweeps/t.toml"), &options).map_err(|error| error.to_string())
}

fn spec(body: &str) -> SweepSpec {
    with(body, &[], &[]).unwrap()
}

/// The message for a sweep that is wrong, as the user sees it.
fn wrong(body: &str) -> String {
    with(body, &[], &[]).expect_err("it is wrong")
}

/// What the point gives the keys.
fn values(point: &Point) -> Params {
    Params::of(&point.config).unwrap()
}

fn names(spec: &SweepSpec) -> Vec<&str> {
    spec.points.iter().map(|point| point.name.as_str()).collect()
}

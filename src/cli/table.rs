//! `sweep table`: results as Markdown, terminal table, CSV, LaTeX, Typst, HTML or JSON; and `--check` of the tables
//! in a Markdown file.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Parser, ValueEnum};

use super::deliver::deliver;
use super::output;
use crate::report::{
    Condition, Detail, LayoutOptions, Matrix, MatrixOptions, Metric, Row, Table, check, first_screen,
    fitting, layout_rows, load, long_csv, matrix, merge, merged_notes, pivot, set_baseline,
};
use crate::store::SweepResults;
use crate::text::{plural, quoted};

/// Print results as a table
///
/// One row per configuration (averaged over seeds where several were run): accuracy per shot, average,
/// difference to the baseline with its interval, and whether that difference can be told from noise.
#[derive(Clone, Debug, clap::Args)]
pub struct TableArgs {
    /// Results directories, as written by `sweep run`
    #[arg(required_unless_present_any = ["check", "write"], value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// Output format [default: a table for people on a terminal, Markdown otherwise]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Write to FILE instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// One row per point instead of averages over seeds
    #[arg(long)]
    points: bool,
    /// One row per point, shot count and query, as CSV: for models of your own (docs/tables.md)
    #[arg(long, conflicts_with_all = ["points", "rows", "cols", "metric", "sort", "best", "all", "only_varying"])]
    long: bool,
    /// Axis down the side of a pivot table (with --cols)
    #[arg(long, value_name = "AXIS", requires = "cols")]
    rows: Option<String>,
    /// Axis across the top of a pivot table (with --rows)
    #[arg(long, value_name = "AXIS", requires = "rows")]
    cols: Option<String>,
    /// Figure that --rows/--cols shows and --best ranks by: average, shot_1, delta, val_loss, kl, ...
    #[arg(long, value_name = "COLUMN")]
    metric: Option<String>,
    /// Only the rows with this value: `freeze=backbone`, `kl_beta=0.1,0.15`; a key given again is an alternative
    #[arg(long = "where", value_name = "KEY=VALUE", env = "SWEEP_WHERE", value_delimiter = ';')]
    conditions: Vec<String>,
    /// Sort by a figure, best first
    #[arg(long, value_name = "COLUMN")]
    sort: Option<String>,
    /// Only the N best rows, and the baseline
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    best: Option<u32>,
    /// Compare with another baseline: key=value,... or the name of a configuration or point
    #[arg(long, value_name = "POINT")]
    baseline: Option<String>,
    /// On a terminal: every row, also those that choose alike and those that do not fit the screen
    #[arg(long)]
    all: bool,
    /// Decimals of accuracies in percent
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=12))]
    precision: u8,
    /// A column per axis that varies among the rows, instead of the configuration's name
    #[arg(long)]
    only_varying: bool,
    /// Leave out the sentences below the table
    #[arg(long)]
    no_notes: bool,
    /// Compare the tables between `<!-- sweep: table ... -->` markers of a Markdown file with the results
    #[arg(long, value_name = "FILE", conflicts_with_all = ["dirs", "write"])]
    check: Option<PathBuf>,
    /// Regenerate the marked tables of a Markdown file in place
    #[arg(long, value_name = "FILE", conflicts_with = "dirs")]
    write: Option<PathBuf>,
}

/// Output formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Md,
    Csv,
    Latex,
    Typst,
    Html,
    Json,
    /// Boxes, as on a terminal
    Text,
}

/// The arguments inside a marker, parsed as those of the command line.
#[derive(Debug, Parser)]
#[command(no_binary_name = true)]
struct Marker {
    #[command(flatten)]
    table: TableArgs,
}

/// Runs `sweep table`.
///
/// # Errors
/// Directories without results, unknown keys or figures, damaged files.
pub fn run(args: &TableArgs) -> anyhow::Result<u8> {
    if let Some(file) = &args.check {
        return check_file(file);
    }
    if let Some(file) = &args.write {
        return write_file(file);
    }
    let interactive = args.output.is_none() && output::is_terminal();
    let format = args.format.unwrap_or(if interactive { Format::Text } else { Format::Md });
    let text = render(args, format, Path::new(""))?;
    match &args.output {
        Some(file) => deliver(file, text.as_bytes())?,
        None => output::result(&text),
    }
    Ok(0)
}

/// The table that `args` ask for, directories being relative to `base`.
fn render(args: &TableArgs, format: Format, base: &Path) -> anyhow::Result<String> {
    anyhow::ensure!(
        args.metric.is_none() || args.rows.is_some() || args.best.is_some(),
        "`--metric` is the figure that `--rows` and `--cols` show and `--best` ranks by\nhint: add one of them, or use `--sort`"
    );
    if args.long {
        return long(args, base);
    }
    let conditions = conditions(args)?;
    let mut matrices = Vec::new();
    for dir in &args.dirs {
        let mut found = read(&base.join(dir), args.baseline.as_deref())?;
        found.keep(&conditions)?;
        // The same sweep from two places is told apart by the places.
        if let Some(other) = matrices.iter().position(|other: &Matrix| other.name == found.name) {
            matrices[other].name = args.dirs[other].display().to_string();
            found.name = dir.display().to_string();
        }
        matrices.push(found);
    }
    if let (Some(rows), Some(cols)) = (&args.rows, &args.cols) {
        let mut tables = Vec::new();
        for found in &matrices {
            let metric = metric(args, found)?;
            tables.push(pivot(found, rows, cols, metric, usize::from(args.precision))?);
        }
        return tables.iter().map(|table| one_table(table, format)).collect();
    }
    let several = matrices.len() > 1;
    let found = if several { merge(&matrices, args.points) } else { matrices[0].clone() };
    let rows = chosen_rows(args, &found, format)?;
    match format {
        Format::Csv => Ok(String::from_utf8(found.csv_of(&rows))?),
        Format::Json => Ok(format!("{:#}\n", found.json_of(&rows))),
        _ => {
            let lay_out = |detail| {
                let options = options(args, several, detail);
                let mut table = layout_rows(&found, &rows, &options);
                if several && options.notes {
                    table.notes.extend(merged_notes(&matrices, &rows, detail));
                }
                table
            };
            let table = match format {
                // Rows of several sweeps are compared with each other: none stands for another.
                Format::Text if !args.all && !several => {
                    let whole = args.output.is_some() || args.best.is_some() || args.sort.is_some();
                    let mut screen = output::screen();
                    screen.height = screen.height.filter(|_| !whole);
                    let options = options(args, several, Detail::Full);
                    let more = format!(
                        "`--all` shows every row, `sweep report {}` draws them.",
                        quoted(&args.dirs[0].display().to_string())
                    );
                    first_screen(&found, &rows, &options, screen, &more)
                }
                Format::Text => fitting(output::width(), lay_out),
                _ => lay_out(Detail::Full),
            };
            one_table(&table, format)
        }
    }
}

fn conditions(args: &TableArgs) -> anyhow::Result<Vec<Condition>> {
    Ok(args.conditions.iter().map(|text| Condition::parse(text)).collect::<Result<_, _>>()?)
}

/// The scores behind the tables, one row each.
fn long(args: &TableArgs, base: &Path) -> anyhow::Result<String> {
    anyhow::ensure!(
        args.format.is_none_or(|format| format == Format::Csv),
        "`--long` is CSV\nhint: leave out `--format`, or use `--format csv`"
    );
    let mut sweeps: Vec<(String, SweepResults)> = Vec::new();
    for dir in &args.dirs {
        let mut results = SweepResults::read(&base.join(dir))?;
        if let Some(text) = &args.baseline {
            set_baseline(&mut results, text)?;
        }
        let mut name = results.name.clone();
        if let Some(other) = sweeps.iter().position(|(other, _)| *other == name) {
            sweeps[other].0 = args.dirs[other].display().to_string();
            name = dir.display().to_string();
        }
        sweeps.push((name, results));
    }
    Ok(String::from_utf8(long_csv(&sweeps, &conditions(args)?)?)?)
}

fn options(args: &TableArgs, several: bool, detail: Detail) -> LayoutOptions {
    LayoutOptions {
        every_point: args.points,
        axis_columns: args.only_varying,
        sweep_column: several,
        precision: usize::from(args.precision),
        notes: !args.no_notes,
        detail,
    }
}

fn read(dir: &Path, baseline: Option<&str>) -> anyhow::Result<Matrix> {
    match baseline {
        None => Ok(load(dir)?),
        Some(text) => {
            let mut results = SweepResults::read(dir)?;
            set_baseline(&mut results, text)?;
            Ok(matrix(&results, &MatrixOptions::default()))
        }
    }
}

fn metric(args: &TableArgs, found: &Matrix) -> anyhow::Result<Metric> {
    match &args.metric {
        Some(name) => Ok(Metric::parse(name, found)?),
        None => Ok(Metric::default_of(found)),
    }
}

/// The rows to show, sorted and cut as asked.
fn chosen_rows(args: &TableArgs, found: &Matrix, format: Format) -> anyhow::Result<Vec<Row>> {
    let mut rows = if args.points { found.points.clone() } else { found.main_rows().to_vec() };
    if let Some(name) = &args.sort {
        Metric::parse(name, found)?.sort(&mut rows);
    }
    if let Some(best) = args.best {
        let ranked_by = metric(args, found)?;
        let mut ranking = rows.clone();
        ranked_by.sort(&mut ranking);
        if format == Format::Text && !args.all && args.dirs.len() == 1 {
            // Rows that choose alike are one row.
            let mut results = HashSet::new();
            ranking.retain(|row| {
                let result = row.identical.as_ref().unwrap_or(&row.name);
                results.contains(result) || results.len() < best as usize && results.insert(result.clone())
            });
        } else {
            ranking.truncate(best as usize);
        }
        let kept: Vec<Row> = if args.sort.is_some() {
            rows.into_iter().filter(|row| row.is_baseline || ranking.contains(row)).collect()
        } else {
            let baseline = rows.into_iter().filter(|row| row.is_baseline && !ranking.contains(row));
            let others: Vec<Row> = baseline.collect();
            ranking.into_iter().chain(others).collect()
        };
        rows = kept;
    }
    Ok(rows)
}

fn one_table(table: &Table, format: Format) -> anyhow::Result<String> {
    Ok(match format {
        Format::Md => table.to_markdown(),
        Format::Csv => String::from_utf8(table.to_csv())?,
        Format::Latex => table.to_latex(),
        Format::Typst => table.to_typst(),
        Format::Html => table.to_html(),
        Format::Json => format!("{:#}\n", table.to_json()),
        Format::Text => table.to_terminal(output::width(), output::colour_results()),
    })
}

/// A Markdown file, its marked tables, and what they ought to say.
fn regenerate(file: &Path) -> anyhow::Result<(String, Vec<check::Block>, Vec<String>)> {
    let text = fs_err::read_to_string(file)?;
    let name = || file.display().to_string();
    let blocks = check::blocks(&text).with_context(name)?;
    // Relative to the file, so that it does not matter where the command is run.
    let base = file.parent().unwrap_or(Path::new(""));
    let mut contents = Vec::new();
    anyhow::ensure!(
        !blocks.is_empty(),
        "`{}` has no table to keep in step\nhint: put one between `<!-- sweep: table DIR ... -->` and `<!-- /sweep -->`",
        file.display()
    );
    for block in &blocks {
        let place = || format!("{}: line {}", file.display(), block.line);
        let marker = Marker::try_parse_from(&block.arguments)
            .map_err(|error| anyhow::anyhow!("{}", error.render().to_string().trim()))
            .with_context(place)?;
        let format = marker.table.format.unwrap_or(Format::Md);
        contents.push(render(&marker.table, format, base).with_context(place)?);
    }
    Ok((text, blocks, contents))
}

fn check_file(file: &Path) -> anyhow::Result<u8> {
    let (text, blocks, contents) = regenerate(file)?;
    let mut wrong = 0;
    for (block, content) in blocks.iter().zip(&contents) {
        for difference in check::differences(&text, block, content) {
            wrong += 1;
            let side = |text: Option<String>| text.unwrap_or_else(|| "(no line)".to_owned());
            output::result(&format!(
                "{}:{}: the table differs from the results\n  file:    {}\n  results: {}\n",
                file.display(),
                difference.line,
                side(difference.found),
                side(difference.expected)
            ));
        }
    }
    let tables = plural(blocks.len(), "table");
    if wrong == 0 {
        output::note(&format!("{}: {tables} as the results say", file.display()));
        return Ok(0);
    }
    output::note(&format!(
        "hint: `sweep table --write {}` regenerates the tables",
        quoted(&file.display().to_string())
    ));
    Ok(1)
}

fn write_file(file: &Path) -> anyhow::Result<u8> {
    let (text, blocks, contents) = regenerate(file)?;
    let new = check::replaced(&text, &blocks, &contents);
    if new != text {
        deliver(file, new.as_bytes())?;
    }
    let state = if new == text { "unchanged" } else { "rewritten" };
    output::note(&format!("{}: {}, {state}", file.display(), plural(blocks.len(), "table")));
    Ok(0)
}

//! Points -> `[grid]`, `[[grid.zip]]`, `[[exclude]]` and `[[include]]` that give exactly these points.

/// Points by axis: the number of the value of each axis.
pub type Row = Vec<usize>;

/// How rows are written down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// Axes that advance together; one for a plain axis. The values of each: positions of equal length.
    pub wheels: Vec<(Vec<usize>, Vec<Row>)>,
    /// Values of some axes that never occur together.
    pub excludes: Vec<Vec<(usize, usize)>>,
    /// Rows beside the grid, in full.
    pub includes: Vec<Row>,
}

/// The shortest of a few ways to write `rows`, which are different and of one length.
pub fn form(rows: &[Row]) -> Form {
    let axes = rows.first().map_or(0, Vec::len);
    let wheels = wheels(rows, axes);
    let product: usize = wheels.iter().map(|(_, values)| values.len()).fold(1, usize::saturating_mul);
    if product == rows.len() {
        return Form { wheels, ..Form::default() };
    }
    let boxed = largest_box(rows, axes);
    let limit = boxed.includes.len();
    if product <= 4 * rows.len()
        && let Some(excludes) = excludes(rows, &wheels).filter(|excludes| excludes.len() < limit)
    {
        return Form { wheels, excludes, includes: Vec::new() };
    }
    boxed
}

/// Axes whose values determine each other turn together.
fn wheels(rows: &[Row], axes: usize) -> Vec<(Vec<usize>, Vec<Row>)> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for axis in 0..axes {
        let found = groups.iter_mut().find(|group| {
            let one = group[0];
            let count = |key: &dyn Fn(&Row) -> (usize, usize)| {
                let mut all: Vec<(usize, usize)> = rows.iter().map(key).collect();
                all.sort_unstable();
                all.dedup();
                all.len()
            };
            let pairs = count(&|row| (row[one], row[axis]));
            pairs == count(&|row| (row[one], 0)) && pairs == count(&|row| (row[axis], 0))
        });
        match found {
            Some(group) => group.push(axis),
            None => groups.push(vec![axis]),
        }
    }
    groups
        .into_iter()
        .map(|group| {
            let values = distinct(rows.iter().map(|row| group.iter().map(|axis| row[*axis]).collect()));
            (group, values)
        })
        .collect()
}

fn distinct(rows: impl Iterator<Item = Row>) -> Vec<Row> {
    let mut all: Vec<Row> = rows.collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// What the whole grid has too much, as pairs of values where they cover it; `None` where single rows would be needed.
fn excludes(rows: &[Row], wheels: &[(Vec<usize>, Vec<Row>)]) -> Option<Vec<Vec<(usize, usize)>>> {
    let mut missing = product(wheels);
    missing.retain(|row| !rows.contains(row));
    let mut excludes: Vec<Vec<(usize, usize)>> = Vec::new();
    while let Some(first) = missing.first().cloned() {
        let mut best: Option<(usize, Vec<(usize, usize)>)> = None;
        let axes: Vec<usize> = wheels.iter().filter_map(|(group, _)| group.first().copied()).collect();
        for (position, a) in axes.iter().enumerate() {
            for b in &axes[position + 1..] {
                let hits = |row: &&Row| row[*a] == first[*a] && row[*b] == first[*b];
                if rows.iter().any(|row| hits(&row)) {
                    continue;
                }
                let covered = missing.iter().filter(hits).count();
                if best.as_ref().is_none_or(|(most, _)| covered > *most) {
                    best = Some((covered, vec![(*a, first[*a]), (*b, first[*b])]));
                }
            }
        }
        let condition =
            best.map_or_else(|| axes.iter().map(|axis| (*axis, first[*axis])).collect(), |(_, pair)| pair);
        missing.retain(|row| !condition.iter().all(|(axis, value)| row[*axis] == *value));
        excludes.push(condition);
        if excludes.len() > 64 {
            return None;
        }
    }
    Some(excludes)
}

fn product(wheels: &[(Vec<usize>, Vec<Row>)]) -> Vec<Row> {
    let axes = wheels.iter().map(|(group, _)| group.len()).sum();
    let mut rows: Vec<Row> = vec![vec![0; axes]];
    for (group, values) in wheels {
        rows = rows
            .iter()
            .flat_map(|row| {
                values.iter().map(|value| {
                    let mut row = row.clone();
                    for (axis, value) in group.iter().zip(value) {
                        row[*axis] = *value;
                    }
                    row
                })
            })
            .collect();
    }
    rows
}

/// Axes over which boxes are tried; more have too many subsets.
const BOXED: usize = 10;

/// The largest full grid among the rows, and the others one by one.
fn largest_box(rows: &[Row], axes: usize) -> Form {
    let mut best: Vec<Row> = rows.iter().take(1).cloned().collect();
    for subset in 1_usize..1 << axes.min(BOXED) {
        for seed in rows {
            let inside = |row: &&Row| {
                (0..axes).all(|axis| axis < BOXED && subset >> axis & 1 == 1 || row[axis] == seed[axis])
            };
            let members: Vec<Row> = rows.iter().filter(inside).cloned().collect();
            if members.len() <= best.len() {
                continue;
            }
            let size: usize =
                wheels(&members, axes).iter().map(|(_, values)| values.len()).fold(1, usize::saturating_mul);
            if size == members.len() {
                best = members;
            }
        }
    }
    let mut wheels = wheels(&best, axes);
    if best.len() == 1 {
        wheels.clear();
    } else {
        wheels = wheels
            .into_iter()
            .flat_map(|(group, values)| match values.len() {
                1 => group
                    .into_iter()
                    .zip(values[0].clone())
                    .map(|(axis, value)| (vec![axis], vec![vec![value]]))
                    .collect(),
                _ => vec![(group, values)],
            })
            .collect();
    }
    let includes = rows.iter().filter(|row| !best.contains(row)).cloned().collect();
    Form { wheels, excludes: Vec::new(), includes }
}

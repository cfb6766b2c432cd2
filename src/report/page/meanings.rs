//! What the columns of the tables mean, for those who see such a table for the first time.

use maud::{Markup, html};

use crate::report::matrix::Matrix;
use crate::report::words::names;
use crate::spec::Columns;
use crate::text::capitalized;

/// The list, which opens.
pub fn meanings(matrix: &Matrix) -> Markup {
    let Columns { unit, noun, chosen, field, .. } = names(&matrix.score_columns);
    let title = format!("{} n, average", capitalized(field));
    let score = format!("accuracy in percent with n {unit}, and the mean of these");
    let same = format!(
        "rows of a table with the same letter choose exactly the same {chosen}: they are one result, and one row that opens"
    );
    let changed = format!("share of queries and {noun}s whose selection differs from the baseline's");
    let meanings = [
        (title.as_str(), score.as_str()),
        ("95 % interval", "of the average, by bootstrap over the queries (and seeds)"),
        (
            "vs baseline, its interval",
            "difference to the baseline in points, query by query; an interval that holds 0 means that it may be noise",
        ),
        (
            "p (Holm)",
            "probability of a difference at least as large without any true one, corrected for the number of rows",
        ),
        ("same", &same),
        ("changed %", &changed),
        ("moved %", "relative change of all parameters in the last phase of training"),
        ("val_loss, KL", "of the last epoch; of a row that opens, from the lowest to the highest"),
        ("trainable", "parameters that were not frozen in the last phase"),
    ];
    html! {
        details {
            summary { "What the columns mean" }
            dl { "\n"
                @for (name, meaning) in meanings { dt { (name) } dd { (meaning) } "\n" }
            }
        } "\n"
    }
}

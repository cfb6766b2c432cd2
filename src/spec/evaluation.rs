//! `[eval]` as a whole: what its keys and tables say together.

use std::path::Path;

use super::document::Draft;
use super::error::Diagnostic;
use super::table::Table;
use super::{BuildSpec, CommandParams, EndpointParams, EvalParams, JudgeApi, ScoreField};

/// Fields of a request that keys of their own set, or that would change what an answer is.
const RESERVED: [&str; 12] = [
    "model",
    "messages",
    "prompt",
    "temperature",
    "seed",
    "max_tokens",
    "stop",
    "stream",
    "n",
    "echo",
    "logprobs",
    "best_of",
];

/// `[eval]` as points are scored by it, if the sweep has it; `dir` is that of the sweep file. Beside logged sequences a
/// judge is for making data.
pub(super) fn params(draft: &Draft, dir: &Path) -> Option<EvalParams> {
    let whole = whole(draft, dir)?;
    let both = draft.uses(Table::Build) && !whole.logged.as_os_str().is_empty();
    Some(if both { EvalParams { endpoint: None, command: None, ..whole } } else { whole })
}

/// All that `[eval]` says.
fn whole(draft: &Draft, dir: &Path) -> Option<EvalParams> {
    let tables = [Table::Eval, Table::Endpoint, Table::Command, Table::Items];
    let settings = &draft.settings.core;
    tables.into_iter().any(|table| draft.uses(table)).then(|| EvalParams {
        endpoint: draft.uses(Table::Endpoint).then(|| settings.endpoint.clone()),
        command: draft
            .uses(Table::Command)
            .then(|| CommandParams { directory: dir.to_owned(), ..settings.command.clone() }),
        items: settings.items.file.clone(),
        ..settings.eval.clone()
    })
}

/// `[data.build]` with its judge, if the sweep has it.
pub(super) fn build(draft: &Draft, dir: &Path) -> Option<BuildSpec> {
    draft.uses(Table::Build).then(|| BuildSpec {
        params: draft.settings.core.build.clone(),
        judge: whole(draft, dir).unwrap_or_default(),
    })
}

/// What cannot be, said of the key it is about.
pub(super) fn mistakes(draft: &Draft) -> Vec<Diagnostic> {
    let builds = draft.uses(Table::Build);
    if !builds && whole(draft, Path::new("")).is_none() {
        return Vec::new();
    }
    let eval = whole(draft, Path::new("")).unwrap_or_default();
    let mut mistakes = Vec::new();
    let mut wrong = |key: &str, message: String, hint: &str| {
        let found = draft.schema.resolve(key, |_| true).ok();
        let origin = found.and_then(|key| draft.given(key)).map(|given| &given.origin);
        let table = ["eval.endpoint", "eval.command", "eval.items", "eval", "data.build"].into_iter();
        let table = table.filter(|table| key.starts_with(table)).find_map(|table| draft.table(table));
        mistakes.push(Diagnostic::new(message).at(origin.or(table).unwrap_or(&draft.whole)).hint(hint));
    };
    ways(&eval, builds, &mut wrong);
    if !eval.is_live() && eval.score == ScoreField::TokenF1 {
        wrong("eval.score", "logged sequences have no `token_f1`".to_owned(), "it is for [eval.endpoint]");
    }
    if builds && eval.items.as_os_str().is_empty() {
        wrong(
            "data.build",
            "`eval.items.file` is missing: data are made of items".to_owned(),
            "add a table [eval.items] with `file = \"...\"`, relative to the sweep file",
        );
    }
    if let Some(endpoint) = &eval.endpoint {
        if eval.items.as_os_str().is_empty() && !builds {
            wrong(
                "eval.endpoint",
                "`eval.items.file` is missing: questions are made of items".to_owned(),
                "add a table [eval.items] with `file = \"...\"`, relative to the sweep file",
            );
        }
        let scores = eval.logged.as_os_str().is_empty();
        of_endpoint(endpoint, if scores { eval.score } else { ScoreField::Accuracy }, &mut wrong);
    }
    if let Some(command) = &eval.command
        && command.program.is_empty()
    {
        let hint = "add `program = [\"...\"]` to [eval.command]: the program and its arguments";
        wrong("eval.command.program", "`eval.command.program` is missing".to_owned(), hint);
    }
    mistakes
}

/// The first thing that cannot be in `endpoint`, with a hint; for settings that come from no sweep file.
pub fn endpoint_mistake(endpoint: &EndpointParams, score: ScoreField) -> Option<String> {
    let mut first = None;
    of_endpoint(endpoint, score, &mut |_, message, hint| {
        first.get_or_insert(format!("{message}\nhint: {hint}"));
    });
    first
}

/// Who scores, and who makes data: one each.
fn ways(eval: &EvalParams, builds: bool, wrong: &mut dyn FnMut(&str, String, &str)) {
    let ways = [
        ("eval.logged", !eval.logged.as_os_str().is_empty()),
        ("eval.endpoint", eval.endpoint.is_some()),
        ("eval.command", eval.command.is_some()),
    ];
    let given: Vec<&str> = ways.iter().filter(|way| way.1).map(|way| way.0).collect();
    match given[..] {
        [] | ["eval.logged"] if builds => wrong(
            "data.build",
            "`[data.build]` asks a judge, and none is given".to_owned(),
            "add a table [eval.endpoint] or [eval.command]",
        ),
        ["eval.logged", _] if builds => {}
        [] => wrong(
            "eval",
            "`[eval]` says nothing of who scores".to_owned(),
            "add `logged = \"...\"` to [eval], relative to the sweep file, or a table [eval.endpoint] or [eval.command]",
        ),
        [_] => {}
        [.., last] => wrong(
            last,
            format!("`{}` and `{last}` are both given, and one of them scores", given[0]),
            "remove one of them",
        ),
    }
}

fn of_endpoint(endpoint: &EndpointParams, score: ScoreField, wrong: &mut dyn FnMut(&str, String, &str)) {
    let key = |name: &str| format!("eval.endpoint.{name}");
    let after = endpoint.url.strip_prefix("http://").or_else(|| endpoint.url.strip_prefix("https://"));
    match after {
        None | Some("") => {
            let message = format!("`eval.endpoint.url`: {:?} is no address", endpoint.url);
            wrong(&key("url"), message, "write it whole, such as `http://127.0.0.1:8000/v1`");
        }
        Some(rest) if rest.split('/').next().is_some_and(|host| host.contains('@')) => wrong(
            &key("url"),
            "`eval.endpoint.url` holds a name or a password".to_owned(),
            "put the key into an environment variable, and the variable's name into `key_env`",
        ),
        Some(_) => {}
    }
    let completions = endpoint.api == JudgeApi::Completions;
    if endpoint.query.contains("{answer}") {
        let message = "`eval.endpoint.query` tells the answer".to_owned();
        wrong(&key("query"), message, "`{answer}` belongs in `demonstration`");
    } else if !["{question}", "{image}"].iter().any(|mark| endpoint.query.contains(mark)) {
        let message = "`eval.endpoint.query` asks nothing".to_owned();
        wrong(&key("query"), message, "`{question}` and `{image}` stand for the query's parts");
    }
    for (name, text) in [("query", &endpoint.query), ("demonstration", &endpoint.demonstration)] {
        if completions && text.contains("{image}") {
            let message = format!("`eval.endpoint.{name}` has an image, and plain completions show none");
            wrong(&key(name), message, "set `api = \"chat\"`");
        }
    }
    if endpoint.logprobs && !completions {
        let message = "`eval.endpoint.logprobs` needs plain completions".to_owned();
        wrong(&key("logprobs"), message, "set `api = \"completions\"`: a chat does not echo its prompt");
    }
    if score == ScoreField::Probability && !endpoint.logprobs {
        let hint = "set `logprobs = true` in [eval.endpoint]";
        wrong("eval.score", "`vqa_gt_prob` needs log-probabilities".to_owned(), hint);
    }
    if let Some(text) = &endpoint.fields {
        match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text) {
            Err(error) => {
                let message = format!("`eval.endpoint.fields` is no JSON object: {error}");
                wrong(&key("fields"), message, "write, for example, `fields = '{\"top_k\": 1}'`");
            }
            Ok(fields) => {
                if let Some(name) = fields.keys().find(|name| RESERVED.contains(&name.as_str())) {
                    let message = format!("`eval.endpoint.fields` sets `{name}`, which is not free");
                    let hint = "keys of their own set what is asked and how; answers are always greedy";
                    wrong(&key("fields"), message, hint);
                }
            }
        }
    }
}

//! What people read when something is wrong with the judge.
#![expect(clippy::too_many_lines, reason = "flat lists of what people read")]

use super::wrong;

/// Judges that are asked: what is wrong is said with its line, its key and a way out.
#[test]
fn judges() {
    let items = "[eval.items]\nfile = \"x\"\n";
    let endpoint = "[eval.endpoint]\nmodel = \"m\"\n";
    let url = "url = \"http://x/v1\"\n";
    for (body, message, line, hint) in [
        (
            "[eval.command]\nversion = \"2\"\n".to_owned(),
            "`eval.command.program` is missing",
            "[eval.command]",
            "program = [",
        ),
        (
            format!("{items}{endpoint}"),
            "`eval.endpoint.url` is missing",
            "[eval.endpoint]",
            "add `url = \"...\"` to [eval.endpoint]",
        ),
        (
            format!("{items}{endpoint}url = \"x:80\"\n"),
            "\"x:80\" is no address",
            "url = ",
            "http://127.0.0.1:8000/v1",
        ),
        (
            format!("{items}{endpoint}url = \"https://me:key@x\"\n"),
            "holds a name or a password",
            "url = ",
            "key_env",
        ),
        (format!("{endpoint}{url}"), "`eval.items.file` is missing", "[eval.endpoint]", "[eval.items]"),
        (
            format!("{items}{endpoint}{url}query = \"A: {{answer}}\"\n"),
            "tells the answer",
            "query = ",
            "`demonstration`",
        ),
        (format!("{items}{endpoint}{url}query = \"A:\"\n"), "asks nothing", "query = ", "{question}"),
        (
            format!("{items}{endpoint}{url}logprobs = true\n"),
            "needs plain completions",
            "logprobs = ",
            "api = ",
        ),
        (
            format!("{items}{endpoint}{url}api = \"completions\"\ndemonstration = \"{{image}}\"\n"),
            "plain completions show none",
            "demonstration = ",
            "api = \"chat\"",
        ),
        (format!("{items}{endpoint}{url}fields = \"[1]\"\n"), "is no JSON object", "fields = ", "top_k"),
        (
            format!("{items}{endpoint}{url}fields = '{{\"seed\": 1}}'\n"),
            "sets `seed`",
            "fields = ",
            "keys of their own",
        ),
        (
            format!("{items}{endpoint}{url}concurrency = 0\n"),
            "must be a whole number from 1",
            "concurrency = 0",
            "the default is 16",
        ),
        (
            format!("{items}{endpoint}{url}modle = \"m\"\n"),
            "unknown key `modle`",
            "modle = ",
            "did you mean `model`?",
        ),
        (
            format!("[eval]\nlogged = \"x\"\n{items}{endpoint}{url}"),
            "`eval.logged` and `eval.endpoint` are both given",
            "[eval.endpoint]",
            "remove one",
        ),
        (
            "[eval]\nlogged = \"x\"\nscore = \"token_f1\"\n".to_owned(),
            "no `token_f1`",
            "score = ",
            "[eval.endpoint]",
        ),
    ] {
        let said = wrong(&body);
        assert!(said.contains(message), "{said}");
        assert!(said.contains(line), "{line}: {said}");
        assert!(said.contains(hint), "{hint}: {said}");
    }
}

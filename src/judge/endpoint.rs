//! A server that speaks OpenAI's protocol (vLLM, SGLang, llama.cpp, Ollama, a cloud): requests from templates, answers
//! from responses.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::fault::{Fault, FaultKind};
use super::http::Client;
use super::image::Images;
use super::items::{Item, Items};
use super::question::{Answer, Identity, Question, Wanted};
use crate::finite::Finite;

/// Which of the protocol's two ways of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    Chat,
    Completions,
}

impl Api {
    fn path(self) -> &'static str {
        match self {
            Self::Chat => "chat/completions",
            Self::Completions => "completions",
        }
    }
}

/// How prompts are made. `{question}`, `{answer}` and `{image}` stand for an item's parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Said first; empty for nothing.
    pub system: String,
    /// Once per demonstration, in order.
    pub demonstration: String,
    /// At the end.
    pub query: String,
}

/// What an endpoint is asked with.
#[derive(Clone, Debug)]
pub struct EndpointSettings {
    /// Of the API, such as `http://127.0.0.1:8000/v1`.
    pub url: String,
    /// As the server names it.
    pub model: String,
    pub api: Api,
    pub template: Template,
    pub max_tokens: u32,
    pub stop: Vec<String>,
    /// Further fields of the request.
    pub extra: Map<String, Value>,
    /// Largest image, in bytes.
    pub max_image_bytes: u64,
}

/// A server, and how it is asked.
#[derive(Debug)]
pub struct Endpoint {
    settings: EndpointSettings,
    client: Client,
    images: Images,
}

/// A part of a prompt.
enum Part {
    Text(String),
    Image(std::sync::Arc<str>),
}

/// The seed of every request: judges that decode greedily do not need it, others are then as repeatable as they can be.
const SEED: u64 = 0;

impl Endpoint {
    /// Asks through `client`, which knows the address.
    pub fn new(settings: EndpointSettings, client: Client) -> Self {
        let images = Images::new(settings.max_image_bytes);
        Self { settings, client, images }
    }

    /// Where requests of this `api` go below `url`.
    pub fn address(url: &str, api: Api) -> String {
        format!("{}/{}", url.trim_end_matches('/'), api.path())
    }

    /// Who answers.
    pub fn identity(&self) -> Identity {
        let EndpointSettings { url: _, model, api, template, max_tokens, stop, extra, max_image_bytes: _ } =
            &self.settings;
        let Template { system, demonstration, query } = template;
        let texts = serde_json::to_vec(&[system, demonstration, query]).unwrap_or_default();
        Identity {
            form: "endpoint".to_owned(),
            model: model.clone(),
            template: blake3::hash(&texts).to_hex()[..16].to_owned(),
            settings: json!({ "api": api.path(), "max_tokens": max_tokens, "stop": stop, "extra": extra, "temperature": 0, "seed": SEED }),
        }
    }

    /// The exact body of a request.
    ///
    /// # Errors
    /// An item that is missing, an image that cannot be shown.
    pub fn body(&self, question: &Question, items: &Items) -> Result<Vec<u8>, Fault> {
        let mut parts = self.prompt(question, items)?;
        let settings = &self.settings;
        let mut body = Map::new();
        body.insert("model".to_owned(), json!(settings.model));
        let mut fields = settings.extra.clone();
        if question.wanted == Wanted::Probability {
            let item = find(items, question.query_id)?;
            parts.push(Part::Text(self.continuation(item)));
            body.insert("prompt".to_owned(), json!(text_of(parts)?));
            body.extend([("echo".to_owned(), json!(true)), ("logprobs".to_owned(), json!(1))]);
            body.insert("max_tokens".to_owned(), json!(1));
        } else {
            match settings.api {
                Api::Chat => drop(body.insert("messages".to_owned(), self.messages(parts))),
                Api::Completions => drop(body.insert("prompt".to_owned(), json!(text_of(parts)?))),
            }
            body.insert("max_tokens".to_owned(), json!(settings.max_tokens));
            if !settings.stop.is_empty() {
                body.insert("stop".to_owned(), json!(settings.stop));
            }
        }
        body.extend([("temperature".to_owned(), json!(0)), ("seed".to_owned(), json!(SEED))]);
        body.append(&mut fields);
        serde_json::to_vec(&body).map_err(|error| Fault::new(FaultKind::Question, error.to_string()))
    }

    /// The prompt as people read it; images are named.
    ///
    /// # Errors
    /// As [`Endpoint::body`].
    pub fn prompt_text(&self, question: &Question, items: &Items) -> Result<String, Fault> {
        let parts = self.prompt(question, items)?.into_iter().map(|part| match part {
            Part::Text(text) => text,
            Part::Image(url) => format!("[image {}]", url.chars().take(60).collect::<String>()),
        });
        let system = match self.settings.api {
            Api::Chat => self.settings.template.system.clone(),
            Api::Completions => String::new(),
        };
        Ok(std::iter::once(system).chain(parts).collect())
    }

    fn prompt(&self, question: &Question, items: &Items) -> Result<Vec<Part>, Fault> {
        let template = &self.settings.template;
        let mut parts = Vec::new();
        if self.settings.api == Api::Completions {
            parts.push(Part::Text(template.system.clone()));
        }
        for &id in &question.demonstrations {
            self.render(&template.demonstration, find(items, id)?, &mut parts)?;
        }
        self.render(&template.query, find(items, question.query_id)?, &mut parts)?;
        Ok(parts)
    }

    /// Appends `template` with the parts of `item`, which are not looked into for further marks.
    fn render(&self, template: &str, item: &Item, parts: &mut Vec<Part>) -> Result<(), Fault> {
        let mut rest = template;
        let mut text = String::new();
        while let Some((at, mark)) = next_mark(rest) {
            text.push_str(&rest[..at]);
            rest = &rest[at + mark.len()..];
            match mark {
                "{question}" => text.push_str(&item.question),
                "{answer}" => text.push_str(item.answer()),
                _ => {
                    let missing = || Fault::new(FaultKind::Question, "the item has no `image`");
                    let image = item.image.as_deref().ok_or_else(missing)?;
                    let url = self.images.url(image).map_err(|text| Fault::new(FaultKind::Question, text))?;
                    parts.push(Part::Text(std::mem::take(&mut text)));
                    parts.push(Part::Image(url));
                }
            }
        }
        text.push_str(rest);
        parts.push(Part::Text(text));
        Ok(())
    }

    /// What follows the query where its accepted answer is given, as it does in a demonstration.
    fn continuation(&self, item: &Item) -> String {
        let Template { demonstration, query, .. } = &self.settings.template;
        let between = demonstration.strip_prefix(query.as_str()).and_then(|rest| rest.split_once("{answer}"));
        format!("{}{}", between.map_or(" ", |(before, _)| before), item.answer())
    }

    fn messages(&self, parts: Vec<Part>) -> Value {
        let has_images = parts.iter().any(|part| matches!(part, Part::Image(_)));
        let content = if has_images {
            let one = |part: &Part| match part {
                Part::Text(text) => json!({ "type": "text", "text": text }),
                Part::Image(url) => json!({ "type": "image_url", "image_url": { "url": &**url } }),
            };
            let said = joined(parts);
            Value::Array(said.iter().map(one).collect())
        } else {
            json!(text_of(parts).unwrap_or_default())
        };
        let mut messages = Vec::new();
        if !self.settings.template.system.is_empty() {
            messages.push(json!({ "role": "system", "content": self.settings.template.system }));
        }
        messages.push(json!({ "role": "user", "content": content }));
        Value::Array(messages)
    }

    /// Asks.
    ///
    /// # Errors
    /// Whatever keeps the answer from being whole and the right model's.
    pub fn ask(&self, question: &Question, items: &Items) -> Result<Answer, Fault> {
        let body = self.body(question, items)?;
        let response = self.client.post(&body)?;
        let response = self.read(&response)?;
        let choice = response.choices.into_iter().next().ok_or_else(|| unreadable("no choices in it"))?;
        match question.wanted {
            Wanted::Answer => self.answer(choice, response.usage),
            Wanted::Probability => {
                let prompt = self.prompt(question, items)?;
                let before = text_of(prompt)?.chars().count();
                let expected = self.continuation(find(items, question.query_id)?).chars().count();
                let log_prob = mean_log_prob(choice.logprobs, before, expected)?;
                Ok(Answer { log_prob: Some(log_prob), ..Answer::default() })
            }
        }
    }

    fn read(&self, response: &[u8]) -> Result<Response, Fault> {
        let text = std::str::from_utf8(response).map_err(|_| unreadable("not UTF-8"))?;
        let response: Response = serde_json::from_str(text)
            .map_err(|error| unreadable(&format!("{error}: {}", super::http::beginning(text))))?;
        if response.model != self.settings.model {
            let text = format!(
                "the server answers as model `{}`, and `eval.endpoint.model` is `{}`\nhint: nothing was stored; name the model as the server does (its `/models` lists them)",
                super::http::beginning(&response.model),
                self.settings.model
            );
            return Err(Fault::new(FaultKind::WrongModel, text));
        }
        Ok(response)
    }

    fn answer(&self, choice: Choice, usage: Option<Usage>) -> Result<Answer, Fault> {
        let text = match (self.settings.api, choice.text, choice.message) {
            (Api::Completions, Some(text), _) => text,
            (Api::Chat, _, Some(message)) => message.content.unwrap_or_default(),
            _ => return Err(unreadable("no text in its first choice")),
        };
        match choice.finish_reason.as_deref() {
            Some("length") => {
                let tokens = usage.and_then(|usage| usage.completion_tokens);
                if let Some(tokens) = tokens.filter(|tokens| *tokens < u64::from(self.settings.max_tokens)) {
                    let text = format!(
                        "cut after {tokens} of `max_tokens` = {} tokens by the server's context limit\nhint: give the server a longer context, or make prompts shorter",
                        self.settings.max_tokens
                    );
                    return Err(Fault::new(FaultKind::Cut, text));
                }
            }
            Some("content_filter") => {
                return Err(Fault::new(FaultKind::Refused, "held back by the server's content filter"));
            }
            _ => {}
        }
        Ok(Answer { text, ..Answer::default() })
    }
}

fn unreadable(what: &str) -> Fault {
    Fault::new(FaultKind::Unreadable, format!("the response cannot be read: {what}"))
}

fn find(items: &Items, id: u64) -> Result<&Item, Fault> {
    items.get(id).ok_or_else(|| Fault::new(FaultKind::Question, format!("there is no item {id}")))
}

/// The next mark of a template and where it stands.
fn next_mark(text: &str) -> Option<(usize, &'static str)> {
    let marks = ["{question}", "{answer}", "{image}"];
    marks.into_iter().filter_map(|mark| Some((text.find(mark)?, mark))).min()
}

/// Neighbouring texts as one, empty ones left out.
fn joined(parts: Vec<Part>) -> Vec<Part> {
    let mut joined: Vec<Part> = Vec::new();
    for part in parts {
        match (joined.last_mut(), part) {
            (Some(Part::Text(before)), Part::Text(text)) => before.push_str(&text),
            (_, Part::Text(text)) if text.is_empty() => {}
            (_, part) => joined.push(part),
        }
    }
    joined
}

fn text_of(parts: Vec<Part>) -> Result<String, Fault> {
    let one = |part| match part {
        Part::Text(text) => Ok(text),
        Part::Image(_) => {
            Err(Fault::new(FaultKind::Question, "plain completions cannot show images: set `api = \"chat\"`"))
        }
    };
    parts.into_iter().map(one).collect()
}

#[derive(Deserialize)]
struct Response {
    model: String,
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    message: Option<Message>,
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(default)]
    logprobs: Option<LogProbs>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    completion_tokens: Option<u64>,
}

/// Of plain completions; chat has another form, which is not asked for.
#[derive(Deserialize, Serialize)]
struct LogProbs {
    #[serde(default)]
    tokens: Vec<String>,
    #[serde(default)]
    token_logprobs: Vec<Option<f64>>,
}

/// The mean log-probability of the tokens that make up `expected` characters behind the first `before` ones of the echo.
/// A token that begins before and ends behind counts: it holds the answer's first letter.
fn mean_log_prob(log_probs: Option<LogProbs>, before: usize, expected: usize) -> Result<Finite, Fault> {
    let Some(LogProbs { tokens, token_logprobs }) = log_probs else {
        return Err(unreadable("no `logprobs`: this server does not give them for prompts (`echo`)"));
    };
    let (mut at, mut sum, mut count) = (0, 0.0, 0_u32);
    for (token, log_prob) in tokens.iter().zip(&token_logprobs) {
        let end = at + token.chars().count();
        if end > before && at < before + expected {
            sum += log_prob.ok_or_else(|| unreadable("a token of the answer has no log-probability"))?;
            count += 1;
        }
        at = end;
    }
    if at < before + expected {
        return Err(unreadable("the echo of the prompt is shorter than the prompt"));
    }
    let mean = (count > 0).then(|| sum / f64::from(count)).and_then(Finite::new);
    mean.ok_or_else(|| unreadable("the log-probabilities are not finite"))
}

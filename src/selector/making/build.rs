//! From a recipe to files: inputs, plan, asking, what is written.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::disk;
use crate::event::{AskerNote, Asking, Event};
use crate::judge::{Form, Gathering, Items, Judge, Pace, Question};
use crate::selector::data::{Embeddings, read_embeddings};
use crate::selector::evaluate::judge_form;

use super::error::MakingError;
use super::files;
use super::made::{FORMAT, MADE_BY, hash_bytes, hash_of};
use super::plan::Plan;
use super::recipe::Recipe;
use super::roles::Roles;
use super::shape::{Left, Scored, Scorer, methods, shape};

/// A recipe with its inputs read and everything planned; nobody has been asked.
#[derive(Debug)]
pub struct Making {
    recipe: Recipe,
    items: Arc<Items>,
    form: Arc<Form>,
    pace: Pace,
    settings: Value,
    roles: Roles,
    plan: Plan,
}

/// What has come of it.
#[derive(Clone, Debug)]
pub struct Built {
    pub counts: Asking,
    pub judge: String,
    pub left: Left,
    /// Queries and trajectories that were written.
    pub queries: usize,
    pub trajectories: usize,
    /// Queries in the evaluation file.
    pub evaluated: usize,
    /// Whether anything was written; not where answers are missing.
    pub written: bool,
}

impl Making {
    /// Reads and checks what `recipe` names.
    ///
    /// # Errors
    /// Inputs that cannot be used.
    pub fn open(recipe: Recipe) -> Result<Self, MakingError> {
        recipe.check()?;
        let items = Items::load(&recipe.judge.items)?;
        let embeddings = read_embeddings(&recipe.embeddings)?;
        let roles = Roles::of(&recipe, &items)?;
        check_rows(&recipe, &roles, &embeddings)?;
        let (form, pace) = judge_form(&recipe.judge)?;
        let settings = recipe.settings()?;
        let plan = Plan::new(&recipe, &roles, &embeddings)?;
        Ok(Self { recipe, items: Arc::new(items), form: Arc::new(form), pace, settings, roles, plan })
    }

    /// What it was made of.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Training queries, evaluation queries and demonstrations.
    pub fn sizes(&self) -> [usize; 3] {
        [self.plan.train.len(), self.plan.eval.len(), self.roles.support.len()]
    }

    /// The judge, with the answers that are in `cache`.
    ///
    /// # Errors
    /// A cache that cannot be read.
    pub fn judge(&self, cache: &Path) -> Result<Arc<Judge>, MakingError> {
        Ok(Arc::new(Judge::new(Arc::clone(&self.form), Arc::clone(&self.items), cache)?))
    }

    /// All questions with what `judge` knows of them.
    pub fn gathering(&self, judge: &Arc<Judge>) -> Gathering {
        let questions: Vec<Question> = self.plan.questions(&self.recipe);
        Gathering::new(judge, &questions)
    }

    /// Asks what is to be asked and writes the files, if every answer is there or missing ones are allowed.
    ///
    /// # Errors
    /// A cache or a file that cannot be written. That the judge does not answer is none.
    pub fn build(
        &self,
        judge: &Arc<Judge>,
        allowed: Allowed,
        stop: &dyn Fn() -> bool,
        sink: &mut dyn FnMut(&Event),
    ) -> Result<Built, MakingError> {
        let mut gathering = self.gathering(judge);
        gathering.ask(self.pace, stop, &mut |counts| sink(&judge_event(counts)));
        let counts = gathering.counts().clone();
        let scorer = Scorer { recipe: &self.recipe, items: &self.items, answers: &gathering };
        let mut built = Built {
            judge: judge.id().to_string(),
            left: Left { repeated: self.plan.repeated, ..Left::default() },
            queries: 0,
            trajectories: 0,
            evaluated: 0,
            written: counts.left == 0 && (allowed.missing || counts.failed == 0),
            counts,
        };
        if built.written {
            self.write(&scorer, judge, allowed.replacing, &mut built)?;
        }
        Ok(built)
    }

    fn write(
        &self,
        scorer: &Scorer,
        judge: &Judge,
        force: bool,
        built: &mut Built,
    ) -> Result<(), MakingError> {
        let length = self.recipe.params.length;
        let scored = |group| Scored {
            group,
            sequences: group.sequences.iter().map(|one| (one, scorer.scores(group, one, length))).collect(),
        };
        let scored: Vec<Scored> = self.plan.train.iter().map(scored).collect();
        let by_method = methods(&scored);
        let groups = shape(&self.recipe.params, scored, &mut built.left);
        built.queries = groups.len();
        built.trajectories = groups.iter().map(|group| group.sequences.len()).sum();
        if groups.is_empty() {
            let Left { all_wrong, all_right, unanswered_queries, .. } = built.left;
            let why =
                format!("{all_wrong} are all wrong, {all_right} all right, {unanswered_queries} unanswered");
            return Err(MakingError::NothingLeft { queries: self.plan.train.len(), why });
        }
        let mut evaluation = Value::Null;
        if let Some(file) = &self.recipe.params.eval_file {
            let (bytes, lost) = files::evaluation(&self.plan.eval, &self.recipe.params.eval_shots, scorer);
            built.evaluated = self.plan.eval.len() - lost;
            evaluation =
                json!({ "queries": built.evaluated, "unanswered_queries": lost, "hash": hash_bytes(&bytes) });
            self.put(file, &bytes, force)?;
        }
        let [train, eval, support] = [&self.roles.train, &self.roles.eval, &self.roles.support].map(Vec::len);
        let mut questions = json!({ "naive": built.counts.naive, "distinct": built.counts.distinct });
        if built.counts.failed > 0 {
            questions["unanswered"] = json!(built.counts.failed);
        }
        let meta = json!({
            "made_by": MADE_BY, "format": FORMAT, "hash": hash_of(&self.settings), "settings": self.settings,
            "judge": judge.id().to_string(),
            "items": { "train": train, "eval": eval, "support": support, "unused": self.roles.unused },
            "queries": built.queries, "trajectories": built.trajectories, "pool_size": self.recipe.params.pool,
            "shots": length, "questions": questions,
            "methods": by_method, "dropped": built.left, "evaluation": evaluation,
        });
        let bytes = files::trajectories(&meta, &groups, &self.items);
        self.put(&self.recipe.trajectories, &bytes, force)
    }

    /// Writes `bytes` to `path`, whole or not at all. What is there and differs stays, unless told or unfinished.
    fn put(&self, path: &Path, bytes: &[u8], force: bool) -> Result<(), MakingError> {
        match fs_err::read(path) {
            Ok(there) if there == bytes => return Ok(()),
            Ok(_) if !force && !self.recipe.is_unfinished(path, &self.settings) => {
                let difference = "its contents differ from what was made now".to_owned();
                return Err(MakingError::Other { path: path.to_owned(), difference });
            }
            _ => {}
        }
        Ok(disk::write(path, bytes)?)
    }
}

/// What making may do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowed {
    /// Do without the answers that the judge does not give.
    pub missing: bool,
    /// Replace files that differ from what is made.
    pub replacing: bool,
}

/// How the asking goes, as an event.
pub fn judge_event(counts: &Asking) -> Event {
    Event::Judge { asking: counts.clone(), asker: AskerNote::default() }
}

fn check_rows(recipe: &Recipe, roles: &Roles, embeddings: &Embeddings) -> Result<(), MakingError> {
    let rows = embeddings.rows;
    let all = [&roles.train, &roles.eval, &roles.support].into_iter().flatten();
    match all.copied().filter(|id| *id >= rows as u64).min() {
        Some(id) => Err(MakingError::NoRow { items: recipe.judge.items.clone(), id, rows }),
        None => Ok(()),
    }
}

//! What is to be scored: queries with their pools and sequences. Pure after the inputs are read.

use rayon::prelude::*;

use crate::checkpoint;
use crate::device::Device;
use crate::judge::{Question, Wanted};
use crate::selector::data::Embeddings;
use crate::selector::learn::{Layout, Query, Shape, scores_of};
use crate::spec::BuildParams;

use super::draw::{What, ranked, stream, subset};
use super::error::MakingError;
use super::recipe::Recipe;
use super::roles::Roles;
use super::sequences::{Sequence, Source, cosine};

/// A query with its candidates and the sequences that are tried for it.
#[derive(Clone, Debug)]
pub struct Group {
    pub query: u64,
    /// Global ids, `[K]`.
    pub pool: Vec<u32>,
    pub sequences: Vec<Sequence>,
}

impl Group {
    /// The question about the first `length` demonstrations of `sequence`.
    pub fn question(&self, sequence: &Sequence, length: usize, wanted: Wanted) -> Question {
        let global = |local: &u32| u64::from(self.pool[*local as usize]);
        let demonstrations = sequence.pointer[..length].iter().map(global).collect();
        Question { demonstrations, query_id: self.query, wanted }
    }
}

/// All that is to be scored.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In numeric order of the queries.
    pub train: Vec<Group>,
    /// With sequences as long as the largest shot count; a smaller one takes their beginnings.
    pub eval: Vec<Group>,
    /// Sequences that would have been there twice.
    pub repeated: usize,
}

impl Plan {
    /// The plan of `recipe`.
    ///
    /// # Errors
    /// A policy that cannot be read or does not fit.
    pub fn new(recipe: &Recipe, roles: &Roles, embeddings: &Embeddings) -> Result<Self, MakingError> {
        let params = &recipe.params;
        let shots = params.eval_shots.iter().copied().max().unwrap_or(0);
        let eval: &[u64] = if params.eval_file.is_some() { &roles.eval } else { &[] };
        let wanted: Vec<(u64, usize)> = roles
            .train
            .iter()
            .map(|query| (*query, params.length))
            .chain(eval.iter().map(|query| (*query, shots)))
            .collect();
        let pools: Vec<Vec<u32>> =
            wanted.par_iter().map(|(query, _)| pool(params, *query, &roles.support, embeddings)).collect();
        let logits = policy(recipe, &wanted, &pools, embeddings)?;
        let group = |at: usize| {
            let (query, length) = wanted[at];
            let cosines: Vec<f64> =
                pools[at].iter().map(|id| cosine(embeddings, query, u64::from(*id))).collect();
            let logits = logits.get(at).map(Vec::as_slice);
            let (sequences, lost) = Source { params, query, cosines: &cosines, logits }.sequences(length);
            (Group { query, pool: pools[at].clone(), sequences }, lost)
        };
        let all: Vec<(Group, usize)> = (0..wanted.len()).into_par_iter().map(group).collect();
        let repeated = all.iter().map(|(_, lost)| lost).sum();
        let mut train: Vec<Group> = all.into_iter().map(|(group, _)| group).collect();
        let eval = train.split_off(roles.train.len());
        Ok(Self { train, eval, repeated })
    }

    /// Every question, as often as its answer is needed.
    pub fn questions(&self, recipe: &Recipe) -> Vec<Question> {
        let mut questions = Vec::new();
        let mut add = |group: &Group, sequence: &Sequence, length: usize| {
            questions.push(group.question(sequence, length, Wanted::Answer));
            if recipe.probabilities() {
                questions.push(group.question(sequence, length, Wanted::Probability));
            }
        };
        for group in &self.train {
            group.sequences.iter().for_each(|sequence| add(group, sequence, recipe.params.length));
        }
        for group in &self.eval {
            for shot in &recipe.params.eval_shots {
                beginnings(group, *shot).into_iter().for_each(|sequence| add(group, sequence, *shot));
            }
        }
        questions
    }
}

/// The sequences of `group` whose first `shot` demonstrations are new.
pub fn beginnings(group: &Group, shot: usize) -> Vec<&Sequence> {
    let mut seen = std::collections::HashSet::new();
    group.sequences.iter().filter(|sequence| seen.insert(&sequence.pointer[..shot])).collect()
}

/// The candidates of `query`: the share that are its nearest, the rest at random, in an order that says nothing.
fn pool(params: &BuildParams, query: u64, support: &[u64], embeddings: &Embeddings) -> Vec<u32> {
    let near = ((params.pool_nearest * params.pool as f64).round() as usize).min(params.pool);
    let mut is_near = vec![false; support.len()];
    if near > 0 {
        let cosines: Vec<f64> = support.iter().map(|id| cosine(embeddings, query, *id)).collect();
        ranked(&cosines, near).into_iter().for_each(|at| is_near[at as usize] = true);
    }
    let others: Vec<usize> = (0..support.len()).filter(|at| !is_near[*at]).collect();
    let mut random = stream(params.seed, What::PoolRandom, 0, query);
    let drawn = subset(&mut random, others.len(), params.pool - near).into_iter();
    let drawn = drawn.map(|at| others[at as usize]);
    let members: Vec<usize> = (0..support.len()).filter(|at| is_near[*at]).chain(drawn).collect();
    let order = stream(params.seed, What::PoolOrder, 0, query).permutation(members.len());
    order.into_iter().map(|at| support[members[at as usize]] as u32).collect()
}

/// The policy's scores of every pool, on the CPU wherever the rest runs: bits must not depend on the device. Empty
/// without a policy.
fn policy(
    recipe: &Recipe,
    wanted: &[(u64, usize)],
    pools: &[Vec<u32>],
    embeddings: &Embeddings,
) -> Result<Vec<Vec<f32>>, MakingError> {
    let Some(path) = recipe.params.policy.as_ref().filter(|_| recipe.asks_policy()) else {
        return Ok(Vec::new());
    };
    let misfit = |cause: String| MakingError::Misfit { path: path.clone(), cause };
    let weights = checkpoint::read(path)?.weights;
    let layout = Layout::new(Shape::new(embeddings.dim, &recipe.model));
    let flat = layout.flatten(&weights).map_err(misfit)?;
    let queries: Vec<Query> =
        wanted.iter().zip(pools).map(|((query, _), pool)| Query { row: *query as usize, pool }).collect();
    let logits = scores_of(Device::Cpu, &layout, &flat, embeddings, &queries, recipe.model.temperature);
    match logits.iter().flatten().all(|logit| logit.is_finite()) {
        true => Ok(logits),
        false => Err(misfit("its scores are not finite".to_owned())),
    }
}

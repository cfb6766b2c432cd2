//! Which items are training queries, evaluation queries and demonstrations: no item is two of them.

use crate::judge::Items;

use super::draw::{What, stream};
use super::error::MakingError;
use super::recipe::Recipe;

/// Ids by role, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    pub train: Vec<u64>,
    pub eval: Vec<u64>,
    pub support: Vec<u64>,
    /// Items with another split.
    pub unused: usize,
}

impl Roles {
    /// By the items' `split`, where they have one, else by chance; then the recipe's limit, by chance too.
    ///
    /// # Errors
    /// A split that some items lack, shares above 1, a role that nobody has.
    pub fn of(recipe: &Recipe, items: &Items) -> Result<Self, MakingError> {
        let ids = items.ids();
        let split = |id: &u64| items.get(*id).and_then(|item| item.split.as_deref());
        let mut roles = Self::default();
        if ids.iter().any(|id| split(id).is_some()) {
            for id in &ids {
                match split(id) {
                    Some("train") => roles.train.push(*id),
                    Some("eval") => roles.eval.push(*id),
                    Some("support") => roles.support.push(*id),
                    Some(_) => roles.unused += 1,
                    None => return Err(MakingError::NoSplit { items: recipe.judge.items.clone(), id: *id }),
                }
            }
        } else {
            roles = Self::by_chance(recipe, &ids)?;
        }
        for (index, queries) in [&mut roles.train, &mut roles.eval].into_iter().enumerate() {
            if let Some(limit) = recipe.limit.filter(|limit| *limit < queries.len()) {
                let order = stream(recipe.params.seed, What::Limit, index, 0).permutation(queries.len());
                let mut kept: Vec<u64> = order[..limit].iter().map(|at| queries[*at as usize]).collect();
                kept.sort_unstable();
                *queries = kept;
            }
        }
        roles.check(recipe, ids.len())?;
        Ok(roles)
    }

    fn by_chance(recipe: &Recipe, ids: &[u64]) -> Result<Self, MakingError> {
        let params = &recipe.params;
        if params.train_share + params.eval_share > 1.0 {
            return Err(MakingError::Shares);
        }
        let count = |share: f64| (share * ids.len() as f64).floor() as usize;
        let (train, eval) = (count(params.train_share), count(params.eval_share));
        let order = stream(params.seed, What::Split, 0, 0).permutation(ids.len());
        let part = |range: std::ops::Range<usize>| {
            let mut part: Vec<u64> = order[range].iter().map(|at| ids[*at as usize]).collect();
            part.sort_unstable();
            part
        };
        Ok(Self {
            train: part(0..train),
            eval: part(train..train + eval),
            support: part(train + eval..ids.len()),
            unused: 0,
        })
    }

    fn check(&self, recipe: &Recipe, items: usize) -> Result<(), MakingError> {
        let none = |what, hint| Err(MakingError::None { what, items, hint });
        if self.train.is_empty() {
            return none("training queries", "give items the split `train`, or raise `train_share`");
        }
        if self.eval.is_empty() && recipe.params.eval_file.is_some() {
            return none("evaluation queries", "give items the split `eval`, or raise `eval_share`");
        }
        if self.support.len() < recipe.params.pool {
            return Err(MakingError::SmallSupport { pool: recipe.params.pool, support: self.support.len() });
        }
        Ok(())
    }
}

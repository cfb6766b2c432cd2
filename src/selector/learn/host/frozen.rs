//! Which parts of the model a cohort leaves as they are.

use crate::selector::{FreezeSet, ParamGroup};

/// Which groups of parameters are frozen.
#[derive(Clone, Copy, Debug)]
pub struct Frozen {
    pub input_proj: bool,
    pub query_proj: bool,
    pub cand_proj: bool,
    pub cross_attn: bool,
    pub attn_norms: bool,
}

impl Frozen {
    pub fn new(freeze: &FreezeSet) -> Self {
        Self {
            input_proj: freeze.contains(ParamGroup::InputProj),
            query_proj: freeze.contains(ParamGroup::QueryProj),
            cand_proj: freeze.contains(ParamGroup::CandProj),
            cross_attn: freeze.contains(ParamGroup::CrossAttn),
            attn_norms: freeze.contains(ParamGroup::AttnNorms),
        }
    }
}

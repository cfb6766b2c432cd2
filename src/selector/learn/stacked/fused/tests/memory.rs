//! What a member takes of the device's memory, against what is reckoned with.

use std::sync::Arc;

use super::super::super::StackedCohort;
use super::super::super::memory::Need;
use super::super::program::Fused;
use super::{CHOSEN, Numbers, accelerator};
use crate::selector::ModelParams;
use crate::selector::data::{Embeddings, Group};
use crate::selector::learn::task::Start;
use crate::selector::learn::{EngineParams, Layout, Shape, State};
use crate::selector::{FreezeSet, ParamGroup};

#[test]
fn a_member_takes_the_memory_that_is_reckoned_with() {
    let Some(device) = accelerator() else { return };
    let model = ModelParams { hidden: 64, ..ModelParams::default() };
    let (dim, members) = (96, 64);
    let layout = Layout::new(Shape::new(dim, &model));
    let train = [Group { query_id: 0, pool: (0..32).collect(), trajectories: Vec::new() }];
    let embeddings = Embeddings { rows: 40, dim, values: Numbers(1).vector(40 * dim) };
    let labels = [vec![0, 1, 2, 3]];
    for freeze in [vec![], vec![ParamGroup::InputProj, ParamGroup::QueryProj, ParamGroup::CandProj]] {
        let freeze = FreezeSet(freeze.into_iter().collect());
        let params = EngineParams {
            shape: layout.shape,
            model: &model,
            freeze: &freeze,
            embeddings: &embeddings,
            train: &train,
            validation: &[],
            labels: &labels,
            length: 2,
        };
        let weights = Arc::new(Numbers(2).vector(layout.total));
        let starts: Vec<Start> = (0..members).map(|_| Start { weights: &weights, state: None }).collect();
        let zeros = vec![0.0; layout.total];
        let state = State { parameters: weights.to_vec(), first: zeros.clone(), second: zeros, steps: 0 };
        let states = vec![state; members];
        let cohort = StackedCohort::new(params, CHOSEN, &starts).expect("the kernels fit");
        let mut program = Fused::new(device.clone(), &cohort).expect("the kernels fit");
        let in_use = || device.client.memory_usage().expect("the device answers").bytes_in_use;
        let before = in_use();
        program.load(&cohort, &(0..members).collect::<Vec<usize>>(), &states);
        let taken = (in_use() - before) as f64 / members as f64;
        let share = taken / Need::of(&params).member as f64;
        assert!((0.5..=1.0).contains(&share), "{taken} bytes are {share} of what is reckoned with");
    }
}

//! Which members of a cohort see the same groups under the same masks.

use super::task::EpochTask;

/// Members that walk through the groups together (equal seed, equal order), and which of those also share
/// frozen parameters.
#[derive(Debug, Default)]
pub struct Walks {
    /// Per walk: its seed and order.
    pub walks: Vec<(u64, Vec<u32>)>,
    /// Distinct (walk, share) pairs.
    pub pairs: Vec<(usize, usize)>,
    /// Per member: its walk and its pair (unused entries for idle members).
    pub place: Vec<(usize, usize)>,
}

impl Walks {
    /// Groups the tasks of an epoch; `share_of` numbers the sets of frozen parameters.
    pub fn of_tasks(tasks: &[Option<EpochTask>], share_of: impl Fn(usize) -> usize) -> Self {
        let mut all = Self::default();
        for (member, task) in tasks.iter().enumerate() {
            let place = match task {
                None => (0, 0),
                Some(task) => {
                    let same = |walk: &(u64, Vec<u32>)| walk.0 == task.seed && walk.1 == task.order;
                    let walk = position_or_push(&mut all.walks, same, || (task.seed, task.order.clone()));
                    let pair = (walk, share_of(member));
                    (walk, position_or_push(&mut all.pairs, |known| *known == pair, || pair))
                }
            };
            all.place.push(place);
        }
        all
    }
}

fn position_or_push<T>(list: &mut Vec<T>, same: impl FnMut(&T) -> bool, make: impl FnOnce() -> T) -> usize {
    list.iter().position(same).unwrap_or_else(|| {
        list.push(make());
        list.len() - 1
    })
}

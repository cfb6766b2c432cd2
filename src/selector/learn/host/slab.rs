//! The members' parameters and moments in one piece of memory.
//!
//! Every step streams through all of it. In pages of 2 MB instead of 4 kB the processor has far fewer addresses to
//! look up, which takes 5 to 10 % off a step; only memory that is mapped in one piece can have them.

use memmap2::MmapMut;

/// Parameters, first and second moments `[P]` each, for every member of a cohort.
pub struct Slab {
    /// `None` for no members.
    memory: Option<MmapMut>,
    /// P
    width: usize,
}

/// The same range of a member's parameters and moments.
pub struct Slices<'a> {
    pub p: &'a mut [f32],
    pub m: &'a mut [f32],
    pub v: &'a mut [f32],
}

impl Slices<'_> {
    /// A part of the range.
    pub fn part(&mut self, offset: usize, len: usize) -> Slices<'_> {
        let range = offset..offset + len;
        Slices { p: &mut self.p[range.clone()], m: &mut self.m[range.clone()], v: &mut self.v[range] }
    }
}

impl Slab {
    /// Zeros for `members` of `width` parameters.
    ///
    /// # Panics
    /// When memory runs out, as every allocation does; the run then tries a narrower cohort.
    pub fn new(members: usize, width: usize) -> Self {
        let bytes = members * 3 * width * size_of::<f32>();
        let memory = (bytes > 0).then(|| {
            let memory =
                MmapMut::map_anon(bytes).expect("out of memory for a cohort's parameters and moments");
            #[cfg(target_os = "linux")]
            // Advice: where the kernel has no large pages to give, small ones do.
            let _ = memory.advise(memmap2::Advice::HugePage);
            memory
        });
        Self { memory, width }
    }

    /// A member's parameters, first and second moments.
    pub fn of(&self, member: usize) -> [&[f32]; 3] {
        let all: &[f32] = self.memory.as_deref().map_or(&[], bytemuck::cast_slice);
        let start = member * 3 * self.width;
        [0, 1, 2].map(|part| &all[start + part * self.width..start + (part + 1) * self.width])
    }

    /// All members' parameters and moments, to be changed.
    pub fn members_mut(&mut self) -> impl Iterator<Item = Slices<'_>> {
        let all: &mut [f32] = self.memory.as_deref_mut().map_or(&mut [], bytemuck::cast_slice_mut);
        let width = self.width.max(1);
        all.chunks_exact_mut(3 * width).map(move |member| {
            let (p, moments) = member.split_at_mut(width);
            let (m, v) = moments.split_at_mut(width);
            Slices { p, m, v }
        })
    }
}

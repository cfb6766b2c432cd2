//! Norm, clip, AdamW and decay, of gradients that are outer products and of stored ones.

use super::super::super::optimizer::{Gradient, Rates, Rows};
use super::super::super::pieces::{Piece, Role, pieces};
use super::super::device::{Accelerator, Buffer, cube};
use super::super::places::{Factors, Places};
use super::super::update::{self, BLOCK, BLOCK_FIELDS, BooksLaunch, CONSTANTS, DenseLaunch, FACTOR_FIELDS};
use super::{Chosen, MEMBERS, Numbers, accelerator, cubes, layout, near, tensor, values};
use crate::selector::learn::parameters::Layout;
use crate::selector::{FreezeSet, ParamGroup};

/// What is behind the rows of the members, and has to stay.
const FENCE: [f32; 64] = [7.0; 64];
/// Learning rate, bias correction and decay, per member.
const RATES: [[f32; 3]; MEMBERS] = [[1e-2, 1.5, 0.99], [3e-3, 31.6, 1.0], [0.0, 1.0, 0.9]];
/// Largest norms: one that clips, one that does not.
const LARGEST: [f32; MEMBERS] = [1.0, 1e6, 0.1];

/// Parameters and both moments of the members, `size` numbers each.
struct Set {
    size: usize,
    host: [Vec<f32>; 3],
    device: [Buffer; 3],
}

impl Set {
    fn new(device: &Accelerator<Chosen>, numbers: &mut Numbers, size: usize) -> Self {
        let mut host = [(); 3].map(|()| numbers.vector(MEMBERS * size));
        // A second moment is a mean of squares.
        host[2].iter_mut().for_each(|value| *value *= *value);
        let upload = |values: &Vec<f32>| device.upload(&[values, &FENCE[..]].concat());
        Self { size, device: host.each_ref().map(upload), host }
    }

    /// A member's row.
    fn row<'a>(&self, values: &'a [f32], member: usize) -> &'a [f32] {
        &values[member * self.size..][..self.size]
    }
}

/// Everything that a step's last launches read and write.
struct Scene {
    device: Accelerator<Chosen>,
    layout: Layout,
    places: Places,
    factors: Factors,
    work: Vec<f32>,
    rest: Set,
    /// Matrices with stored gradients: rows, gradient, columns, whether an outer product is added.
    dense: Vec<(Set, Vec<f32>, usize, bool)>,
}

impl Scene {
    fn new(device: &Accelerator<Chosen>, freeze: &[ParamGroup]) -> Self {
        let layout = layout(41, 33, 2, 3);
        let places = Places::new(&layout, 5);
        let trained = pieces(&layout, &FreezeSet(freeze.iter().copied().collect()));
        let trained: Vec<Piece> = trained.into_iter().filter(|piece| piece.role != Role::Frozen).collect();
        let is_wide =
            |piece: &&Piece| Some(piece.offset) == layout.input_proj || piece.offset == layout.cand_proj;
        let rest: Vec<Piece> = trained.iter().filter(|piece| !is_wide(piece)).copied().collect();
        let mut numbers = Numbers(freeze.len() as u64 + 1);
        let (one, zeros) = (places.one as usize, places.zeros as usize);
        let work = (0..MEMBERS).flat_map(|_| {
            let mut row = numbers.vector(places.width as usize);
            row[one] = 1.0;
            row[zeros..zeros + layout.shape.hidden].fill(0.0);
            row
        });
        let work = work.collect();
        let size = rest.iter().map(Piece::size).sum();
        let dense = trained.iter().filter(is_wide).map(|piece| {
            let gradient = numbers.vector(MEMBERS * piece.size());
            let outer = Some(piece.offset) == layout.input_proj;
            (Set::new(device, &mut numbers, piece.size()), gradient, piece.columns, outer)
        });
        let dense = dense.collect();
        Self {
            device: device.clone(),
            factors: Factors::new(&layout, &places, &rest),
            work,
            dense,
            rest: Set::new(device, &mut numbers, size),
            places,
            layout,
        }
    }

    /// A member's gradient: that of the outer products from the table of blocks, then the stored ones.
    fn gradient(&self, member: usize) -> Vec<f32> {
        let work = &self.work[member * self.places.width as usize..][..self.places.width as usize];
        let mut all = vec![0.0; self.rest.size];
        for block in self.factors.blocks.chunks(BLOCK_FIELDS as usize) {
            let [start, count, within, columns, left, right, segment] =
                [0, 1, 2, 3, 4, 5, 6].map(|field| block[field] as usize);
            for i in 0..count {
                let (row, column) = ((within + i) / columns, (within + i) % columns);
                all[start + i] = work[left + row] * work[right + row / segment * columns + column];
            }
        }
        for (set, gradient, columns, outer) in &self.dense {
            let (left, right) = (self.places.layers[0].flow as usize, self.places.embedding as usize);
            let outer_at = |i: usize| work[left + i / columns] * work[right + i % columns];
            let own = set.row(gradient, member).iter().enumerate();
            all.extend(own.map(|(i, value)| value + if *outer { outer_at(i) } else { 0.0 }));
        }
        all
    }

    fn dense_arg(
        &self,
        (set, columns): (&Set, usize),
        (partial, partials): (u32, u32),
    ) -> DenseLaunch<Chosen> {
        let (left, right, width) = (self.places.layers[0].flow, self.places.embedding, self.places.width);
        DenseLaunch::new(set.size as u32, columns as u32, width, left, right, partial, partials)
    }

    fn books() -> BooksLaunch<Chosen> {
        BooksLaunch::new(MEMBERS as u32, 0, 3, 0, 1, 2, 4)
    }

    /// Norm and clip factor. Returns the members' norms.
    fn norm(&self, work: &Buffer) -> Vec<f32> {
        let (device, width) = (&self.device, self.places.width);
        let (_, factors) = self.factors.counts();
        let blocks = |set: &Set| set.size.div_ceil(BLOCK as usize) as u32;
        let partials = factors + self.dense.iter().map(|(set, ..)| blocks(set)).sum::<u32>();
        let partial = device.empty(MEMBERS * partials as usize);
        let table = device.upload(&self.factors.factors);
        if factors > 0 {
            update::outer_squares::launch::<Chosen>(
                &device.client,
                cubes(factors as usize, MEMBERS, 1),
                cube(),
                work.arg(),
                table.arg(),
                partial.arg(),
                width,
                partials,
            );
        }
        let mut first = factors;
        for (set, gradient, columns, outer) in &self.dense {
            update::dense_squares::launch::<Chosen>(
                &device.client,
                cubes(blocks(set) as usize, MEMBERS, 1),
                cube(),
                work.arg(),
                device.upload(gradient).arg(),
                partial.arg(),
                self.dense_arg((set, *columns), (first, partials)),
                *outer,
            );
            first += blocks(set);
        }
        let constants = LARGEST.iter().flat_map(|largest| [0.0, 0.0, 0.0, 0.0, *largest]);
        let constants: Vec<f32> = constants.collect();
        assert_eq!(constants.len(), MEMBERS * CONSTANTS as usize);
        let (constants, log) = (device.upload(&constants), device.upload(&[0.0f32; MEMBERS * 2 * 4]));
        update::finish_norm::launch::<Chosen>(
            &device.client,
            cubes(1, MEMBERS, 1),
            cube(),
            partial.arg(),
            constants.arg(),
            work.arg(),
            log.arg(),
            Self::books(),
            width,
            self.places.clip,
            partials,
        );
        device.read(&log).chunks(2 * 4).map(|own| own[7]).collect()
    }

    fn update(&self, work: &Buffer) {
        let (device, places) = (&self.device, &self.places);
        let facts = device.upload(&RATES.concat());
        let table = device.upload(&self.factors.blocks);
        let (blocks, _) = self.factors.counts();
        if blocks > 0 {
            let [parameters, first, second] = &self.rest.device;
            update::update_outer::launch::<Chosen>(
                &device.client,
                cubes(blocks as usize, MEMBERS, 1),
                cube(),
                parameters.arg(),
                first.arg(),
                second.arg(),
                work.arg(),
                table.arg(),
                facts.arg(),
                Self::books(),
                self.rest.size as u32,
                places.width,
                places.clip,
            );
        }
        for (set, gradient, columns, outer) in &self.dense {
            let [parameters, first, second] = &set.device;
            update::update_dense::launch::<Chosen>(
                &device.client,
                cubes(set.size.div_ceil(BLOCK as usize), MEMBERS, 1),
                cube(),
                parameters.arg(),
                first.arg(),
                second.arg(),
                work.arg(),
                device.upload(gradient).arg(),
                facts.arg(),
                Self::books(),
                self.dense_arg((set, *columns), (0, 0)),
                places.clip,
                *outer,
            );
        }
    }

    fn check(&self) {
        let work = self.device.upload(&self.work);
        let norms = self.norm(&work);
        self.update(&work);
        let sets: Vec<&Set> =
            std::iter::once(&self.rest).chain(self.dense.iter().map(|(set, ..)| set)).collect();
        let left: Vec<[Vec<f32>; 3]> =
            sets.iter().map(|set| set.device.each_ref().map(|buffer| self.device.read(buffer))).collect();
        for (set, left) in sets.iter().zip(&left) {
            left.iter().for_each(|values| assert_eq!(values[MEMBERS * set.size..], FENCE));
        }
        for member in 0..MEMBERS {
            let row = |part: usize| {
                let own: Vec<f32> =
                    sets.iter().flat_map(|set| set.row(&set.host[part], member)).copied().collect();
                tensor(&own, [1, own.len()])
            };
            let gradient = self.gradient(member);
            let gradient = Gradient::new(tensor(&gradient, [1, gradient.len()]), self.layout.shape.hidden);
            near("norm", &norms[member..=member], &values(gradient.norm.clone()));
            let one = |value: f32| tensor(&[value], [1, 1]);
            let [rate, inverse_bias, decay] = RATES[member].map(one);
            let rates = Rates { decay, max_norm: one(LARGEST[member]), rate, inverse_bias };
            let rows = Rows { parameters: row(0), first: row(1), second: row(2) }.update(gradient, rates);
            let wanted = [rows.parameters, rows.first, rows.second].map(values);
            for (part, want) in wanted.iter().enumerate() {
                let got: Vec<f32> = sets
                    .iter()
                    .zip(&left)
                    .flat_map(|(set, left)| set.row(&left[part], member))
                    .copied()
                    .collect();
                near(["parameters", "first moment", "second moment"][part], &got, want);
            }
        }
    }
}

/// With the backbone frozen, the head, some of both, and nothing: what is frozen is in no table and in no row.
#[test]
fn an_update_is_that_of_burns_operators_and_leaves_out_what_is_frozen() {
    let Some(device) = accelerator() else { return };
    use ParamGroup::{AttnNorms, CandProj, CrossAttn, InputProj, QueryProj};
    let frozen: [&[ParamGroup]; 5] = [
        &[],
        &[InputProj, QueryProj, CandProj],
        &[CrossAttn, AttnNorms],
        &[InputProj, CrossAttn],
        &[QueryProj, CrossAttn, AttnNorms],
    ];
    for freeze in frozen {
        let scene = Scene::new(&device, freeze);
        let segments = scene.layout.segments.iter().filter(|segment| !freeze.contains(&segment.group));
        let trained: usize = segments.map(|segment| segment.len()).sum();
        let fields = scene.factors.blocks.chunks(BLOCK_FIELDS as usize);
        let in_table: usize = fields.map(|block| block[1] as usize).sum();
        let stored: usize = scene.dense.iter().map(|(set, ..)| set.size).sum();
        assert_eq!((in_table, in_table + stored), (scene.rest.size, trained), "frozen: {freeze:?}");
        assert_eq!(scene.factors.factors.len() % FACTOR_FIELDS as usize, 0);
        scene.check();
    }
}

/// Where dropout has zeroed a vector the other factor was divided by 1e-12, and its square may be infinite.
#[test]
fn the_norm_of_a_product_with_nothing_is_nothing() {
    let Some(device) = accelerator() else { return };
    let work: Vec<f32> = [vec![0.0; 5], vec![1e25; 7], vec![1.0; 5], vec![2.0; 7]].concat();
    let (work, table) = (device.upload(&work), device.upload(&[0u32, 5, 5, 7, 0, 12, 5, 17, 7, 0]));
    let partial = device.empty(2);
    update::outer_squares::launch::<Chosen>(
        &device.client,
        cubes(2, 1, 1),
        cube(),
        work.arg(),
        table.arg(),
        partial.arg(),
        24,
        2,
    );
    assert_eq!(device.read(&partial), [0.0, 5.0 * 28.0]);
}

//! Random streams that belong to (seed, purpose, epoch, step), never to a machine, a cohort or a process.
//!
//! ChaCha8 is counter-based: the key is derived from the stream's coordinates, so that any step of any
//! epoch can be drawn on its own, and a resumed run draws what an uninterrupted one would have drawn.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::Phase;

/// What a stream is for; part of its key.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    /// Initial weights.
    Init,
    /// Visiting order of the training groups in one epoch.
    Order { phase: Phase, epoch: u32 },
    /// A choice made while data are made: for what, the how-manieth, for which query.
    Making { what: u16, index: u16, query: u64 },
    /// Dropout masks of one step.
    Dropout { phase: Phase, epoch: u32, step: u32 },
}

/// One stream of random numbers.
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of `seed` for `purpose`.
    pub fn new(seed: u64, purpose: Purpose) -> Self {
        let (kind, phase, epoch, step) = match purpose {
            Purpose::Init => (0u32, 0, 0, 0),
            Purpose::Order { phase, epoch } => (1, phase as u32, epoch, 0),
            Purpose::Making { what, index, query } => {
                (3, u32::from(what) << 16 | u32::from(index), (query >> 32) as u32, query as u32)
            }
            Purpose::Dropout { phase, epoch, step } => (2, phase as u32, epoch, step),
        };
        let mut key = [0u8; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        for (slot, word) in key[8..24].chunks_exact_mut(4).zip([kind, phase, epoch, step]) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(key))
    }

    /// Uniform in `[0, 1)`, 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Standard normal (Box-Muller, cosine branch).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// A permutation of `0..n` (Fisher-Yates; the bias of the modulo is below 2^-32 for any real n).
    pub fn permutation(&mut self, n: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..n as u32).collect();
        for last in (1..n).rev() {
            let pick = (self.0.next_u64() % (last as u64 + 1)) as usize;
            order.swap(last, pick);
        }
        order
    }

    /// Fills `mask` with inverted-dropout factors: 0 with probability `p`, else `1 / (1 - p)`.
    /// The probability is rounded to 16 bits, and the factor is that of the rounded probability, so that
    /// the expectation is exactly 1.
    pub fn dropout(&mut self, p: f64, mask: &mut [f32]) {
        let threshold = (p * 65536.0).round() as u32;
        if threshold == 0 {
            mask.fill(1.0);
            return;
        }
        let keep = (65536.0 / (65536 - threshold.min(65535)) as f64) as f32;
        let mut bytes = [0u8; 1024];
        for block in mask.chunks_mut(512) {
            let bytes = &mut bytes[..2 * block.len()];
            self.0.fill_bytes(bytes);
            for (factor, pair) in block.iter_mut().zip(bytes.chunks_exact(2)) {
                let draw = u32::from(u16::from_le_bytes([pair[0], pair[1]]));
                *factor = if draw < threshold { 0.0 } else { keep };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_by_every_coordinate_and_repeat() {
        let draw = |seed, purpose| Stream::new(seed, purpose).uniform();
        let step = |phase, epoch, step| Purpose::Dropout { phase, epoch, step };
        let streams = [
            draw(0, Purpose::Init),
            draw(1, Purpose::Init),
            draw(0, Purpose::Order { phase: Phase::Rce, epoch: 1 }),
            draw(0, step(Phase::Rce, 1, 0)),
            draw(0, step(Phase::Grpo, 1, 0)),
            draw(0, step(Phase::Rce, 2, 0)),
            draw(0, step(Phase::Rce, 1, 1)),
        ];
        for (i, a) in streams.iter().enumerate() {
            assert!(streams[..i].iter().all(|b| a != b), "stream {i} repeats another");
        }
        assert_eq!(draw(0, Purpose::Init), streams[0]);
    }

    #[test]
    fn dropout_keeps_the_expectation() {
        for p in [0.0, 0.1, 0.5, 0.9] {
            let mut mask = vec![0.0f32; 100_000];
            Stream::new(7, Purpose::Init).dropout(p, &mut mask);
            let mean = mask.iter().map(|&x| f64::from(x)).sum::<f64>() / mask.len() as f64;
            let zeros = mask.iter().filter(|&&x| x == 0.0).count() as f64 / mask.len() as f64;
            assert!((mean - 1.0).abs() < 0.02, "p {p}: mean {mean}");
            assert!((zeros - p).abs() < 0.01, "p {p}: zeros {zeros}");
        }
    }

    #[test]
    fn a_permutation_visits_everything_once() {
        let mut order = Stream::new(3, Purpose::Init).permutation(101);
        assert_ne!(order, (0..101).collect::<Vec<u32>>());
        order.sort_unstable();
        assert_eq!(order, (0..101).collect::<Vec<u32>>());
    }

    #[test]
    fn normal_numbers_have_mean_0_and_variance_1() {
        let mut stream = Stream::new(5, Purpose::Init);
        let draws: Vec<f64> = (0..50_000).map(|_| stream.normal()).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
    }
}

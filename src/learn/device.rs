//! Where training runs.

/// A device to compute on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The CPU, with this program's own kernels.
    Cpu,
    /// The CPU, with burn's flex backend: the program that runs on a GPU, for comparison.
    Flex,
    /// The GPU of this number.
    Cuda(usize),
}

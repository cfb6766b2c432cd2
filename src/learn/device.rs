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

impl std::str::FromStr for Device {
    type Err = std::io::Error;
    fn from_str(_: &str) -> Result<Self, Self::Err> {
        Ok(Self::Cpu)
    }
}
impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cpu")
    }
}

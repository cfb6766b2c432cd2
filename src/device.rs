//! Where training runs.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use burn::tensor::backend::Backend;
use burn::{Dispatch, DispatchDevice};

use crate::text::plural;

/// A device to compute on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The CPU, with this program's own kernels.
    Cpu,
    /// The CPU, with burn's flex backend: the program that runs on a GPU, for comparison.
    Flex,
    /// The NVIDIA GPU of this number, and what its matrix products compute in.
    Cuda(usize, Precision),
    /// The GPU that Vulkan, Metal or DirectX 12 names first.
    Wgpu,
}

/// What matrix products with stored operands compute in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Single precision everywhere.
    #[default]
    F32,
    /// Operands rounded to 11 significant bits, for the tensor cores of NVIDIA GPUs since Ampere; sums in f32.
    Tf32,
}

/// What `--device` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceRequest {
    /// The first GPU where this build can use one, else the CPU.
    Auto,
    /// This one or an error.
    Exactly(Device),
}

/// Why a device cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    #[error("`{text}` is no device\nhint: auto, cpu, flex, cuda, cuda:N or wgpu")]
    Unknown { text: String },
    #[error("`{text}` is no precision\nhint: f32 or tf32")]
    UnknownPrecision { text: String },
    #[error(
        "{device} computes in f32 only\nhint: TF32 needs an NVIDIA GPU, compute capability 8.0 or higher; leave `--precision` out"
    )]
    OnlyF32 { device: String },
    #[error("this build has no {name}\nhint: cargo build --release --features {feature}")]
    NotBuilt { name: &'static str, feature: &'static str },
    #[error(
        "no CUDA driver was found ({library} cannot be loaded)\nhint: install the NVIDIA driver, or use `--device cpu`"
    )]
    NoDriver { library: &'static str },
    #[error("the CUDA driver does not answer: {cause}\nhint: `nvidia-smi` should list a device")]
    Driver { cause: String },
    #[error("there is no cuda:{index}; the driver shows {count} device(s), numbered from 0")]
    NoSuchDevice { index: usize, count: usize },
    #[error(
        "no Vulkan, Metal or DirectX 12 device was found\nhint: install the GPU's driver (`vulkaninfo --summary` should list a device), or use `--device cpu`"
    )]
    NoAdapter,
}

impl Device {
    /// `cpu`, `cuda` or `wgpu`: the kind of hardware, and whether its products are rounded.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Cpu | Self::Flex => "cpu",
            Self::Cuda(_, Precision::F32) => "cuda",
            Self::Cuda(_, Precision::Tf32) => "cuda (tf32)",
            Self::Wgpu => "wgpu",
        }
    }

    /// Whether it is a graphics processor.
    pub fn is_gpu(self) -> bool {
        matches!(self, Self::Cuda(..) | Self::Wgpu)
    }

    /// Whether the device can be used, found out without asking burn for it (which panics without a driver).
    ///
    /// # Errors
    /// Says what is missing: the cargo feature, the driver, or the device.
    pub fn check(self) -> Result<(), DeviceError> {
        match self {
            Self::Cpu | Self::Flex => Ok(()),
            Self::Wgpu => wgpu_adapter(),
            Self::Cuda(index, precision) => {
                let count = cuda_devices()?;
                if index >= count {
                    return Err(DeviceError::NoSuchDevice { index, count });
                }
                match precision {
                    Precision::Tf32 if !cuda_has_tf32(index) => {
                        Err(DeviceError::OnlyF32 { device: format!("cuda:{index}") })
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// What the hardware is called, as its driver or the system tells; `None` where nobody does.
    pub fn hardware(self) -> Option<String> {
        match self {
            Self::Cpu | Self::Flex => cpu_name(),
            Self::Cuda(index, _) => cuda_name(index),
            Self::Wgpu => wgpu_name(),
        }
    }

    /// Bytes that the driver reported free when this process first asked; later the program's own allocator keeps what
    /// it has taken. `None` where nobody says: the CPU, and wgpu, which has no such question.
    pub fn free_memory(self) -> Option<u64> {
        static FREE: OnceLock<Option<u64>> = OnceLock::new();
        match self {
            Self::Cuda(index, _) => *FREE.get_or_init(|| cuda_free_memory(index)),
            Self::Cpu | Self::Flex | Self::Wgpu => None,
        }
    }

    /// What its matrix products compute in.
    pub fn precision(self) -> Precision {
        match self {
            Self::Cuda(_, precision) => precision,
            Self::Cpu | Self::Flex | Self::Wgpu => Precision::F32,
        }
    }

    /// Waits until the device has done, or failed to do, all that it was asked for: what a failed cohort left in its
    /// queue must not disturb the next one.
    pub fn drain(self) {
        let Some(device) = self.burn_device() else { return };
        // How it ends is of no interest; it may well be another panic.
        let _ = std::panic::catch_unwind(|| Dispatch::sync(&device));
    }

    /// burn's device without gradients; `None` for the CPU engine, which needs none.
    pub fn burn_device(self) -> Option<DispatchDevice> {
        match self {
            Self::Cpu => None,
            Self::Flex => Some(DispatchDevice::Flex(burn::backend::flex::FlexDevice)),
            #[cfg(feature = "cuda")]
            Self::Cuda(index, _) => Some(DispatchDevice::Cuda(burn::backend::cuda::CudaDevice { index })),
            #[cfg(not(feature = "cuda"))]
            Self::Cuda(..) => None,
            #[cfg(feature = "wgpu")]
            Self::Wgpu => Some(DispatchDevice::Wgpu(burn::backend::wgpu::WgpuDevice::DefaultDevice)),
            #[cfg(not(feature = "wgpu"))]
            Self::Wgpu => None,
        }
    }
}

impl DeviceRequest {
    /// The same request for a device that computes in `precision`; `auto` is then the first NVIDIA GPU or an error.
    ///
    /// # Errors
    /// When a device was asked for that has no such precision.
    pub fn with(self, precision: Precision) -> Result<Self, DeviceError> {
        match (self, precision) {
            (request, Precision::F32) => Ok(request),
            (Self::Auto, Precision::Tf32) => Ok(Self::Exactly(Device::Cuda(0, precision))),
            (Self::Exactly(Device::Cuda(index, _)), Precision::Tf32) => {
                Ok(Self::Exactly(Device::Cuda(index, precision)))
            }
            (Self::Exactly(device), Precision::Tf32) => {
                Err(DeviceError::OnlyF32 { device: device.to_string() })
            }
        }
    }

    /// The device to use.
    ///
    /// # Errors
    /// As [`Device::check`], when a particular device was asked for.
    pub fn resolve(self) -> Result<Device, DeviceError> {
        match self {
            Self::Auto => {
                let gpu = Device::Cuda(0, Precision::F32);
                Ok(if gpu.check().is_ok() { gpu } else { Device::Cpu })
            }
            Self::Exactly(device) => device.check().map(|()| device),
        }
    }
}

impl FromStr for DeviceRequest {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let (name, precision) = match text.strip_suffix("+tf32") {
            Some(name) if name.starts_with("cuda") => (name, Precision::Tf32),
            _ => (text, Precision::F32),
        };
        let exactly = match name {
            "auto" => return Ok(Self::Auto),
            "cpu" => Device::Cpu,
            "flex" => Device::Flex,
            "cuda" => Device::Cuda(0, precision),
            "wgpu" => Device::Wgpu,
            _ => {
                let index = name.strip_prefix("cuda:").and_then(|number| number.parse().ok());
                Device::Cuda(index.ok_or_else(|| DeviceError::Unknown { text: text.to_owned() })?, precision)
            }
        };
        Ok(Self::Exactly(exactly))
    }
}

impl FromStr for Precision {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        match text {
            "f32" => Ok(Self::F32),
            "tf32" => Ok(Self::Tf32),
            _ => Err(DeviceError::UnknownPrecision { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str(match self {
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
        })
    }
}

/// As `--device` takes it: `cuda:0`, or `cuda:0+tf32` for rounded products.
impl fmt::Display for Device {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Cpu => out.write_str("cpu"),
            Self::Flex => out.write_str("flex"),
            Self::Cuda(index, Precision::F32) => write!(out, "cuda:{index}"),
            Self::Cuda(index, Precision::Tf32) => write!(out, "cuda:{index}+tf32"),
            Self::Wgpu => out.write_str("wgpu"),
        }
    }
}

impl fmt::Display for DeviceRequest {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Auto => out.write_str("auto"),
            Self::Exactly(device) => device.fmt(out),
        }
    }
}

/// `AMD EPYC 7763 64-Core Processor, 2 threads`: the model, and how many threads this process may run at once.
fn cpu_name() -> Option<String> {
    let facts = fs_err::read_to_string("/proc/cpuinfo").ok()?;
    let model = facts.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    Some(format!("{}, {}", model?.1.trim(), plural(threads, "thread")))
}

#[cfg(not(feature = "cuda"))]
fn cuda_devices() -> Result<usize, DeviceError> {
    Err(DeviceError::NotBuilt { name: "CUDA", feature: "cuda" })
}

#[cfg(not(feature = "cuda"))]
fn cuda_free_memory(_: usize) -> Option<u64> {
    None
}

#[cfg(not(feature = "cuda"))]
fn cuda_name(_: usize) -> Option<String> {
    None
}

/// `NVIDIA H100 80GB HBM3`
#[cfg(feature = "cuda")]
fn cuda_name(index: usize) -> Option<String> {
    cudarc::driver::CudaContext::new(index).and_then(|context| context.name()).ok()
}

#[cfg(not(feature = "cuda"))]
fn cuda_has_tf32(_: usize) -> bool {
    false
}

/// Whether the device has tensor cores that take TF32.
#[cfg(feature = "cuda")]
fn cuda_has_tf32(index: usize) -> bool {
    let capability = cudarc::driver::CudaContext::new(index).and_then(|context| context.compute_capability());
    capability.is_ok_and(|(major, _)| major >= 8)
}

/// Free bytes of a CUDA device.
#[cfg(feature = "cuda")]
fn cuda_free_memory(index: usize) -> Option<u64> {
    let (free, _) =
        cudarc::driver::CudaContext::new(index).and_then(|context| context.mem_get_info()).ok()?;
    u64::try_from(free).ok()
}

#[cfg(not(feature = "wgpu"))]
fn wgpu_adapter() -> Result<(), DeviceError> {
    Err(DeviceError::NotBuilt { name: "wgpu", feature: "wgpu" })
}

#[cfg(not(feature = "wgpu"))]
fn wgpu_name() -> Option<String> {
    None
}

/// The name of the first adapter.
#[cfg(feature = "wgpu")]
fn wgpu_name() -> Option<String> {
    Some(wgpu_adapters().first()?.get_info().name)
}

/// Looks for a device.
#[cfg(feature = "wgpu")]
fn wgpu_adapter() -> Result<(), DeviceError> {
    if wgpu_adapters().is_empty() { Err(DeviceError::NoAdapter) } else { Ok(()) }
}

/// All devices, through the loader that burn's backend uses.
#[cfg(feature = "wgpu")]
fn wgpu_adapters() -> Vec<wgpu::Adapter> {
    let instance = wgpu::Instance::default();
    let adapters = std::pin::pin!(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    // Outside a browser nothing is waited for: the first poll has the answer.
    match adapters.poll(&mut context) {
        std::task::Poll::Ready(adapters) => adapters,
        std::task::Poll::Pending => Vec::new(),
    }
}

/// Number of CUDA devices, through the loader that burn's backend uses.
#[cfg(feature = "cuda")]
fn cuda_devices() -> Result<usize, DeviceError> {
    // SAFETY: both calls try to open a shared library and close it again; the NVIDIA libraries run nothing
    // on loading that other code in this process depends on.
    let (driver, compiler) =
        unsafe { (cudarc::driver::sys::is_culib_present(), cudarc::nvrtc::sys::is_culib_present()) };
    if !driver {
        return Err(DeviceError::NoDriver { library: "libcuda.so.1" });
    }
    if !compiler {
        return Err(DeviceError::NoDriver { library: "libnvrtc.so" });
    }
    let count = cudarc::driver::CudaContext::device_count();
    count
        .map(|count| usize::try_from(count).unwrap_or(0))
        .map_err(|cause| DeviceError::Driver { cause: cause.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_read_back_as_they_are_written() {
        for text in ["auto", "cpu", "flex", "cuda:0", "cuda:7", "cuda:7+tf32", "wgpu"] {
            assert_eq!(text.parse::<DeviceRequest>().unwrap().to_string(), text);
        }
        assert_eq!("cuda".parse(), Ok(DeviceRequest::Exactly(Device::Cuda(0, Precision::F32))));
    }

    #[test]
    fn other_words_are_refused() {
        for text in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "CPU", "cpu+tf32", "cuda:0+f16"] {
            let error = text.parse::<DeviceRequest>().unwrap_err();
            assert!(error.to_string().contains("auto, cpu, flex, cuda, cuda:N or wgpu"), "{error}");
        }
    }

    #[test]
    fn only_nvidia_gpus_round_and_only_where_it_is_asked_for() {
        let with = |text: &str, precision| text.parse::<DeviceRequest>().unwrap().with(precision);
        for text in ["auto", "cpu", "flex", "cuda:1", "wgpu"] {
            assert_eq!(with(text, Precision::F32).unwrap().to_string(), text);
        }
        assert_eq!(with("cuda:1", Precision::Tf32).unwrap().to_string(), "cuda:1+tf32");
        assert_eq!(with("auto", Precision::Tf32).unwrap().to_string(), "cuda:0+tf32");
        for text in ["cpu", "flex", "wgpu"] {
            let error = with(text, Precision::Tf32).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{text} computes in f32 only\nhint:")), "{error}");
        }
        assert!("f16".parse::<Precision>().unwrap_err().to_string().contains("f32 or tf32"));
        assert_eq!(Device::Cuda(0, Precision::Tf32).kind(), "cuda (tf32)");
    }

    #[test]
    fn the_cpu_is_always_there_and_a_missing_gpu_is_said() {
        assert_eq!(Device::Cpu.check(), Ok(()));
        assert_eq!(Device::Flex.check(), Ok(()));
        // No machine has this many GPUs: an error in every build, and never a panic.
        let error = Device::Cuda(4096, Precision::Tf32).check().unwrap_err();
        if cfg!(not(feature = "cuda")) {
            assert!(error.to_string().contains("--features cuda"), "{error}");
        }
        if cfg!(not(feature = "wgpu")) {
            let error = Device::Wgpu.check().unwrap_err();
            assert!(error.to_string().contains("--features wgpu"), "{error}");
        }
    }
}

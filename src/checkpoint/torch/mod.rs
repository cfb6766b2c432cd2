//! PyTorch's formats beside the zip, and what the calls in its pickles stand for.

pub(super) mod calls;
pub(super) mod legacy;
pub(super) mod matrix;

//! The compiled core of the Python package `adieu`: the follower, the index and the verifier of the Rust crates.
//!
//! 1. **A native thread follows, Python only reads.** No code of Python runs on that thread, so a busy interpreter, gevent
//!    or eventlet does not delay it. It reports through values that Python polls.
//! 2. **A fork finds no thread.** Python stops the thread before a fork, and starts one in the parent and in the child: see
//!    `Core::pause`.
//! 3. **Anything unusual is left to Python.** A look-up that cannot be answered from valid claims and a fresh index calls
//!    the Python package, which decides with the same code and the same errors as without this core: see `lookups`.
//! 4. **No panic ends a worker.** It becomes a `RuntimeError` in every method that is given a claim, an id or a token: see
//!    `border`.

mod border;
mod feed;
mod follower;
mod lookups;
mod payload;
mod revocations;
mod verifier;

use pyo3::prelude::*;

/// The compiled core of the package `adieu`.
#[pymodule(gil_used = true)]
mod adieu_core {
    use pyo3::prelude::*;

    #[cfg(debug_assertions)]
    #[pymodule_export]
    use crate::border::panic_in_core;
    #[pymodule_export]
    use crate::follower::Core;
    #[pymodule_export]
    use crate::lookups::Lookups;
    #[pymodule_export]
    use crate::verifier::Verifier;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}

/// Returns an exception of Python for settings that are refused.
fn refused(error: &adieu::Error) -> PyErr {
    pyo3::exceptions::PyValueError::new_err(format!("this setting must be another: {}", adieu::Chain(error)))
}

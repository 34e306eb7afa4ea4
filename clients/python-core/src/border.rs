//! The border to Python, which no panic crosses.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::{exceptions::PyRuntimeError, prelude::*};

/// Runs what a method does; a panic becomes a `RuntimeError`, which the application answers like any other error. What PyO3
/// would raise is no `Exception`, and ends the worker of a server.
#[inline]
pub(crate) fn guarded<T>(work: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message =
            panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Err(PyRuntimeError::new_err(format!("the compiled core failed: {}", message.unwrap_or("unknown cause"))))
    })
}

/// Panics, for the tests of debug builds.
#[cfg(debug_assertions)]
#[pyfunction]
#[pyo3(name = "_panic")]
#[expect(clippy::panic, reason = "it is what this is for")]
pub(crate) fn panic_in_core(message: String) -> PyResult<()> {
    guarded(|| panic!("{message}"))
}

//! A Python with the published SDK in it, made once.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    sync::{Mutex, PoisonError},
};

use crate::harness::{cache, is_installed, repository, run};

/// Held while the environment is made: the first test that needs it makes it, the others wait.
static MAKING: Mutex<()> = Mutex::new(());

/// The interpreter of a virtual environment with what tests/sdk/requirements.txt names; `None` without a Python.
pub(crate) fn interpreter() -> Option<PathBuf> {
    if !is_installed("python3") {
        return None;
    }
    let requirements = repository("tests/sdk/requirements.txt");
    let wanted = fs::read_to_string(&requirements).unwrap();
    let place = cache().join("python");
    let python = place.join("bin/python");
    let complete = place.join("complete");

    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    if fs::read_to_string(&complete).is_ok_and(|made| made == wanted) {
        return Some(python);
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&place));
    run(Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
        .arg(&requirements));
    fs::write(complete, wanted).unwrap();
    Some(python)
}

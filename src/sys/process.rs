//! Other processes, and this one.

use std::{env, io, os::unix::process::CommandExt, process::Command};

use rustix::process::{Pid, Signal, kill_process};

/// Begins this process anew, with the same arguments and one variable more in its environment: for what a library reads from there
/// before anything of ours runs. Returns only when that is not possible. Nothing may have been started before.
pub fn begin_anew_with(variable: &str, value: &str) -> io::Error {
    let program = match env::current_exe() {
        Ok(program) => program,
        Err(error) => return error,
    };
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_else(|| program.clone().into_os_string());
    Command::new(program).arg0(name).args(arguments).env(variable, value).exec()
}

/// Asks a process to end (SIGTERM). That it is gone already is no error.
pub fn terminate(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // There is nothing to do about a process that may not be signalled.
        kill_process(pid, Signal::TERM).ok();
    }
}

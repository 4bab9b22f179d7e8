//! The binary: everything is in the library.

use std::process::ExitCode;

/// Chunks of 64 KiB and more come and go with every batch of events, which the system's allocator gives back to the
/// kernel each time. Without huge pages, because of which an idle server would take twice the memory and a busy one more time.
/// A server sets how long it keeps freed memory (`cli::dev_server`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ensign::cli::main()
}

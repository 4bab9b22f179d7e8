//! A terminal for a test: keys go in, and what a person would see comes out.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    process::{Child, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use rustix::{
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use super::machine::{Run, wait_for};

/// A program on a terminal of 100 columns. It ends with the test.
pub(super) struct Terminal {
    child: Child,
    keyboard: File,
    seen: Arc<Mutex<Vec<u8>>>,
    /// How much of it was waited for.
    waited: usize,
}

impl Terminal {
    pub(super) fn start(run: Run<'_>) -> Terminal {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        tcsetwinsize(&keyboard, Winsize { ws_row: 30, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let path = ptsname(&keyboard, Vec::new()).unwrap().into_string().unwrap();
        let screen = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let child = run.spawn_with(|| Stdio::from(screen.try_clone().unwrap()));
        let keyboard = File::from(keyboard);
        let seen: Arc<Mutex<Vec<u8>>> = Arc::default();
        let (collected, mut source) = (seen.clone(), keyboard.try_clone().unwrap());
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // The end is an error here, once nobody has the terminal any more.
            while let Ok(count @ 1..) = source.read(&mut buffer) {
                collected.lock().unwrap().extend_from_slice(&buffer[..count]);
            }
        });
        Terminal { child, keyboard, seen, waited: 0 }
    }

    /// Presses keys. The enter key is `\r`.
    pub(super) fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until a text is seen that was not waited for yet. Gives what was seen before it.
    #[track_caller]
    pub(super) fn wait_for(&mut self, text: &str) -> String {
        let from = self.waited;
        let seen = self.seen.clone();
        let look = || {
            let bytes = seen.lock().unwrap();
            let shown = &bytes[from..];
            let at = shown.windows(text.len()).position(|window| window == text.as_bytes());
            at.map(|at| (String::from_utf8_lossy(&shown[..at]).into_owned(), from + at + text.len()))
        };
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none() || look().is_some(), "{text:?} did not come: {:?}", self.all());
        let (before, waited) = wait_for(text, look);
        self.waited = waited;
        before
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// All that was seen so far.
    pub(super) fn all(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    /// Waits for the end of the program, and gives its exit code.
    #[track_caller]
    pub(super) fn end(&mut self) -> Option<i32> {
        wait_for("the end of the program", || self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

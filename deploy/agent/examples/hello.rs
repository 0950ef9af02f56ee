//! A small HTTP server on a UNIX socket, as services of test hosts run it: static, so that its
//! root file system is one file.
//!
//! `hello SOCKET TEXT [MODE]`: MODE is `ill` (answers 503 to /health), `crash` (ends after its
//! start), `slow` (50 ms for each answer). On SIGTERM it stops to accept, finishes the requests
//! it has, and ends, as Gunicorn does; connections that still wait in the backlog are lost.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{env, fs, process, thread};

use nix::sys::signal::{SigSet, Signal};

fn main() {
    let arguments: Vec<String> = env::args().collect();
    let [_, socket, text, rest @ ..] = &arguments[..] else {
        eprintln!("usage: hello SOCKET TEXT [ill|crash|slow]");
        process::exit(2);
    };
    let mode = rest.first().cloned().unwrap_or_default();
    if mode == "crash" {
        eprintln!("hello: cannot find my configuration");
        process::exit(1);
    }
    let mut stop = SigSet::empty();
    stop.add(Signal::SIGTERM);
    stop.thread_block().expect("blocking a signal takes no privilege");
    let busy = Arc::new(AtomicUsize::new(0));
    let finishing = Arc::clone(&busy);
    let path = socket.clone();
    thread::spawn(move || {
        let _ = stop.wait();
        let _ = fs::remove_file(&path);
        while finishing.load(Ordering::SeqCst) > 0 {
            thread::sleep(Duration::from_millis(2));
        }
        process::exit(0);
    });
    let listener = match UnixListener::bind(socket) {
        Ok(listener) => listener,
        Err(e) => {
            eprintln!("hello: cannot listen on {socket}: {e}");
            process::exit(1);
        }
    };
    eprintln!("hello: listening on {socket}");
    for stream in listener.incoming().flatten() {
        busy.fetch_add(1, Ordering::SeqCst);
        let (text, mode, busy) = (text.clone(), mode.clone(), Arc::clone(&busy));
        thread::spawn(move || {
            let _ = answer(&stream, &text, &mode);
            drop(stream);
            busy.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

fn answer(stream: &UnixStream, text: &str, mode: &str) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    if mode == "slow" {
        thread::sleep(Duration::from_millis(50));
    }
    let ill = mode == "ill" && request.contains("/health");
    let (status, body) = if ill { ("503 Service Unavailable", "the database is away") } else { ("200 OK", text) };
    let mut stream = stream;
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}\n", body.len() + 1)
}

//! A mirror of source files: an HTTP server for one folder that can be down for some requests, or delay its
//! answers.

use anyhow::Result;
use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// Maximum time that an answer is held back.
const PATIENCE: Duration = Duration::from_secs(300);

/// The mirror. Dropping it stops it.
#[derive(Debug)]
pub struct Mirror {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Number of requests so far.
    asked: usize,
    /// How many further requests are answered with 503.
    refuse: usize,
    /// Whether answers are held back.
    hold: bool,
    over: bool,
}

impl Mirror {
    /// Serves the files in `folder`.
    ///
    /// # Errors
    /// It cannot listen.
    pub fn start(folder: &Path) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared =
            Arc::new(Shared { folder: folder.to_owned(), state: Mutex::default(), changed: Condvar::new() });
        let server = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                if server.state().over {
                    return;
                }
                let Ok(client) = client else { continue };
                let server = Arc::clone(&server);
                // It does not matter if a client disconnects.
                thread::spawn(move || _ = server.answer(client));
            }
        });
        Ok(Self { address, shared })
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Is down for the next `requests` requests.
    pub fn refuse(&self, requests: usize) {
        self.shared.state().refuse = requests;
    }

    /// With true, holds back all answers from now on. With false, sends them.
    pub fn hold(&self, hold: bool) {
        self.shared.state().hold = hold;
        self.shared.changed.notify_all();
    }

    /// Number of requests so far.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.shared.state().asked
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, mut client: TcpStream) -> Result<()> {
        let mut lines = BufReader::new(client.try_clone()?).lines();
        let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
        for line in lines {
            if line?.is_empty() {
                break;
            }
        }
        let mut state = self.state();
        state.asked += 1;
        let refused = state.refuse > 0;
        state.refuse = state.refuse.saturating_sub(1);
        let held = |state: &mut State| state.hold && !state.over;
        drop(self.changed.wait_timeout_while(state, PATIENCE, held).unwrap_or_else(PoisonError::into_inner));
        let name = request.split(' ').nth(1).and_then(|path| path.rsplit('/').next()).unwrap_or_default();
        let (status, body) = match fs::read(self.folder.join(name)) {
            _ if refused => ("503 Service Unavailable", Vec::new()),
            Ok(body) => ("200 OK", body),
            Err(_) => ("404 Not Found", Vec::new()),
        };
        let head =
            format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        client.write_all(head.as_bytes())?;
        Ok(client.write_all(&body)?)
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.shared.state().over = true;
        self.shared.changed.notify_all();
        // Wakes the server, so that it notices the end.
        let _woken = TcpStream::connect(self.address);
    }
}

//! What a build can access and use: no network, and a limited number of processes.

use crate::lab::{Lab, order, play, target};
use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket},
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};
use swarm_drone::builder::{BuildContext, BuildEnd, BuildUpdate, run};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// The content of the served source file.
const SOURCE: &str = "a source\n";

/// Serves [`SOURCE`] on all addresses of this machine. Returns the port and the first lines of what clients sent.
fn serve() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            let mut line = String::new();
            // A client that sends nothing has reached this machine too.
            let _ = BufReader::new(&client).read_line(&mut line);
            seen.lock().unwrap().push(line.trim().to_owned());
            let _ = write!(client, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{SOURCE}", SOURCE.len());
        }
    });
    (port, asked)
}

/// The address through which others reach this machine; `None` without a network.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // Connecting a UDP socket sends nothing. The address is reserved for documentation.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// The Manifest line for [`SOURCE`].
fn dist_line(lab: &Lab, name: &str) -> String {
    let file = lab.dir.path().join(name);
    std::fs::write(&file, SOURCE).unwrap();
    let sum = |program: &str| {
        let stdout = Command::new(program).arg(&file).output().unwrap().stdout;
        String::from_utf8(stdout).unwrap().split_whitespace().next().unwrap().to_owned()
    };
    format!("DIST {name} {} BLAKE2B {} SHA512 {}\n", SOURCE.len(), sum("b2sum"), sum("sha512sum"))
}

#[tokio::test]
async fn a_build_has_no_network_though_its_sources_are_fetched() {
    let lab = Lab::new();
    let (port, asked) = serve();
    let addresses: Vec<String> =
        [Some(Ipv4Addr::LOCALHOST.into()), own_address()].iter().flatten().map(ToString::to_string).collect();
    let caller = format!(
        "EAPI=8\nDESCRIPTION=\"x\"\nSLOT=0\nKEYWORDS=amd64\nS=\"${{WORKDIR}}\"\nRESTRICT=mirror\n\
         SRC_URI=\"http://127.0.0.1:{port}/source.txt\"\n\
         src_unpack() {{ cp \"${{DISTDIR}}\"/source.txt . || die; }}\n\
         src_compile() {{\n\
         for at in {}; do\n\
         if exec 3<>/dev/tcp/$at/{port}; then echo SENT >&3; echo \"REACHED $at\"; fi\n\
         wget -q -T 10 -t 1 -O- http://$at:{port}/from-the-build && echo \"LOADED $at\"\n\
         done; echo \"looked with $(<source.txt)\"; }}\n",
        addresses.join(" ")
    );
    lab.file("app-misc/caller/caller-1.ebuild", &caller);
    lab.file("app-misc/caller/Manifest", &dist_line(&lab, "source.txt"));
    let (end, log, _) = play(lab.context(order(vec![target("app-misc/caller-1", "0", 1)], vec![]))).await;
    let BuildEnd::Built { .. } = end else { panic!("{end:?}\n{log}") };
    assert!(log.contains("looked with a source"), "{log}");
    assert!(!log.contains("REACHED") && !log.contains("LOADED"), "{log}");
    let asked = asked.lock().unwrap();
    assert!(!asked.is_empty() && asked.iter().all(|line| line.starts_with("GET /source.txt ")), "{asked:?}");
}

/// Forks until that fails, reports how often it succeeded, and keeps the processes.
const BOMB: &str = "EAPI=8\nDESCRIPTION=\"x\"\nSLOT=0\nKEYWORDS=amd64\nS=\"${WORKDIR}\"\n\
    src_compile() {\n\
    printf '%s\\n' '#include <errno.h>' '#include <stdio.h>' '#include <string.h>' '#include <unistd.h>' \\\n\
    'int main(void) { int n = 0; for (; n < 20000; n++) { pid_t p = fork(); if (p < 0) break; if (p == 0) { pause(); _exit(0); } }' \\\n\
    'printf(\"forked %d times: %s\\\\n\", n, n < 20000 ? strerror(errno) : \"no end\"); fflush(stdout); pause(); }' >bomb.c\n\
    cc -o bomb bomb.c || die; ./bomb; }\n";

/// Forks as an ordinary build does.
const OTHER: &str = "EAPI=8\nDESCRIPTION=\"x\"\nSLOT=0\nKEYWORDS=amd64\nS=\"${WORKDIR}\"\n\
    src_compile() { for n in {1..200}; do ( : ) & done; wait || die; echo done-beside-it; }\n";

/// Runs a build until its log contains `words`, then runs `meanwhile`, then cancels the build. Returns the
/// result and the log.
async fn held(context: BuildContext, words: &str, meanwhile: impl Future<Output = ()>) -> (BuildEnd, String) {
    let (cancel, (reached, at)) = (CancellationToken::new(), oneshot::channel());
    let (tx, mut rx) = mpsc::channel(16);
    let listen = async {
        let (mut log, mut reached) = (String::new(), Some(reached));
        while let Some(note) = rx.recv().await {
            if let BuildUpdate::Log(bytes) = note {
                log.push_str(&String::from_utf8_lossy(&bytes));
            }
            if let Some(reached) = reached.take_if(|_| log.contains(words)) {
                let _ = reached.send(());
            }
        }
        log
    };
    let then = async {
        if at.await.is_ok() {
            meanwhile.await;
        }
        cancel.cancel();
    };
    let (end, log, ()) = tokio::join!(run(context, tx, cancel.clone()), listen, then);
    (end, log)
}

// fault: 32
#[tokio::test]
async fn a_build_that_forks_without_end_stops_at_its_limit_and_others_go_on() {
    // Only root can create control groups everywhere.
    assert!(rustix::process::geteuid().is_root(), "only root can limit processes: run the tests as root");
    let lab = Lab::new();
    lab.file("app-misc/bomb/bomb-1.ebuild", BOMB);
    lab.file("app-misc/other/other-1.ebuild", OTHER);
    let bomb = lab.context(order(vec![target("app-misc/bomb-1", "0", 1)], vec![]));
    let other = lab.context(order(vec![target("app-misc/other-1", "0", 1)], vec![]));
    let (end, log) = Box::pin(held(bomb, "forked ", async {
        let (end, log, _) = play(other).await;
        assert!(matches!(end, BuildEnd::Built { .. }), "{end:?}\n{log}");
        assert!(log.contains("done-beside-it"), "{log}");
    }))
    .await;
    assert_eq!(end, BuildEnd::Cancelled, "{log}");
    let (_, forked) = log.split_once("forked ").unwrap();
    let (times, why) = forked.split_once(" times: ").unwrap();
    assert!((7000..8192).contains(&times.parse::<u32>().unwrap()), "{forked}");
    assert!(why.starts_with("Resource temporarily unavailable"), "{forked}");
}

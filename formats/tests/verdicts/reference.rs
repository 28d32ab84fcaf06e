//! The reference: one Python process with the real Portage that reads many packages.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// The result for a package: a summary of its image, or why it is refused.
pub type Verdict = Result<String, String>;

pub struct Reference {
    child: Child,
    packages: ChildStdin,
    verdicts: BufReader<ChildStdout>,
}

impl Reference {
    /// Starts the process. A missing Portage fails the test instead of skipping it.
    pub fn start() -> Self {
        let mut child = python()
            .arg(top().join("formats/tests/verdicts/reference.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (packages, verdicts) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, packages, verdicts: BufReader::new(verdicts) }
    }

    /// The reference's result for a package.
    pub fn of(&mut self, package: &[u8]) -> Verdict {
        self.packages.write_all(&u32::try_from(package.len()).unwrap().to_be_bytes()).unwrap();
        self.packages.write_all(package).unwrap();
        self.packages.flush().unwrap();
        let mut line = String::new();
        self.verdicts.read_line(&mut line).unwrap();
        match line.trim_end().split_once(' ') {
            Some(("ok", image)) => Ok(image.to_owned()),
            Some(("no", why)) => Err(why.to_owned()),
            _ => panic!("the reference ended: {line:?}"),
        }
    }
}

/// The top directory of the repository, for each crate that includes this file.
fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The Python interpreter that has the real Portage.
pub fn python() -> Command {
    let prefix = match std::env::var("SWARM_PORTAGE") {
        Ok(prefix) => prefix,
        Err(_) => {
            let ran = Command::new(top().join("scripts/portage")).output().unwrap();
            assert!(ran.status.success(), "no Portage: run scripts/portage or set SWARM_PORTAGE ({ran:?})");
            String::from_utf8(ran.stdout).unwrap()
        }
    };
    let own = Path::new(prefix.trim()).join("bin/python");
    let mut python = Command::new(if own.exists() { own } else { "python3".into() });
    python.env("PYTHONUTF8", "1");
    python
}

impl Drop for Reference {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! The number of jobs that `make` runs at once in a build root, with this machine's `make`.

use crate::lab::{Lab, order, play, target};
use swarm_drone::{builder::BuildEnd, jobserver::Jobserver};

/// Runs eight slow jobs and prints how many ran at once.
const MAKER: &str = r#"EAPI=8
DESCRIPTION="x"
SLOT=0
KEYWORDS=amd64
S="${WORKDIR}"
src_compile() {
	mkdir on || die
	printf 'all: $(addprefix j,1 2 3 4 5 6 7 8)\nj%%: ; @: >on/$@; ls on | wc -l >>seen; sleep 0.5; rm on/$@\n' >Makefile
	emake
	local version=$(MAKEFLAGS= make --version)
	echo "at once: $(sort -n seen | tail -n 1) with ${version%%$'\n'*} and flags ${MAKEFLAGS:-none}"
}
src_install() { dodoc Makefile; }
"#;

/// The output of the package in a build with a jobserver for four processors; two jobs without it.
async fn said() -> String {
    let lab = Lab::new();
    lab.file("app-misc/maker/maker-1.ebuild", MAKER);
    let mut context = lab.context(order(vec![target("app-misc/maker-1", "0", 1)], vec![]));
    let jobserver = Jobserver::new(&lab.dir.path().join("work/jobserver"), 4, 2).unwrap();
    let guard = jobserver.enter().unwrap().unwrap();
    context.jobserver = Some(guard.dir().to_owned());
    context.config.jobs = 2;
    context.config.load = 1000.0;
    let (end, log, _) = guard.run(Box::pin(play(context))).await;
    let BuildEnd::Built { .. } = end else { panic!("{end:?}\n{log}") };
    log.lines().find(|line| line.starts_with("at once: ")).expect(&log).to_owned()
}

#[tokio::test]
async fn a_make_that_knows_the_jobserver_has_all_processors_and_an_older_one_its_part() {
    let said = said().await;
    let version = said.split("GNU Make ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap());
    let knows = (numbers.next(), numbers.next()) >= (Some(4), Some(4));
    let (jobs, flags) = if knows { (4, "--jobserver-auth=fifo:/") } else { (2, "none") };
    assert!(said.starts_with(&format!("at once: {jobs} ")), "{said}");
    assert!(said.contains(&format!("and flags {flags}")), "{said}");
}

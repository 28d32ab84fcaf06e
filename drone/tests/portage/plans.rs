//! Plans of worlds that the resolver partly refuses: the reported problems, the remaining plan, and the
//! number of resolver runs.

use crate::lab::{Lab, packages, play};
use std::{collections::BTreeSet, fs};
use swarm_common::wire::{
    drone::Work,
    plan::{PlanProblem, PlanReport, ProblemKind},
};
use swarm_drone::builder::BuildEnd;

/// Adds ebuilds, each given by its `cpv` and lines such as `IUSE="x"`; `BOTH` sets DEPEND and RDEPEND.
fn ebuilds(lab: &Lab, all: &[(&str, &str)]) {
    for (cpv, lines) in all {
        let (category, pf) = cpv.split_once('/').unwrap();
        let (pn, _) = pf.rsplit_once('-').unwrap();
        let lines = match lines.strip_prefix("BOTH ") {
            Some(deps) => format!("DEPEND=\"{deps}\"\nRDEPEND=\"{deps}\"\n"),
            None => (*lines).to_owned(),
        };
        let text = format!(
            "EAPI=8\nDESCRIPTION=\"x\"\nLICENSE=MIT\nSLOT=0\nKEYWORDS=amd64\nS=\"${{WORKDIR}}\"\n{lines}\n"
        );
        lab.file(&format!("{category}/{pn}/{pf}.ebuild"), &text);
    }
}

/// A cycle that can be broken by a first stage without `shape` or `font`. `app-misc/desk` requires both
/// flags.
const BREAKABLE: [(&str, &str); 3] = [
    ("media-libs/font-1", "IUSE=+shape\nDEPEND=\"shape? ( media-libs/shape )\"\nRDEPEND=\"${DEPEND}\""),
    ("media-libs/shape-1", "IUSE=+font\nDEPEND=\"font? ( media-libs/font )\"\nRDEPEND=\"${DEPEND}\""),
    ("app-misc/desk-1", "BOTH media-libs/font[shape] media-libs/shape[font]"),
];

/// The other kinds of refusal: ebuilds, atoms, and the atom that is reported.
type Kind = (ProblemKind, &'static [(&'static str, &'static str)], &'static [&'static str], &'static str);
const KINDS: [Kind; 9] = [
    (
        ProblemKind::SlotConflict,
        &[
            ("dev-libs/ring-1", ""),
            ("dev-libs/ring-2", ""),
            ("dev-libs/ring-3", "KEYWORDS=~amd64"),
            ("app-misc/old-1", "BOTH <dev-libs/ring-2"),
            ("app-misc/new-1", "BOTH >=dev-libs/ring-2"),
        ],
        &["app-misc/old", "app-misc/new"],
        "app-misc/old",
    ),
    (
        ProblemKind::Keyword,
        &[("dev-libs/fresh-1", "KEYWORDS=~amd64"), ("app-misc/brisk-1", "BOTH dev-libs/fresh")],
        &["app-misc/brisk"],
        "app-misc/brisk",
    ),
    (
        ProblemKind::UseChange,
        &[("dev-libs/plain-1", "IUSE=x"), ("app-misc/fancy-1", "BOTH dev-libs/plain[x]")],
        &["app-misc/fancy"],
        "app-misc/fancy",
    ),
    (
        ProblemKind::UseChange,
        &[("app-misc/either-1", "IUSE=\"a b\"\nREQUIRED_USE=\"|| ( a b )\"")],
        &["app-misc/either"],
        "app-misc/either",
    ),
    (
        ProblemKind::Mask,
        &[("dev-libs/hidden-1", ""), ("app-misc/seeker-1", "BOTH dev-libs/hidden")],
        &["app-misc/seeker"],
        "app-misc/seeker",
    ),
    (
        ProblemKind::License,
        &[("dev-libs/closed-1", "LICENSE=EULA"), ("app-misc/lender-1", "BOTH dev-libs/closed")],
        &["app-misc/lender"],
        "app-misc/lender",
    ),
    (
        ProblemKind::Unsatisfied,
        &[("app-misc/lost-1", "BOTH dev-libs/nowhere")],
        &["app-misc/lost"],
        "app-misc/lost",
    ),
    (
        ProblemKind::Other,
        &[("app-misc/loud-1", "RDEPEND=!!app-misc/quiet"), ("app-misc/quiet-1", "")],
        &["app-misc/loud", "app-misc/quiet"],
        "app-misc/loud",
    ),
    (
        ProblemKind::Circular,
        &[
            ("dev-build/egg-1", "BDEPEND=dev-build/hen"),
            ("dev-build/hen-1", "BDEPEND=dev-build/egg"),
            ("app-misc/omelette-1", "BDEPEND=dev-build/hen"),
        ],
        &["app-misc/omelette"],
        "app-misc/omelette",
    ),
];

/// A lab with all kinds of refusal, an unaccepted licence and a masked package.
fn lab() -> Lab {
    let lab = Lab::new();
    ebuilds(&lab, &BREAKABLE);
    KINDS.iter().for_each(|(_, all, ..)| ebuilds(&lab, all));
    lab.file("licenses/EULA", "All is forbidden.\n");
    lab.file("profiles/package.mask", "# Does not work.\n=dev-libs/hidden-1\n");
    fs::write(lab.snapshot().join("etc/portage/package.license"), "*/* -EULA\n").unwrap();
    lab
}

/// The plan and the number of resolver runs.
async fn planned(lab: &Lab) -> (PlanReport, u32) {
    let (end, log, _) = play(lab.context(Work::Plan)).await;
    let BuildEnd::Planned { plan, .. } = end else { panic!("{end:?}\n{log}") };
    let runs = log.split("the resolver ran ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    (plan, runs.parse().unwrap())
}

fn has(plan: &PlanReport, cpv: &str) -> bool {
    packages(plan).any(|p| p.cpv.as_str() == cpv)
}

fn of<'a>(plan: &'a PlanReport, atom: &str) -> &'a PlanProblem {
    let mut found = plan.problems.iter().filter(|p| p.atoms.iter().any(|a| a == atom));
    let problem = found.next().unwrap_or_else(|| panic!("{atom} is not in {:?}", plan.problems));
    assert_eq!(found.next(), None, "{atom} is reported twice");
    problem
}

/// Asserts that font and shape are built in stages and end up with their own flags.
fn assert_bootstrapped(plan: &PlanReport) {
    assert_eq!(plan.cycles.len(), 1, "{:?}", plan.problems);
    let stages = &plan.cycles[0].stages;
    assert_eq!((stages.len(), stages[0].package), (3, stages[2].package));
    assert!(stages[0].use_changes == ["-shape"] || stages[0].use_changes == ["-font"], "{stages:?}");
    assert!(stages[1].use_changes.is_empty() && stages[2].use_changes.is_empty(), "{stages:?}");
    for package in packages(plan).filter(|p| ["font", "shape"].contains(&p.cpv.pn())) {
        assert_eq!(package.use_flags, package.iuse, "{}", package.cpv);
    }
    assert!(has(plan, "app-misc/desk-1"));
}

#[tokio::test]
async fn no_other_refusal_spoils_a_cycle_that_a_first_stage_breaks() {
    let lab = lab();
    for (kind, _, atoms, blamed) in KINDS {
        lab.world(&format!("app-misc/desk\n{}\n", atoms.join("\n")));
        let (plan, _) = planned(&lab).await;
        assert_bootstrapped(&plan);
        assert_eq!(plan.problems.len(), 1, "{:?}", plan.problems);
        assert_eq!((of(&plan, blamed).kind, &plan.problems[0].atoms[..]), (kind, &[blamed.to_owned()][..]));
        for kept in atoms.iter().filter(|a| **a != blamed) {
            assert!(has(&plan, &format!("{kept}-1")), "{kept} is left out beside {blamed}");
        }
    }
}

#[tokio::test]
async fn eight_refusals_of_forty_atoms_take_few_resolutions_and_each_is_told() {
    let lab = lab();
    let names: Vec<String> = (0..32).map(|n| format!("app-misc/item{n}")).collect();
    for (n, name) in names.iter().enumerate() {
        let deps = format!("BOTH dev-libs/part{} dev-libs/part{}", n, n / 2);
        ebuilds(&lab, &[(&format!("{name}-1"), &deps), (&format!("dev-libs/part{n}-1"), "")]);
    }
    lab.world(&names.join("\n"));
    let (clean, once) = planned(&lab).await;
    assert_eq!((clean.problems.len(), once), (0, 1));
    let refused = KINDS.iter().filter(|(kind, ..)| *kind != ProblemKind::Circular);
    let atoms: Vec<&str> = refused.clone().flat_map(|(_, _, atoms, _)| atoms.iter().copied()).collect();
    lab.world(&format!("{}\n{}", names.join("\n"), atoms.join("\n")));
    let (plan, runs) = planned(&lab).await;
    assert!(runs <= 3, "{runs} resolutions");
    for (kind, _, _, blamed) in refused {
        assert_eq!(of(&plan, blamed).kind, *kind);
    }
    assert_eq!(plan.problems.len(), 8, "{:?}", plan.problems);
    assert_eq!(plan.packages.len(), clean.packages.len() + 3, "new with its ring, and quiet");
}

#[tokio::test]
async fn a_slot_conflict_names_both_sides_and_offers_no_beta() {
    let lab = lab();
    // The beta version would satisfy both, but it is not keyworded.
    ebuilds(
        &lab,
        &[
            ("dev-libs/gear-1", ""),
            ("dev-libs/gear-2", ""),
            ("dev-libs/gear-3_beta", "KEYWORDS=~amd64"),
            ("app-misc/slow-1", "BOTH || ( =dev-libs/gear-1 =dev-libs/gear-3_beta )"),
            ("app-misc/fast-1", "BOTH >=dev-libs/gear-2"),
            ("dev-libs/cog-1", "IUSE=oil"),
            ("app-misc/wet-1", "BOTH dev-libs/cog[oil]"),
            ("app-misc/dry-1", "BOTH dev-libs/cog[-oil]"),
        ],
    );
    lab.world("app-misc/slow\napp-misc/fast\napp-misc/wet\napp-misc/dry\n");
    let (plan, _) = planned(&lab).await;
    for (blamed, sides) in [
        ("app-misc/slow", ["dev-libs/gear-2", "app-misc/fast-1", "=dev-libs/gear-1", "app-misc/slow-1"]),
        ("app-misc/wet", ["dev-libs/cog[oil]", "app-misc/wet-1", "dev-libs/cog[-oil]", "app-misc/dry-1"]),
    ] {
        let problem = of(&plan, blamed);
        assert_eq!((problem.kind, &problem.suggestion), (ProblemKind::SlotConflict, &None), "{problem:?}");
        assert!(sides.iter().all(|side| problem.message.contains(side)), "{problem:?}");
        assert!(!problem.message.contains("beta"), "{problem:?}");
    }
    assert!(has(&plan, "app-misc/fast-1") && has(&plan, "app-misc/dry-1"));
}

#[tokio::test]
async fn a_blocker_names_both_sides_and_who_wants_them() {
    let lab = lab();
    ebuilds(
        &lab,
        &[("app-misc/friend-1", "RDEPEND=app-misc/loud"), ("app-misc/guest-1", "RDEPEND=app-misc/quiet")],
    );
    lab.world("app-misc/friend\napp-misc/guest\n");
    let (plan, _) = planned(&lab).await;
    let message = &plan.problems[0].message;
    for name in ["app-misc/loud-1", "app-misc/quiet-1", "app-misc/friend", "app-misc/guest"] {
        assert!(message.contains(name), "{message}");
    }
}

#[tokio::test]
async fn a_suggestion_names_its_files_and_is_all_that_is_needed() {
    let lab = lab();
    ebuilds(
        &lab,
        &[
            ("dev-libs/both-1", "KEYWORDS=~amd64\nLICENSE=EULA"),
            ("app-misc/needy-1", "KEYWORDS=~amd64\nDEPEND=dev-libs/both\nRDEPEND=dev-libs/both"),
            ("app-misc/short-1", "BOTH dev-libs/both dev-libs/nowhere"),
        ],
    );
    lab.world("app-misc/needy\napp-misc/short\napp-misc/fancy\napp-misc/seeker\napp-misc/either\n");
    let (plan, _) = planned(&lab).await;
    let suggested = |atom| of(&plan, atom).suggestion.as_deref().map(|s| s.lines().collect::<BTreeSet<_>>());
    let needed = [
        "package.accept_keywords: =app-misc/needy-1 ~amd64",
        "package.accept_keywords: =dev-libs/both-1 ~amd64",
        "package.license: =dev-libs/both-1 EULA",
    ];
    assert_eq!(suggested("app-misc/needy"), Some(needed.into()));
    assert_eq!(suggested("app-misc/short"), None, "half of the way is not offered");
    assert_eq!(suggested("app-misc/fancy"), Some(["package.use: >=dev-libs/plain-1 x"].into()));
    assert_eq!(suggested("app-misc/seeker"), Some(["package.unmask: =dev-libs/hidden-1"].into()));
    assert_eq!(suggested("app-misc/either"), Some(["package.use: =app-misc/either-1 a"].into()));

    // With all suggestions applied, none of these atoms is refused.
    for line in plan.problems.iter().filter_map(|p| p.suggestion.as_deref()).flat_map(str::lines) {
        let (file, line) = line.split_once(": ").unwrap();
        let path = lab.snapshot().join("etc/portage").join(file);
        let path = if path.is_dir() { path.join("suggested") } else { path };
        let before = fs::read_to_string(&path).unwrap_or_default();
        fs::write(path, format!("{before}{line}\n")).unwrap();
    }
    let (plan, _) = planned(&lab).await;
    let refused: Vec<_> = plan.problems.iter().flat_map(|p| &p.atoms).collect();
    assert_eq!(refused, ["app-misc/short"]);
}

#[tokio::test]
async fn an_older_version_that_works_is_taken_as_emerge_takes_it() {
    let lab = lab();
    ebuilds(
        &lab,
        &[
            ("dev-libs/choice-1", ""),
            ("dev-libs/choice-2", "BOTH dev-libs/nowhere"),
            ("app-misc/picker-1", "BOTH dev-libs/choice"),
        ],
    );
    lab.world("app-misc/picker\napp-misc/lost\n");
    let (plan, _) = planned(&lab).await;
    assert!(has(&plan, "dev-libs/choice-1") && has(&plan, "app-misc/picker-1"), "{:?}", plan.problems);
    of(&plan, "app-misc/lost");
}

#[tokio::test]
async fn the_world_has_its_sets_the_profiles_packages_and_the_system() {
    let lab = Lab::new();
    for name in ["base", "wanted", "tool", "listed"] {
        ebuilds(&lab, &[(&format!("app-misc/{name}-1"), "")]);
    }
    lab.file("profiles/example/amd64/packages", "*app-misc/base\napp-misc/wanted\n");
    lab.file("profiles/example/amd64/eapi", "8\n");
    lab.file(
        "metadata/layout.conf",
        &format!(
            "{}\nprofile-formats = portage-2 profile-set\n",
            fs::read_to_string(lab.snapshot().join("repos/swarm-example/metadata/layout.conf")).unwrap()
        ),
    );
    fs::create_dir_all(lab.snapshot().join("etc/portage/sets")).unwrap();
    fs::write(lab.snapshot().join("etc/portage/sets/tools"), "app-misc/tool\n").unwrap();
    fs::write(lab.snapshot().join("world_sets"), "@tools\n").unwrap();
    lab.world("app-misc/listed\n");
    let (plan, _) = planned(&lab).await;
    assert_eq!(plan.problems, []);
    let names: BTreeSet<&str> = packages(&plan).map(|p| p.cpv.pn()).collect();
    assert_eq!(names, ["base", "listed", "tool", "wanted"].into());
}

//! A build that fails because a resource is missing reports the cause.

use crate::{
    lab::{Lab, order, order_with, play, target},
    private::within,
};
use swarm_common::{
    state::{FailureCause, FailureClass},
    wire::drone::{Failure, Usage, Work},
};
use swarm_daemon::config::Size;
use swarm_drone::builder::{BuildContext, BuildEnd};

/// Allocates four gigabytes.
const EATER: &str = "python3 -c 'x = [bytearray(1 << 20) for _ in range(4096)]'";

async fn failed(context: BuildContext) -> (Failure, Usage, String) {
    let (end, log, _) = play(context).await;
    let BuildEnd::Failed { failure, usage } = end else { panic!("{end:?}\n{log}") };
    assert_eq!(failure.class, FailureClass::Drone, "{failure:?}\n{log}");
    (failure, usage, log)
}

fn ebuild(compile: &str) -> String {
    format!(
        "EAPI=8\nDESCRIPTION=\"x\"\nSLOT=0\nKEYWORDS=amd64\nS=\"${{WORKDIR}}\"\nsrc_compile() {{ {compile} || die; }}\n"
    )
}

// fault: 32
#[tokio::test]
async fn a_build_that_the_kernel_kills_for_memory_says_so_with_its_peak() {
    // Only root can create control groups everywhere.
    assert!(rustix::process::geteuid().is_root(), "only root can limit memory: run the tests as root");
    let lab = Lab::new();
    lab.file("app-misc/eater/eater-1.ebuild", &ebuild(EATER));
    let mut signatures = Vec::new();
    for mib in [200, 260] {
        let work = order(vec![target("app-misc/eater-1", "0", 1)], vec![]);
        let mut context = lab.context(work);
        context.config.memory_max = Size::from_mib(mib);
        let (failure, usage, log) = failed(context).await;
        assert_eq!(failure.cause, Some(FailureCause::OutOfMemory), "{failure:?}\n{log}");
        assert!(usage.peak_memory_bytes >= (mib - 20) << 20, "{usage:?}");
        let peak = format!("(peak {} MiB)", usage.peak_memory_bytes >> 20);
        assert!(failure.message.contains(&peak), "{failure:?}");
        assert!(failure.signature.starts_with("out of memory: the kernel killed"), "{failure:?}");
        signatures.push(failure.signature);
    }
    assert_eq!(signatures[0], signatures[1], "the same failure is to be known by its signature");
}

/// If no kernel limit applies, the cause is read from the program's output.
// fault: 32
#[tokio::test]
async fn a_build_that_gets_no_more_memory_says_so() {
    let lab = Lab::new();
    lab.file("app-misc/eater/eater-1.ebuild", &ebuild(&format!("ulimit -v 400000; {EATER}")));
    let work = order(vec![target("app-misc/eater-1", "0", 1)], vec![]);
    let (failure, usage, log) = failed(lab.context(work)).await;
    assert_eq!(failure.cause, Some(FailureCause::OutOfMemory), "{failure:?}\n{log}");
    let is_named =
        failure.signature.starts_with("out of memory: a process of the build could not allocate memory");
    assert!(is_named, "{failure:?} {usage:?}");
}

#[tokio::test]
async fn a_full_disk_under_the_build_root_says_so() {
    let small = "mkdir \"$place/small\"; mount -t tmpfs -o size=24m,mode=755 tmpfs \"$place/small\"";
    within("lack::a_full_disk_under_the_build_root_says_so", small, async |place| {
        let lab = Lab::new();
        lab.file("app-misc/filler/filler-1.ebuild", &ebuild("head -c 64M /dev/zero > big"));
        for room in ["much", "none"] {
            let work = order(vec![target("app-misc/filler-1", "0", 1)], vec![]);
            let mut context = lab.context(work);
            context.config.work_dir = place.join("small");
            context.attempt_dir = place.join("small").join(room);
            std::fs::create_dir(&context.attempt_dir).unwrap();
            if room == "none" {
                // Fill the disk, so that not even the build root can be created.
                let full = std::fs::write(place.join("small/ballast"), vec![0; 25 << 20]);
                assert_eq!(full.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
            }
            let (failure, _, log) = failed(context).await;
            assert_eq!(failure.cause, Some(FailureCause::DiskFull), "{room}: {failure:?}\n{log}");
            // The same whether the build's error or the drone's measurement comes first.
            assert_eq!(failure.signature, "disk full: too little space is left where the drone builds");
        }
    })
    .await;
}

/// Installs 64 MiB of zeros, which take little space in the package.
const BIG: &str = "EAPI=8\nDESCRIPTION=\"x\"\nSLOT=0\nKEYWORDS=amd64\nS=\"${WORKDIR}\"\n\
    src_install() { head -c 64M /dev/zero >big || die; insinto /usr/share; doins big; }\n";

#[tokio::test]
async fn a_full_disk_while_a_layer_is_made_says_so_and_nothing_of_the_layer_is_used() {
    let name = "lack::a_full_disk_while_a_layer_is_made_says_so_and_nothing_of_the_layer_is_used";
    within(name, "", async |_| {
        // Once unpacked as a layer, and once installed by Portage elsewhere and moved.
        for acts in ["", "pkg_postinst() { chmod 640 \"${EROOT}\"/usr/share/big; }\n"] {
            let lab = Lab::new();
            lab.file("app-misc/big/big-1.ebuild", &[BIG, acts].concat());
            lab.file(
                "app-misc/uses/uses-1.ebuild",
                &format!(
                    "{}BDEPEND=app-misc/big\n",
                    ebuild("[[ $(stat -c %s /usr/share/big) == 67108864 ]] && touch it")
                ),
            );
            let big = target("app-misc/big-1", "0", 1);
            let (end, log, _) = play(lab.context(order(vec![big.clone()], vec![]))).await;
            let BuildEnd::Built { files, .. } = end else { panic!("{end:?}\n{log}") };
            let cache = lab.dir.path().join("cache");
            mount(&cache, "size=24m,mode=755");
            let big = lab.keep(&files[0], &big);
            let uses = || order_with(vec![target("app-misc/uses-1", "0", 1)], vec![], vec![big.clone()]);
            for _ in 0..2 {
                let (failure, _, log) = failed(lab.context(uses())).await;
                assert_eq!(failure.cause, Some(FailureCause::DiskFull), "{acts}: {failure:?}\n{log}");
                let message = "cannot create the layer of app-misc/big-1";
                assert!(failure.message.contains(message), "{failure:?}");
                let left = std::fs::read_dir(cache.join("layers")).unwrap().count();
                assert_eq!(left, 0, "half a layer still takes the room");
            }
            mount(&cache, "remount,size=200m");
            let (end, log, _) = play(lab.context(uses())).await;
            assert!(matches!(end, BuildEnd::Built { .. }), "{end:?}\n{log}");
        }
    })
    .await;
}

fn mount(at: &std::path::Path, options: &str) {
    let arguments = ["-t", "tmpfs", "-o", options, "tmpfs"];
    assert!(std::process::Command::new("mount").args(arguments).arg(at).status().unwrap().success());
}

#[tokio::test]
async fn a_build_that_takes_more_of_the_disk_than_it_may_is_ended_and_says_so() {
    let lab = Lab::new();
    lab.file("app-misc/filler/filler-1.ebuild", &ebuild("head -c 300M /dev/zero > big; sleep 300"));
    let mut context = lab.context(order(vec![target("app-misc/filler-1", "0", 1)], vec![]));
    context.config.disk_max = Size::from_mib(200);
    let (failure, _, log) = failed(context).await;
    assert_eq!(failure.cause, Some(FailureCause::DiskFull), "{failure:?}\n{log}");
    let expected = "disk full: the build used N MiB, more than builder.disk_max";
    assert_eq!(failure.signature, expected);
}

#[tokio::test]
async fn a_work_dir_that_no_overlay_can_use_is_refused_with_the_setting() {
    let over = "mkdir \"$place\"/{up,wk,over}; mount -t overlay overlay -o \"lowerdir=/etc,upperdir=$place/up,workdir=$place/wk\" \"$place/over\"";
    within("lack::a_work_dir_that_no_overlay_can_use_is_refused_with_the_setting", over, async |place| {
        let mut config = Lab::new().context(Work::Plan).config;
        assert_eq!(config.check_work_dir(), Ok(()));
        config.work_dir = place.join("over");
        let refusal = config.check_work_dir().unwrap_err();
        assert!(refusal.contains("builder.work_dir") && refusal.contains("overlayfs"), "{refusal}");
    })
    .await;
}

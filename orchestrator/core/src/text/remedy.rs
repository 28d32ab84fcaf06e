//! Texts of remedies: how a run can continue that no drone can work for.

use swarm_common::wire::concern::Remedy;

pub(super) fn with(remedy: &Remedy) -> String {
    match remedy {
        Remedy::Resume { drone } => format!("resume {drone}"),
        Remedy::ResumeThere { drone } => format!(
            "{drone} was drained on its own machine: resume it there, with `systemctl kill -s USR2 swarm-drone` or \
             `rc-service swarm-drone resume`"
        ),
        Remedy::StartHost => {
            "start a drone for this profile as root (without root, a drone builds only in images); the run \
             then continues"
                .into()
        }
        Remedy::StartNix => "start a drone on a machine that has Nix 2.8 or newer".into(),
        Remedy::StartImage { machine } => format!(
            "its base needs a drone for {machine} with overlays over images (root_kind = \"overlay\"): \
             start one, or update older ones"
        ),
    }
}

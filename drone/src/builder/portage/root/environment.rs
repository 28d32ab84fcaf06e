//! What Portage gets in a build root: its environment, and the USE flags of packages. `EPREFIX` must be set
//! to the empty string. Otherwise packages would contain the prefix of a Portage installation outside the
//! base.

use super::{Root, make_conf, settings};
use crate::buildroot::RootError;
use std::{ffi::OsString, path::PathBuf};

/// Variables for networks with a proxy or private certificates. No other variables of the drone are passed to
/// builds.
const PASSED_ON: [&str; 9] = [
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

impl Root {
    /// The complete environment for Portage in this root.
    #[must_use]
    pub fn environment(&self) -> Vec<(OsString, OsString)> {
        let p = &self.inside;
        let mut path = p.tools.clone().into_os_string();
        path.push(":");
        path.push(self.prefix.join("bin"));
        path.push(":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        let mut env: Vec<(OsString, OsString)> = vec![
            ("HOME".into(), p.home.clone().into()),
            ("PATH".into(), path),
            ("TERM".into(), "dumb".into()),
            ("NOCOLOR".into(), "true".into()),
            ("LC_ALL".into(), "C.UTF-8".into()),
            ("PYTHONUNBUFFERED".into(), "1".into()),
            ("PORTAGE_OVERRIDE_EPREFIX".into(), "".into()),
            ("EPREFIX".into(), "".into()),
            ("ROOT".into(), "/".into()),
            ("SYSROOT".into(), "/".into()),
            ("PORTAGE_CONFIGROOT".into(), p.config_root.clone().into()),
            ("PORTAGE_REPOSITORIES".into(), make_conf::repositories(self).into()),
        ];
        env.extend(settings::settings(self).into_iter().map(|(name, value)| (name.into(), value.into())));
        let makeflags = |pipe: &PathBuf| format!("--jobserver-auth=fifo:{}", pipe.display());
        env.extend(self.jobserver.iter().map(|pipe| ("MAKEFLAGS".into(), makeflags(pipe).into())));
        for name in PASSED_ON {
            env.extend(std::env::var_os(name).map(|value| (name.into(), value)));
        }
        env
    }

    /// Sets the USE flags of packages, each as an atom and its flags, replacing those of an earlier
    /// call.
    ///
    /// # Errors
    /// The configuration file cannot be written.
    pub fn set_use(&self, entries: &[(String, Vec<String>)]) -> Result<(), RootError> {
        make_conf::write_use(self, entries)
    }
}

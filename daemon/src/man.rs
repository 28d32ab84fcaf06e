//! Manual pages of configuration files (section 5), made from their commented examples. The pages of the
//! programs are made from their command lines.

use std::fmt::Write as _;

/// The page `name`(5) of a configuration file that is installed at `path`. `about` describes in a few words
/// what the file configures, and `example` is the file with every setting and its comments.
#[must_use]
pub fn config_page(name: &str, about: &str, path: &str, example: &str) -> String {
    let mut page = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        page,
        ".TH \"{}\" 5\n.SH NAME\n{} \\- {}\n.SH SYNOPSIS\n{}\n.SH DESCRIPTION\n\
         The file is TOML. This is the example with all settings, their meanings and defaults:\n.PP\n.nf\n",
        escape(&name.to_uppercase()),
        escape(name),
        escape(about),
        escape(path),
    );
    for line in example.lines() {
        // roff reads a line that begins with a full stop or an apostrophe as a request.
        let guard = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
        let _ = writeln!(page, "{guard}{}", escape(line));
    }
    page.push_str(".fi\n");
    page
}

/// Escapes text so that roff reads it literally (groff(7), "Escape sequences").
fn escape(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_an_example_is_read_as_a_request() {
        let page = config_page("drone.toml", "the drone", "/etc/drone.toml", ".x = 'a\\b'\n# a-b\n'y'\n");
        assert!(page.starts_with(".TH \"DRONE.TOML\" 5\n"), "{page}");
        assert!(page.ends_with(".nf\n\\&.x = 'a\\eb'\n# a\\-b\n\\&'y'\n.fi\n"), "{page}");
    }
}

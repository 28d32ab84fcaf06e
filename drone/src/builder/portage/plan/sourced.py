"""The files below etc/portage that a package's hooks read: those that they name, and those that they may find at run time."""

import functools
import glob
import os
import re

# A file below etc/portage that a script names, and the directory itself, as in `dir=/etc/portage`.
NAMED = re.compile(r"etc/portage/([\w.+@/-]*[\w.+@-])")
WHOLE = re.compile(r"etc/portage(?![\w.+@/-])|etc/portage/(?![\w.+@-])")
# What a script sources, and what it sets a variable to or loops over.
SOURCED = re.compile(r"(?:^|[;&|(){`!]|\b(?:then|do|else|if|while|builtin)\b)[ \t]*(?:\.|source)[ \t]+(\S+)", re.M)
SET = re.compile(r"\bfor[ \t]+(\w+)[ \t]+in[ \t]+([^;\n]+)|\b(\w+)=([^\s;]*)")
VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
ROOTS = re.compile(r"^\$(?:\{(?:PORTAGE_CONFIGROOT|EPREFIX|EROOT|ROOT)[^}]*\}|PORTAGE_CONFIGROOT)/?")
COMMENT = re.compile(r"^[ \t]*#.*$", re.M)
# What Portage itself reads below etc/portage; of `env`, see `unread`.
READ = re.compile(r"make\.(conf|profile|globals)|package\.\w+(\.\w+)*|(repos|binrepos|sets)\.conf|patches|savedconfig|profile"
                  r"|sets|mirrors|categories|\.git|color\.map|modules|license_groups|(repo\.)?postsync\.d|gnupg|env")


def named(paths, etc):
    """The files below etc/portage that these files name, themselves left out. One that sources what it does not name may
    read any file there that Portage does not read itself, so all of these count."""
    found, todo = [], list(paths)
    while todo:
        path = todo.pop()
        if os.path.isdir(path):
            todo += [os.path.join(folder, file) for folder, _, files in os.walk(path) for file in files]
        if not os.path.isfile(path):
            continue
        with open(path, encoding="utf-8", errors="replace") as file:
            script = COMMENT.sub("", file.read())
        targets = [os.path.normpath(os.path.join(etc, match)) for match in NAMED.findall(script)]
        for target in [*targets, *(unread(etc) if is_open(script, etc) else [])]:
            if target.startswith(etc + "/") and os.path.exists(target) and target not in [*found, *paths]:
                found.append(target)
                todo.append(target)
    return sorted(found)


def is_open(script, etc):
    """Whether a script may read files below etc/portage that it does not name."""
    if WHOLE.search(script):
        return True
    values = {}
    for loop, words, name, value in SET.findall(script):
        values.setdefault(loop or name, []).extend(words.split() if loop else [value])
    known = set()

    def is_named(word):
        word = ROOTS.sub("/", word.strip("\"'"))
        variable, path = VARIABLE.match(word), NAMED.match(word.lstrip("/"))
        if ".." in word or not (variable or path):
            return False
        if variable:
            return (variable[1] or variable[2]) in known
        # Of a directory, all files count.
        return os.path.isdir(os.path.join(etc, path[1])) or not re.search(r"[$`*?\[{]", word)

    while more := {name for name, words in values.items() if name not in known and all(map(is_named, words))}:
        known |= more
    return any(re.search(r"[$`<]", word) and not is_named(word) for word in SOURCED.findall(script))


@functools.cache
def unread(etc):
    """What Portage does not read itself below etc/portage: everything but its own files, and of `env` those that belong to
    a category or that package.env names."""
    import portage
    used, env = set(portage.settings.categories), os.path.join(etc, "env")
    for at in (os.path.join(etc, "package.env"), *glob.glob(f"{glob.escape(etc)}/package.env/**", recursive=True)):
        if os.path.isfile(at):
            with open(at, encoding="utf-8", errors="replace") as file:
                used.update(word.split("/")[0] for word in file.read().split())
    own = [os.path.join(env, name) for name in os.listdir(env) if name not in used] if os.path.isdir(env) else []
    return sorted([*own, *(os.path.join(etc, name) for name in os.listdir(etc) if not READ.fullmatch(name))])

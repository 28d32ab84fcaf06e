"""Compiler settings that no swarm can build with: found, and named, before anything is built."""

import os
import re
import subprocess
import tempfile

from resolver import NoPlan

# A setting, the variable that names its program, that program, and how a source for it ends.
SETTINGS = [("CPPFLAGS", "CC", "cc", ".c"), ("CFLAGS", "CC", "cc", ".c"), ("CXXFLAGS", "CXX", "c++", ".cc"),
            ("LDFLAGS", "CC", "cc", ".c")]
# Flags that mean the processor of whichever drone builds.
NATIVE = re.compile(r"-m(?:arch|tune|cpu)=native|target-cpu=native")


def portable(settings, where):
    """Raises `NoPlan` for the first of these settings that depends on the drone's processor."""
    for name, value in sorted(settings.items()):
        found = NATIVE.search(value) if "FLAGS" in name and name != "COMMON_FLAGS" else None
        if found:
            raise NoPlan(f"{name} {where} has {found[0]}, which depends on the drone's processor; "
                         "name one that all drones of the profile have")


def check(settings):
    """Raises `NoPlan` for the first setting that depends on the drone or that a compiler does not take."""
    portable({name: settings.get(name, "") for name in ("CFLAGS", "CXXFLAGS", "FFLAGS", "FCFLAGS", "RUSTFLAGS")},
             "of the profile")
    with tempfile.TemporaryDirectory() as folder:
        for setting, variable, usual, ending in SETTINGS:
            # A build has them divided at blanks, quotes or not.
            flags, source = settings.get(setting, "").split(), os.path.join(folder, "source" + ending)
            command = settings.get(variable, "").split() or [usual]
            with open(source, "w", encoding="utf-8") as file:
                file.write("int main(void) { return 0; }\n")
            ends = [source, "-o", os.path.join(folder, "made"), *["-c"] * (setting != "LDFLAGS")]
            refused = errors([*command, *flags, *ends])
            # What fails without the setting as well is not its fault.
            if refused and not errors([*command, *ends]):
                raise NoPlan(f"{setting}=\"{' '.join(flags)}\" of the profile breaks every package: {refused[0]}")


def errors(command):
    """What a compiler complains about, a line each, the errors first; nothing if it does its work."""
    try:
        ran = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60,
                             env={**os.environ, "LC_ALL": "C"})
    except (OSError, subprocess.SubprocessError) as reason:
        return [str(reason)]
    lines = [line.strip() for line in ran.stderr.splitlines() if line.strip()] or [f"exit status {ran.returncode}"]
    # collect2 only says that the linker said something.
    told = [line for line in lines if not line.startswith("collect2:")] or lines
    return [] if ran.returncode == 0 else sorted(told, key=lambda line: "error" not in line)

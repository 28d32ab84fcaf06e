"""What a package is, by the real Portage and Python's tarfile, and by the rules that intake adds.

Reads packages from standard input, each after its length (four bytes, big-endian), and answers
each with one line: `ok ENTRIES BYTES SHA256-OF-PATHS`, or `no` and why. Portage proves the
container, the names of the image and the syntax of dependencies; tarfile says what is in an
archive. Every rule beyond that stands in a function with `rule_` in its name, with its reason.
"""

import bz2, gzip, hashlib, io, os, re, struct, subprocess, sys, tarfile, tempfile

from portage.dep import Atom, use_reduce
from portage.dep.soname.parse import parse_soname_deps
from portage.eapi import _get_eapi_attrs
from portage import eapi_is_supported
from portage.gpkg import gpkg, tar_safe_extract
from portage.versions import _pkg_str


class Refused(Exception):
    pass


def need(condition, why):
    if not condition:
        raise Refused(why)


class Settings(dict):
    features = frozenset(["binpkg-ignore-signature"])

    def environ(self):
        return dict(os.environ)


SETTINGS = Settings(BINPKG_COMPRESS="zstd", PORTAGE_BZIP2_COMMAND="bzip2", MAKEOPTS="-j1")
LIMITS = {"NEEDED": 8 << 20, "NEEDED.ELF.2": 8 << 20, "CONTENTS": 16 << 20, "environment.bz2": 8 << 20,
          "PROVIDES": 128 << 10, "REQUIRES": 128 << 10}
INDEXED = ("BDEPEND BUILD_ID BUILD_TIME CHOST DEFINED_PHASES DEPEND EAPI IDEPEND IUSE KEYWORDS LICENSE PDEPEND "
           "PROPERTIES PROVIDES RDEPEND REQUIRES RESTRICT SLOT USE USER_PATCHES repository").split()
FLAG = r"[A-Za-z0-9][A-Za-z0-9+_@-]*"
TOKEN = r"[A-Za-z0-9_][A-Za-z0-9+_.-]*"
PHASES = ("pretend setup unpack prepare configure compile test install preinst postinst prerm postrm config "
          "info nofetch").split()


def program(*command):
    return lambda data: subprocess.run(command, input=data, capture_output=True, check=True).stdout


def rule_bzip2(data):
    """Nothing but further streams stands behind a stream; bzip2 itself only warns of it."""
    whole = b""
    while data:
        stream = bz2.BZ2Decompressor()
        whole += stream.decompress(data)
        need(stream.eof, "a stream that is cut off")
        data = stream.unused_data
    return whole


# Rules: a zstd window has at most 8 MiB (RFC 8878, section 3.1.1.1.2), xz at most 16 MiB of memory.
OPEN = {"gz": gzip.decompress, "bz2": rule_bzip2, "xz": program("xz", "-dc", "--memlimit-decompress=16MiB"),
        "zst": program("zstd", "-dc", "--memory=8MiB"), "lz4": program("lz4", "-dc")}


def rule_header(header):
    """Numbers are those that Python's `int` and GNU tar's loop read alike; the checksum is the
    unsigned one; owners and times are those that systems have."""
    def number(field, signed=False):
        if field[0] == 0x80:
            need(tarfile.nti(field) < 1 << 63, "a large number")
        elif field[0] == 0xFF:
            need(signed and tarfile.nti(field) >= -1 << 63, "a negative number")
        else:
            need(re.fullmatch(rb" *[0-7]+[ \0]*|\0*", field), "a malformed number")
        return tarfile.nti(field)

    need(header[148] != 0x80 and number(header[148:156]) == tarfile.calc_chksums(header)[0], "checksum")
    need(header[257:265] in (b"ustar\x0000", b"ustar  \0"), "magic")
    need(header[257:263] == b"ustar\0" or header[345] == 0, "a prefix in a GNU header")
    for start, end in ((100, 108), (124, 136), (329, 337), (337, 345)):
        number(header[start:end])
    need(number(header[108:116]) < 2**32 - 1 and number(header[116:124]) < 2**32 - 1, "owner")
    need(abs(number(header[136:148], True)) <= 2**33, "time")


def rule_pax(body):
    """Records end where they say, and nothing in them means more to one reader than to another."""
    found, at = set(), 0
    while at < len(body):
        length = re.match(rb"([0-9]+) ", body[at:])
        need(length, "a record without a length")
        record = body[at:at + int(length[1])]
        need(len(record) == int(length[1]) > 0 and record.endswith(b"\n"), "a record's end")
        key, equals, value = record[len(length[0]):-1].partition(b"=")
        need(key and equals, "a record without a key")
        need(key not in found, "two values for a key")
        need(key != b"hdrcharset" and not key.startswith(b"GNU.sparse"), "a key that changes others")
        if key in (b"path", b"linkpath"):
            need(b"\0" not in value, "NUL in a name")
        elif key in (b"size", b"uid", b"gid"):
            need(re.fullmatch(rb"[0-9]+", value), "a number of a record")
            need(int(value) < (2**63 if key == b"size" else 2**32 - 1), "a large number of a record")
        elif key in (b"mtime", b"atime", b"ctime"):
            need(re.fullmatch(rb"-?[0-9]+(\.[0-9]*)?", value), "a time of a record")
            need(key != b"mtime" or abs(int(value.split(b".")[0])) <= 2**33, "a far time of a record")
            need(abs(int(value.split(b".")[0])) < 2**63, "a far time of a record")
        found.add(key)
        at += len(record)
    return found


def members(data):
    """What tarfile finds, if it is the same for every reader."""
    found = tarfile.open(fileobj=io.BytesIO(data), mode="r:", errors="surrogateescape").getmembers()
    at = 0
    for member in found:
        at = rule_plain(data, at, member)
    rest = data[at:]
    need(len(rest) >= 512 and not rest.strip(b"\0"), "the end")
    return found


def rule_plain(data, at, member):
    """Nothing lies between entries; each has one name, of one kind of header; extended headers
    end with their size; only files have data."""
    need(member.offset == at, "a gap")
    names, raw = set(), None
    while True:
        header = data[at:at + 512]
        rule_header(header)
        kind = header[156:157]
        if kind not in (b"x", b"L", b"K"):
            break
        size = tarfile.nti(header[124:136])
        blocks = -(-size // 512) * 512
        need(size <= 65536, "a long extended header")
        body, padding = data[at + 512:at + 512 + size], data[at + 512 + size:at + 512 + blocks]
        need(not padding.strip(b"\0"), "padding")
        if kind == b"x":
            keys = rule_pax(body)
            told = {kind} | ({b"P"} if b"path" in keys else set()) | ({b"Q"} if b"linkpath" in keys else set())
        else:
            name = body.split(b"\0")[0]
            need(not body[len(name):].strip(b"\0"), "a name behind a NUL")
            raw = name if kind == b"L" else raw
            told = {kind}
        need(not told & names, "two names")
        names |= told
        at += 512 + blocks
    need(not {b"L", b"P"} <= names and not {b"K", b"Q"} <= names, "two names")
    need(kind in (b"0", b"\0", b"1", b"2", b"5"), "the kind of entry")
    need(member.offset_data == at + 512, "where data begins")
    need(kind in (b"0", b"\0") or member.size == 0, "data of a link or directory")
    if raw is None:
        prefix = header[345:500].split(b"\0")[0]
        raw = header[:100].split(b"\0")[0]
        raw = prefix + b"/" + raw if prefix else raw
    raw = member.pax_headers["path"].encode("utf-8", "surrogateescape") if b"P" in names else raw
    # tarfile strips what others do not.
    need(not raw.endswith(b"//" if kind == b"5" else b"/"), "a name with a slash")
    return at + 512 + (-(-member.size // 512) * 512 if kind in (b"0", b"\0") else 0)


def is_text(text):
    return text.encode("utf-8") is not None and not re.search(r"[\x00-\x1f\x7f-\x9f]", text)


def container(path, data):
    found = members(data)
    need(all(m.isreg() for m in found), "a member that is no file")
    archive = gpkg(SETTINGS, gpkg_file=path)
    archive._verify_binpkg()
    rule_container(found, data)
    inner = {}
    for member in found:
        base, _, how = member.name.split("/")[1].partition(".tar.")
        if how in OPEN:
            inner[base] = OPEN[how](data[member.offset_data:member.offset_data + member.size])
    return archive, inner


def rule_container(found, data):
    """The members are those of a GPKG, each once; both digests stand in the Manifest, which is
    plain text."""
    names = [m.name.split("/")[1] for m in found]
    for m in found:
        need(not re.search(r"\s", m.name) and is_text(m.name), "a blank in a name")
        m.name.encode("utf-8")
        need(all(0 < len(p.encode()) <= 255 and p not in (".", "..") for p in m.name.split("/")), "a name")
    known = re.compile(r"gpkg-1|Manifest|(metadata|image)\.tar\.(zst|gz|xz|bz2|lz4)")
    need(all(known.fullmatch(n) for n in names), "a foreign member")
    for base in ("metadata", "image"):
        need(sum(n.startswith(base) for n in names) == 1, "archives")
    manifest = found[names.index("Manifest")]
    need(found[names.index("gpkg-1")].size <= 1 << 20 and manifest.size <= 1 << 20, "a large member")
    for line in data[manifest.offset_data:manifest.offset_data + manifest.size].split(b"\n"):
        need(re.fullmatch(rb"[ -~]*", line.removesuffix(b"\r")), "a Manifest that is no text")
        words = line.split()
        if words:
            need(len(words) % 2 == 1 and re.fullmatch(rb"[0-9]+", words[2]), "a line of the Manifest")
            need(all(re.fullmatch(rb"[0-9A-Fa-f]+", w) for w in words[4::2]), "a digest of the Manifest")
            for name in (b"SHA512", b"BLAKE2B"):
                need(words[3::2].count(name) == 1, "digests of the Manifest")
                need(len(words[words.index(name) + 1]) == 128, "a digest of the Manifest")


def metadata(data):
    archive = tarfile.open(fileobj=io.BytesIO(data), mode="r:")
    gpkg._check_metadata_files(archive)
    values, found = {}, members(data)
    need(len(found) <= 256, "many values")
    for member in found:
        key = gpkg._strip_metadata_prefix(member.name)
        need(re.fullmatch(TOKEN, key) and len(key) <= 255, "a key")
        need(key not in values, "a key twice")
        need(member.size <= LIMITS.get(key, 1 << 20 if key.endswith(".ebuild") else 64 << 10), "a long value")
        values[key] = data[member.offset_data:member.offset_data + member.size]
    need(sum(len(values.get(key, b"")) for key in INDEXED) <= 256 << 10, "a long entry of the index")
    lines = {}
    for key, value in values.items():
        if key == "user_patch.digests":
            patches_of_portage(value)
            rule_patches(value)
        elif key != "environment.bz2":
            text = value.decode("utf-8")
            bad = r"[\0\r]" if key.endswith(".ebuild") else r"[\x00-\x08\x0b-\x1f\x7f-\x9f]"
            need(not re.search(bad, text), "control characters")
            lines[key] = " ".join(value.decode("utf-8").split())
    eapi = lines.get("EAPI", "")
    need(eapi_is_supported(eapi) and eapi in list("0123456789"), "EAPI")
    for key, line in lines.items():
        value_of_portage(key, line, eapi)
        rule_value(key, line, eapi)
    # Without it `doebuild` ends, as `Binpkg` of `_emerge` calls it with this path.
    need(lines["PF"] + ".ebuild" in values, "no ebuild")
    environment(values["environment.bz2"])


def patches_of_portage(value):
    """As `Binpkg._unpack_metadata` of `_emerge` looks at it, which only warns."""
    tokens = value.strip(b"\0").split(b"\0")
    hashes, names = tokens[0::2], tokens[1::2]
    need(len(hashes) == len(names), "a patch without a digest")
    need(all(re.match(rb"^[0-9A-Fa-f]{64}$", h) for h in hashes), "the digest of a patch")
    need(all(re.match(rb"[^/]+\.(patch|diff)$", n) for n in names), "the name of a patch")
    [os.fsdecode(name) for name in names]


def rule_patches(value):
    """Each word ends with one NUL, and a name can be printed."""
    need(value.endswith(b"\0") and b"" not in value[:-1].split(b"\0"), "the NULs between patches")
    need(is_text(value.decode("utf-8").replace("\0", "")), "the name of a patch")


def environment(value):
    """As `BinpkgEnvExtractor` of `_emerge` unpacks it."""
    unpacked = program("bzip2", "-d", "-c")(value)
    need(unpacked == rule_bzip2(value), "an environment that readers see differently")
    # Rule: what is unpacked is bounded, and by its ratio beyond a MiB.
    need(len(unpacked) <= min(32 << 20, (1 << 20) + 2000 * len(value)), "a large environment")


def value_of_portage(key, line, eapi):
    """As Package of `_emerge` and `_pkg_str` look at it."""
    if key in ("BDEPEND", "DEPEND", "IDEPEND", "PDEPEND", "RDEPEND"):
        for atom in use_reduce(line, eapi=eapi, matchall=True, flat=True, token_class=Atom,
                               is_valid_flag=lambda flag: False):
            # What intake asks of a name and version is what it asks of a package's.
            if isinstance(atom, Atom):
                need(len(atom.cpv) <= (253 if atom.cpv == atom.cp else 255), "a long atom")
    elif key in ("LICENSE", "PROPERTIES", "RESTRICT"):
        use_reduce(line, eapi=eapi, matchall=True, is_valid_flag=lambda flag: False)
    elif key == "SLOT":
        need(not hasattr(_pkg_str("a/b-1", metadata={"SLOT": line, "EAPI": eapi}), "slot_invalid"), "SLOT")
    elif key in ("PROVIDES", "REQUIRES"):
        list(parse_soname_deps(line))
    elif key == "IUSE" and not _get_eapi_attrs(eapi).iuse_defaults:
        need(not any(flag.startswith(("+", "-")) for flag in line.split()), "defaults in IUSE")


def rule_value(key, line, eapi):
    """What the Package Manager Specification says and Portage takes as it comes."""
    words = line.split()
    every = lambda pattern: need(all(re.fullmatch(pattern, w, re.ASCII) for w in words), key)
    if key in ("LICENSE", "PROPERTIES", "RESTRICT"):
        every(TOKEN + r"|\(|\)|\|\|")
    elif key in ("BUILD_ID", "BUILD_TIME", "SIZE", "COUNTER"):
        need(re.fullmatch(r"[0-9]{1,15}", line), key)
    elif key == "KEYWORDS":
        every(r"-\*|[~-]?[A-Za-z0-9_][A-Za-z0-9_-]*")
    elif key == "USE":
        every(FLAG)
    elif key == "IUSE":
        every("[+-]?" + FLAG)
    elif key == "DEFINED_PHASES":
        need(line == "-" or all(w in PHASES for w in words), key)
    elif key == "CHOST":
        need(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", line, re.ASCII), key)
    elif key == "repository":
        need(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", line, re.ASCII), key)
    elif key in ("PROVIDES", "REQUIRES"):
        need(sum(w.endswith(":") for w in words) <= 16, key)
    depth = 0
    if key.endswith("DEPEND") or key in ("LICENSE", "PROPERTIES", "RESTRICT"):
        for word in words:
            depth += (word == "(") - (word == ")")
            need(depth <= 64, "depth")


def image(data, empty):
    found, portage = members(data), tar_safe_extract(None, "image")
    kinds, paths, size = {}, [], 0
    for member in found:
        portage._check_member(member, empty)
        portage.file_list.append(member.name)
        rule_member(member, kinds)
        size += member.size
        if not member.isdir():
            end = b"/\0" if member.issym() else b"\0"
            paths.append(member.name.removeprefix("image").encode() + end)
    # As `extractall` finds out.
    need("image" in kinds, "no image")
    need(len(kinds) <= 500_000, "many paths")
    return f"{len(found)} {size} {hashlib.sha256(b''.join(paths)).hexdigest()}"


def rule_member(member, kinds):
    """Everything lies below image/, in directories only; a hard link names a file; names are
    such as fit into Portage's list of installed files, one a line, and into Linux."""
    def inside(name):
        parts = name.split("/")
        need(parts[0] == "image" and len(name.encode()) <= 3072 and len(parts) <= 128, "outside")
        need(is_text(name) and all(0 < len(p.encode()) <= 255 and p not in (".", "..") for p in parts), "a path")
        return parts

    parts = inside(member.name)
    need(member.isdir() or len(parts) > 1, "image is no directory")
    for depth in range(1, len(parts)):
        need(kinds.setdefault("/".join(parts[:depth]), "implied") in ("implied", "dir"), "below no directory")
    if member.isdir():
        need(kinds.get(member.name, "implied") == "implied", "twice")
        kinds[member.name] = "dir"
        return
    need(member.name not in kinds, "twice")
    if member.issym():
        need(0 < len(member.linkname.encode()) <= 4095 and is_text(member.linkname), "a link's target")
    elif member.islnk():
        need(kinds.get(member.linkname) == "file", "a hard link to no file")
    kinds[member.name] = "link" if member.issym() else "file"


def verdict(data, place, deep):
    path = os.path.join(place, "package.gpkg.tar")
    with open(path, "wb") as file:
        file.write(data)
    archive, inner = container(path, data)
    metadata(inner["metadata"])
    summary = image(inner["image"], os.path.join(place, "empty"))
    if deep:
        # The whole way that a workstation goes.
        archive.get_metadata()
        with tempfile.TemporaryDirectory(dir=place) as root:
            archive.decompress(root)
    return summary


def main():
    answer, sys.stdout = sys.stdout, sys.stderr
    with tempfile.TemporaryDirectory() as place:
        os.mkdir(os.path.join(place, "empty"))
        taken = 0
        while length := sys.stdin.buffer.read(4):
            data = sys.stdin.buffer.read(struct.unpack(">I", length)[0])
            try:
                line = "ok " + verdict(data, place, taken % 8 == 0)
                taken += 1
            except Exception as error:
                line = "no " + ascii(f"{type(error).__name__}: {error}")[:300]
            print(line, file=answer, flush=True)


main()

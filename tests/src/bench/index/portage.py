"""What real Portage needs for the same. `fix` is emaint binhost --fix; `inject CPV` prints the
milliseconds that bintree.inject takes for a package that lies in PKGDIR.

Portage 3.0.83 lists USER_PATCHES among the keys of its index and gives it no default, so no entry
is ever complete and every package is read again by every scan. Both get the default that is
missing; `fix --stock` does not.
"""

import os
import sys
import time

import portage
from portage.dbapi import bintree

portage._internal_caller = True
made = bintree.binarytree.__init__


def with_default(self, *args, **options):
    made(self, *args, **options)
    self._pkgindex_default_pkg_data.setdefault("USER_PATCHES", "")


if "--stock" not in sys.argv:
    bintree.binarytree.__init__ = with_default

if sys.argv[1] == "fix":
    from portage.emaint.main import emaint_main

    emaint_main(["binhost", "--fix"])
else:
    tree = portage.db[portage.settings["EROOT"]]["bintree"]
    tree.populate()
    (package,) = tree.dbapi.cp_list(portage.cpv_getkey(sys.argv[2]))
    path = tree.getname(package)
    for n in range(3):
        os.utime(path, (1800000000 + n, 1800000000 + n))
        began = time.perf_counter()
        package = tree.inject(package, current_pkg_path=path, allocated_pkg_path=path)
        print((time.perf_counter() - began) * 1000)

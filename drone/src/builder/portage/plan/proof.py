"""What no choice of the resolver can help, found in the ebuilds without resolving anything.

An atom is lost if all packages that match it are, a package if one of its dependencies is. That
is a proof, though not every refusal has one: where the resolver chose badly nothing is lost.
"""

import sys


class Proof:
    """Tells which atoms are lost, if the packages that `banned` names cannot be had."""

    def __init__(self, graph, banned=lambda package: False):
        self.graph, self.banned, self.known = graph, banned, {}
        sys.setrecursionlimit(max(sys.getrecursionlimit(), 20_000))

    def lost(self, atoms):
        """Those of the world's atoms that are lost."""
        from portage.dep import Atom
        root = self.graph._frozen_config.roots[self.graph._frozen_config.target_root]
        return {a for a in atoms if self.atom(Atom(a, allow_repo=True), root)}

    def atom(self, atom, root):
        if (atom, root.root) not in self.known:
            # Whoever needs himself is not lost for that.
            self.known[atom, root.root] = False
            self.known[atom, root.root] = self._atom(atom, root)
        return self.known[atom, root.root]

    def _atom(self, atom, root):
        if self.graph._frozen_config.pkgsettings[root.root].pprovideddict.get(atom.cp):
            return False
        installed = False
        for package in self.graph._iter_match_pkgs_any(root, atom):
            if package.installed:
                installed = True
            elif package.visible and atom.match(package):
                if not consistent(package):
                    return True    # the resolver takes it and stops
                if not self.banned(package) and not self.package(package):
                    return False
                installed = None
        # What is installed serves only where there is no ebuild.
        return installed is not True

    def package(self, package):
        from _emerge.Package import Package
        from portage.dep import Atom, use_reduce
        if package not in self.known:
            self.known[package] = False
            use = package.use.enabled
            self.known[package] = any(
                self.needs(use_reduce(package._metadata[key], uselist=use, is_valid_flag=package.iuse.is_valid_flag,
                                      opconvert=True, token_class=Atom, eapi=package.eapi), package)
                for key in Package._dep_keys)
        return self.known[package]

    def needs(self, dependency, package):
        """Whether a dependency of a package, or one in a list of them, is lost."""
        if not isinstance(dependency, list):
            if dependency.blocker:
                return False
            return self.atom(dependency.evaluate_conditionals(package.use.enabled), package.root_config)
        if dependency[:1] == ["||"]:
            return len(dependency) > 1 and all(self.needs(d, package) for d in dependency[1:])
        return any(self.needs(d, package) for d in dependency)


def consistent(package):
    """Whether its own USE flags agree with each other."""
    from portage.dep import check_required_use
    required = package._metadata.get("REQUIRED_USE")
    return not required or bool(check_required_use(
        required, package.use.enabled, package.iuse.is_valid_flag, eapi=package.eapi))

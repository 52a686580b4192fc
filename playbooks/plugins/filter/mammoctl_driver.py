# SPDX-License-Identifier: Apache-2.0
"""Which NVIDIA driver a host gets, from where, and what speaks against it: decided by its cards and its release."""

from __future__ import annotations

import re

# From this branch on the open kernel modules do for every card that has them what the proprietary ones do.
OPEN_SINCE = 560
CHOICES = {
    "cuda_install": ("auto", "always", "never"),
    "cuda_driver": ("auto", "none", "nvidia-repo", "distribution"),
    "cuda_reboot": ("never", "when_needed"),
}
NOTHING = {
    "wanted": False,
    "source": "none",
    "branch": "",
    "version": "",
    "open": False,
    "cards": [],
    "packages": [],
    "repository": "",
    "own_source": False,
    "components": [],
    "mirror": "",
    "toolkit": "",
}
COMPONENTS = {"debian": ["contrib", "non-free", "non-free-firmware"], "ubuntu": ["restricted"]}


def problem(seen, needed, mend):
    """Return a check for ``mammoctl_check`` that has failed."""
    return {"ok": False, "seen": seen, "needed": needed, "mend": mend}


def version_key(text):
    """Return a driver's version as a tuple that compares, such as (535, 261, 3)."""
    return tuple(int(part) for part in re.findall(r"\d+", str(text)))


def card_of(device_id, cards):
    """Return the generation of a PCI device id (four hexadecimal digits), or None for one that is older than all.

    Ids above the table are newer cards: they count as the newest generation, with nothing known against any branch.
    """
    number = int(device_id, 16)
    spans = [(int(first, 16), int(last, 16), card) for card in cards for first, last in map(_ends, card["ids"])]
    for first, last, card in spans:
        if first <= number <= last:
            return card
    if number > max(last for _first, last, _card in spans):
        return {"name": "newer", "ids": [], "first": 0, "last": None, "modules": "open"}
    return None


def _ends(span):
    return span.split("-")


def fits(branch, cards):
    """Tell whether a driver branch supports every one of the generations."""
    return all(card["first"] <= int(branch) <= (card["last"] or 10**6) for card in cards)


def open_modules(branch, cards):
    """Tell whether the host gets the open kernel modules: where a card needs them, or where all may have them."""
    needed = any(card["modules"] == "open" for card in cards)
    return needed or (int(branch) >= OPEN_SINCE and all(card["modules"] == "both" for card in cards))


def headers(distribution, kernel, built):
    """Return the packages with the headers that DKMS builds the modules with.

    Args:
        distribution: ``debian`` or ``ubuntu``.
        kernel: the running kernel, as ``uname -r`` says.
        built: the headers of the running kernel are there already.
    """
    names = [] if built else ["linux-headers-" + kernel]
    flavour = re.search(r"-((?:cloud-|rt-)?amd64)$", kernel)
    if distribution == "debian" and flavour:
        names.append("linux-headers-" + flavour[1])  # for the kernels to come
    return names


def packages(source, release, branch, is_open, node):
    """Return the packages of a driver for computing, without anything for a desktop."""
    debian = release.startswith("debian")
    kernel = headers("debian" if debian else "ubuntu", node["kernel"], node["headers"])
    switches = node["switches"] > 0
    suffix = "-open" if is_open else ""
    if debian and source == "distribution":
        modules = "nvidia-open-kernel-dkms" if is_open else "nvidia-kernel-dkms"
        return [*kernel, modules, "libcuda1", "nvidia-smi", "nvidia-persistenced", "nvidia-modprobe"]
    fabric = ["nvidia-fabricmanager"] if switches else []
    if debian:
        modules = "nvidia-kernel-open-dkms" if is_open else "nvidia-kernel-dkms"
        return [*kernel, modules, "nvidia-driver-cuda", "nvidia-persistenced", "nvidia-modprobe", *fabric]
    if source == "nvidia-repo" and int(branch) >= 590:
        return [
            *(*kernel, "libnvidia-compute", "nvidia-dkms" + suffix),
            *("nvidia-persistenced", "nvidia-modprobe", *fabric),
        ]
    fabric = ["nvidia-fabricmanager-" + branch] if switches else []
    if source == "nvidia-repo":
        return [*kernel, "nvidia-headless-%s%s" % (branch, suffix), "nvidia-utils-" + branch, *fabric]
    if node["secure_boot"]:
        # Canonical's own builds carry a signature that Secure Boot accepts; they belong to one kernel.
        signed = "linux-modules-nvidia-%s-server%s-%s" % (branch, suffix, node["kernel"])
        headless = "nvidia-headless-no-dkms-%s-server%s" % (branch, suffix)
        return [signed, headless, "nvidia-utils-%s-server" % branch, *fabric]
    return [
        *(*kernel, "nvidia-headless-%s-server%s" % (branch, suffix)),
        *("nvidia-utils-%s-server" % branch, *fabric),
    ]


def toolkit_packages(toolkit):
    """Return the packages of a CUDA toolkit such as 12.5 and of cuDNN for it."""
    return ["cuda-toolkit-" + toolkit.replace(".", "-"), "libcudnn9-cuda-" + toolkit.split(".")[0]]


def choose_driver(facts, release, settings, versions):
    """Return what role cuda does on a host.

    Args:
        facts: ``ansible_facts['mammoctl']``; read are ``arch``, ``distribution``, ``gpus`` and ``nvidia``.
        release: distribution and version, such as ``debian12``.
        settings: the role's variables, each with its full name.
        versions: ``mammoctl_versions.cuda``.

    Returns:
        ``wanted``; ``source`` (``none``, ``present``, ``distribution``, ``nvidia-repo``); ``branch``; ``version``
        (exact, only with NVIDIA's repository); ``open`` (the modules); ``cards`` (generations); ``packages``;
        ``repository`` (address of NVIDIA's, where it is needed) and ``own_source`` (the host does not have it yet);
        ``components`` (parts of the distribution that the host's sources lack) and their ``mirror``; ``toolkit``;
        ``problems`` for ``mammoctl_check``; ``warnings``.
    """
    told = [
        problem("%s is '%s'" % (name, settings[name]), "one of " + ", ".join(choices), "Correct it in the inventory.")
        for name, choices in CHOICES.items()
        if settings[name] not in choices
    ]
    if told or settings["cuda_install"] == "never" or not facts["gpus"]:
        if settings["cuda_install"] == "always" and not facts["gpus"]:
            told.append(
                problem(
                    "no NVIDIA GPU on the PCI bus, and cuda_install is 'always'",
                    "a GPU, or a host that is meant to do without",
                    "Look with 'lspci -d 10de:' whether the card is seen; without one set cuda_install: auto.",
                )
            )
        return {**NOTHING, "problems": told, "warnings": []}
    return _Choice(facts, release, settings, versions).made()


class _Choice:
    """One host's choice; problems are collected rather than raised, so that all are told at once."""

    def __init__(self, facts, release, settings, versions):
        self.facts, self.release, self.settings, self.versions = facts, release, settings, versions
        self.node = facts["nvidia"]
        self.problems, self.warnings = [], []

    def refuse(self, seen, needed, mend):
        self.problems.append(problem(seen, needed, mend))

    def result(self, **rest):
        return {**NOTHING, "wanted": True, **rest, "problems": self.problems, "warnings": self.warnings}

    def made(self):
        """Return the choice; see ``choose_driver``."""
        if self.facts["arch"] != "x86_64":
            self.refuse(
                "an NVIDIA GPU on %s" % self.facts["arch"],
                "x86_64 (TensorFlow is not built for CUDA on any other processor)",
                "Set cuda_install: never for this host to use its processor alone, or take it out of the inventory.",
            )
            return self.result()
        cards = self.cards()
        if self.problems:
            return self.result()
        names = [card["name"] for card in cards]
        toolkit = self.toolkit()
        source = self.source(cards)
        if source in ("none", "present", ""):
            self.check_present(source, cards)
            chosen = {"source": source or "none", "branch": "", "open": False, "packages": []}
        else:
            branch = self.branch(source, cards)
            if not branch:
                return self.result(cards=names)
            is_open = open_modules(branch, cards)
            chosen = {"source": source, "branch": branch, "open": is_open}
            chosen["packages"] = packages(source, self.release, branch, is_open, self.node)
            if source == "nvidia-repo":
                known = self.versions["drivers"].get(branch, {}).get("version", branch)
                chosen["version"] = self.settings["cuda_driver_version"] or known
            self.check_fabric(source)
            self.check_secure_boot(source, branch)
        if toolkit:
            chosen["packages"] = chosen["packages"] + toolkit_packages(toolkit)
        if source == "nvidia-repo" or toolkit:
            chosen.update(self.repository())
        if source == "distribution":
            chosen.update(components=self.components(), mirror=self.mirror())
        return self.result(cards=names, toolkit=toolkit, **chosen)

    def cards(self):
        """Return the host's generations, oldest first; refuse those that the pinned TensorFlow cannot use."""
        order = [card["name"] for card in self.versions["cards"]]
        oldest = self.versions["tensorflow"]["oldest"]
        found = {}
        for device in self.node["devices"]:
            card = card_of(device["id"], self.versions["cards"])
            name = card["name"] if card else "older"
            if card and (name == "newer" or order.index(name) >= order.index(oldest)):
                found[name] = card
                continue
            self.refuse(
                "the GPU at %s (%s) is of the generation '%s'" % (device["address"], device["id"], name),
                "%s or newer, which the pinned TensorFlow and its cuDNN have code for" % oldest,
                "Set cuda_install: never for this host, or take the card out of it.",
            )
        cards = sorted(found.values(), key=lambda card: (order + ["newer"]).index(card["name"]))
        if {"open", "proprietary"} <= {card["modules"] for card in cards}:
            self.refuse(
                "GPUs of the generations %s in one host" % " and ".join(card["name"] for card in cards),
                "generations that one kernel module drives",
                "Take the cards of one generation out, or set cuda_install: never.",
            )
        return cards

    def distribution_branch(self):
        return self.versions["distribution"].get(self.release, "")

    def source(self, cards):
        """Return where the driver comes from."""
        wanted, asked = self.settings["cuda_driver"], self.settings["cuda_driver_branch"]
        if wanted != "auto":
            return wanted
        if self.node["driver"] and not self.node["ours"]:
            return "present"
        if self.node["pinned"]:
            return "nvidia-repo"  # a driver is not exchanged for another source's unasked
        own = self.distribution_branch()
        fabric = self.node["switches"] > 0 and self.release.startswith("debian")  # not in Debian itself
        version = self.settings["cuda_driver_version"]
        if own and not version and asked in ("", own) and fits(own, cards) and not fabric:
            return "distribution"
        return "nvidia-repo"

    def branch(self, source, cards):
        """Return the driver's branch, or '' when there is none for these cards."""
        own, asked = self.distribution_branch(), self.settings["cuda_driver_branch"]
        names = " and ".join(card["name"] for card in cards)
        if source == "distribution":
            if self.node["pinned"]:
                self.refuse(
                    "NVIDIA's driver %s, which mammoctl installed" % self.node["pinned"],
                    "a host without it, to get the distribution's",
                    "Remove it first with 'mammoctl teardown', or leave cuda_driver: auto.",
                )
            if own and asked in ("", own) and fits(own, cards):
                return own
            self.refuse(
                "%s packages the driver branch %s" % (self.release, own or "of none"),
                "branch %s for its GPUs (%s)" % (asked or self.span(cards), names),
                "Set cuda_driver: nvidia-repo.",
            )
            return ""
        offered = [b for b, entry in self.versions["drivers"].items() if self.release in entry["releases"]]
        fitting = [b for b in offered if fits(b, cards)]
        if asked:
            # A branch that is not in the table is the user's own finding, if only the cards allow it.
            chosen = asked in fitting or (asked not in self.versions["drivers"] and fits(asked, cards))
            mend = "Correct cuda_driver_branch, or leave it out."
        else:
            asked = "" if not fitting else self.versions["production"]
            asked = asked if asked in fitting else max(fitting, key=int, default="")
            chosen = bool(asked)
            instead = "Set cuda_driver: distribution (branch %s)." % own
            mend = instead if own and fits(own, cards) else "Install another release on the host."
        if not chosen:
            self.refuse(
                "driver branch %s for %s" % (asked or self.span(cards), names),
                "a branch that NVIDIA's repository has for %s: %s" % (self.release, ", ".join(offered) or "none"),
                mend,
            )
        return asked if chosen else ""

    def span(self, cards):
        first = max(card["first"] for card in cards)
        last = min((card["last"] for card in cards if card["last"]), default=0)
        return "%s to %s" % (first, last) if last else "%s or later" % first

    def check_present(self, source, cards):
        """Refuse a driver of others that is too old; 'none' may come later, by other means."""
        driver, oldest = self.node["driver"], self.versions["tensorflow"]["driver"]
        if not driver:
            if source == "none" and not self.node["ours"]:
                self.refuse(
                    "no driver works on the host%s" % (" (%s)" % self.node["said"] if self.node["said"] else ""),
                    "a driver, as cuda_driver is 'none'",
                    "Install it by the means that you have for that, or set cuda_driver: auto.",
                )
            return
        first = max([version_key(oldest), *((card["first"],) for card in cards)])
        if version_key(driver) < first:
            self.refuse(
                "the driver %s, which mammoctl did not install" % driver,
                "%s or later" % ".".join(map(str, first)),
                "Set cuda_driver: nvidia-repo or distribution to have it replaced, or update it.",
            )

    def check_fabric(self, source):
        if self.node["switches"] and source == "distribution" and self.release.startswith("debian"):
            self.refuse(
                "GPUs behind NVSwitch",
                "NVIDIA's fabric manager, which Debian does not package",
                "Set cuda_driver: nvidia-repo.",
            )

    def check_secure_boot(self, source, branch):
        """Warn: a module that DKMS builds is refused until somebody at the console has trusted its key."""
        if self.node["secure_boot"] and not (source == "distribution" and self.release.startswith("ubuntu")):
            self.warnings.append(
                "Secure Boot is on: the kernel refuses the driver's module until its key is trusted. On the host: "
                "'sudo mokutil --import /var/lib/dkms/mok.pub' (Ubuntu: /var/lib/shim-signed/mok/MOK.der), then "
                "confirm it at the console during the next boot; or switch Secure Boot off in the firmware."
            )

    def repository(self):
        """Return ``repository``, the address of NVIDIA's, and ``own_source``: it is for us to declare it."""
        known = self.versions["repositories"].get(self.release)
        if not known:
            self.refuse(
                "no repository of NVIDIA is known for %s" % self.release,
                "one of " + ", ".join(self.versions["repositories"]),
                "Set cuda_driver: distribution and cuda_toolkit: wheels.",
            )
            return {}
        if self.settings["cuda_keyring"] and not re.fullmatch(r"[0-9a-f]{64}", self.settings["cuda_keyring_sha256"]):
            self.refuse(
                "cuda_keyring without cuda_keyring_sha256",
                "the SHA-256 sum of that package in hexadecimal",
                "Take it from where you trust it, and set it beside cuda_keyring.",
            )
        uri = "%s/%s" % (self.settings["cuda_mirror"].rstrip("/"), known["path"])
        return {"repository": uri, "own_source": not any(entry["uri"] == uri for entry in self.others())}

    def toolkit(self):
        """Return the version of the toolkit to install, or ''."""
        wanted = str(self.settings["cuda_toolkit"])
        if wanted in ("wheels", ""):
            return ""
        entry = self.versions["toolkits"].get(wanted)
        if entry and self.release in entry["releases"]:
            return wanted
        there = [name for name, e in self.versions["toolkits"].items() if self.release in e["releases"]]
        self.refuse(
            "cuda_toolkit is '%s'" % wanted,
            "for %s one of %s" % (self.release, ", ".join(["wheels", *there])),
            "Correct it; 'wheels' are TensorFlow's own and need no toolkit on the host.",
        )
        return ""

    def components(self):
        """Return the parts of the distribution that hold the driver and that the host's sources lack."""
        codename = self.node["codename"]
        there = {part for entry in self.others() if entry["suite"] == codename for part in entry["components"]}
        return [part for part in COMPONENTS[self.facts["distribution"]] if part not in there]

    def others(self):
        """Return the host's apt sources but for our own."""
        return [entry for entry in self.node["sources"] if not entry["file"].startswith("mammoctl-")]

    def mirror(self):
        """Return the address that the host has its distribution from."""
        main = [e["uri"] for e in self.others() if e["suite"] == self.node["codename"] and "main" in e["components"]]
        if not main:
            self.refuse(
                "no apt source has the main part of %s" % self.node["codename"],
                "one, to take the driver's packages from the same archive",
                "Add the distribution's archive to the host's apt sources, or set cuda_driver: nvidia-repo.",
            )
        return main[0] if main else ""


class FilterModule:
    """The filter of this file."""

    def filters(self):
        """Return name -> function."""
        return {"mammoctl_driver": choose_driver}

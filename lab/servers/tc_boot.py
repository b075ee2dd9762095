"""The BNG's boot unit: gives the lines the rates that were saved for them."""

from __future__ import annotations

from lab.servers.daemon import Daemon, run
from lab.servers.site import Json, Site

SAVED_DIRECTORY = "/etc/bandmaster/tc.d"
_SCRIPT = f'for f in {SAVED_DIRECTORY}/*.conf; do test ! -e "$f" || sh -e "$f" || exit 1; done'


class TcBoot:
    """Runs every saved file once, as a boot does; nothing stays running."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.daemons: tuple[Daemon, ...] = ()

    def start(self) -> None:
        """Run the saved files in the order of their names; LabError if a line is refused."""
        run(*self._site.place.command("sh", "-c", _SCRIPT))

    def settle(self) -> None:
        """It needs no other node."""

    def stop(self) -> None:
        """Nothing runs; the saved files stay, like those on a disk."""

    def describe(self) -> Json:
        """Where the files are."""
        return {"saved_dir": SAVED_DIRECTORY}


def make(site: Site) -> TcBoot:
    """The boot unit of a node."""
    return TcBoot(site)

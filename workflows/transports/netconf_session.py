"""One NETCONF session through a NAPALM driver of the Junos kind, with the traps taken out."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jnpr.junos.exception import (
    ConnectAuthError,
    PermissionError,  # noqa: A004 - the library's name
    RpcError,
    RpcTimeoutError,
)
from lxml import etree
from napalm import get_network_driver
from napalm.base.exceptions import ConnectionException, MergeConfigException
from ncclient.transport.errors import SSHUnknownHostError

from inventory import BadSettings, LoginRefused, Unreachable
from workflows.participant import WireContext

from . import hostkeys, netconf_guard
from .ssh_limits import dialled
from .words import InDoubt, SaysNo, shown

LOCK_POLL_S = 0.5
CLOSE_S = 2  # how long a polite goodbye may take

# PyEZ says so to the person at the terminal, and then raises what we tell them ourselves.
warnings.filterwarnings("ignore", message="An unknown exception occurred", module="jnpr")


class NetconfSession:
    """Login with an enrolled host key only; the lock is taken when first needed, kept to the end.

    `options` are a platform's transport_options: `driver` (NAPALM's name) and, optional,
    `optional_args` for it. `doubted` is set once an answer was missing: from then on nothing is
    sent any more.
    """

    def __init__(self, context: WireContext, options: Mapping[str, Any]) -> None:
        self._context = context
        self._options = options
        self._driver: Any = None
        self._guard: Any = None
        self._secret = ""
        self._locked = False
        self.doubted = False

    def open(self) -> None:
        """Connect and log in; raises as Wire.open does."""
        device = self._context.device
        if ":" in device.host:
            raise BadSettings(
                device.name,
                f"PyEZ cannot reach the IPv6 address {device.host}",
                "Give the device a host name or an IPv4 address.",
            )
        with hostkeys.file_for(self._context) as known_hosts:
            self._secret = self._context.resolve(device.password) if device.password.ref else ""
            config = Path(known_hosts).with_name("ssh_config")
            config.write_text(f"Host *\n  UserKnownHostsFile {known_hosts}\n", "utf-8")
            driver = get_network_driver(self._options["driver"])(
                device.host,
                device.username,
                self._secret,
                timeout=self._context.timeout_s,
                optional_args={
                    **self._options.get("optional_args", {}),
                    "port": device.port,
                    "key_file": device.key_file or None,
                    "ssh_config_file": str(config),
                    "keepalive": 30,
                    "lock_disable": True,  # the lock is this class's affair, see lock()
                },
            )
            # NAPALM has no options for these; without them any host key is believed, and keys of
            # the agent and of ~/.ssh are offered to the device.
            driver.device._hostkey_verify = True  # noqa: SLF001
            driver.device._look_for_keys = False  # noqa: SLF001
            driver.device._allow_agent = False  # noqa: SLF001
            driver.device._conn_open_timeout = self._context.timeout_s  # noqa: SLF001
            # PyEZ leaves its configuration out where it is given a socket, and with it our keys
            driver.device._sshconf_lkup = lambda: str(config)  # noqa: SLF001
            self._login(driver)
        self._guard = driver.device._conn._session.parser  # noqa: SLF001
        if not isinstance(self._guard, netconf_guard.Guard):
            msg = "ncclient has made a parser of its own"
            raise TypeError(msg)
        self._driver = driver

    def _login(self, driver: Any) -> None:
        device = self._context.device
        try:
            with dialled(device.host, device.port, self._context.timeout_s) as connection:
                driver.device._sock_fd = connection.fileno()  # noqa: SLF001 - it makes a copy
                driver.open()
                connection.close()
        except ConnectAuthError as error:
            raise LoginRefused(
                device.name,
                f"{device.host} refused the login of {device.username}",
                "Correct the user name or the secret that the inventory refers to.",
            ) from error
        except Exception as error:
            causes = list(_causes(error))
            if any(_is_key_trouble(cause) for cause in causes):
                raise hostkeys.changed(device) from error
            words = shown(" / ".join(filter(None, map(_told, causes))), self._secret)
            raise Unreachable(
                device.name,
                f"no NETCONF session with {device.host} port {device.port}: {words}",
                "Check the path to the device and that it offers NETCONF over SSH.",
            ) from error

    def close(self) -> None:
        """Let go; never raises. Whatever is pending on the device stays pending."""
        driver, self._driver, self._locked = self._driver, None, False
        if driver is None:
            return
        with contextlib.suppress(Exception):
            if not self.doubted:
                driver.device.timeout = CLOSE_S
                driver.device.close()
        self._guard.stop()
        with contextlib.suppress(Exception):
            driver.device.connected = False
            driver.device._conn._session.close()  # noqa: SLF001

    def lock(self, wait_s: float) -> None:
        """Take the exclusive lock and keep it; raises SaysNo naming the holder after `wait_s`.

        Each time that it is asked for, our own right to be there is asked for first.
        """
        if self._locked:
            return
        deadline = time.monotonic() + wait_s
        while True:
            self._context.may_send()
            try:
                self.call("lock-configuration")
            except SaysNo as no:
                hopeless = isinstance(no.__cause__, PermissionError)
                if hopeless or time.monotonic() >= deadline:
                    raise
                time.sleep(LOCK_POLL_S)
            else:
                self._locked = True
                return

    def call(self, name: str, **arguments: str) -> etree._Element:
        """Send one call; an empty argument is an empty element. Returns the body of the reply.

        A warning beside it is no refusal: the device has done what it was asked.
        """
        request = etree.Element(name)
        for argument, value in arguments.items():
            etree.SubElement(request, argument.replace("_", "-")).text = value or None
        with self._asking() as driver:
            body = driver.device.execute(request, ignore_warning=True)
        return etree.Element("ok") if body is True else body

    def running(self) -> str:
        """Return the committed configuration as set lines."""
        with self._asking() as driver:
            return str(driver.get_config("running", format="set")["running"])

    def load(self, lines: tuple[str, ...]) -> None:
        """Load set lines into the candidate; refused as a whole or not at all."""
        with self._asking() as driver:
            driver.load_merge_candidate(config="\n".join(lines))

    def commit(self, *, revert_in_s: int = 0, token: str = "") -> None:
        """Commit for good, or until the timer ends; a refused candidate is thrown away."""
        try:
            with self._asking() as driver:
                if revert_in_s:
                    driver.commit_config(message=token, revert_in=revert_in_s)
                else:
                    driver.confirm_commit()  # a plain commit, whatever its name says
        except SaysNo:
            with contextlib.suppress(SaysNo, InDoubt), self._asking() as driver:
                driver.discard_config()
            raise

    @contextlib.contextmanager
    def _asking(self) -> Iterator[Any]:
        """Give the driver and sort what it raises: the device's no, or doubt."""
        if self._driver is None or self.doubted:
            raise InDoubt("the session is closed or in doubt: a new one is needed")
        self._guard.heard = self._guard.tags = 0
        try:
            yield self._driver
        except RpcTimeoutError as error:
            self.doubted = True
            raise InDoubt(f"no answer within {self._context.timeout_s} s") from error
        except (RpcError, MergeConfigException) as error:
            raise SaysNo(shown(_told(error), self._secret)) from error
        except Exception as error:
            # four libraries raise some thirty kinds here, none of which tells what the device did
            self.doubted = True
            words = shown(" / ".join(filter(None, map(_told, _causes(error)))), self._secret)
            raise InDoubt(f"the session broke: {words}") from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_key_trouble(error: BaseException) -> bool:
    # ncclient asks for kinds of key that are enrolled only: a host without any of them
    # (replaced, or somebody between) ends in this text of paramiko's
    return isinstance(error, SSHUnknownHostError) or "no acceptable host key" in str(error)


def _told(error: BaseException) -> str:
    """Return what an exception says, without the library's wrapping."""
    if isinstance(error, PermissionError) and not error.errs:
        return "permission denied"
    rows = error.args[0] if isinstance(error, MergeConfigException) and error.args else None
    rows = getattr(error, "errs", None) if rows is None else rows
    if isinstance(rows, list) and all(isinstance(row, dict) for row in rows):
        return "; ".join(_row(row) for row in rows)
    if isinstance(error, ConnectionException) or not str(error):
        return f"{type(error).__name__} {error}".strip()
    return str(error)


def _row(row: dict[str, Any]) -> str:
    text = str(row.get("message") or "refused without a word")
    where = " ".join(str(row[key]) for key in ("edit_path", "bad_element") if row.get(key))
    return f"{text} ({where})" if where else text

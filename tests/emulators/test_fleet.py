"""A fleet as a process: its file, its control socket, its end."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import pytest
import yaml
from junos_rig import CONFIG, NEW, bng, opened, prepare
from paramiko import AutoAddPolicy, SSHClient, SSHException, Transport

from lab.emulators.__main__ import main
from lab.emulators.base import DeviceSpec
from lab.emulators.control import ControlClient, ControlRefusedError
from lab.emulators.faults import report_crash
from lab.emulators.fleet import Fleet, FleetFileError, host_key_in, load_fleet_file
from lab.emulators.listener import Connection, Listener
from tests.conftest import StartFleet

ROOT = Path(__file__).parents[2]
ROW = {
    "name": "bng1",
    "kind": "junos",
    "address": "127.50.0.1",
    "port": 8830,
    "username": "bandmaster",
    "password": "wrong-horse",
}
Process = subprocess.Popen[bytes]


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """Deep enough that its socket's path does not fit into a socket address."""
    path = tmp_path / ("deep" * 30) / "state"
    path.mkdir(parents=True)
    return path


@pytest.fixture
def run_fleet(tmp_path: Path, state_dir: Path, subnet: str) -> Iterator[Callable[..., Process]]:
    """A function that starts the process and comes back once it is ready."""
    with ExitStack() as stack:

        def run(*more: str) -> Process:
            file = tmp_path / "fleet.yaml"
            row = {**ROW, "address": f"{subnet}.1", "options": {"config": CONFIG, "speed": 0}}
            file.write_text(yaml.safe_dump({"devices": [row]}), "utf-8")
            command = [sys.executable, "-m", "lab.emulators", "run", str(file)]
            command += ["--state", str(state_dir), *more]
            process = stack.enter_context(subprocess.Popen(command, cwd=ROOT))
            stack.callback(process.kill)
            while not (state_dir / "ready").exists():
                assert process.poll() is None
            return process

        yield run


def test_a_fleet_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    second = {**ROW, "name": "bng2", "options": {"speed": 60}}
    file.write_text(yaml.safe_dump({"devices": [ROW, second]}), "utf-8")
    first, other = load_fleet_file(file)
    assert first == DeviceSpec(**ROW, options={})
    assert (other.name, other.options) == ("bng2", {"speed": 60})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "a list named 'devices'"),
        ({"devices": ["bng1"]}, "device 1 is not a mapping"),
        ({"devices": [{**ROW, "colour": "red"}]}, "device 1 has an unknown field colour"),
        ({"devices": [{k: v for k, v in ROW.items() if k != "port"}]}, "device 1 has no port"),
        ({"devices": [ROW, ROW]}, "device bng1 is there twice"),
    ],
)
def test_a_wrong_fleet_file_names_its_mistake(
    tmp_path: Path, content: object, message: str
) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(yaml.safe_dump(content), "utf-8")
    with pytest.raises(FleetFileError, match=message):
        load_fleet_file(file)


def test_the_process_serves_devices_and_control(
    run_fleet: Callable[..., Process], state_dir: Path, subnet: str
) -> None:
    process = run_fleet()
    assert (state_dir / "ready").read_text("utf-8") == f"{process.pid}\n"
    client = ControlClient(state_dir)
    with opened(bng(subnet)) as driver:
        prepare(driver)
        assert NEW in client.call("bng1", "dump")["running"]
    client.call("bng1", "fault", verb="lock-configuration", kind="refuse")
    with pytest.raises(ControlRefusedError, match="no device 'bng2'"):
        client.call("bng2", "dump")
    with pytest.raises(ControlRefusedError, match="does not know 'explode'"):
        client.call("bng1", "explode")
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 0
    assert sorted(path.name for path in state_dir.iterdir()) == ["host_key", "host_key.pub"]
    assert (state_dir / "host_key").stat().st_mode & 0o777 == 0o600


def test_the_host_key_outlives_the_process(
    run_fleet: Callable[..., Process], state_dir: Path, subnet: str
) -> None:
    offered = []
    for _ in range(2):
        process = run_fleet()
        transport = Transport((f"{subnet}.1", 8830))
        transport.start_client()
        offered.append(transport.get_remote_server_key())
        transport.close()
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
    assert offered[0] == offered[1]
    kind, key = (state_dir / "host_key.pub").read_text("utf-8").split()[:2]
    assert (kind, key) == (offered[0].get_name(), offered[0].get_base64())


def test_the_process_ends_with_the_one_it_watches(run_fleet: Callable[..., Process]) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as watched:
        process = run_fleet("--exit-with-pid", str(watched.pid))
    assert process.wait() == 0


def test_the_command_line_talks_to_a_running_fleet(
    run_fleet: Callable[..., Process],
    state_dir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_fleet()
    where = ["ctl", str(state_dir), "bng1"]
    assert main([*where, "advance", "seconds=5"]) == 0
    assert capsys.readouterr().out == '{"now_s": 5.0}\n'
    assert main([*where, "edit", "lines=set system host-name by-hand", "log=hello"]) == 0
    assert main([*where, "explode"]) == 1
    assert "does not know 'explode'" in capsys.readouterr().err


def test_without_a_fleet_the_command_line_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ctl", str(tmp_path), "bng1", "dump"]) == 1
    assert "No such file" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main(["ctl", str(tmp_path), "bng1", "edit", "lines"])
    assert caught.value.code == 2


def test_an_address_in_use_stops_the_whole_fleet(start_fleet: StartFleet, subnet: str) -> None:
    start_fleet(bng(subnet, 1))
    taken = bng(subnet, 1)
    with pytest.raises(OSError, match="in use"), Fleet([bng(subnet, 2), taken]):
        pass
    with opened(bng(subnet, 1)), pytest.raises(ConnectionRefusedError):
        socket.create_connection((f"{subnet}.2", 8830))


def test_a_crash_of_an_emulator_is_kept(subnet: str) -> None:
    async def crash() -> None:
        report_crash("bng1 test", RuntimeError("boom"))

    with Fleet([bng(subnet)]) as fleet:
        fleet.call(crash())
        assert fleet.crashes == ["emulator failed in bng1 test: RuntimeError('boom')"]


def test_a_mistake_in_an_ssh_callback_is_kept(subnet: str) -> None:
    spec = bng(subnet)

    def mistaken(_connection: Connection) -> NoReturn:
        message = "boom"
        raise RuntimeError(message)

    async def listen() -> Listener:
        listener = Listener(spec, host_key_in(None), mistaken)
        await listener.start()
        return listener

    with Fleet([]) as fleet:
        listener = fleet.call(listen())
        with SSHClient() as client:
            client.set_missing_host_key_policy(AutoAddPolicy())
            client.connect(spec.address, spec.port, spec.username, spec.password)
            with pytest.raises((SSHException, EOFError)):
                client.get_transport().open_session()
        fleet.call(listener.stop())
    assert fleet.crashes == ["emulator failed in an SSH callback: RuntimeError('boom')"]


def test_the_log_numbers_entries_of_all_devices(start_fleet: StartFleet, subnet: str) -> None:
    fleet = start_fleet(bng(subnet, 1), bng(subnet, 2))
    for name in ("bng2", "bng1", "bng2"):
        fleet.control(name, "clear")
    numbers = [
        [entry["seq"] for entry in fleet.control(name, "log")["entries"]]
        for name in ("bng1", "bng2")
    ]
    (middle,), (first, last) = numbers
    assert first < middle < last

"""Shell lines that arm and disarm a job which restores old rates unless it is called off.

A job is known by its files TOKEN_NONCE.*: `.sh` what it does, `.armed` while it waits, then either
`.done` (called off) or `.fired` (it restores), to which `.restored` is added at the end. Whoever
renames `.armed` has won; nothing else decides.
"""

from __future__ import annotations

import re

from device_templates.platform import DeadMan

DIRECTORY = "/run/bandmaster"  # gone after a reboot, like the jobs and what they would undo
_TOKEN = re.compile(r"[0-9a-f][0-9a-f.-]{0,63}", re.ASCII)
_CHUNK = 2000  # characters of inverse lines written by one line


def dead_man(directory: str = DIRECTORY) -> DeadMan:
    """Return the switch whose files are in `directory`."""

    def arm(token: str, inverse: tuple[str, ...], seconds: int) -> tuple[str, ...]:
        return _arm(directory, _checked(token), inverse, seconds)

    def disarm(token: str) -> tuple[str, ...]:
        return (_disarm(directory, _checked(token)),)

    def pending(token: str) -> str:
        return _pending(directory, _checked(token))

    return DeadMan(arm=arm, disarm=disarm, pending=pending)


def _checked(token: str) -> str:
    if not _TOKEN.fullmatch(token):
        msg = f"not a token: {token!r}"
        raise ValueError(msg)
    return token


def _arm(directory: str, token: str, inverse: tuple[str, ...], seconds: int) -> tuple[str, ...]:
    """Write the job's script, start it, wait until it is armed, call off its older namesakes.

    Refused (exit status 1) while a namesake restores, and when one fired while this one started:
    then the new job stays armed, which is harmless, because it restores the same.
    """
    if seconds < 1:
        msg = f"a job cannot wait {seconds} s"
        raise ValueError(msg)
    script = f"{directory}/{token}.new"
    # A job that was called off leaves nothing; `.fired` stays to be seen until it is armed anew.
    start = (
        f"sleep {int(seconds)}",
        'mv "$1.armed" "$1.fired" || { rm -f "$1.sh" "$1.done"; exit 0; }',
    )
    end = (': > "$1.restored"', 'rm -f "$1.sh"')
    none_restores = (
        f"( cd {directory} && for f in {token}_*.fired; do test -e $f || continue;"
        " test -e ${f%.fired}.restored || exit 1; done )"
    )
    return (
        f"mkdir -p -m 700 {directory}",
        none_restores,
        f"rm -f {directory}/{token}_*.fired {directory}/{token}_*.restored {script}",
        *_written(('cd "${0%/*}" || exit 1', ': > "$1.armed"', *start), script),
        *_written(inverse, script),
        *_written(end, script),
        _start(directory, token),
    )


def _written(lines: tuple[str, ...], path: str) -> tuple[str, ...]:
    """Shell lines that add `lines` to a file, as many at a time as fit."""
    commands: list[str] = []
    quoted = ""
    for line in lines:
        if "'" in line or not line.isascii() or not line.isprintable():
            msg = f"not a line for a job: {line!r}"
            raise ValueError(msg)
        if len(quoted) + len(line) > _CHUNK:
            commands.append(f"printf '%s\\n'{quoted} >> {path}")
            quoted = ""
        quoted += f" '{line}'"
    if quoted:
        commands.append(f"printf '%s\\n'{quoted} >> {path}")
    return tuple(commands)


def _start(directory: str, token: str) -> str:
    """Start the job detached; it arms itself, so what is armed is known to run."""
    return (
        f"( cd {directory} && n={token}_$(head -c 8 /proc/sys/kernel/random/uuid)"
        f" && mv {token}.new $n.sh"
        f" && {{ setsid nohup sh {directory}/$n.sh $n </dev/null >/dev/null 2>&1 & }}"
        " && i=0 && until test -e $n.armed || test $i -ge 50; do sleep 0.1; i=$((i+1)); done"
        f" && test -e $n.armed && for f in {token}_*.armed; do"
        " test $f = $n.armed || mv $f ${f%.armed}.done || exit 1; done )"
    )


def _disarm(directory: str, token: str) -> str:
    """Exit status 0: nothing of this token can restore any more, and nothing has."""
    return (
        f"( cd {directory} 2>/dev/null || exit 0; for f in {token}_*.armed; do"
        " test -e $f || continue; d=${f%.armed}.done;"
        " mv $f $d 2>/dev/null || test -e $d || exit 1; done;"
        f' test -z "$(find . -name "{token}_*.fired")" )'
    )


def _pending(directory: str, token: str) -> str:
    """Print `foreign TOKEN` before `pending` before `none`; a job that restores counts too.

    Both names are looked at again, in the order of the rename: it may happen meanwhile.
    """
    return (
        f"( cd {directory} 2>/dev/null || {{ echo none; exit 0; }}; p=none;"
        " for f in *.armed *.fired; do b=${f%.*};"
        ' test -e "$b.armed" || test -e "$b.fired" || continue;'
        ' test -e "$b.restored" && continue;'
        f' case $b in {token}_*) test "$p" = none && p=pending;;'
        ' *) p="foreign ${b%_*}";; esac; done; echo "$p" )'
    )

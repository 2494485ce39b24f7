"""The machine's end of a unit: `python -m cluster.monitor UNIT.json UNIT.process [LOCK]`.

It records itself, starts the supervisor as the first process of a new PID namespace, plugs a node's network cable in,
and waits. Ending it ends the whole unit: the supervisor is killed with it, and the kernel kills whatever else is in a
PID namespace whose first process is gone.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import types

from cluster import cgroups, errors, linux, network, processes, units


def main(arguments: list[str]) -> int:
    unit_file, record_file = pathlib.Path(arguments[0]), pathlib.Path(arguments[1])
    myself = processes.identify(os.getpid())
    assert myself is not None
    units.record(record_file, myself)
    if len(arguments) > 2:
        # Until here `up` and `down` of the same cluster wait, even when the `up` that started this was killed.
        os.close(int(arguments[2]))
    unit = units.load(unit_file)
    cgroups.join(unit.cgroups)

    ready, say_ready = os.pipe()
    wait_go, go = os.pipe()
    own = os.open("/proc/self/ns/pid", os.O_RDONLY)
    linux.unshare(linux.CLONE_NEWPID)
    supervisor = subprocess.Popen(
        [sys.executable, "-m", "cluster.supervisor", str(unit_file), str(say_ready), str(wait_go)],
        pass_fds=(say_ready, wait_go),
    )
    # Only the supervisor is to be in there; what this process runs itself stays with the machine.
    linux.enter(own, linux.CLONE_NEWPID)
    os.close(own)
    os.close(say_ready)
    os.close(wait_go)
    first = processes.identify(supervisor.pid)
    if first is not None:
        units.record(record_file.with_suffix(".supervisor"), first)

    def end(_number: int, _frame: types.FrameType | None) -> None:
        supervisor.kill()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        if os.read(ready, 1):
            if unit.network is not None:
                network.plug(unit.network, supervisor.pid)
            os.write(go, b"g")
        return supervisor.wait()
    finally:
        supervisor.kill()
        supervisor.wait()
        if unit.network is not None:
            with contextlib.suppress(errors.StepFailed):
                network.unplug(unit.network)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Run a unit from the host: `python -m cluster.monitor UNIT.json UNIT.process [LOCK]`.

The monitor records itself, starts the supervisor as the first process of a new PID namespace, connects a node to the
network, and waits. Ending the monitor ends the whole unit: the supervisor dies with it, and the kernel kills every
process in a PID namespace whose first process is gone.
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
        # Until now, `up` and `down` of this cluster have been waiting, even if the `up` that started this was killed.
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
    # Only the supervisor belongs in that namespace; programs that this process runs stay in the host's.
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

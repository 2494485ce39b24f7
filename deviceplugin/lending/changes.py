"""Tells which of many containers' files have changed since the last round, and writes all heartbeats, at a cost that
hardly grows with their number: one system call for a thousand files, see `unigpu_node.file_heads`."""

from collections.abc import Mapping
from pathlib import Path

from deviceplugin.lending.container_state import ContainerState
from unigpu_node.file_heads import Copies, Snapshots
from unigpu_node.heartbeats import Heartbeats


class Changes:
    """What the open containers' files said in the last round."""

    def __init__(self) -> None:
        self._snapshots = Snapshots()
        self._heartbeats = Heartbeats()
        self._paths: dict[ContainerState, Path] = {}
        self._trusted: list[ContainerState] = []
        """Those whose accounts are copied, in the copies' order."""
        self._untrusted: frozenset[ContainerState] = frozenset()
        """The others."""
        self._places: list[memoryview] = []
        """Where the heartbeats are written."""
        self._copies: Copies | None = None
        """None: others are open now, or their files are others."""
        self._worked: set[ContainerState] = set()

    def close(self) -> None:
        """Give the memory back. The states are their owner's to close."""
        self.forget()
        self._snapshots.close()
        self._heartbeats.close()

    def forget(self) -> None:
        """Take in that other containers are open, or others' files: the next look finds them all changed."""
        self._copies = None

    def path(self, state: ContainerState) -> Path:
        """Return the folder of a container that the last look was at."""
        return self._paths[state]

    def look(self, states: Mapping[Path, ContainerState]) -> set[ContainerState]:
        """Return the containers whose account has changed, or may have.

        Those that a sample was taken of after the last look, and whose account hasn't changed since, rest. `states` may
        be others than the last time only after `forget`.
        """
        if self._copies is None:
            self._paths = {state: path for path, state in states.items()}
            self._trusted = [state for state in self._paths if state.trusted]
            self._untrusted = frozenset(self._paths).difference(self._trusted)
            self._places = [state.heartbeat for state in self._paths]
            self._copies = Copies(self._snapshots, [state.account for state in self._trusted])
        try:
            differing = self._copies.changed()
        except OSError:  # there is no memory for copies now
            self._copies = None
            return set(self._paths)
        worked = {self._trusted[place] for place in differing}.union(self._untrusted)
        for place, copy in differing.items():
            if copy is None:
                self._trusted[place].distrust()
                self._copies = None
        for state in self._worked - worked:
            state.rest()
        self._worked = worked
        return worked

    def beat(self, states: Mapping[Path, ContainerState], now_ns: int) -> list[Path]:
        """Make all live states hold from this moment on; return the folders whose policy was cut away."""
        places = [state.heartbeat for state in states.values()] if self._copies is None else self._places
        gone = self._heartbeats.write(now_ns, places)
        paths = list(states) if gone else []
        return [paths[place] for place in gone]

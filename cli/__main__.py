"""`kubectl unigpu …`: arguments → command → exit status. Errors are printed here and nowhere else."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from cli import failures
from unigpu import errors

INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Command:
    """A command: its line in the help, and the module with its description, its arguments, and what runs it.

    The module is loaded where the command is given: together they take longer than most commands run.
    """

    help: str
    module: str
    about: str = "ABOUT"
    arguments: str = "arguments"

    def load(self, parser: argparse.ArgumentParser) -> None:
        """Load the module, and declare its description and arguments."""
        module = importlib.import_module(self.module)
        parser.description = getattr(module, self.about)
        getattr(module, self.arguments)(parser)

    def run(self, given: argparse.Namespace) -> int:
        """Run the command; return the exit status."""
        status: int = importlib.import_module(self.module).run(given)
        return status


COMMANDS = {
    "status": Command("show which containers share which GPU, and what is free", "cli.status.command"),
    "top": Command("show what containers use of their GPUs now", "cli.top.command"),
    "explain": Command("explain where a pod's numbers come from, or why it waits", "cli.explain.command"),
    "limit": Command("change the limits of running pods", "cli.limit_command"),
    "cost": Command("show what namespaces and pods had of GPUs, and its price", "cli.cost.command"),
    "doctor": Command("check the installation, and say what to do", "cli.doctor.command"),
    "cordon": Command("place nothing new on a GPU", "cli.cordon"),
    "drain": Command("evict the pods of a GPU", "cli.drain_command"),
    "uncordon": Command("end a GPU's cordon", "cli.cordon", "ABOUT_UNCORDON", "uncordon_arguments"),
    "plan": Command("show where a pod would go, without creating it", "cli.plan_command"),
    "run": Command("run a program on this machine with limits, without a cluster", "cli.run_command"),
    "translate": Command("show how unigpu understands manifests of any vendor", "cli.translate_command"),
    "version": Command("show the versions of this program and of the cluster's parts", "cli.version"),
    "completion": Command("print a script that completes commands in a shell", "cli.completion"),
}


def parser(only: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the whole command line; `only`: with the arguments of one command, or of none."""
    whole = argparse.ArgumentParser(
        prog="kubectl unigpu",
        description="Share GPUs among containers.",
        epilog="`kubectl unigpu COMMAND --help` describes a command.",
    )
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        inner = commands.add_parser(name, help=command.help)
        if only is None or name == only:
            command.load(inner)
    return whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status. argparse itself ends with 2 for arguments that it doesn't know."""
    arguments = sys.argv[1:] if arguments is None else arguments
    given = parser(arguments[0] if arguments else "").parse_args(arguments)
    try:
        return COMMANDS[given.command].run(given)
    except errors.UnigpuError as error:
        print(failures.sentence(error), file=sys.stderr)
        return failures.status(error)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())

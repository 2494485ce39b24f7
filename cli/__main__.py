"""`kubectl unigpu …`: arguments → command → exit status. Errors are printed here and nowhere else."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cli import completion, cordon, failures, limit_command, plan_command, translate_command, version
from cli.doctor import command as doctor
from cli.explain import command as explain
from cli.status import command as status
from cli.top import command as top
from unigpu import errors

INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Command:
    """A command: its line in the help, its description, its arguments, and what runs it."""

    help: str
    about: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


COMMANDS = {
    "status": Command(
        "show which containers share which GPU, and what is free", status.ABOUT, status.arguments, status.run
    ),
    "top": Command("show what containers use of their GPUs now", top.ABOUT, top.arguments, top.run),
    "explain": Command(
        "explain where a pod's numbers come from, or why it waits", explain.ABOUT, explain.arguments, explain.run
    ),
    "limit": Command(
        "change the limits of running pods", limit_command.ABOUT, limit_command.arguments, limit_command.run
    ),
    "doctor": Command("check the installation, and say what to do", doctor.ABOUT, doctor.arguments, doctor.run),
    "cordon": Command("place nothing new on a GPU", cordon.ABOUT, cordon.arguments, cordon.run),
    "uncordon": Command("end a GPU's cordon", cordon.ABOUT_UNCORDON, cordon.uncordon_arguments, cordon.run),
    "plan": Command(
        "show where a pod would go, without creating it", plan_command.ABOUT, plan_command.arguments, plan_command.run
    ),
    "translate": Command(
        "show how unigpu understands manifests of any vendor",
        translate_command.ABOUT,
        translate_command.arguments,
        translate_command.run,
    ),
    "version": Command(
        "show the versions of this program and of the cluster's parts", version.ABOUT, version.arguments, version.run
    ),
    "completion": Command(
        "print a script that completes commands in a shell",
        completion.ABOUT,
        completion.arguments,
        lambda given: completion.run(given, parser()),
    ),
}


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    whole = argparse.ArgumentParser(
        prog="kubectl unigpu",
        description="Share GPUs among containers.",
        epilog="`kubectl unigpu COMMAND --help` describes a command.",
    )
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        command.arguments(commands.add_parser(name, help=command.help, description=command.about))
    return whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status. argparse itself ends with 2 for arguments that it doesn't know."""
    given = parser().parse_args(arguments)
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

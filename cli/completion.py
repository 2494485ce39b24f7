"""`kubectl unigpu completion`: scripts that complete commands and options in a shell. Static: they ask no program."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

ABOUT = (
    "Prints a script for the shell. bash: add `source <(kubectl unigpu completion bash)` to ~/.bashrc. zsh: write it "
    "to a file _kubectl-unigpu in a folder of fpath. fish: write it to ~/.config/fish/completions/kubectl-unigpu.fish. "
    "kubectl: write it to an executable file kubectl_complete-unigpu in a folder of PATH, and kubectl's own completion "
    "completes `kubectl unigpu` in every shell. The others complete kubectl-unigpu."
)
SHELLS = ("bash", "zsh", "fish", "kubectl")
PROGRAM = "kubectl-unigpu"


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a command."""

    flags: tuple[str, ...]
    help: str
    choices: tuple[str, ...]
    takes: bool
    """Whether a value follows."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command, and what can follow it."""

    name: str
    help: str
    options: tuple[Option, ...]
    words: tuple[str, ...]
    """Choices of its positional argument."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("shell", choices=SHELLS, help="whose language the script is in")


def run(given: argparse.Namespace) -> int:
    """Print the script; return the exit status."""
    from cli.__main__ import parser  # not at the top: that module imports this one

    print(script(given.shell, parser()), end="")
    return 0


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """Return the script for a shell."""
    write = {"bash": _bash, "zsh": _zsh, "fish": _fish, "kubectl": _kubectl}[shell]
    return "\n".join(write(list(commands(parser)))) + "\n"


def commands(parser: argparse.ArgumentParser) -> Iterator[Command]:
    """Yield the commands of the parser."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {one.dest: one.help or "" for one in action._choices_actions}
            for name, inner in action.choices.items():
                yield _command(name, helps.get(name, ""), inner)


def _command(name: str, text: str, parser: argparse.ArgumentParser) -> Command:
    found = []
    words: tuple[str, ...] = ()
    for action in parser._actions:
        choices = tuple(str(one) for one in action.choices or ())
        if not action.option_strings:
            words += choices
            continue
        help_text = (action.help or "").replace("%%", "%")
        if "%(" in help_text:
            help_text = help_text.partition(" (default")[0]
        found.append(Option(tuple(action.option_strings), help_text, choices, action.nargs != 0))
    return Command(name, text, tuple(found), words)


def _flags(command: Command) -> str:
    return " ".join([*command.words, *(flag for option in command.options for flag in option.flags)])


def _names(found: list[Command]) -> str:
    return " ".join(one.name for one in found)


def _bash(found: list[Command]) -> Iterator[str]:
    yield f"# Completion of {PROGRAM} for bash."
    yield "_kubectl_unigpu() {"
    yield '    local word="${COMP_WORDS[COMP_CWORD]}" last="${COMP_WORDS[COMP_CWORD-1]}"'
    yield "    COMPREPLY=()"
    yield "    if (( COMP_CWORD == 1 )); then"
    yield f'        mapfile -t COMPREPLY < <(compgen -W "{_names(found)} --help" -- "$word")'
    yield "        return"
    yield "    fi"
    yield '    case "${COMP_WORDS[1]} $last" in'
    for command in found:
        for option in command.options:
            if option.choices:
                cases = " | ".join(f'"{command.name} {flag}"' for flag in option.flags)
                words = " ".join(option.choices)
                yield f'    {cases}) mapfile -t COMPREPLY < <(compgen -W "{words}" -- "$word"); return ;;'
            elif option.takes:
                cases = " | ".join(f'"{command.name} {flag}"' for flag in option.flags)
                files = any("PATH" in option.help or flag in ("--kubeconfig", "--filename") for flag in option.flags)
                yield f"    {cases}) {_bash_files if files else ''}return ;;"
    yield "    esac"
    yield '    case "${COMP_WORDS[1]}" in'
    for command in found:
        yield f'    {command.name}) mapfile -t COMPREPLY < <(compgen -W "{_flags(command)}" -- "$word") ;;'
    yield "    esac"
    yield "}"
    yield f"complete -F _kubectl_unigpu {PROGRAM}"


_bash_files = 'mapfile -t COMPREPLY < <(compgen -f -- "$word"); '


def _zsh(found: list[Command]) -> Iterator[str]:
    yield f"#compdef {PROGRAM}"
    yield "_kubectl_unigpu() {"
    yield "    local -a commands"
    yield "    commands=("
    for command in found:
        yield f"        {_quoted(f'{command.name}:{command.help}')}"
    yield "    )"
    yield "    if (( CURRENT == 2 )); then"
    yield "        _describe command commands"
    yield "        return"
    yield "    fi"
    yield "    local command=$words[2]"
    yield "    shift words; (( CURRENT-- ))"
    yield "    case $command in"
    for command in found:
        yield f"    {command.name})"
        yield "        _arguments \\"
        for option in command.options:
            for flag in option.flags:
                yield f"            {_quoted(_zsh_option(option, flag))} \\"
        rest = f":argument:({' '.join(command.words)})" if command.words else ":argument:"
        yield f"            {_quoted('*' + rest)} ;;"
    yield "    esac"
    yield "}"
    yield 'if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _kubectl_unigpu "$@"; else compdef _kubectl_unigpu ' + (
        f"{PROGRAM}; fi"
    )


def _zsh_option(option: Option, flag: str) -> str:
    text = option.help.replace("[", "(").replace("]", ")").replace(":", "\\:")
    value = ""
    if option.takes:
        files = flag in ("--kubeconfig", "-f", "--filename")
        value = f":value:({' '.join(option.choices)})" if option.choices else f":value:{'_files' if files else ''}"
    return f"*{flag}[{text}]{value}"


def _fish(found: list[Command]) -> Iterator[str]:
    yield f"# Completion of {PROGRAM} for fish."
    yield f"complete -c {PROGRAM} -f"
    for command in found:
        yield f"complete -c {PROGRAM} -n __fish_use_subcommand -a {command.name} -d {_fish_quoted(command.help)}"
    for command in found:
        there = f"complete -c {PROGRAM} -n '__fish_seen_subcommand_from {command.name}'"
        if command.words:
            yield f"{there} -a '{' '.join(command.words)}'"
        for option in command.options:
            flags = " ".join(f"-{'l' if flag.startswith('--') else 's'} {flag.lstrip('-')}" for flag in option.flags)
            value = f" -x -a '{' '.join(option.choices)}'" if option.choices else " -r" if option.takes else ""
            files = " -F" if "--kubeconfig" in option.flags or "--filename" in option.flags else ""
            yield f"{there} {flags}{value}{files} -d {_fish_quoted(option.help)}"


def _kubectl(found: list[Command]) -> Iterator[str]:
    """Write the program that kubectl asks: the words so far as arguments, candidates as lines, `:4` for no files.

    Source: "Providing shell completion for kubectl plugins" in the Kubernetes documentation of plugins.
    """
    yield "#!/bin/sh"
    yield "# kubectl runs this program, kubectl_complete-unigpu, to complete `kubectl unigpu`."
    yield "last='' command=''"
    yield '[ "$#" -gt 1 ] && command=$1'
    yield 'for word in "$@"; do previous=$last; last=$word; done'
    yield 'case "$command $previous" in'
    for command in found:
        for option in command.options:
            if option.choices:
                cases = " | ".join(f"'{command.name} {flag}'" for flag in option.flags)
                yield f"{cases}) words='{' '.join(option.choices)}' ;;"
    yield "*)"
    yield '    case "$command" in'
    yield f"    '') words='{_names(found)}' ;;"
    for command in found:
        yield f"    {command.name}) words='{_flags(command)}' ;;"
    yield "    esac ;;"
    yield "esac"
    yield 'for word in $words; do case "$word" in "$last"*) echo "$word" ;; esac; done'
    yield "echo :4"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _fish_quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"

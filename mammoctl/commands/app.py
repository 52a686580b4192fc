"""How every command of mammoctl takes its options and shows its help: see `App`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from mammoctl import runlog
from mammoctl.commands.help import WIDTH, HelpPage, unfolded

_PLAIN: dict[Any, str] = {bool: "", str: "TEXT", int: "NUMBER", float: "NUMBER", Path: "PATH"}

Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        envvar="MAMMOCTL_QUIET",
        show_envvar=False,
        help="Only results and problems.",
    ),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        envvar="MAMMOCTL_VERBOSE",
        show_envvar=False,
        help="Every command on the nodes and every task as well.",
    ),
]


class Command(HelpPage, TyperCommand):
    """A command whose help is a `HelpPage` and names no Python types."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.help = unfolded(self.help or "")

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, ``--help`` among them."""
        return [_named(parameter) for parameter in super().get_params(ctx)]

    def invoke(self, ctx: Any) -> Any:
        """Run the command; the log of what it says is its own."""
        words: list[str] = []
        context = ctx
        while context.parent is not None:
            words.insert(0, context.info_name or "")
            context = context.parent
        runlog.begin(" ".join(words))
        return super().invoke(ctx)


class Group(HelpPage, TyperGroup):
    """A group of commands that shows its help in the same way."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, ``--help`` among them."""
        return [_named(parameter) for parameter in super().get_params(ctx)]


class App(typer.Typer):
    """A group of commands that all take ``--quiet``, ``--verbose`` and ``--ask-become-pass``.

    Attributes:
        panel: heading in the help for what is registered from now on.
    """

    def __init__(self, **settings: Any) -> None:
        shown = {"help_option_names": ["-h", "--help"], "max_content_width": WIDTH}
        super().__init__(
            cls=Group,
            no_args_is_help=True,
            rich_markup_mode=None,
            context_settings=shown,
            **settings,
        )
        self.panel: str | None = None

    def command(  # type: ignore[override]
        self, name: str | None = None, *, cls: type[Command] = Command, **settings: Any
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Register a function as a command, as Typer does."""
        register = super().command(name, cls=cls, rich_help_panel=self.panel, **settings)

        def add(function: Callable[..., Any]) -> Callable[..., Any]:
            register(_with_common_options(function))
            return function

        return add

    def add_typer(self, typer_instance: typer.Typer, **settings: Any) -> None:
        """Add a group of commands, as Typer does."""
        super().add_typer(typer_instance, rich_help_panel=self.panel, **settings)


AskBecomePass = Annotated[
    bool,
    typer.Option("--ask-become-pass", "-K", help="Ask for the password of sudo on the hosts."),
]
# Behind a command as well as before it; told of once, by `mammoctl --help`.
_AskBecomePassHidden = Annotated[bool, typer.Option("--ask-become-pass", "-K", hidden=True)]


def plain(option: TyperOption) -> str | None:
    """Return what the help calls an option's value where it has no word of its own."""
    kind: Any = option.type_descriptor.annotation
    return _PLAIN.get(get_args(kind)[0] if get_origin(kind) is list else kind)


def _with_common_options(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def command(
        *args: Any, quiet: bool, verbose: bool, ask_become_pass: bool, **options: Any
    ) -> Any:
        from mammoctl import console

        console.set_volume(quiet=quiet, verbose=verbose)
        if ask_become_pass:
            from mammoctl import become

            become.ask()
        return function(*args, **options)

    own = inspect.signature(function, eval_str=True)
    common = {"quiet": Quiet, "verbose": Verbose, "ask_become_pass": _AskBecomePassHidden}
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in common.items()
    ]
    command.__signature__ = own.replace(  # type: ignore[attr-defined]
        parameters=[*own.parameters.values(), *added]
    )
    return command


def _named(parameter: Any) -> Any:
    """Say what a value is by a word rather than by its type in Python."""
    if isinstance(parameter, TyperArgument):
        # Its name says it.
        parameter.display_type_rich = lambda ctx: None  # type: ignore[method-assign]  # noqa: ARG005
    elif isinstance(parameter, TyperOption) and parameter.metavar is None:
        parameter.metavar = plain(parameter)
    return parameter

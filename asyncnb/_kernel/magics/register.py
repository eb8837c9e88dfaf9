"""Register the magics and their completion with a shell, in a way that can be undone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from IPython.core.completer import context_matcher

from asyncnb._kernel.magics.magics import AsyncMagics

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from asyncnb._kernel.cells.background import BackgroundCells
    from asyncnb._kernel.magics.verbs import Verb
    from asyncnb._kernel.output.router import OutputRouter
    from asyncnb._kernel.undo import UndoStack

_MAGICS = {"cell": ("atask", "agroup", "amap"), "line": ("atask", "tasks", "asyncnb")}


def register(ip: InteractiveShell, undo: UndoStack, **parts: Any) -> AsyncMagics:
    """Register the magics with ``ip`` and return them; ``parts`` are what they are made of."""
    table = ip.magics_manager.magics
    before = {kind: dict(table[kind]) for kind in _MAGICS}
    registered: list[Any] = ip.configurables  # every Magics adds itself here
    instances = ip.magics_manager.registry

    def unregister() -> None:
        instances.pop(AsyncMagics.__name__, None)
        registered[:] = [each for each in registered if not isinstance(each, AsyncMagics)]
        for kind, names in _MAGICS.items():
            for name in names:
                if name in before[kind]:
                    table[kind][name] = before[kind][name]
                else:
                    table[kind].pop(name, None)

    undo.push(unregister)
    magics = AsyncMagics(ip, **parts)
    ip.register_magics(magics)
    return magics


def complete(ip: InteractiveShell, undo: UndoStack, magics: AsyncMagics) -> None:
    """Complete the arguments of the magics; the completer is imported at the first Tab."""
    completer = getattr(ip, "Completer", None)
    if completer is None:
        return

    @context_matcher(priority=1000, identifier="asyncnb.magics")  # type: ignore[untyped-decorator]
    def matcher(context: Any) -> Any:
        from asyncnb._kernel.magics.completion import MagicCompletion

        table, commands = magics.table, magics.commands
        completion = MagicCompletion(ip, table=table, verbs=magics.verbs, commands=commands)
        return completion.match(context)

    undo.append(completer.custom_matchers, matcher)


def tasks_verbs(
    output: OutputRouter,
    background: BackgroundCells,
    *,
    detach: Callable[[], str],
    ask: Callable[[], None],
    live: Callable[[], Any],
    deadlocks: Callable[[], Any],
) -> tuple[Verb, dict[str, Verb]]:
    """Return what ``%tasks`` without a verb does, and its verbs; imports their modules."""
    from asyncnb._kernel.magics.control import ControlVerbs
    from asyncnb._kernel.magics.explain import ExplainVerbs
    from asyncnb._kernel.magics.show import ShowVerbs

    control = ControlVerbs(
        deliver=output.deliver_late_output,
        detach=detach,
        followers=lambda: background.launcher.followers,
        ask=ask,
    )
    show = ShowVerbs(background, show_output=output.show_again, live=live)
    explain = ExplainVerbs(background, deadlocks=deadlocks)
    show.all_verbs = verbs = {**control.verbs, **show.verbs, **explain.verbs}
    return show.table, verbs

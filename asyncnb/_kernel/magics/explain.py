"""The verbs of ``%tasks`` that explain: why a task hangs, why it failed, where its time goes."""

from __future__ import annotations

from asyncnb._kernel.magics.verbs import Verb


class ExplainVerbs:
    """Explains tasks and changes nothing; what a verb needs is imported when it is used."""

    def __init__(self) -> None:
        self.verbs: dict[str, Verb] = {}

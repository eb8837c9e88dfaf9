"""The graph of tasks as an object that a notebook displays: a picture, and text elsewhere."""

from __future__ import annotations

from typing import Any

from asyncnb._core.base.text import count, escape_control_chars
from asyncnb._core.task_graph.data import KINDS, Graph, graph_data


class TaskGraph:
    """A picture of which task starts after which, taken at one moment."""

    def __init__(self, pattern: str = "*") -> None:
        #: Nodes and edges.
        self.data: Graph = graph_data(pattern)

    def svg(self) -> str:
        """Return it as a self-contained SVG document."""
        from asyncnb._core.task_graph.svg import svg

        return svg(self.data)

    def text(self) -> str:
        """Return it as text: a line for each node, with what it depends on."""
        lines = []
        width = max((len(_shown(node.name)) for node in self.data.nodes.values()), default=0)
        for key, node in self.data.nodes.items():
            facts = [f"{_shown(node.name):{width}}  {node.state or '-'}"]
            if node.note:
                facts.append(f"({node.note})")
            for kind, words in KINDS.items():
                sources = [e.source for e in self.data.edges if e.target == key and e.kind == kind]
                if sources:
                    names = ", ".join(_shown(self.data.nodes[each].name) for each in sources)
                    facts.append(f"{words.partition(':')[0]} {names}")
            lines.append("  ".join(facts))
        if not lines:
            lines.append("No task starts after another one.")
        if self.data.alone:
            lines.append(f"Not drawn: {count(self.data.alone, 'task')} without such a link.")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.text()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {"text/plain": self.text(), "image/svg+xml": self.svg()}


def _shown(name: str) -> str:
    return escape_control_chars(name, 40)

"""The rows of a frontier as trees of ours: read before the best are chosen, so that none is lost to one that cannot be
read.
"""

from __future__ import annotations

from interpret.errors import ExpressionError
from symbolic.backends.messages import Equation, best_rows
from symbolic.expression import Tree, depth, variables
from symbolic.operators import Operator
from symbolic.parser import MAX_NESTING, parse

_MOST_UNREAD = 100


class Frontier:
    """The best readable row of each complexity, out of everything that was shown.

    ``operators`` are the user's own; ``width`` is the number of inputs, None for any. ``unread`` holds a message for
    each row that is no formula of ours.
    """

    def __init__(self, operators: tuple[Operator, ...] = (), width: int | None = None) -> None:
        self.equations: tuple[Equation, ...] = ()
        self._operators, self._width = operators, width
        self._unread: dict[str, None] = {}
        # Of the rows kept and those last shown: a search shows the same ones again and again.
        self._known: dict[str, Tree | None] = {}

    @property
    def trees(self) -> tuple[Tree, ...]:
        """The trees of the rows, simplest first."""
        found = (self._known[row.text] for row in self.equations)
        return tuple(tree for tree in found if tree is not None)

    @property
    def unread(self) -> tuple[str, ...]:
        """What was wrong with rows that were skipped, each once."""
        return tuple(self._unread)

    def show(self, rows: tuple[Equation, ...]) -> None:
        """Take over what is better than what is there."""
        known = {row.text: self._tree(row.text) for row in (*self.equations, *rows)}
        readable = [row for row in rows if known[row.text] is not None]
        self._known = known
        if readable:
            self.equations = best_rows(self.equations, readable)

    def _tree(self, text: str) -> Tree | None:
        if text in self._known:
            return self._known[text]
        try:
            return read_tree(text, self._operators, self._width)
        except ExpressionError as error:
            if len(self._unread) < _MOST_UNREAD:
                self._unread[f"a row of PySR's frontier was skipped: {str(error).splitlines()[0]}"] = None
            return None


def candidates(
    equations: tuple[Equation, ...], operators: tuple[Operator, ...] = (), width: int | None = None
) -> tuple[tuple[Tree, ...], tuple[str, ...]]:
    """The trees of a frontier, and a message for each row that is no formula of ours in ``width`` inputs."""
    frontier = Frontier(operators, width)
    frontier.show(equations)
    return frontier.trees, frontier.unread


def read_tree(text: str, operators: tuple[Operator, ...] = (), width: int | None = None) -> Tree:
    """The tree of a row.

    Raises:
        ExpressionError: it is no formula of ours in ``width`` inputs.
    """
    tree = parse(text, None, operators)
    # A chain of sums is deep without nesting; trees are hashed and compared by recursion.
    if depth(tree) > MAX_NESTING:
        raise ExpressionError(f"nested more than {MAX_NESTING} deep")
    beyond = [index for index in variables(tree) if width is not None and index >= width]
    if beyond:
        raise ExpressionError(f"there is no input x{beyond[0]}")
    return tree

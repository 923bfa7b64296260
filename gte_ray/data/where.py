"""Conditions on rows, such as `score >= 3 and lang in ("en", "de")`. They are parsed, and never run as code."""

import ast
import operator
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from gte_ray.data.paths import Path
from gte_ray.errors import UsageError

Value = Callable[[Any], Any]
"""Takes a row."""
ALLOWED = "fields (row['any name'] too), texts, numbers, lists, and, or, not, in, ==, !=, <, <=, >, >=, len()"
_CONSTANTS = {"true": True, "false": False, "null": None}
_ORDERS: dict[type, Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


class Condition:
    """A condition on a row. Raises UsageError, with what is allowed, for anything else."""

    def __init__(self, text: str):
        self.text = text
        self.paths: list[Path] = []
        try:
            self._holds = self._value(ast.parse(text.strip(), mode="eval").body)
        except (SyntaxError, ValueError) as error:
            raise self._refused(str(error)) from error

    @property
    def columns(self) -> list[str]:
        """The columns that it looks at."""
        return [path.column for path in self.paths]

    def __call__(self, row: Any) -> bool:
        return bool(self._holds(row))

    def _refused(self, what: str) -> UsageError:
        return UsageError(f"where is {self.text!r}: {what} cannot be used; allowed are {ALLOWED}")

    def _value(self, node: ast.expr) -> Value:
        if isinstance(node, ast.BoolOp):
            values = [self._value(value) for value in node.values]
            decide = all if isinstance(node.op, ast.And) else any
            return lambda row: decide(value(row) for value in values)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            inner = self._value(node.operand)
            return lambda row: not inner(row)
        if isinstance(node, ast.Compare):
            return self._comparison(node)
        if isinstance(node, ast.Call):
            return self._length(node)
        if isinstance(node, ast.List | ast.Tuple):
            items = [self._value(item) for item in node.elts]
            return lambda row: [item(row) for item in items]
        return self._leaf(node)

    def _leaf(self, node: ast.expr) -> Value:
        """A constant or a field."""
        try:
            constant = ast.literal_eval(node)
        except ValueError:
            pass
        else:
            return lambda row: constant
        if isinstance(node, ast.Name) and node.id in _CONSTANTS:
            constant = _CONSTANTS[node.id]
            return lambda row: constant
        if not isinstance(node, ast.Name | ast.Attribute | ast.Subscript):
            raise self._refused(ast.unparse(node))
        path = Path(_path_text(node) or ast.unparse(node))
        self.paths.append(path)
        return path

    def _comparison(self, node: ast.Compare) -> Value:
        tests = [type(op) for op in node.ops]
        values = [self._value(value) for value in (node.left, *node.comparators)]
        if not all(test in (*_ORDERS, ast.Eq, ast.NotEq, ast.In, ast.NotIn) for test in tests):
            raise self._refused(ast.unparse(node))

        def holds(row: Any) -> bool:
            found = [value(row) for value in values]
            pairs = zip(tests, found[:-1], found[1:], strict=True)
            return all(_compared(test, left, right) for test, left, right in pairs)

        return holds

    def _length(self, node: ast.Call) -> Value:
        named = isinstance(node.func, ast.Name) and node.func.id == "len"
        if not named or len(node.args) != 1 or node.keywords:
            raise self._refused(ast.unparse(node))
        inner = self._value(node.args[0])

        def length(row: Any) -> int:
            value = inner(row)
            return len(value) if isinstance(value, str | list | dict) else 0

        return length


def _path_text(node: ast.expr) -> str:
    """The text of a path such as `answers[0].text`, or of `row["any name"]`; empty for another expression."""
    if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "row":
        return str(node.slice.value) if isinstance(node.slice, ast.Constant) else ""
    return ""


def _compared(test: type, left: Any, right: Any) -> bool:
    if test in (ast.In, ast.NotIn):
        if isinstance(right, str):
            inside = isinstance(left, str) and left in right
        else:
            inside = isinstance(right, list | tuple) and any(_equal(left, item) for item in right)
        return inside == (test is ast.In)
    if test in (ast.Eq, ast.NotEq):
        return _equal(left, right) == (test is ast.Eq)
    left, right = _alike(left, right)
    try:
        return _ORDERS[test](left, right)
    except TypeError:
        return False  # a field that is not there, or of another kind, is neither smaller nor larger


def _equal(left: Any, right: Any) -> bool:
    left, right = _alike(left, right)
    return type(left) is type(right) and left == right if _mixed(left, right) else left == right


def _mixed(left: Any, right: Any) -> bool:
    """Whether one of both is a truth value and the other a number, which Python takes for equal."""
    return isinstance(left, bool) != isinstance(right, bool)


def _alike(left: Any, right: Any) -> tuple[Any, Any]:
    """Both as numbers where one of them is: text files hold numbers as texts."""
    return _as_number(left, right), _as_number(right, left)


def _as_number(value: Any, other: Any) -> Any:
    if isinstance(value, str) and isinstance(other, int | float):
        if isinstance(other, bool):
            return {"true": True, "false": False, "1": True, "0": False}.get(value.strip().lower(), value)
        try:
            return float(value)
        except ValueError:
            return value
    return value


@lru_cache(maxsize=256)
def condition(text: str) -> Condition:
    return Condition(text)

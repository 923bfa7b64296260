"""Conditions on rows, such as `score >= 3 and lang in ("en", "de")`. They are parsed, and never run as code."""

import ast
import operator
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any

from gte_ray.errors import UsageError
from gte_ray.readers.functions import FUNCTIONS, function
from gte_ray.readers.paths import Path, Step

Value = Callable[[Any], Any]
"""Takes a row."""
ALLOWED = (
    "fields (row['any name'] too), texts, numbers, lists, and, or, not, in, ==, !=, <, <=, >, >=, "
    + ", ".join(f"{name}()" for name in FUNCTIONS)
)
_CONSTANTS = {"true": True, "false": False, "null": None}
_NO = ("", "0", "0.0", "false", "no", "f", "n", "null", "none")
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
            raise self._refused(getattr(error, "msg", str(error))) from error

    def __call__(self, row: Any) -> bool:
        return _true(self._holds(row))

    def _refused(self, what: str) -> UsageError:
        return UsageError(f"where is {self.text!r}: {what} cannot be used; allowed are {ALLOWED}")

    def _value(self, node: ast.expr) -> Value:
        if isinstance(node, ast.BoolOp):
            values = [self._value(value) for value in node.values]
            decide = all if isinstance(node.op, ast.And) else any
            return lambda row: decide(_true(value(row)) for value in values)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            inner = self._value(node.operand)
            return lambda row: not _true(inner(row))
        if isinstance(node, ast.Compare):
            return self._comparison(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
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
            if not isinstance(constant, str | int | float | None):
                raise self._refused(ast.unparse(node))
            return lambda row: constant
        if isinstance(node, ast.Name) and node.id in _CONSTANTS:
            constant = _CONSTANTS[node.id]
            return lambda row: constant
        path = Path(ast.unparse(node))
        path.steps = tuple(self._steps(node))
        self.paths.append(path)
        return path

    def _steps(self, node: ast.expr) -> list[Step]:
        """The steps of a field such as `answers[0].text`, `meta["x"]` or `row["any name"]`."""
        if isinstance(node, ast.Name):
            return [node.id]
        if isinstance(node, ast.Attribute):
            return [*self._steps(node.value), node.attr]
        if isinstance(node, ast.Subscript):
            is_row = isinstance(node.value, ast.Name) and node.value.id == "row"
            try:
                position = ast.literal_eval(node.slice)
            except ValueError:
                position = None
            if isinstance(position, str | int) and not isinstance(position, bool):
                return [*([] if is_row else self._steps(node.value)), position]
        raise self._refused(ast.unparse(node))

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

    def _call(self, node: ast.Call) -> Value:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in FUNCTIONS or len(node.args) != 1 or node.keywords:
            raise self._refused(ast.unparse(node))
        inner, of = self._value(node.args[0]), function(name)
        return lambda row: of(inner(row))


def _true(value: Any) -> bool:
    """Whether a value by itself says yes: text files write truth values and numbers as texts."""
    return value.strip().lower() not in _NO if isinstance(value, str) else bool(value)


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
        for kind in (int, float):  # integers exactly: ids of posts are above 2^53
            with suppress(ValueError):
                return kind(value)
    return value


@lru_cache(maxsize=256)
def condition(text: str) -> Condition:
    return Condition(text)

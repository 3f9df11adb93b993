"""Columns of frozen values: checked once when built, read-only after."""

from typing import Any

import numpy as np

from psimg.core.errors import DataError


def freeze(value: object, /, **columns: tuple[Any, ...]) -> None:
    """Check the arrays of a frozen dataclass and make them read-only.

    Parameters
    ----------
    value : dataclass instance
        The value under construction; its fields are replaced by read-only views.
    **columns : (dtype, *shape)
        Type and shape of each field. A field that is None is left alone.

    Raises
    ------
    DataError
        If a column has another shape than the one stated.
    """
    for name, (dtype, *shape) in columns.items():
        given = getattr(value, name)
        if given is None:
            continue
        # A view of its own: the caller's array keeps its flags.
        array = np.ascontiguousarray(given, dtype=dtype).view()
        if array.shape != tuple(shape):
            raise DataError(
                f"{type(value).__name__}.{name} has shape {array.shape}, expected {tuple(shape)}"
            )
        array.flags.writeable = False
        object.__setattr__(value, name, array)

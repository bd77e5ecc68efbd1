"""Which sizes of axes Python knows, and may branch on.

Where a program is traced for any size, the size of an axis may be `None` or a scalar tensor (TensorFlow), a symbol that Python
cannot compare (JAX, and `torch.export`), or a tensor that holds the size of the sample that is traced, mostly 1, in place of any
other (`torch.jit.trace`). None of them is an integer of Python.
"""

import numpy as np


def known(size):
    """Returns a size as an int, or `None` where it is known only when a program runs."""
    return int(size) if isinstance(size, (int, np.integer)) else None


def differ(size, other):
    """Returns whether two sizes are known, and different."""
    return None not in (known(size), known(other)) and known(size) != known(other)

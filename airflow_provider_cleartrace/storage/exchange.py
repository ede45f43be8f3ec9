"""Two local folders change places in one step, where the system can do that."""

from __future__ import annotations

import ctypes
import errno
import os

_HERE = -100
"""``AT_FDCWD``: paths are relative to the working directory."""

_EXCHANGE = 2
"""``RENAME_EXCHANGE``."""

_NOT_HERE = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP}
"""What a kernel or a file system answers that does not know the exchange (NFS, FUSE)."""


def exchange(one: str, other: str) -> bool:
    """Let two folders change places, so that at every moment there is one under either name.

    Returns:
        False where this cannot be done: not on Linux, or not on this file system. Nothing has changed then.

    Raises:
        OSError: the folders cannot be renamed.
    """
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    renameat2.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    if renameat2(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NOT_HERE:
        return False
    raise OSError(code, os.strerror(code))

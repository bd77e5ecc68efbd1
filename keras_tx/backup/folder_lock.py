"""A folder that one process trains into at a time; the lock goes with the process, however that ends."""

import os
import weakref

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None

_HELD = weakref.WeakValueDictionary()  # device and number of a folder: its lock, in this process


class FolderLock:
    """The lock of a folder, held until it is released or collected, or another of this process is made for the folder.

    (A `fit` that an error or Ctrl-C has ended releases nothing, and the next one of the same process goes on.) Where the
    system has no such locks, as for folders on some networks, none is held.

    Raises:
        ValueError: if another process holds it.
    """

    def __init__(self, folder):
        self._release = lambda: None
        if fcntl is None:
            return
        handle = os.open(folder, os.O_RDONLY)
        self._release = weakref.finalize(self, os.close, handle)
        seen = os.fstat(handle)
        key = seen.st_dev, seen.st_ino
        if key in _HELD:
            _HELD[key].release()
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.release()
            raise ValueError(
                "`folder` must be that of one training: end the other one, or take another folder. Received: "
                f"folder={str(folder)!r}, which another process trains into."
            ) from error
        except OSError:
            self.release()
            return
        _HELD[key] = self

    def release(self):
        """Lets others have the folder."""
        self._release()


def _forget():
    for lock in list(_HELD.values()):
        lock.release()


if hasattr(os, "register_at_fork"):  # a child, such as a worker that reads data, would hold what its parent held
    os.register_at_fork(after_in_child=_forget)

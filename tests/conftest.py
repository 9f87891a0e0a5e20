"""One thread per test process: the tests' tensors are small, and the processes run side by side."""

import signal

from adm.app import openmp

openmp.configure(threads=1)  # before torch is loaded
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it, and so would what tests start

"""One thread per test process: the tests' tensors are small, and the processes run side by side."""

from adm import openmp

openmp.configure(threads=1)  # before torch is loaded

"""Triton kernels of the ops. Imported where an op runs its kernel: nothing else needs Triton."""

"""Triton kernels of the ops. Imported only when an op runs its kernel, so nothing else needs Triton."""

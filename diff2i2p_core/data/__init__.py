"""Posed RGB-D folders, training pairs and their truth, benchmarks, synthetic rooms, bags, preparation."""

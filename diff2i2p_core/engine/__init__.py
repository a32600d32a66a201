"""Configuration of experiments and the trainer."""

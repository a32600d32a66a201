"""Synthetic furnished rooms: their geometry, textures, pictures and sensors."""
